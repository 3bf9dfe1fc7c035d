"""Matrices of similarity between the layers of networks, as colours from 0 to 1."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import ArrayLike

from jaxcnn.pictures.style import panels

MOST_NAMES = 24
"""Number of layers up to which their names have room."""


class Similarity(NamedTuple):
    """(layers of one network, layers of another), NaN where a layer never varies; names of the two networks."""

    values: ArrayLike
    rows: str
    columns: str
    row_names: Sequence[str] = ()
    column_names: Sequence[str] = ()


def similarity_figure(matrices: Mapping[str, Similarity]) -> Figure:
    """Draw matrices under their titles, the first layers at the bottom left, all with one scale.

    >>> figure = similarity_figure({"seed to seed": Similarity([[1.0, 0.5], [0.5, 1.0]], "one", "other")})
    """
    with panels(list(matrices), "", "", single=4.2) as (figure, axes):
        look: dict[str, Any] = {"vmin": 0, "vmax": 1, "origin": "lower", "aspect": "auto", "interpolation": "none"}
        drawn = [each.imshow(np.asarray(matrix.values, float), **look)
                 for each, matrix in zip(axes, matrices.values(), strict=True)]  # fmt: skip
        for each, matrix in zip(axes, matrices.values(), strict=True):
            each.set(xlabel=f"layers, {matrix.columns}", ylabel=f"layers, {matrix.rows}", xticks=[], yticks=[])
            if len(matrix.column_names) <= MOST_NAMES:
                each.set_xticks(range(len(matrix.column_names)), matrix.column_names, rotation=90, fontsize=7)
            if len(matrix.row_names) <= MOST_NAMES:
                each.set_yticks(range(len(matrix.row_names)), matrix.row_names, fontsize=7)
            each.grid(visible=False)
        figure.colorbar(drawn[0], ax=axes, label="CKA", shrink=0.6)
    return figure
