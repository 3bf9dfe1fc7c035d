"""Mixing of training examples in pairs: mixup (Zhang et al. 2018) and CutMix (Yun et al. 2019).

Batches are shuffled, so an example's neighbour is a random other one: positions 0 and 1 are a pair, 2 and 3, and so on.
A pair draws from the key of its first position: the result depends neither on the rest of the batch nor on the devices.
"""

from collections.abc import Callable, Mapping
from functools import partial

import jax
import jax.numpy as jnp

from jaxcnn.data.augment.geometry import random_rectangle
from jaxcnn.errors import InputError

Mix = Callable[..., dict[str, jax.Array]]
"""(key, batch, start=0) -> batch; `start` is the position of the first example in the whole batch."""

Weigh = Callable[[jax.Array, tuple[int, int]], jax.Array]
"""(key of a pair, (H, W)) -> weight of an example's own pixels, 0 to 1, (H, W) or (1, 1); its label gets their mean."""

SALT = 0x6D6978  # separates the random stream from that of augmentations with the same key


def mixup(key: jax.Array, size: tuple[int, int]) -> jax.Array:
    """Draw the own weight of all pixels, (1, 1), from Beta(0.2, 0.2).

    Zhang et al. 2018, arXiv:1710.09412, section 3.1 (0.1 to 0.4 on ImageNet).
    """
    return jax.random.beta(key, 0.2, 0.2, (1, 1), jnp.float32)


def cutmix(key: jax.Array, size: tuple[int, int]) -> jax.Array:
    """Draw the own weight of each pixel, (height, width): zero in one rectangle, one outside.

    The rectangle's sides are sqrt(1 - l) of the image's, l drawn from Beta(1, 1), which is uniform; its centre is any
    pixel, so it may extend beyond the edge. Yun et al. 2019, arXiv:1905.04899, equation 2.
    """
    place_key, share_key = jax.random.split(key)
    side = jnp.sqrt(jax.random.uniform(share_key, (), jnp.float32))
    sides = tuple((length * side).astype(jnp.int32) for length in size)
    return 1.0 - random_rectangle(place_key, size, (sides[0], sides[1])).astype(jnp.float32)


MIXES: dict[str, Weigh] = {"mixup": mixup, "cutmix": cutmix}
"""Names allowed in `DataConfig.mix`. A new kind of mixing is a function with this signature and a line here."""


def make_mix(names: tuple[str, ...]) -> Mix | None:
    """Return the function that mixes the examples of a batch, or None if `names` is empty.

    Args:
        names: Keys of `MIXES`; if there are several, each pair draws one.

    Returns:
        (key, batch, start=0) -> batch. The batch holds `images` (N, H, W, C), normalised or not, `labels` (N,) int32
        and `mask` (N,); `start` is the position of its first example in the whole batch. The result holds the mixed
        images (integers become float32) and also

        - `mixed_labels` (N,) int32: the partner's label, or the own one if there is no partner;
        - `share` (N,) float32: weight of the own label in the loss; the partner's is 1 - share.

        The partner of position i is i XOR 1. If it is on another device, past the end or masked, the example is not
        mixed.

    Raises:
        InputError: A name is unknown.
    """
    for name in names:
        if name not in MIXES:
            raise InputError(f"mix={name!r} is unknown; choose from {', '.join(sorted(MIXES))}")
    if not names:
        return None
    kinds = tuple(MIXES[name] for name in names)

    def draw(pair_key: jax.Array, size: tuple[int, int]) -> tuple[jax.Array, jax.Array]:
        """Draw the own weight of each pixel of a pair (H, W), and of its labels."""
        kind_key, own_key = jax.random.split(pair_key)
        maps = [kind(own_key, size) for kind in kinds]
        chosen = jax.random.randint(kind_key, (), 0, len(kinds), jnp.int32)
        weights = jnp.stack([jnp.broadcast_to(pixels, size) for pixels in maps])[chosen]
        return weights, jnp.stack([pixels.mean() for pixels in maps])[chosen]

    def mix(key: jax.Array, batch: Mapping[str, jax.Array], start: int | jax.Array = 0) -> dict[str, jax.Array]:
        images, labels = batch["images"], batch["labels"]
        # The partner is the example itself if it has none here: then they do not mix.
        mask, here = batch["mask"], jnp.arange(len(images), dtype=jnp.int32)
        offset = jnp.asarray(start).astype(jnp.int32)
        partner = ((here + offset) ^ 1) - offset
        present = (partner >= 0) & (partner < len(images))
        partner = jnp.where(present, partner, here)
        mixed = present & (mask > 0) & (mask[partner] > 0)
        positions = jnp.asarray(start, jnp.uint32) + jnp.arange(len(images), dtype=jnp.uint32)
        fold = jax.vmap(jax.random.fold_in, in_axes=(None, 0))
        pair_keys = fold(jax.random.fold_in(key, SALT), positions - positions % 2)
        weights, share = jax.vmap(partial(draw, size=(images.shape[1], images.shape[2])))(pair_keys)
        weights = jnp.where(mixed[:, None, None], weights, 1.0)[..., None]
        own = images.astype(jnp.float32)
        dtype = images.dtype if jnp.issubdtype(images.dtype, jnp.floating) else jnp.float32
        return {
            **batch,
            "images": (weights * own + (1.0 - weights) * own[partner]).astype(dtype),
            "mixed_labels": jnp.where(mixed, labels[partner], labels),
            "share": jnp.where(mixed, share, 1.0),
        }

    return mix
