"""Rows of small pictures with a title and captions, as one figure."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from matplotlib import rc_context
from matplotlib.figure import Figure

from jaxcnn.pictures.style import SETTINGS, WIDTH
from jaxcnn.pictures.tiles import Images, photo

LINE = 0.15
"""Inches of a line of text."""


class Row(NamedTuple):
    """Pictures (h, w, 1 or 3) uint8 of one size, in rows of as many as fit; a title above, captions below them."""

    images: Images
    title: str = ""
    captions: Sequence[str] = ()


def gallery(rows: Sequence[Row], *, columns: int = 8) -> Figure:
    """Draw rows of pictures, `columns` beside each other, each as sharp pixels; captions may have several lines.

    >>> figure = gallery([Row([np.zeros((8, 8, 1), np.uint8)] * 3, "three digits", ("a", "b", "c"))])
    """
    pitch, places, top = WIDTH / columns, [], 0.03
    for row in rows:
        if row.title:
            places.append((0.0, top, row.title, 9))
            top += 1.3 * LINE
        height, width = row.images[0].shape[:2]
        scale = (pitch - 0.06) / max(height, width)
        lines = max((caption.count("\n") + 1 for caption in row.captions), default=0)
        for start in range(0, len(row.images), columns):
            for n, image in enumerate(row.images[start : start + columns]):
                places.append((n * pitch, top, (photo(image), width * scale, height * scale), 0))
                if row.captions:
                    places.append((n * pitch, top + height * scale + 0.03, row.captions[start + n], 8))
            top += height * scale + 0.06 + lines * 0.9 * LINE
        top += 0.05
    with rc_context(SETTINGS):
        figure = Figure(figsize=(WIDTH, top))
        axes = figure.add_axes((0, 0, 1, 1), xlim=(0, WIDTH), ylim=(top, 0))
        axes.set_axis_off()
        for x, y, item, size in places:
            if isinstance(item, str):
                axes.text(x, y, item, fontsize=size, va="top")
            else:
                image, width, height = item
                axes.imshow(image, extent=(x, x + width, y + height, y), interpolation="none", aspect="auto")
        axes.set(xlim=(0, WIDTH), ylim=(top, 0))
    return figure


def spread(count: int, most: int) -> list[int]:
    """Return at most `most` of `count` indices, evenly spread, the first and the last among them.

    >>> spread(10, 4), spread(2, 4)
    ([0, 3, 6, 9], [0, 1])
    """
    return sorted({round(place) for place in np.linspace(0, count - 1, min(count, most))})
