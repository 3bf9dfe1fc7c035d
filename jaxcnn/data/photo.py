"""From a photographed line of text to an image like those of `lines:NAME`: light ink on black, straight, cropped."""

from typing import Any

import numpy as np

from jaxcnn.errors import InputError

STEEPEST = 15.0  # degrees by which a line may be tilted
LEAST_CONTRAST = 12.0  # grey values between ink and paper
INK_HEIGHT = 0.6  # of the text, as a share of the line's height
MARGIN = 0.25  # before the first character, as a share of the line's height
NO_TEXT = "image: there is no text on it; photograph dark text on light paper, or light on dark"
WORKING_SIDE = 1000  # pixels of the longer side, at most: characters stay legible


def straighten_line(image: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Binarise, deskew and crop a photograph of one line.

    Ink is what differs from the paper around it (the mean of a neighbourhood, so that shadows do not count), dark on
    light or light on dark; what is ink is decided by Otsu's threshold. The line is turned by the angle at which its
    rows of ink are the most distinct, cropped, and scaled so that its text has the height of that in `lines:NAME`.

    Args:
        image: uint8 (H, W, 1) or (H, W, 3), one line of text on paper of any even colour.
        size: (height, width) of the result.

    Returns:
        uint8 (height, width, 1): ink is white.

    Raises:
        InputError: There is no ink on it.

    >>> page = np.full((40, 200, 1), 230, np.uint8)
    >>> page[15:25, 50:150] = 20
    >>> straighten_line(page, (32, 256)).max()
    np.uint8(255)
    """
    from PIL import Image

    grey = np.asarray(image, np.float32).mean(axis=2)
    factor = min(1.0, WORKING_SIDE / max(grey.shape))
    if factor < 1:
        sides = max(1, round(grey.shape[1] * factor)), max(1, round(grey.shape[0] * factor))
        grey = np.asarray(Image.fromarray(grey).resize(sides, Image.Resampling.BOX))
    ink = _ink(grey)
    angle = _tilt(ink)
    ink = np.asarray(Image.fromarray(ink).rotate(angle, Image.Resampling.BILINEAR, expand=True))
    rows, columns = (np.flatnonzero((ink > 0.5).any(axis=axis)) for axis in (1, 0))
    ink = ink[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
    height, width = size
    scale = min(INK_HEIGHT * height / ink.shape[0], (width - 2 * MARGIN * height) / ink.shape[1])
    sides = max(1, round(ink.shape[1] * scale)), max(1, round(ink.shape[0] * scale))
    small = np.asarray(Image.fromarray(ink).resize(sides, Image.Resampling.BILINEAR)).clip(0, 1)
    line = np.zeros((height, width, 1), np.uint8)
    top, left = (height - small.shape[0]) // 2, round(MARGIN * height)
    line[top : top + small.shape[0], left : left + small.shape[1], 0] = np.rint(255 * small)
    return line


def otsu_threshold(values: np.ndarray) -> float:
    """Return the threshold that divides values into two groups with the largest variance between them.

    Otsu 1979, "A threshold selection method from gray-level histograms".

    >>> otsu_threshold(np.array([0.0, 0.1, 0.9, 1.0])) < 0.9
    True
    """
    counts, edges = np.histogram(values, bins=256)
    centres = (edges[:-1] + edges[1:]) / 2
    below, total = np.cumsum(counts), np.cumsum(counts * centres)
    above = below[-1] - below
    means = total / np.maximum(below, 1), (total[-1] - total) / np.maximum(above, 1)
    return float(edges[1 + int(np.argmax(below * above * (means[1] - means[0]) ** 2))])


def find_contrast(grey: np.ndarray, around: int) -> np.ndarray:
    """Return how far each pixel is from the paper on the side of the ink, dark or light, (H, W), 0 on the other side.

    Args:
        grey: float32 (H, W).
        around: Side of the neighbourhood whose mean is the paper, in pixels; larger than a character.
    """
    from scipy import ndimage

    around = max(3, around)
    paper = ndimage.uniform_filter(grey, around, mode="nearest")
    for _ in range(2):  # the mean of what is not ink: strokes would darken their surroundings
        usual = np.abs(grey - paper) <= otsu_threshold(np.abs(grey - paper))
        weight = ndimage.uniform_filter(usual.astype(np.float32), around, mode="nearest")
        mean = ndimage.uniform_filter(np.where(usual, grey, 0), around, mode="nearest")
        paper = np.where(weight > 0.01, mean / np.maximum(weight, 0.01), paper)
    away = paper - grey
    dark, light = (np.square(np.maximum(side, 0)).sum() for side in (away, -away))
    return np.maximum(away if dark >= light else -away, 0)


def _ink(grey: np.ndarray) -> np.ndarray:
    """Return how much ink each pixel has, float32 (H, W) from 0 to 1, without specks."""
    from scipy import ndimage

    away = find_contrast(grey, min(grey.shape) // 2)
    threshold = otsu_threshold(away)
    inked = away > threshold
    if not inked.any() or inked.all() or np.median(away[inked]) - np.median(away[~inked]) < LEAST_CONTRAST:
        raise InputError(NO_TEXT)
    pieces: Any = ndimage.label(inked, np.ones((3, 3)))
    areas = np.bincount(pieces[0].ravel())
    areas[0] = 0  # what is no ink
    kept = (areas >= 0.05 * np.median(areas[areas >= areas.max() / 20]))[pieces[0]]
    near = ndimage.binary_dilation(kept, iterations=2)
    return (np.where(near, away, 0) / np.median(away[inked])).clip(0, 1).astype(np.float32)


def _tilt(ink: np.ndarray) -> float:
    """Return the angle in degrees, counter-clockwise, that makes the line horizontal: its rows differ the most."""
    rows, columns = np.nonzero(ink > 0.5)
    rows, columns = rows - rows.mean(), columns - columns.mean()

    def spread(angle: float) -> float:
        turn = np.deg2rad(angle)
        places = rows * np.cos(turn) - columns * np.sin(turn)
        counts = np.histogram(places, bins=max(8, int(np.ptp(places))))[0].astype(float)
        return float(np.square(counts).sum())

    coarse = max(np.arange(-STEEPEST, STEEPEST + 1, 1.0), key=spread)
    return float(max(coarse + np.arange(-1, 1.01, 0.2), key=spread))
