"""How an image of any shape gets the size that a network sees, in numbers, and masks put back into the image's shape.

`jaxcnn.data.decode` resizes with Pillow; `shown` gives the very numbers that Pillow uses (ImageOps.fit and
ImageOps.pad), so that masks and boxes can be carried there and back.
"""

from typing import NamedTuple

import numpy as np

from jaxcnn.spec import UNLABELLED

Pair = tuple[int, int]


class Shown(NamedTuple):
    """What is seen of an image after resizing, as (top, left, bottom, right).

    Args:
        source: Region of the original image that is shown, in its pixels; not whole where an image is cropped.
        target: Region of the resized image that shows it, in whole pixels; the rest is padding.
    """

    source: tuple[float, float, float, float]
    target: tuple[int, int, int, int]


def shown(original: Pair, sides: Pair, fit: str = "squash") -> Shown:
    """Return which part of an image (height, width) is shown where, after it was resized to `sides` (height, width).

    >>> shown((100, 200), (64, 64), "pad").target
    (16, 0, 48, 64)
    """
    (height, width), (high, wide) = original, sides
    source, target = (0.0, 0.0, float(height), float(width)), (0, 0, high, wide)
    if fit == "crop":
        # As ImageOps.fit: the middle of the longer side, of the shape that is wanted.
        kept = (
            (float(height), wide / high * height) if width / height >= wide / high else (width / (wide / high), width)
        )
        top, left = (height - kept[0]) / 2, (width - kept[1]) / 2
        source = (top, left, top + kept[0], left + kept[1])
    elif fit == "pad":
        # As ImageOps.contain and ImageOps.pad: one side is whole, the other rounded, the rest split evenly.
        inner_high, inner_wide = high, wide
        if width / height > wide / high:
            inner_high = round(height / width * wide)
        elif width / height < wide / high:
            inner_wide = round(width / height * high)
        inner_high, inner_wide = max(inner_high, 1), max(inner_wide, 1)
        top, left = round((high - inner_high) * 0.5), round((wide - inner_wide) * 0.5)
        target = (top, left, top + inner_high, left + inner_wide)
    return Shown(source, target)


def resize_nearest(mask: np.ndarray, sides: Pair) -> np.ndarray:
    """Resize a mask uint8 (H, W) to `sides`: each new pixel is the old one at its centre; no value is mixed."""
    from PIL import Image

    if mask.shape == tuple(sides):
        return mask
    return np.asarray(Image.fromarray(mask).resize((sides[1], sides[0]), Image.Resampling.NEAREST))


def restore_mask(mask: np.ndarray, original: Pair, fit: str = "squash", fill: int = UNLABELLED) -> np.ndarray:
    """Carry a mask uint8 (h, w) of a resized image back to the original image's (height, width).

    It inverts `shown` by the same numbers: what was padding is cut off, and what was cropped away becomes `fill`.
    """
    (top, left, bottom, right), target = shown(original, (mask.shape[0], mask.shape[1]), fit)
    inner = mask[target[0] : target[2], target[1] : target[3]]
    first, last = (round(top), round(left)), (round(bottom), round(right))
    whole = np.full(original, fill, np.uint8)
    sides = (max(last[0] - first[0], 1), max(last[1] - first[1], 1))
    whole[first[0] : first[0] + sides[0], first[1] : first[1] + sides[1]] = resize_nearest(inner, sides)
    return whole
