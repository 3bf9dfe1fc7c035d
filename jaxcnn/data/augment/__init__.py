"""Variations of training images on the device: pure functions (key, images) -> images, and mixing of whole batches.

Each example draws from its own key, `fold_in(key, position)`, so its variation does not depend on who else is in the
batch or on how many devices share it. Every augmentation takes and returns (N, H, W, C), uint8 or float, with pixel
values 0 .. 255.
"""

from __future__ import annotations

import jax

from jaxcnn.data.augment.cutout import cutout
from jaxcnn.data.augment.examples import Augment, example_keys
from jaxcnn.data.augment.jitter import color_jitter
from jaxcnn.data.augment.mixing import MIXES, Mix, cutmix, make_mix, mixup
from jaxcnn.data.augment.randaugment import randaugment
from jaxcnn.data.augment.resized import resized_crop
from jaxcnn.data.augment.shift import crop, crop_padding, flip, translate
from jaxcnn.errors import InputError

__all__ = [
    "AUGMENTATIONS",
    "MIXES",
    "Augment",
    "Mix",
    "color_jitter",
    "crop",
    "crop_padding",
    "cutmix",
    "cutout",
    "example_keys",
    "flip",
    "make_augment",
    "make_mix",
    "mixup",
    "randaugment",
    "resized_crop",
    "translate",
]

AUGMENTATIONS: dict[str, Augment] = {
    "flip": flip,
    "crop": crop,
    "translate": translate,
    "resized_crop": resized_crop,
    "cutout": cutout,
    "color_jitter": color_jitter,
    "randaugment": randaugment,
}
"""What `DataConfig.augment` may name. A new augmentation is a function like those above and a line here."""


def make_augment(names: tuple[str, ...]) -> Augment | None:
    """Compose augmentations, applied in order; None where `names` is empty.

    Args:
        names: Keys of `AUGMENTATIONS`.

    Returns:
        (key, images, start=0) -> images. The i-th augmentation draws from fold_in(key, i).

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
