"""Anchors: boxes of fixed shapes around the cells of feature maps, and which true box each of them shall find."""

from __future__ import annotations

import math
from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np

from jaxcnn.ops.boxes import pairwise_iou

BACKGROUND, IGNORED = -1, -2
"""Results of `match_anchors` for an anchor without a box, and for one that is too close to a box to be background."""


def anchor_shapes(scale: float, next_scale: float, ratios: Sequence[float]) -> tuple[tuple[float, float], ...]:
    """Return the (height, width) of SSD's default boxes of one map. Liu et al. 2016, section 2.2.

    Args:
        scale: Side of the square box, as a share of the image.
        next_scale: Scale of the next coarser map; a second square has the geometric mean of both.
        ratios: Width over height of further boxes; each is used with its inverse.

    >>> anchor_shapes(0.25, 1.0, (4.0,))
    ((0.25, 0.25), (0.5, 0.5), (0.125, 0.5), (0.5, 0.125))
    """
    mean = math.sqrt(scale * next_scale)
    shapes = [(scale, scale), (mean, mean)]
    for ratio in ratios:
        root = math.sqrt(ratio)
        shapes += [(scale / root, scale * root), (scale * root, scale / root)]
    return tuple(shapes)


def grid_anchors(
    map_size: tuple[int, int],
    shapes: Sequence[tuple[float, float]],
    *,
    step: tuple[float, float] | None = None,
    centre: float = 0.5,
) -> np.ndarray:
    """Return the anchors of one map: every shape around every cell, row by row.

    Args:
        map_size: (H, W) of the map.
        shapes: (height, width) of each anchor as shares of the image.
        step: Distance of two cells, as shares of the image. Default: the map covers the image.
        centre: Place of the anchors within a cell: 0.5 is its middle, 0 its upper left corner.

    Returns:
        float32 (H W S, 4) corners, not clipped; cell by cell, in each the shapes in order.

    >>> grid_anchors((1, 2), [(0.5, 0.5)]).tolist()
    [[0.25, 0.0, 0.75, 0.5], [0.25, 0.5, 0.75, 1.0]]
    """
    rows, columns = (1 / map_size[0], 1 / map_size[1]) if step is None else step
    y, x = ((np.arange(count) + centre) * size for count, size in zip(map_size, (rows, columns), strict=True))
    centres = np.stack(np.meshgrid(y, x, indexing="ij"), axis=-1)[:, :, None, :]
    half = np.asarray(shapes, np.float64).reshape(1, 1, -1, 2) / 2
    return np.concatenate([centres - half, centres + half], axis=-1).reshape(-1, 4).astype(np.float32)


def match_anchors(
    anchors: jax.Array,
    boxes: jax.Array,
    labels: jax.Array,
    *,
    foreground: float = 0.5,
    background: float | None = None,
    force: bool = True,
) -> jax.Array:
    """Return which box each anchor of one image shall find.

    An anchor takes the box that it overlaps most, if their IoU is at least `foreground`. With `force`, every box also
    gets the anchor that overlaps it most, however little: a small box would have none else. Where two boxes want one
    anchor, the later box gets it.

    Args:
        anchors: (A, 4) corners.
        boxes: (M, 4) corners.
        labels: (M,) int; boxes with a negative label are padding and get no anchor.
        foreground: IoU from which on an anchor takes a box.
        background: IoU below which an anchor is background; in between it is ignored. Default: as `foreground`.
        force: Give every box its best anchor.

    Returns:
        int32 (A,): the index of the box, `BACKGROUND` or `IGNORED`.

    >>> anchors = jnp.asarray(grid_anchors((1, 2), [(0.5, 0.5)]))
    >>> match_anchors(anchors, jnp.array([[0.2, 0.5, 0.8, 1.0]]), jnp.array([0])).tolist()
    [-1, 0]
    """
    background = foreground if background is None else background
    count, length = len(anchors), len(labels)
    if length == 0:
        return jnp.full(count, BACKGROUND, jnp.int32)
    real = labels >= 0
    overlap = jnp.where(real[None, :], pairwise_iou(anchors, boxes), -1.0)
    best, iou = overlap.argmax(axis=1).astype(jnp.int32), overlap.max(axis=1)
    other = jnp.where(iou < background, np.int32(BACKGROUND), np.int32(IGNORED))
    matched = jnp.where(iou >= foreground, best, other)
    if not force:
        return matched
    # A box that is padding, or that no anchor touches, writes to the index `count`, which does not exist.
    wanted = jnp.where(overlap.max(axis=0) > 0, overlap.argmax(axis=0).astype(jnp.int32), np.int32(count))
    # An order of writes is not defined where indices repeat, so the largest value wins.
    forced = jnp.full(count, -1, jnp.int32).at[wanted].max(jnp.arange(length, dtype=jnp.int32), mode="drop")
    return jnp.where(forced >= 0, forced, matched)
