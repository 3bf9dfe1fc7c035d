"""The characters of a photographed page: found one by one, in reading order, and cut out like those of MNIST."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from jaxcnn.data.photo import LEAST_CONTRAST, NO_TEXT, find_contrast
from jaxcnn.errors import InputError

BLUR = 1.0  # pixels: noise below this size is no ink
PAPER = 8  # the paper is the mean of a square with an n-th of the page's shorter side
STROKE, SHARE = (
    2.5,
    0.3,
)  # least contrast of ink: times the noise, and as a share of the most around, as lines may be pale
SURE, FLOOR = 5.0, 0.15  # least contrast of a character at its best: times the noise, and as a share of the page's ink
GAP = 6  # pixels between parts of a character, one above the other
LEAST_HEIGHT = 0.5  # of a character, as a share of the usual height
NARROWEST, WIDEST = 0.3, 1.15  # a character's width, as a share of its height; wider ones are several that touch
LINE_GAP = 0.6  # by which the next character of a line may lie higher or lower, as a share of the usual height
INK_SIDE = 20 / 28  # of a character's longer side, as a share of its image: MNIST's


class Line(NamedTuple):
    """The characters of one line, from left to right.

    Args:
        boxes: float64 (n, 4), (ymin, xmin, ymax, xmax) in pixels of the page.
        images: uint8 (n, size, size, 1): ink is white, in the middle.
    """

    boxes: np.ndarray
    images: np.ndarray


def cut_characters(page: np.ndarray, size: int = 28) -> list[Line]:
    """Find the characters of a photographed page that do not hang together by design, such as printed digits.

    A character is a connected piece of ink (`jaxcnn.data.photo.find_contrast`). A piece that is too wide is cut where
    it has the least ink. Lines may rise or fall, as perspective makes them.

    Args:
        page: uint8 (H, W, 1 or 3), dark on light or light on dark.
        size: Side of the characters' images.

    Returns:
        Lines from top to bottom.

    Raises:
        InputError: There is no ink on the page.

    >>> page = np.full((90, 200, 1), 230, np.uint8)
    >>> page[30:50, 40:52] = page[30:50, 70:82] = 20
    >>> [line.boxes.round().tolist() for line in cut_characters(page)]
    [[[30.0, 40.0, 50.0, 52.0], [30.0, 70.0, 50.0, 82.0]]]
    """
    from scipy import ndimage

    grey = ndimage.gaussian_filter(np.asarray(page, np.float32).mean(axis=2), BLUR)
    around = min(grey.shape) // PAPER
    ink = find_contrast(grey, around)
    noise = float(np.percentile(ink, 80))  # nearly all pixels are paper, half of them at 0: their standard deviation
    darkest = ndimage.maximum_filter(ink, around // 2)
    inked = ink > np.maximum(STROKE * noise, SHARE * darkest)
    # Pale strokes break: parts that lie one above the other are one character.
    inked = np.asarray(ndimage.binary_closing(inked, np.ones((GAP, 1))), bool)
    pieces, count = ndimage.label(inked, np.ones((3, 3)))  # type: ignore[misc]
    peaks = ndimage.maximum(ink, pieces, np.arange(1, count + 1))
    least = max(SURE * noise, LEAST_CONTRAST, FLOOR * np.percentile(ink[inked], 90)) if count else np.inf
    found = [
        (rows.start, columns.start, rows.stop, columns.stop)
        for (rows, columns), peak in zip(ndimage.find_objects(pieces), peaks, strict=True)
        if peak > least
    ]
    if not found:
        raise InputError(NO_TEXT)
    ink = (ink / np.maximum(darkest, 1)).astype(np.float32)
    usual = float(np.median([bottom - top for top, _, bottom, _ in found]))
    tall = [box for box in found if box[2] - box[0] >= LEAST_HEIGHT * usual]
    boxes = np.array([part for box in tall for part in _divide(ink, inked, box)], np.float64)
    return [
        Line(boxes[line], np.stack([_cut(ink, boxes[n].astype(int), size) for n in line]))
        for line in _lines(boxes, usual)
    ]


def _divide(ink: np.ndarray, inked: np.ndarray, box: tuple[int, int, int, int]) -> list[tuple[int, int, int, int]]:
    """Return the boxes of characters that touch: a box that is too wide is cut at the column with the least ink."""
    top, left, bottom, right = box
    part, width = inked[top:bottom, left:right], right - left
    rows = np.flatnonzero(part.any(axis=1))
    top, bottom = top + int(rows[0]), top + int(rows[-1]) + 1
    # A tilted row of characters is higher than each of them.
    extents = [np.ptp(np.flatnonzero(column)) + 1 for column in part.T if column.any()]
    height = max(3, round(float(np.percentile(extents, 90))))
    if width <= WIDEST * height:
        return [(top, left, bottom, right)]
    first = max(1, round(NARROWEST * height))
    columns = ink[top:bottom, left + first : left + min(round(WIDEST * height), width - first)].sum(axis=0)
    cut = left + first + int(np.argmin(columns))
    parts = ((top, left, bottom, cut), (top, cut, bottom, right))
    return [
        each
        for half in parts
        if inked[half[0] : half[2], half[1] : half[3]].any()
        for each in _divide(ink, inked, half)
    ]


def _lines(boxes: np.ndarray, usual: float) -> list[list[int]]:
    """Return the boxes of each line, left to right: each continues the line whose last box is the nearest in height."""
    middles, lines = boxes[:, [0, 2]].mean(axis=1), list[list[int]]()
    for n in np.argsort(boxes[:, 1], kind="stable").tolist():
        gaps = [abs(middles[n] - middles[line[-1]]) for line in lines]
        if gaps and min(gaps) < LINE_GAP * usual:
            lines[int(np.argmin(gaps))].append(n)
        else:
            lines.append([n])
    return sorted(lines, key=lambda line: float(middles[line].mean()))


def _cut(ink: np.ndarray, box: np.ndarray, size: int) -> np.ndarray:
    from PIL import Image

    top, left, bottom, right = box.tolist()
    part = np.ascontiguousarray(ink[top:bottom, left:right])
    scale = INK_SIDE * size / max(part.shape)
    sides = max(1, round(part.shape[1] * scale)), max(1, round(part.shape[0] * scale))
    small = np.rint(255 * np.asarray(Image.fromarray(part).resize(sides, Image.Resampling.BILINEAR)).clip(0, 1))
    image = np.zeros((size, size, 1), np.uint8)
    y, x = (size - sides[1]) // 2, (size - sides[0]) // 2
    image[y : y + sides[1], x : x + sides[0], 0] = small
    return image
