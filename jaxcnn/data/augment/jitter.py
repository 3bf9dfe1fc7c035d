"""Random brightness, contrast, saturation and hue."""

from __future__ import annotations

from functools import partial

import jax
import jax.numpy as jnp

from jaxcnn.data.augment import colour
from jaxcnn.data.augment.examples import per_example


def color_jitter(
    key: jax.Array,
    images: jax.Array,
    start: int | jax.Array = 0,
    *,
    brightness: float = 0.4,
    contrast: float = 0.4,
    saturation: float = 0.4,
    hue: float = 0.1,
) -> jax.Array:
    """Change each image's brightness, contrast, saturation and hue, in this order, by random amounts.

    The first three multiply by a factor drawn from 1 - s to 1 + s, but not below 0; the hue turns by -s to s of the
    colour circle. Images without three channels keep their saturation and hue.

    Args:
        key: Random key of the step.
        images: (N, H, W, C), uint8 or float, pixel values 0 .. 255.
        start: Position of the first image in the whole batch, where `images` is one device's part.
        brightness: Strength s; 0 switches the change off, as for the others.
        contrast: Strength s.
        saturation: Strength s.
        hue: Strength s, at most one half.

    Returns:
        Images of the same shape and dtype.

    Reference:
        Krizhevsky et al. 2012, section 4.1, began to vary colours; the four changes are torchvision's ColorJitter, in a
        fixed order.
    """
    return per_example(partial(_jittered, strengths=(brightness, contrast, saturation, hue)), key, images, start)


def _jittered(key: jax.Array, image: jax.Array, strengths: tuple[float, float, float, float]) -> jax.Array:
    drawn = jax.random.uniform(key, (4,), jnp.float32, -1.0, 1.0) * jnp.array(strengths, jnp.float32)
    factors = jnp.maximum(0.0, 1.0 + drawn[:3])
    for change, factor in zip((colour.brightness, colour.contrast, colour.saturation), factors, strict=True):
        image = change(image, factor)
    return colour.hue(image, drawn[3])
