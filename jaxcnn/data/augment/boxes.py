"""Boxes that move with their images: the affine map of an augmentation, drawn again, applied to corners."""

from collections.abc import Callable
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np

from jaxcnn.data.augment.examples import example_keys
from jaxcnn.data.augment.moves import MOVES, Places, Size, elastic_places, still_places
from jaxcnn.errors import InputError

LEAST_VISIBLE = 0.25
"""Share of a moved box that must lie inside the image; of a smaller rest nobody could tell what it is."""

GRID = 2**16
"""Moved corners are rounded to this share of a side. Compiled in another program they differ in their last bits, and a
centre on the edge of a cell, or two anchors that overlap a box equally, would be decided by those."""

MoveBoxes = Callable[..., tuple[jax.Array, jax.Array]]
"""(key, boxes (N, M, 4), labels (N, M), size, start=0) -> boxes, labels; -1 where too little of a box is left."""


def make_move_boxes(names: tuple[str, ...]) -> MoveBoxes:
    """Return the function that moves boxes as `make_augment` does the images; `size` is (H, W).

    A box that is turned becomes the smallest upright box around its corners. The function raises InputError when it is
    called, if an augmentation is no affine map of the image.
    """

    def move(
        key: jax.Array, boxes: jax.Array, labels: jax.Array, size: Size, start: int | jax.Array = 0
    ) -> tuple[jax.Array, jax.Array]:
        for i, name in enumerate(names):
            if MOVES.get(name, elastic_places) is elastic_places:
                known = ", ".join(each for each in MOVES if MOVES[each] is not elastic_places)
                raise InputError(f"augment={name!r}: it does not move boxes with their images; choose from {known}")
            if MOVES[name] is still_places:
                continue
            keys = example_keys(jax.random.fold_in(key, i), boxes.shape[0], start)
            boxes, labels = jax.vmap(partial(_move_one, MOVES[name], size))(keys, boxes, labels)
        return boxes, labels

    return move


def _move_one(
    places: Callable[[jax.Array, Size], Places], size: Size, key: jax.Array, boxes: jax.Array, labels: jax.Array
) -> tuple[jax.Array, jax.Array]:
    matrix, offset = affine_of(places(key, size))
    height, width = size
    y, x = ((boxes[:, first::2] * side) for first, side in ((0, height), (1, width)))  # (M, 2) each
    # All four corners: every y with every x.
    rows, columns = jnp.repeat(y, 2, axis=1) - offset[0], jnp.tile(x, (1, 2)) - offset[1]
    down = matrix[0, 0] * rows + matrix[0, 1] * columns
    right = matrix[1, 0] * rows + matrix[1, 1] * columns
    moved = jnp.stack([down.min(1) / height, right.min(1) / width, down.max(1) / height, right.max(1) / width], axis=1)
    moved = jnp.round(moved * GRID) / GRID
    clipped = jnp.clip(moved, 0.0, 1.0)
    whole, left = ((each[:, 2] - each[:, 0]) * (each[:, 3] - each[:, 1]) for each in (moved, clipped))
    kept = (labels >= 0) & (left > LEAST_VISIBLE * whole) & (left > 0)
    return jnp.where(kept[:, None], clipped, 0.0), jnp.where(kept, labels, np.int32(-1))


def affine_of(places: Places) -> tuple[jax.Array, jax.Array]:
    """Return the map (2, 2) and offset (2,) with which old pixels (row, column) become new: map @ (old - offset).

    Read off three pixels a quarter of the image from its edges, where no reflection reaches.
    """
    height, width = places[0].shape
    top, left = height // 4, width // 4
    low, last = max(height - 1 - top, top + 1), max(width - 1 - left, left + 1)
    origin, below, beside = ([each[point] for each in places] for point in ((top, left), (low, left), (top, last)))
    a, c = ((below[i] - origin[i]) / (low - top) for i in (0, 1))
    b, d = ((beside[i] - origin[i]) / (last - left) for i in (0, 1))
    determinant = a * d - b * c
    inverse = jnp.stack([jnp.stack([d, -b]), jnp.stack([-c, a])]) / determinant
    # New pixel (i, j) has its centre at (i + 0.5, j + 0.5).
    offset = [
        origin[i] - first * (top + 0.5) - second * (left + 0.5) for i, (first, second) in enumerate(((a, b), (c, d)))
    ]
    return inverse, jnp.stack(offset)
