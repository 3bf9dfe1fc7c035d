"""Geometric augmentations: mirror, shift, crop, resize, cut out, and affine maps of one image.

The augmentations have the signature of `jaxcnn.data.augment.Augment`.
"""

import math
from functools import partial

import jax
import jax.numpy as jnp

from jaxcnn.data.augment.examples import example_keys, per_example

TRIES = 10  # boxes drawn for each image before the largest centred one is taken, as in torchvision


def flip(key: jax.Array, images: jax.Array, start: int | jax.Array = 0) -> jax.Array:
    """Mirror each image left to right with probability one half."""
    flipped = jax.vmap(jax.random.bernoulli)(example_keys(key, images.shape[0], start))
    return jnp.where(flipped.reshape(-1, 1, 1, 1), images[:, :, ::-1, :], images)


def vertical_flip(key: jax.Array, images: jax.Array, start: int | jax.Array = 0) -> jax.Array:
    """Mirror each image top to bottom with probability one half; for pictures without an up, as of microscopes."""
    flipped = jax.vmap(jax.random.bernoulli)(example_keys(key, images.shape[0], start))
    return jnp.where(flipped.reshape(-1, 1, 1, 1), images[:, ::-1, :, :], images)


def crop_padding(side: int) -> int:
    """Return the pixels that `crop` adds on each edge: an eighth of the side (4 of 32), at least 1."""
    return max(1, round(side / 8))


def crop(key: jax.Array, images: jax.Array, start: int | jax.Array = 0) -> jax.Array:
    """Pad each image with zeros by an eighth of its side and cut out a window of the old size at a random place.

    He et al. 2015, arXiv:1512.03385, section 4.2 (4 pixels on each side of CIFAR's 32).
    """
    _, height, width, _ = images.shape
    return _shift(key, images, start, (crop_padding(height), crop_padding(width)), "constant")


def translate(key: jax.Array, images: jax.Array, start: int | jax.Array = 0) -> jax.Array:
    """Shift each image by up to a sixteenth of its side (2 pixels of 32, at least 1), its edges reflected.

    Jordan 2024, arXiv:2404.00498, section 3.
    """
    _, height, width, _ = images.shape
    return _shift(key, images, start, (max(1, round(height / 16)), max(1, round(width / 16))), "reflect")


def _shift(key: jax.Array, images: jax.Array, start: int | jax.Array, pads: tuple[int, int], mode: str) -> jax.Array:
    """Pad images by (rows, columns) and cut out a window of the old size at a random place."""
    n, height, width, channels = images.shape
    pad_y, pad_x = pads
    limits = jnp.array([2 * pad_y + 1, 2 * pad_x + 1], jnp.int32)
    offsets = jax.vmap(lambda k: jax.random.randint(k, (2,), 0, limits, jnp.int32))(example_keys(key, n, start))
    padded = jnp.pad(images, ((0, 0), (pad_y, pad_y), (pad_x, pad_x), (0, 0)), mode=mode)
    window = partial(jax.lax.dynamic_slice, slice_sizes=(height, width, channels))
    return jax.vmap(lambda image, offset: window(image, (offset[0], offset[1], 0)))(padded, offsets)


def resized_crop(
    key: jax.Array,
    images: jax.Array,
    start: int | jax.Array = 0,
    *,
    scale: tuple[float, float] = (0.08, 1.0),
    ratio: tuple[float, float] = (3 / 4, 4 / 3),
) -> jax.Array:
    """Cut a box of random area, shape and place out of each image and resize it to the old size, bilinearly.

    Szegedy et al. 2015, arXiv:1409.4842, section 6.

    Args:
        scale: Limits of the box's share of the area, drawn uniformly.
        ratio: Limits of its width over its height, drawn uniformly in the logarithm.
    """

    def change(key: jax.Array, image: jax.Array) -> jax.Array:
        return crop_and_resize(image, *random_box(key, image.shape[0], image.shape[1], scale, ratio))

    return per_example(change, key, images, start)


