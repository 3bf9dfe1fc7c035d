"""Predictions drawn on the picture that they were made for."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

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


def draw_prediction(path: Path, prediction: Mapping[str, Any]) -> Image | None:
    """Return the picture of an image file with its prediction, under it a legend; None if there is nothing to draw.

    Args:
        path: The image file.
        prediction: What `jaxcnn.run.predict` returned for it; drawn are `mask`, or `boxes` with a score of a half and
            more; `classes` are the names.

    >>> draw_prediction("photo.png", predict("runs/first", ["photo.png"])[0]).save("drawn.png")  # doctest: +SKIP
    """
    if "boxes" in prediction:
        return _draw_boxes(path, prediction)
    if "mask" not in prediction:
        return None
    from PIL import Image

    from jaxcnn.data import decode_image

    mask, names = prediction["mask"], prediction["classes"]
    colours = class_colours(len(names))
    picture = Image.fromarray(draw_mask(decode_image(path, 3), mask, colours))
    present = [k for k in range(len(names)) if (mask == k).any()]
    return _with_legend(picture, [names[k] for k in present], colours[present])


def _draw_boxes(path: Path, prediction: Mapping[str, Any], least: float = 0.5) -> Image:
    """Return the picture of an image file with the boxes of its objects and their scores, under it a legend."""
    from PIL import Image, ImageDraw

    from jaxcnn.data import decode_image

    names, picture = prediction["classes"], Image.fromarray(decode_image(path, 3))
    colours, pen = class_colours(len(names)), ImageDraw.Draw(picture)
    line = max(1, round(min(picture.size) / 200))
    shown = [each for each in zip(*(prediction[key] for key in ("boxes", "scores", "labels")), strict=True)
             if each[1] >= least]  # fmt: skip
    for box, score, label in reversed(shown):  # the best on top
        (y, x, bottom, right), colour = box.tolist(), tuple(colours[label].tolist())
        pen.rectangle(
            (x, y, right - 1, bottom - 1) if right - x > 1 and bottom - y > 1 else (x, y, x, y), None, colour, line
        )
        pen.text((x + line + 1, y + line), f"{score:.2f}", fill=colour)
    present = sorted({int(label) for _, _, label in shown})
    return _with_legend(picture, [names[k] for k in present], colours[present]) if present else picture


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
