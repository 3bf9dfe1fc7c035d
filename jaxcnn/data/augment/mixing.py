"""Mixing of training examples in pairs: mixup (Zhang et al. 2018) and CutMix (Yun et al. 2019).

Batches are shuffled, so an example's neighbour is a random other one: positions 0 and 1 are a pair, 2 and 3, and so on.
A pair draws from its first position's key: what it becomes depends neither on the rest of the batch nor on the devices.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import jax
import jax.numpy as jnp

from jaxcnn.data.augment.cutout import rectangle
from jaxcnn.errors import InputError

Mix = Callable[..., dict[str, jax.Array]]
"""(key, batch, start=0) -> batch; `start` is the position of the first example in the whole batch."""

SALT = 0x6D6978  # keeps the draws apart from those of augmentations that got the same key


def mixup(key: jax.Array, size: tuple[int, int]) -> jax.Array:
    """Own weight of each pixel under mixup, (1, 1): one number for all, drawn from Beta(0.2, 0.2).

    Args:
        key: Key of the pair.
        size: (height, width).

    Reference:
        Zhang et al. 2018, arXiv:1710.09412, section 3.1 (0.1 to 0.4 on ImageNet).
    """
    return jax.random.beta(key, 0.2, 0.2, (1, 1), jnp.float32)


def cutmix(key: jax.Array, size: tuple[int, int]) -> jax.Array:
    """Own weight of each pixel under CutMix, (height, width): zero in one rectangle, one outside.

    The rectangle's sides are sqrt(1 - l) of the image's, l drawn from Beta(1, 1), which is uniform; its centre lies
    anywhere, so that it may reach over the edge.

    Args:
        key: Key of the pair.
        size: (height, width).

    Reference:
        Yun et al. 2019, arXiv:1905.04899, equation 2.
    """
    place_key, share_key = jax.random.split(key)
    side = jnp.sqrt(jax.random.uniform(share_key, (), jnp.float32))
    sides = tuple((length * side).astype(jnp.int32) for length in size)
    return 1.0 - rectangle(place_key, size, (sides[0], sides[1])).astype(jnp.float32)


MIXES: dict[str, Callable[[jax.Array, tuple[int, int]], jax.Array]] = {"mixup": mixup, "cutmix": cutmix}
"""What `DataConfig.mix` may name: (key of a pair, (H, W)) -> own weight of each pixel, (H, W) or (1, 1), 0 to 1.

The share of the own label is the mean of these weights. A new way to mix is a function and a line here.
"""


def make_mix(names: tuple[str, ...]) -> Mix | None:
    """How the examples of a batch are mixed; None where `names` is empty.

    Args:
        names: Keys of `MIXES`; of several, each pair draws one.

    Returns:
        (key, batch, start=0) -> batch. The batch holds `images` (N, H, W, C), `labels` (N,) int32 and `mask` (N,), and
        `start` is the position of its first example in the whole batch. Images come back mixed, integers as float32,
        normalised before or afterwards, and beside them

        - `mixed_labels` (N,) int32: the partner's label, or the own where there is no partner;
        - `share` (N,) float32: weight of the own label in the loss; the partner's is 1 - share.

        The partner of position i is i XOR 1. Where it lies on another device, past the end or behind the mask, the
        example stays as it is.

    Raises:
        InputError: A name is unknown.
    """
    for name in names:
        if name not in MIXES:
            raise InputError(f"mix={name!r} is unknown; choose from {', '.join(sorted(MIXES))}")
    if not names:
        return None
    kinds = tuple(MIXES[name] for name in names)

    def mix(key: jax.Array, batch: Mapping[str, jax.Array], start: int | jax.Array = 0) -> dict[str, jax.Array]:
        images = batch["images"]
        partner, mixed = _partners(batch["mask"], start)
        weights, share = _weights(kinds, jax.random.fold_in(key, SALT), images.shape, start)
        weights = jnp.where(mixed[:, None, None], weights, 1.0)[..., None]
        own = images.astype(jnp.float32)
        kept = images.dtype if jnp.issubdtype(images.dtype, jnp.floating) else jnp.float32
        return {
            **batch,
            "images": (weights * own + (1.0 - weights) * own[partner]).astype(kept),
            "mixed_labels": jnp.where(mixed, batch["labels"][partner], batch["labels"]),
            "share": jnp.where(mixed, share, 1.0),
        }

    return mix


def _partners(mask: jax.Array, start: int | jax.Array) -> tuple[jax.Array, jax.Array]:
    """(N,) int32 index of each example's partner, its own where there is none; (N,) bool whether the two are mixed."""
    here = jnp.arange(len(mask), dtype=jnp.int32)
    offset = jnp.asarray(start).astype(jnp.int32)
    partner = ((here + offset) ^ 1) - offset
    present = (partner >= 0) & (partner < len(mask))
    partner = jnp.where(present, partner, here)
    return partner, present & (mask > 0) & (mask[partner] > 0)


def _weights(
    kinds: tuple[Callable[[jax.Array, tuple[int, int]], jax.Array], ...],
    key: jax.Array,
    shape: tuple[int, ...],
    start: int | jax.Array,
) -> tuple[jax.Array, jax.Array]:
    """Own weight of each pixel (N, H, W) and of each label (N,), the same for both of a pair."""
    size = (shape[1], shape[2])
    positions = jnp.asarray(start, jnp.uint32) + jnp.arange(shape[0], dtype=jnp.uint32)
    pair_keys = jax.vmap(jax.random.fold_in, in_axes=(None, 0))(key, positions - positions % 2)

    def draw(pair_key: jax.Array) -> tuple[jax.Array, jax.Array]:
        kind_key, own_key = jax.random.split(pair_key)
        maps = [kind(own_key, size) for kind in kinds]
        chosen = jax.random.randint(kind_key, (), 0, len(kinds), jnp.int32)
        weights = jnp.stack([jnp.broadcast_to(pixels, size) for pixels in maps])[chosen]
        return weights, jnp.stack([pixels.mean() for pixels in maps])[chosen]

    return jax.vmap(draw)(pair_keys)
