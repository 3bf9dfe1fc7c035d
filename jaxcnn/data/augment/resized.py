"""Random resized crops: Szegedy et al. 2015, "Going deeper with convolutions", section 6."""

from __future__ import annotations

import math
from functools import partial

import jax
import jax.numpy as jnp

from jaxcnn.data.augment.examples import per_example

TRIES = 10  # boxes drawn for an image before the largest centred one is taken, as in torchvision


def resized_crop(
    key: jax.Array,
    images: jax.Array,
    start: int | jax.Array = 0,
    *,
    scale: tuple[float, float] = (0.08, 1.0),
    ratio: tuple[float, float] = (3 / 4, 4 / 3),
) -> jax.Array:
    """Cut a box of random area, shape and place out of each image and resize it to the old size, bilinearly.

    Args:
        key: Random key of the step.
        images: (N, H, W, C), uint8 or float, pixel values 0 .. 255.
        start: Position of the first image in the whole batch, where `images` is one device's part.
        scale: Limits of the box's share of the area, drawn uniformly.
        ratio: Limits of its width over its height, drawn uniformly in the logarithm.

    Returns:
        Images of the same shape and dtype.

    Reference:
        Szegedy et al. 2015, arXiv:1409.4842, section 6 (8 % to 100 % of the area, 3/4 to 4/3).
    """
    return per_example(partial(_resized, scale=scale, ratio=ratio), key, images, start)


def _resized(key: jax.Array, image: jax.Array, scale: tuple[float, float], ratio: tuple[float, float]) -> jax.Array:
    top, left, height, width = box(key, image.shape[0], image.shape[1], scale, ratio)
    return cut(image, top, left, height, width)


def box(
    key: jax.Array, height: int, width: int, scale: tuple[float, float], ratio: tuple[float, float]
) -> tuple[jax.Array, jax.Array, jax.Array, jax.Array]:
    """A random box of whole pixels within height x width: (top, left, its height, its width), int32."""
    drawn = jax.random.uniform(key, (2, TRIES + 1), jnp.float32)  # at once: one generator to compile, not four
    area = height * width * (scale[0] + (scale[1] - scale[0]) * drawn[0, :-1])
    aspect = jnp.exp(math.log(ratio[0]) + math.log(ratio[1] / ratio[0]) * drawn[1, :-1])
    heights, widths = jnp.round(jnp.sqrt(area / aspect)), jnp.round(jnp.sqrt(area * aspect))
    fits = (heights >= 1) & (heights <= height) & (widths >= 1) & (widths <= width)
    first = jnp.argmax(fits)
    # A long image may have no box of that area and shape: then the largest of a valid shape, in the middle.
    largest_height = max(1, min(height, round(width / ratio[0])))
    largest_width = max(1, min(width, round(height * ratio[1])))
    found = fits.any()
    high = jnp.where(found, heights[first], largest_height).astype(jnp.int32)
    wide = jnp.where(found, widths[first], largest_width).astype(jnp.int32)
    free = jnp.stack([height - high, width - wide])
    places = jnp.floor(drawn[:, -1] * (free + 1).astype(jnp.float32)).astype(jnp.int32)
    top, left = jnp.where(found, places, free // 2)
    return top, left, high, wide


def cut(image: jax.Array, top: jax.Array, left: jax.Array, height: jax.Array, width: jax.Array) -> jax.Array:
    """A box of an image (H, W, C) float32, resized to the whole image's size; the box is not larger than the image.

    First rows, then columns, each a mean of two old ones. On a CPU this took half the time of two products with
    matrices of weights at 32 pixels a side and a seventh at 224.
    """
    above, below, low = _neighbours(image.shape[0], top, height)
    rows = image[above] + low[:, None, None] * (image[below] - image[above])
    left_of, right_of, far = _neighbours(image.shape[1], left, width)
    return rows[:, left_of] + far[None, :, None] * (rows[:, right_of] - rows[:, left_of])


def _neighbours(size: int, first: jax.Array, length: jax.Array) -> tuple[jax.Array, jax.Array, jax.Array]:
    """For each new pixel of `size`: the old one before it, the one behind it, and how far it lies from the first."""
    last = length.astype(jnp.float32) - 1.0
    pixels = jnp.arange(size, dtype=jnp.float32)
    places = jnp.clip((pixels + 0.5) * (length.astype(jnp.float32) / size) - 0.5, 0.0, last)
    before = jnp.floor(places)
    after = jnp.minimum(before + 1.0, last)
    return first + before.astype(jnp.int32), first + after.astype(jnp.int32), places - before
