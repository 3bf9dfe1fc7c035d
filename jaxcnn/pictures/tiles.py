"""Arrays as pictures: grey and coloured maps, kernels, overlays, and many of them on one sheet."""

from collections.abc import Sequence
from typing import Any

import matplotlib as mpl
import numpy as np
from numpy.typing import ArrayLike

MOST_KERNELS, MOST_INPUTS = 32, 8
ORANGE = (230, 159, 0)
Images = Sequence[np.ndarray]


def map_image(values: ArrayLike) -> np.ndarray:
    """Return a map (h, w) as uint8 (h, w, 3) on its own scale, dark to bright (viridis); a constant one is dark.

    >>> map_image([[0.0, 1.0]])[0].tolist()
    [[68, 1, 84], [253, 231, 36]]
    """
    values = np.asarray(values, np.float32)
    low, high = float(values.min()), float(values.max())
    shares = (values - low) / (high - low) if high > low else np.zeros_like(values)
    return _coloured("viridis", shares)


def signed_image(values: ArrayLike, largest: float | None = None) -> np.ndarray:
    """Return a map (h, w) as uint8 (h, w, 3): blue below zero, white at zero, orange above.

    Args:
        values: The map.
        largest: Absolute value of the full colours. Default: the largest of the map.

    >>> signed_image([[-1.0, 0.0, 1.0]])[0].tolist()
    [[45, 0, 75], [246, 246, 247], [127, 59, 8]]
    """
    values = np.asarray(values, np.float32)
    largest = float(np.abs(values).max()) if largest is None else largest
    return _coloured("PuOr_r", 0.5 + 0.5 * values / (largest or 1.0))


def photo(image: ArrayLike) -> np.ndarray:
    """Return an image uint8 (H, W, 1 or 3) as (H, W, 3)."""
    image = np.asarray(image, np.uint8)
    return np.repeat(image, 3, axis=-1) if image.shape[-1] == 1 else image[..., :3]


def overlay(image: ArrayLike, heat: ArrayLike) -> np.ndarray:
    """Return a heat map (H, W) over its image in grey, uint8 (H, W, 3)."""
    grey = photo(image).mean(axis=-1, keepdims=True)
    return np.round(0.4 * grey + 0.6 * map_image(heat)).astype(np.uint8)


def draw_box(image: ArrayLike, box: Sequence[float]) -> np.ndarray:
    """Return an image (H, W, 3) in grey with the outline of a box in orange, as far as it lies inside.

    Args:
        image: uint8 (H, W, 1 or 3).
        box: (top, left, bottom, right) in pixels; bottom and right are outside.
    """
    drawn = photo(np.asarray(image, np.uint8).mean(axis=-1, keepdims=True))
    top, left, bottom, right = (round(float(each)) for each in box)
    height, width = drawn.shape[:2]
    rows, columns = slice(max(top, 0), max(bottom, 0)), slice(max(left, 0), max(right, 0))
    for row in (top, bottom - 1):
        if 0 <= row < height:
            drawn[row, columns] = ORANGE
    for column in (left, right - 1):
        if 0 <= column < width:
            drawn[rows, column] = ORANGE
    return drawn


def kernel_images(kernel: ArrayLike) -> list[np.ndarray]:
    """Return pictures of a kernel (h, w, inputs, outputs): in colour for three inputs, else signed, a slice each.

    All slices have one scale. Of many, the first outputs and inputs are shown, output by output.
    """
    kernel = np.asarray(kernel, np.float32)[..., :MOST_KERNELS]
    largest = float(np.abs(kernel).max())
    if kernel.shape[2] == 3:
        coloured = np.round(255 * (0.5 + 0.5 * kernel / (largest or 1.0))).astype(np.uint8)
        return [coloured[..., n] for n in range(kernel.shape[3])]
    inputs = range(min(kernel.shape[2], MOST_INPUTS))
    return [signed_image(kernel[:, :, i, n], largest) for n in range(kernel.shape[3]) for i in inputs]


def tile(images: Images, *, columns: int | None = None, scale: int = 1) -> np.ndarray:
    """Return pictures (h, w, 3) of one size on one white sheet, row by row, uint8.

    Args:
        images: One or more.
        columns: Pictures in a row. Default: about as many as rows.
        scale: Side of a pixel on the sheet; between pictures is a gap of one pixel.

    >>> tile([map_image([[0.0, 1.0]])] * 4).shape
    (3, 5, 3)
    """
    columns = columns or int(np.ceil(np.sqrt(len(images))))
    rows, (height, width) = -(-len(images) // columns), images[0].shape[:2]
    sheet = np.full((rows * (height + 1) - 1, columns * (width + 1) - 1, 3), 255, np.uint8)
    for place, image in enumerate(images):
        top, left = place // columns * (height + 1), place % columns * (width + 1)
        sheet[top : top + height, left : left + width] = image
    return sheet.repeat(scale, axis=0).repeat(scale, axis=1)


def _coloured(name: str, shares: Any) -> np.ndarray:
    return (mpl.colormaps[name](shares)[..., :3] * 255).astype(np.uint8)
