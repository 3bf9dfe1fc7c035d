"""Predictions drawn on their images: the colours of a mask, boxes, instances."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from PIL.Image import Image

OPACITY = 0.5
GOLDEN = 0.618034  # successive hues of this step are far apart, however many there are
LINE, PATCH = 18, 12  # height of a line of the legend, side of its patch of colour, in pixels


def class_colours(count: int) -> np.ndarray:
    """Return one colour per class, uint8 (count, 3), the same for each picture.

    >>> class_colours(2).tolist()
    [[229, 68, 68], [68, 115, 229]]
    """
    import colorsys

    colours = [colorsys.hsv_to_rgb(k * GOLDEN % 1.0, 0.7, 0.9 - 0.25 * (k // 8 % 2)) for k in range(count)]
    return (np.array(colours).reshape(-1, 3) * 255).astype(np.uint8)


def draw_mask(image: np.ndarray, mask: np.ndarray, colours: np.ndarray, opacity: float = OPACITY) -> np.ndarray:
    """Return an image uint8 (H, W, 3) under the colours of a mask (H, W); pixels without a class stay as they are."""
    known = mask < len(colours)
    over = colours[np.where(known, mask, 0)]
    mixed = np.round((1 - opacity) * image + opacity * over).astype(np.uint8)
    return np.where(known[..., None], mixed, image)


def draw_classes(image: np.ndarray, mask: np.ndarray, names: Sequence[str], *, legend: bool = True) -> Image:
    """Return an image uint8 (H, W, 3) under the colours of its mask (H, W), below it a legend unless it is disabled.

    >>> draw_classes(photo, prediction["mask"], prediction["classes"]).save("drawn.png")  # doctest: +SKIP
    """
    from PIL import Image

    colours = class_colours(len(names))
    present = [k for k in range(len(names)) if legend and (mask == k).any()]
    picture = Image.fromarray(draw_mask(image, mask, colours))
    return _with_legend(picture, [names[k] for k in present], colours[present]) if present else picture


def draw_boxes(
    image: np.ndarray, boxes: np.ndarray, labels: np.ndarray, names: Sequence[str], scores: np.ndarray | None = None,
    *, least: float = 0.5, legend: bool = True, named: bool = False,
) -> Image:  # fmt: skip
    """Return an image uint8 (H, W, 3) with boxes, in colours of their classes, their scores, and a legend below.

    Args:
        image: The image.
        boxes: (d, 4) in pixels, (ymin, xmin, ymax, xmax), the best first.
        labels: Class of each box.
        names: Names of the classes.
        scores: Score of each box. Default: none are written.
        least: Smallest score of a box that is drawn.
        legend: Whether to draw a legend.
        named: Write the name of the class before each score.

    >>> draw_boxes(photo, found["boxes"], found["labels"], found["classes"], found["scores"])  # doctest: +SKIP
    """
    from PIL import Image, ImageDraw

    picture, colours = Image.fromarray(image), class_colours(len(names))
    pen, line = ImageDraw.Draw(picture), max(1, round(min(picture.size) / 200))
    shown = [n for n in range(len(boxes)) if scores is None or scores[n] >= least]
    for n in reversed(shown):  # the best on top
        (y, x, bottom, right), colour = boxes[n].tolist(), tuple(colours[labels[n]].tolist())
        pen.rectangle(
            (x, y, right - 1, bottom - 1) if right - x > 1 and bottom - y > 1 else (x, y, x, y), None, colour, line
        )
        if scores is not None:
            name = f"{names[labels[n]]} " if named else ""
            pen.text((x + line + 1, y + line), f"{name}{scores[n]:.2f}", fill=colour)
    present = sorted({int(labels[n]) for n in shown})
    return _with_legend(picture, [names[k] for k in present], colours[present]) if present and legend else picture


def draw_instances(image: np.ndarray, instances: np.ndarray) -> np.ndarray:
    """Return an image uint8 (H, W, 3) under a colour for each instance of a map int (H, W), 0 where there is none.

    >>> draw_instances(np.zeros((1, 2, 3), np.uint8), np.array([[0, 1]])).tolist()
    [[[0, 0, 0], [114, 34, 34]]]
    """
    count = int(instances.max(initial=0))
    return draw_mask(image, np.where(instances > 0, instances - 1, count), class_colours(count))


def _with_legend(picture: Image, names: Sequence[str], colours: np.ndarray) -> Image:
    """Return a picture with a row of coloured patches and names below it."""
    from PIL import Image, ImageDraw

    ruler, places, row, right = ImageDraw.Draw(picture), [], 0, 0
    for name in names:
        width = PATCH + 14 + int(ruler.textlength(name))
        if right and right + width > picture.width:
            row, right = row + 1, 0
        places.append((right + 4, picture.height + row * LINE + 3))
        right += width
    whole = Image.new("RGB", (picture.width, picture.height + (row + 1) * LINE), "white")
    whole.paste(picture, (0, 0))
    pen = ImageDraw.Draw(whole)
    for name, (x, y), colour in zip(names, places, colours.tolist(), strict=True):
        pen.rectangle((x, y, x + PATCH, y + PATCH), fill=tuple(colour))
        pen.text((x + PATCH + 4, y), name, fill="black")
    return whole
