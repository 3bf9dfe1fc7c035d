"""Augmentations that move whole pixels: mirror, pad and crop, translate."""

from __future__ import annotations

import jax
import jax.numpy as jnp

from jaxcnn.data.augment.examples import example_keys


def flip(key: jax.Array, images: jax.Array, start: int | jax.Array = 0) -> jax.Array:
    """Mirror each image left to right with probability one half.

    Args:
        key: Random key of the step.
        images: (N, H, W, C).
        start: Position of the first image in the whole batch, where `images` is one device's part.
    """
    flipped = jax.vmap(jax.random.bernoulli)(example_keys(key, images.shape[0], start))
    return jnp.where(flipped.reshape(-1, 1, 1, 1), images[:, :, ::-1, :], images)


def crop_padding(side: int) -> int:
    """Pixels that `crop` adds on each edge: an eighth of the side (4 of 32), at least 1."""
    return max(1, round(side / 8))


def crop(key: jax.Array, images: jax.Array, start: int | jax.Array = 0) -> jax.Array:
    """Pad each image with zeros by an eighth of its side and cut out a window of the old size at a random place.

    Args:
        key: Random key of the step.
        images: (N, H, W, C).
        start: Position of the first image in the whole batch, where `images` is one device's part.

    Reference:
        He et al. 2015, arXiv:1512.03385, section 4.2 (4 pixels on each side of CIFAR's 32).
    """
    _, height, width, _ = images.shape
    return _shift(key, images, start, (crop_padding(height), crop_padding(width)), "constant")


def translate(key: jax.Array, images: jax.Array, start: int | jax.Array = 0) -> jax.Array:
    """Shift each image by up to a sixteenth of its side each way (2 pixels of 32, at least 1), its edges reflected.

    Args:
        key: Random key of the step.
        images: (N, H, W, C), of at least 2 pixels a side.
        start: Position of the first image in the whole batch, where `images` is one device's part.

    Reference:
        Jordan 2024, arXiv:2404.00498, section 3 (2 pixels of CIFAR's 32, reflected).
    """
    _, height, width, _ = images.shape
    return _shift(key, images, start, (max(1, round(height / 16)), max(1, round(width / 16))), "reflect")


def _shift(key: jax.Array, images: jax.Array, start: int | jax.Array, pads: tuple[int, int], mode: str) -> jax.Array:
    """Pad by so many rows and columns and cut out a window of the old size at a random place."""
    n, height, width, channels = images.shape
    pad_y, pad_x = pads
    limits = jnp.array([2 * pad_y + 1, 2 * pad_x + 1], jnp.int32)
    offsets = jax.vmap(lambda k: jax.random.randint(k, (2,), 0, limits, jnp.int32))(example_keys(key, n, start))
    padded = jnp.pad(images, ((0, 0), (pad_y, pad_y), (pad_x, pad_x), (0, 0)), mode=mode)

    def window(image: jax.Array, offset: jax.Array) -> jax.Array:
        return jax.lax.dynamic_slice(image, (offset[0], offset[1], 0), (height, width, channels))

    return jax.vmap(window)(padded, offsets)
