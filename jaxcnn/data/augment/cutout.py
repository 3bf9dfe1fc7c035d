"""Cutout: DeVries and Taylor 2017."""

from __future__ import annotations

from functools import partial

import jax
import jax.numpy as jnp

from jaxcnn.data.augment.examples import per_example


def cutout(key: jax.Array, images: jax.Array, start: int | jax.Array = 0, *, share: float = 0.5) -> jax.Array:
    """Set a square of each image to zero; its centre lies anywhere, so that it may reach over the edge.

    The authors cut after normalisation, where zero is the mean colour; here, before it, zero is black.

    Args:
        key: Random key of the step.
        images: (N, H, W, C), uint8 or float, pixel values 0 .. 255.
        start: Position of the first image in the whole batch, where `images` is one device's part.
        share: Side of the square as a share of the image's shorter side.

    Returns:
        Images of the same shape and dtype.

    Reference:
        DeVries and Taylor 2017, arXiv:1708.04552, section 4.1 (16 of CIFAR-10's 32 pixels).
    """
    return per_example(partial(_cut_out, share=share), key, images, start)


def _cut_out(key: jax.Array, image: jax.Array, share: float) -> jax.Array:
    height, width, _ = image.shape
    side = round(share * min(height, width))
    return jnp.where(rectangle(key, (height, width), (side, side))[:, :, None], 0.0, image)


def rectangle(key: jax.Array, size: tuple[int, int], sides: tuple[int | jax.Array, int | jax.Array]) -> jax.Array:
    """`size` bool: where a rectangle with these sides lies whose centre is drawn from all pixels."""
    centres = jax.random.randint(key, (2,), 0, jnp.array(size, jnp.int32), jnp.int32)
    within = []
    for centre, length, side in zip(centres, size, sides, strict=True):
        first = centre - jnp.asarray(side, jnp.int32) // 2
        pixels = jnp.arange(length, dtype=jnp.int32)
        within.append((pixels >= first) & (pixels < first + jnp.asarray(side, jnp.int32)))
    return within[0][:, None] & within[1][None, :]
