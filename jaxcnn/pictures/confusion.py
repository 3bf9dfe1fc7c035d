"""A confusion matrix: counts, and shares of each row as colours."""

from collections.abc import Sequence

import numpy as np
from matplotlib import rc_context
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from numpy.typing import ArrayLike

from jaxcnn.pictures.style import BLUE, SETTINGS, WIDTH

MOST_COUNTS, MOST_NAMES = 16, 50
"""Numbers of classes above which counts and names have no room."""


def confusion_figure(counts: ArrayLike, names: Sequence[str]) -> Figure:
    """Draw a confusion matrix: rows are true classes, columns are predictions, colours are shares of a row.

    Args:
        counts: (K, K), [true class][prediction].
        names: Names of the classes, K.

    >>> figure = confusion_figure([[9, 1], [2, 8]], ["cat", "dog"])
    """
    counts = np.asarray(counts)
    shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    side, classes = WIDTH, len(counts)
    with rc_context({**SETTINGS, "axes.grid": False}):
        figure = Figure(figsize=(side, side), layout="constrained")
        axes = figure.add_subplot()
        # Transparent where there is nothing: the paper shows through, whatever its colour. Errors are few, so that
        # their colours follow the square root.
        colours = np.concatenate([np.broadcast_to(to_rgb(BLUE), (*shares.shape, 3)), np.sqrt(shares)[..., None]], -1)
        axes.imshow(colours, interpolation="none")
        places = range(classes) if classes <= MOST_NAMES else ()
        size = min(9, max(3.5, 200 / max(classes, 1)))
        shown = [name if len(name) <= 14 else f"{name[:13]}…" for name in names] if places else []
        axes.set_xticks(places, shown, rotation=90 if max(map(len, shown), default=0) > 2 else 0, fontsize=size)
        axes.set_yticks(places, shown, fontsize=size)
        axes.set(xlabel="predicted", ylabel="true")
        if classes <= MOST_COUNTS:
            for row, column in zip(*np.nonzero(counts), strict=True):
                ink = "#fefefe" if shares[row, column] > 0.3 else "#000000"
                axes.text(column, row, f"{counts[row, column]:,}", ha="center", va="center", color=ink, fontsize=size)
    return figure
