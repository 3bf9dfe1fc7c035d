"""Affine maps of one image: where each pixel of the new image lies in the old one."""

from __future__ import annotations

import math

import jax
import jax.numpy as jnp


def warp(image: jax.Array, coefficients: jax.Array) -> jax.Array:
    """Take each new pixel from the nearest old one, black where there is none; Pillow's AFFINE transform.

    The nearest pixel rather than a mean of four, as in the code of AutoAugment and RandAugment: a quarter of the reads.

    Args:
        image: (H, W, C).
        coefficients: (6,) float32 a, b, c, d, e, f: the new pixel with its centre at (x, y) lies at
            (a x + b y + c, d x + e y + f) in the old image, in pixels from its upper left corner.

    Returns:
        Image of the same shape and dtype.
    """
    height, width, channels = image.shape
    centres = (jnp.arange(side, dtype=jnp.float32) + 0.5 for side in (height, width))
    y, x = jnp.meshgrid(*centres, indexing="ij")
    a, b, c, d, e, f = coefficients
    column, row = (jnp.floor(place).astype(jnp.int32) for place in (a * x + b * y + c, d * x + e * y + f))
    inside = (column >= 0) & (column < width) & (row >= 0) & (row < height)
    flat = jnp.clip(row, 0, height - 1) * width + jnp.clip(column, 0, width - 1)
    taken = image.reshape(height * width, channels)[flat]
    return jnp.where(inside[:, :, None], taken, jnp.zeros_like(taken))


def shear_x(amount: jax.Array) -> jax.Array:
    """Rows slide by `amount` pixels for each row, the top edge stays."""
    return _coefficients(b=amount)


def shear_y(amount: jax.Array) -> jax.Array:
    """Columns slide by `amount` pixels for each column, the left edge stays."""
    return _coefficients(d=amount)


def shift_x(pixels: jax.Array) -> jax.Array:
    """The image moves to the left by so many pixels."""
    return _coefficients(c=pixels)


def shift_y(pixels: jax.Array) -> jax.Array:
    """The image moves up by so many pixels."""
    return _coefficients(f=pixels)


def rotation(degrees: jax.Array, size: tuple[int, int]) -> jax.Array:
    """The image turns counter-clockwise about its centre; `size` is (height, width)."""
    y, x = size[0] / 2, size[1] / 2
    angle = degrees * (math.pi / 180)
    cos, sin = jnp.cos(angle), jnp.sin(angle)
    return _coefficients(cos, -sin, x - cos * x + sin * y, sin, cos, y - sin * x - cos * y)


def _coefficients(
    a: jax.Array | float = 1.0,
    b: jax.Array | float = 0.0,
    c: jax.Array | float = 0.0,
    d: jax.Array | float = 0.0,
    e: jax.Array | float = 1.0,
    f: jax.Array | float = 0.0,
) -> jax.Array:
    return jnp.stack([jnp.asarray(part, jnp.float32) for part in (a, b, c, d, e, f)])
