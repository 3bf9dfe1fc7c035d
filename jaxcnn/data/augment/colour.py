"""Changes of one image's colours: image (H, W, C) float32 with values 0 .. 255 in, the same out.

They are Pillow's ImageEnhance and ImageOps, on which Cubuk et al. built AutoAugment and RandAugment, without rounding.
The weights of red, green and blue in a grey value are ITU-R 601's. Images without three channels have no colour: their
grey value is the mean of the channels, and saturation and hue leave them alone.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp

from jaxcnn.data.augment.examples import WHITE

GREY = (0.299, 0.587, 0.114)
Factor = float | jax.Array


def brightness(image: jax.Array, factor: Factor) -> jax.Array:
    """Blend with black: 0 is black, 1 the image, 2 twice as bright."""
    return blend(jnp.zeros_like(image), image, factor)


def contrast(image: jax.Array, factor: Factor) -> jax.Array:
    """Blend with the image's mean grey: 0 is that grey, 1 the image."""
    return blend(jnp.full_like(image, _grey(image).mean()), image, factor)


def saturation(image: jax.Array, factor: Factor) -> jax.Array:
    """Blend with the grey image: 0 is grey, 1 the image. Pillow calls it Color."""
    if image.shape[-1] != len(GREY):
        return image
    return blend(jnp.broadcast_to(_grey(image), image.shape), image, factor)


def sharpness(image: jax.Array, factor: Factor) -> jax.Array:
    """Blend with a smoothed image: 0 is smooth, 1 the image, 2 sharpened. Border pixels stay."""
    height, width, _ = image.shape
    if min(height, width) < 3:
        return image
    # Nine shifted sums rather than a convolution: each example has its own program under vmap, not its own kernel.
    shifts = [image[y : height - 2 + y, x : width - 2 + x] for y in range(3) for x in range(3)]
    smooth = (sum(shifts[1:], shifts[0]) + 4.0 * shifts[4]) / 13.0
    return blend(image.at[1:-1, 1:-1].set(smooth), image, factor)


def blend(other: jax.Array, image: jax.Array, factor: Factor) -> jax.Array:
    """(1 - factor) other + factor image, within 0 .. 255; factor 1 gives the image to the bit."""
    return jnp.clip(factor * image + (1.0 - factor) * other, 0.0, WHITE)


def posterize(image: jax.Array, bits: int) -> jax.Array:
    """Keep the highest `bits` of each value's 8."""
    step = 2.0 ** (8 - bits)
    return jnp.floor(image / step) * step


def solarize(image: jax.Array, threshold: Factor) -> jax.Array:
    """Invert the values that are not below the threshold."""
    return jnp.where(image < threshold, image, WHITE - image)


def autocontrast(image: jax.Array) -> jax.Array:
    """Stretch each channel so that its least value becomes 0 and its largest 255; a flat channel stays."""
    low, high = image.min(axis=(0, 1), keepdims=True), image.max(axis=(0, 1), keepdims=True)
    stretched = (image - low) * (WHITE / jnp.maximum(high - low, 1e-3))
    return jnp.where(high > low, stretched, image)


def equalize(image: jax.Array) -> jax.Array:
    """Even out each channel's histogram, by Pillow's integer rule; values are rounded to whole ones first."""
    values = jnp.round(image).astype(jnp.int32)
    return jnp.stack([_equalized(values[..., c]) for c in range(image.shape[-1])], axis=-1)


def hue(image: jax.Array, turn: Factor) -> jax.Array:
    """Turn the hue, in HSV, by a share of the colour circle (-0.5 .. 0.5)."""
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
    # Smith 1978: how far a channel lies below the value depends on where the hue is from the channel's opposite.
    away = [channel + sixth + 6.0 * turn for channel in (5.0, 3.0, 1.0)]
    away = [k - 6.0 * jnp.floor(k / 6.0) for k in away]  # the remainder, several times faster than % on a CPU
    return jnp.stack([value - chroma * jnp.clip(jnp.minimum(k, 4.0 - k), 0.0, 1.0) for k in away], axis=-1)


def _grey(image: jax.Array) -> jax.Array:
    """(H, W, 1): how bright each pixel is."""
    if image.shape[-1] != len(GREY):
        return image.mean(axis=-1, keepdims=True)
    red, green, blue = (weight * image[..., c : c + 1] for c, weight in enumerate(GREY))
    return red + green + blue


def _equalized(values: jax.Array) -> jax.Array:
    """One channel (H, W) int32 equalized, float32."""
    counts = _histogram(values)
    levels = jnp.arange(len(counts), dtype=jnp.int32)
    last = counts[values.max()]
    step = (counts.sum() - last) // 255
    below = jnp.cumsum(counts) - counts
    table = jnp.clip((below + step // 2) // jnp.maximum(step, 1), 0, 255)
    return jnp.where(step > 0, table, levels)[values].astype(jnp.float32)


def _histogram(values: jax.Array) -> jax.Array:
    """How often each of 0 .. 255 occurs, (256,) int32.

    Scattered additions, of whole numbers: their order does not matter. On a CPU they took a hundredth of the time of
    products of one-hot matrices or of comparisons with every value, and they need none of the memory of those.
    """
    return jnp.zeros(256, jnp.int32).at[values.reshape(-1)].add(1)
