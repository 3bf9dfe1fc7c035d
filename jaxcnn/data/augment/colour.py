"""Colour changes of one image, (H, W, C) float32 with values 0 .. 255, and the augmentation that combines them.

They are Pillow's ImageEnhance and ImageOps, on which Cubuk et al. built AutoAugment and RandAugment, without rounding.
The weights of red, green and blue in a grey value are ITU-R 601's. Images without three channels have no colour: their
grey value is the mean of the channels, and saturation and hue do not change them.
"""

import jax
import jax.numpy as jnp

from jaxcnn.data.augment.examples import WHITE, per_example

GREY = (0.299, 0.587, 0.114)
Factor = float | jax.Array


def brightness(image: jax.Array, factor: Factor) -> jax.Array:
    """Blend with black: factor 0 gives black, 1 the image, 2 an image twice as bright."""
    return blend(jnp.zeros_like(image), image, factor)


def contrast(image: jax.Array, factor: Factor) -> jax.Array:
    """Blend with the image's mean grey: factor 0 gives that grey, 1 the image."""
    return blend(jnp.full_like(image, _grey(image).mean()), image, factor)


def saturation(image: jax.Array, factor: Factor) -> jax.Array:
    """Blend with the grey image: factor 0 gives grey, 1 the image. Pillow calls it Color."""
    if image.shape[-1] != len(GREY):
        return image
    return blend(jnp.broadcast_to(_grey(image), image.shape), image, factor)


def sharpness(image: jax.Array, factor: Factor) -> jax.Array:
    """Blend with a smoothed image: factor 0 smooths, 1 gives the image, 2 sharpens. Border pixels do not change."""
    height, width, _ = image.shape
    if min(height, width) < 3:
        return image
    # Nine shifted sums rather than a convolution: each example has its own program under vmap, not its own kernel.
    shifts = [image[y : height - 2 + y, x : width - 2 + x] for y in range(3) for x in range(3)]
    smooth = (sum(shifts[1:], shifts[0]) + 4.0 * shifts[4]) / 13.0
    return blend(image.at[1:-1, 1:-1].set(smooth), image, factor)


def blend(other: jax.Array, image: jax.Array, factor: Factor) -> jax.Array:
    """Return (1 - factor) other + factor image, clipped to 0 .. 255; factor 1 gives the image bit for bit."""
    return jnp.clip(factor * image + (1.0 - factor) * other, 0.0, WHITE)


def posterize(image: jax.Array, bits: int) -> jax.Array:
    """Keep the highest `bits` of the 8 bits of each value."""
    step = 2.0 ** (8 - bits)
    return jnp.floor(image / step) * step


def solarize(image: jax.Array, threshold: Factor) -> jax.Array:
    """Invert the values at or above the threshold."""
    return jnp.where(image < threshold, image, WHITE - image)


def autocontrast(image: jax.Array) -> jax.Array:
    """Stretch each channel so that its least value becomes 0 and its largest 255; a constant channel stays."""
    low, high = image.min(axis=(0, 1), keepdims=True), image.max(axis=(0, 1), keepdims=True)
    stretched = (image - low) * (WHITE / jnp.maximum(high - low, 1e-3))
    return jnp.where(high > low, stretched, image)


def equalize(image: jax.Array) -> jax.Array:
    """Equalize each channel's histogram by Pillow's integer rule; values are rounded to integers first."""
    values = jnp.round(image).astype(jnp.int32)
    return jnp.stack([_equalize_channel(values[..., c]) for c in range(image.shape[-1])], axis=-1)


def _equalize_channel(values: jax.Array) -> jax.Array:
    """Equalize one channel (H, W) int32; the result is float32."""
    # Scattered additions of integers, whose order does not matter: on a CPU they took a hundredth of the time of
    # products of one-hot matrices or of comparisons with every value, and none of their memory.
    counts = jnp.zeros(256, jnp.int32).at[values.reshape(-1)].add(1)
    levels = jnp.arange(len(counts), dtype=jnp.int32)
    last = counts[values.max()]
    step = (counts.sum() - last) // 255
    below = jnp.cumsum(counts) - counts
    table = jnp.clip((below + step // 2) // jnp.maximum(step, 1), 0, 255)
    return jnp.where(step > 0, table, levels)[values].astype(jnp.float32)


def hue(image: jax.Array, turn: Factor) -> jax.Array:
    """Rotate the hue, in HSV, by a share of the colour circle (-0.5 .. 0.5)."""
    if image.shape[-1] != len(GREY):
        return image
    red, green, blue = image[..., 0], image[..., 1], image[..., 2]
    value = image.max(axis=-1)
    chroma = value - image.min(axis=-1)
    divisor = jnp.where(chroma > 0.0, chroma, 1.0)  # a grey pixel has no hue, and no chroma to show it
    sixth = jnp.where(
        value == red,
        (green - blue) / divisor,
        jnp.where(value == green, 2.0 + (blue - red) / divisor, 4.0 + (red - green) / divisor),
    )
    # Smith 1978: a channel's distance below the value depends on the hue's distance from the channel's opposite.
    away = [channel + sixth + 6.0 * turn for channel in (5.0, 3.0, 1.0)]
    away = [k - 6.0 * jnp.floor(k / 6.0) for k in away]  # the remainder, several times faster than % on a CPU
    return jnp.stack([value - chroma * jnp.clip(jnp.minimum(k, 4.0 - k), 0.0, 1.0) for k in away], axis=-1)


def _grey(image: jax.Array) -> jax.Array:
    """Return the grey value of each pixel, (H, W, 1)."""
    if image.shape[-1] != len(GREY):
        return image.mean(axis=-1, keepdims=True)
    red, green, blue = (weight * image[..., c : c + 1] for c, weight in enumerate(GREY))
    return red + green + blue


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

    Each argument is a strength s; 0 disables the change. The first three multiply by a factor drawn from 1 - s to
    1 + s, but not below 0; the hue turns by -s to s of the colour circle, so its s is at most one half. The four
    changes are torchvision's ColorJitter, in a fixed order; Krizhevsky et al. 2012, section 4.1, began to vary colours.
    """
    strengths = jnp.array((brightness, contrast, saturation, hue), jnp.float32)
    return per_example(lambda key, image: _jitter(key, image, strengths), key, images, start)


def _jitter(key: jax.Array, image: jax.Array, strengths: jax.Array) -> jax.Array:
    drawn = jax.random.uniform(key, (4,), jnp.float32, -1.0, 1.0) * strengths
    factors = jnp.maximum(0.0, 1.0 + drawn[:3])
    for change, factor in zip((brightness, contrast, saturation), factors, strict=True):
        image = change(image, factor)
    return hue(image, drawn[3])
