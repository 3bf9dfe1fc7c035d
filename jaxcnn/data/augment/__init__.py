"""Augmentations on the device: pure functions (key, images) -> images, and mixing of whole batches.

Every augmentation has the signature of `Augment`. Each example draws from its own key, `fold_in(key, position)`, so its
variation depends neither on the rest of the batch nor on the number of devices.
"""

import jax

from jaxcnn.data.augment.boxes import make_move_boxes
from jaxcnn.data.augment.colour import color_jitter
from jaxcnn.data.augment.examples import Augment, example_keys
from jaxcnn.data.augment.geometry import crop, cutout, flip, resized_crop, translate, vertical_flip
from jaxcnn.data.augment.mixing import MIXES, Mix, make_mix
from jaxcnn.data.augment.moves import MOVES, affine_jitter, elastic, make_move, zoom
from jaxcnn.data.augment.randaugment import randaugment
from jaxcnn.errors import InputError

__all__ = [
    "AUGMENTATIONS",
    "MIXES",
    "MOVES",
    "Augment",
    "Mix",
    "example_keys",
    "make_augment",
    "make_mix",
    "make_move",
    "make_move_boxes",
]

AUGMENTATIONS: dict[str, Augment] = {
    "flip": flip,
    "vertical_flip": vertical_flip,
    "crop": crop,
    "translate": translate,
    "resized_crop": resized_crop,
    "affine": affine_jitter,
    "zoom": zoom,
    "elastic": elastic,
    "cutout": cutout,
    "color_jitter": color_jitter,
    "randaugment": randaugment,
}
"""Names allowed in `DataConfig.augment`. A new augmentation is a function with this signature and a line here; for data
with masks one in `MOVES`, too."""


def make_augment(names: tuple[str, ...]) -> Augment | None:
    """Compose augmentations, keys of `AUGMENTATIONS`, applied in order.

    Returns:
        (key, images, start=0) -> images, in which the i-th augmentation draws from fold_in(key, i); None if `names` is
        empty.

    Raises:
        InputError: A name is unknown.
    """
    for name in names:
        if name not in AUGMENTATIONS:
            raise InputError(f"augment={name!r} is unknown; choose from {', '.join(sorted(AUGMENTATIONS))}")
    if not names:
        return None
    functions = tuple(AUGMENTATIONS[name] for name in names)

    def augment(key: jax.Array, images: jax.Array, start: int | jax.Array = 0) -> jax.Array:
        for i, function in enumerate(functions):
            images = function(jax.random.fold_in(key, i), images, start)
        return images

    return augment