def random_box(
    key: jax.Array, height: int, width: int, scale: tuple[float, float], ratio: tuple[float, float]
) -> tuple[jax.Array, jax.Array, jax.Array, jax.Array]:
    """Draw a box of whole pixels within height x width: (top, left, its height, its width), int32."""
    drawn = jax.random.uniform(key, (2, TRIES + 1), jnp.float32)  # at once: one generator to compile, not four
    area = height * width * (scale[0] + (scale[1] - scale[0]) * drawn[0, :-1])
    aspect = jnp.exp(math.log(ratio[0]) + math.log(ratio[1] / ratio[0]) * drawn[1, :-1])
    heights, widths = jnp.round(jnp.sqrt(area / aspect)), jnp.round(jnp.sqrt(area * aspect))
    fits = (heights >= 1) & (heights <= height) & (widths >= 1) & (widths <= width)
    first, any_fits = jnp.argmax(fits), fits.any()
    # A long image may have no box of that area and shape: then the largest of a valid shape, in the middle.
    largest_height = max(1, min(height, round(width / ratio[0])))
    largest_width = max(1, min(width, round(height * ratio[1])))
    high = jnp.where(any_fits, heights[first], largest_height).astype(jnp.int32)
    wide = jnp.where(any_fits, widths[first], largest_width).astype(jnp.int32)
    free = jnp.stack([height - high, width - wide])
    places = jnp.floor(drawn[:, -1] * (free + 1).astype(jnp.float32)).astype(jnp.int32)
    top, left = jnp.where(any_fits, places, free // 2)
    return top, left, high, wide


def crop_and_resize(
    image: jax.Array, top: jax.Array, left: jax.Array, height: jax.Array, width: jax.Array
) -> jax.Array:
    """Resize a box of an image (H, W, C) float32 to the size of the whole image; the box is not larger than that.

    First rows, then columns, each a mean of two old ones. On a CPU this took half the time of two products with
    matrices of weights at 32 pixels a side and a seventh at 224.
    """
    above, below, down = _neighbours(image.shape[0], top, height)
    rows = image[above] + down[:, None, None] * (image[below] - image[above])
    before, after, right = _neighbours(image.shape[1], left, width)
    return rows[:, before] + right[None, :, None] * (rows[:, after] - rows[:, before])


def _neighbours(size: int, first: jax.Array, length: jax.Array) -> tuple[jax.Array, jax.Array, jax.Array]:
    """Return, for each new pixel of `size`, the old ones before and after it and its distance from the first."""
    last = length.astype(jnp.float32) - 1.0
    pixels = jnp.arange(size, dtype=jnp.float32)
    places = jnp.clip((pixels + 0.5) * (length.astype(jnp.float32) / size) - 0.5, 0.0, last)
    before = jnp.floor(places)
    after = jnp.minimum(before + 1.0, last)
    return first + before.astype(jnp.int32), first + after.astype(jnp.int32), places - before


def cutout(key: jax.Array, images: jax.Array, start: int | jax.Array = 0, *, share: float = 0.5) -> jax.Array:
    """Set a square of each image to zero; its centre is any pixel, so the square may extend beyond the edge.

    Its side is a `share` of the image's shorter side. DeVries and Taylor 2017, arXiv:1708.04552, section 4.1 (16 of
    CIFAR-10's 32 pixels). They cut after normalisation, where zero is the mean colour; here, before it, zero is black.
    """
    height, width = images.shape[1:3]
    side = round(share * min(height, width))

    def change(key: jax.Array, image: jax.Array) -> jax.Array:
        return jnp.where(random_rectangle(key, (height, width), (side, side))[:, :, None], 0.0, image)

    return per_example(change, key, images, start)


def random_rectangle(
    key: jax.Array, size: tuple[int, int], sides: tuple[int | jax.Array, int | jax.Array]
) -> jax.Array:
    """Return a mask (`size`, bool) of a rectangle with these sides whose centre is drawn from all pixels."""
    centres = jax.random.randint(key, (2,), 0, jnp.array(size, jnp.int32), jnp.int32)
    within = []
    for centre, length, side in zip(centres, size, sides, strict=True):
        first = centre - jnp.asarray(side, jnp.int32) // 2
        pixels = jnp.arange(length, dtype=jnp.int32)
        within.append((pixels >= first) & (pixels < first + jnp.asarray(side, jnp.int32)))
    return within[0][:, None] & within[1][None, :]


def warp(image: jax.Array, coefficients: jax.Array) -> jax.Array:
    """Map an image (H, W, C) affinely: each new pixel is the nearest old one, black outside; Pillow's AFFINE transform.

    The nearest pixel rather than a mean of four, as in the code of AutoAugment and RandAugment: a quarter of the reads.

    Args:
        coefficients: (6,) float32 a, b, c, d, e, f: the new pixel with its centre at (x, y) is taken from
            (a x + b y + c, d x + e y + f) in the old image, in pixels from its upper left corner.
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


def affine(**changes: jax.Array | float) -> jax.Array:
    """Return coefficients a .. f of `warp`: b and d shear along x and y, c and f shift left and up, in pixels."""
    coefficients = {"a": 1.0, "b": 0.0, "c": 0.0, "d": 0.0, "e": 1.0, "f": 0.0} | changes
    return jnp.stack([jnp.asarray(coefficient, jnp.float32) for coefficient in coefficients.values()])


def rotation(degrees: jax.Array, size: tuple[int, int]) -> jax.Array:
    """Return coefficients of `warp` that turn an image of `size` (height, width) counter-clockwise about its centre."""
    y, x = size[0] / 2, size[1] / 2
    angle = degrees * (math.pi / 180)
    cos, sin = jnp.cos(angle), jnp.sin(angle)
    return affine(a=cos, b=-sin, c=x - cos * x + sin * y, d=sin, e=cos, f=y - sin * x - cos * y)
