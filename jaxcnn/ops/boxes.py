"""Boxes (ymin, xmin, ymax, xmax): areas, overlaps, and their coding relative to anchors.

Every function works on any leading dimensions and is finite, with finite gradients, for boxes without area too.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import jax
import jax.numpy as jnp

Sides = tuple[jax.Array, jax.Array, jax.Array, jax.Array]
Choose = Callable[[jax.Array, jax.Array], jax.Array]

SMALLEST = 1e-7
"""Side below which a box is coded as if it had this side: a logarithm of 0 has no gradient."""
NO_AREA = 1e-12
"""Largest area that counts as none."""
LARGEST_SCALE = math.log(1000 / 16)
"""Largest logarithm of a decoded side over its anchor's, as in Detectron: exp of an untrained output may overflow."""
WEIGHTS = (10.0, 10.0, 5.0, 5.0)
"""Factors of the coded centre (y, x) and sides (h, w): Ren et al. 2015's code, variances 0.1 and 0.2 in SSD."""


def box_area(boxes: jax.Array) -> jax.Array:
    """Compute the areas (...) of boxes (..., 4); 0 where a side is negative.

    >>> float(box_area(jnp.array([0.0, 0.0, 0.5, 0.25])))
    0.125
    """
    return _area(_sides(boxes))


def box_iou(a: jax.Array, b: jax.Array) -> jax.Array:
    """Compute the intersection over union (...) of boxes (..., 4), pair by pair; 0 where neither has an area.

    >>> float(box_iou(jnp.array([0.0, 0.0, 1.0, 1.0]), jnp.array([0.0, 0.5, 1.0, 1.0])))
    0.5
    """
    return _overlap(a, b)[0]


def pairwise_iou(a: jax.Array, b: jax.Array) -> jax.Array:
    """Compute the intersection over union (..., P, Q) of boxes (..., P, 4) with boxes (..., Q, 4).

    >>> whole, right = [0.0, 0.0, 1.0, 1.0], [0.0, 0.5, 1.0, 1.0]
    >>> pairwise_iou(jnp.array([whole]), jnp.array([right, whole])).tolist()
    [[0.5, 1.0]]
    """
    return box_iou(a[..., :, None, :], b[..., None, :, :])


def box_giou(a: jax.Array, b: jax.Array) -> jax.Array:
    """Compute the generalised IoU (...) of boxes (..., 4), pair by pair: from -1 (far apart) to 1 (equal).

    IoU minus the share of the smallest common hull that neither box covers. Rezatofighi et al. 2019, arXiv:1902.09630.

    >>> float(box_giou(jnp.array([0.0, 0.0, 1.0, 0.25]), jnp.array([0.0, 0.75, 1.0, 1.0])))
    -0.5
    """
    iou, union = _overlap(a, b)
    hull = _area(_joined(a, b, jnp.minimum, jnp.maximum))
    return iou - _ratio(hull - union, hull)


def clip_boxes(boxes: jax.Array, height: float = 1.0, width: float = 1.0) -> jax.Array:
    """Return boxes (..., 4) with every coordinate moved into the image.

    >>> clip_boxes(jnp.array([-0.5, 0.25, 0.5, 1.5])).tolist()
    [0.0, 0.25, 0.5, 1.0]
    """
    limits = (height, width, height, width)
    return jnp.stack([jnp.clip(boxes[..., i], 0.0, limit) for i, limit in enumerate(limits)], axis=-1)


def box_centres(boxes: jax.Array) -> jax.Array:
    """Return corners (..., 4) as centres and sides (..., 4): (y, x, height, width).

    >>> box_centres(jnp.array([0.0, 0.5, 0.5, 1.0])).tolist()
    [0.25, 0.75, 0.5, 0.5]
    """
    low, high = boxes[..., :2], boxes[..., 2:]
    return jnp.concatenate([(low + high) / 2, high - low], axis=-1)


def box_corners(centres: jax.Array) -> jax.Array:
    """Return centres and sides (..., 4) as corners (..., 4): the inverse of `box_centres`.

    >>> box_corners(jnp.array([0.25, 0.75, 0.5, 0.5])).tolist()
    [0.0, 0.5, 0.5, 1.0]
    """
    centre, half = centres[..., :2], centres[..., 2:] / 2
    return jnp.concatenate([centre - half, centre + half], axis=-1)


def encode_boxes(
    boxes: jax.Array, anchors: jax.Array, weights: tuple[float, float, float, float] = WEIGHTS
) -> jax.Array:
    """Code boxes relative to anchors: ((y - ya) / ha, (x - xa) / wa, log(h / ha), log(w / wa)), times the weights.

    Girshick et al. 2014, "Rich feature hierarchies", appendix C.

    Args:
        boxes: (..., 4) corners.
        anchors: (..., 4) corners, of the same shape.
        weights: Factors of the four numbers.

    Returns:
        (..., 4); finite for boxes without area, too.

    >>> box, anchor = jnp.array([0.25, 0.0, 0.75, 0.5]), jnp.array([0.0, 0.0, 0.5, 0.5])
    >>> encode_boxes(box, anchor).tolist()
    [5.0, 0.0, 0.0, 0.0]
    """
    box, anchor = box_centres(boxes), box_centres(anchors)
    sides = jnp.maximum(anchor[..., 2:], SMALLEST)
    moved = (box[..., :2] - anchor[..., :2]) / sides
    scaled = jnp.log(jnp.maximum(box[..., 2:], SMALLEST)) - jnp.log(sides)
    return _weighted(jnp.concatenate([moved, scaled], axis=-1), weights)


def decode_boxes(
    codes: jax.Array, anchors: jax.Array, weights: tuple[float, float, float, float] = WEIGHTS
) -> jax.Array:
    """Return the boxes (..., 4) of codes (..., 4) relative to anchors (..., 4): the inverse of `encode_boxes`.

    Sides are limited to 62.5 times those of the anchor, as in Detectron.

    >>> decode_boxes(jnp.array([5.0, 0.0, 0.0, 0.0]), jnp.array([0.0, 0.0, 0.5, 0.5])).tolist()
    [0.25, 0.0, 0.75, 0.5]
    """
    anchor = box_centres(anchors)
    plain = _weighted(codes, tuple(1.0 / weight for weight in weights))
    centre = plain[..., :2] * anchor[..., 2:] + anchor[..., :2]
    sides = jnp.exp(jnp.minimum(plain[..., 2:], LARGEST_SCALE)) * anchor[..., 2:]
    return box_corners(jnp.concatenate([centre, sides], axis=-1))


def _overlap(a: jax.Array, b: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Return the IoU and the union of boxes, pair by pair."""
    inner = _area(_joined(a, b, jnp.maximum, jnp.minimum))
    union = box_area(a) + box_area(b) - inner
    return _ratio(inner, union), union


def _ratio(part: jax.Array, whole: jax.Array) -> jax.Array:
    """Divide; 0 where the divisor is as good as 0, with a safe input on both sides, so that the gradient is finite."""
    positive = whole > NO_AREA  # the square of a smaller one, by which the gradient divides, is 0 in float32
    return jnp.where(positive, part / jnp.where(positive, whole, 1.0), 0.0)


def _weighted(codes: jax.Array, weights: tuple[float, ...]) -> jax.Array:
    return jnp.stack([codes[..., i] * weight for i, weight in enumerate(weights)], axis=-1)


def _sides(boxes: jax.Array) -> Sides:
    return boxes[..., 0], boxes[..., 1], boxes[..., 2], boxes[..., 3]


def _joined(a: jax.Array, b: jax.Array, low: Choose, high: Choose) -> Sides:
    """Return the intersection or the hull of boxes, coordinate by coordinate: XLA fuses that into one loop."""
    (y, x, bottom, right), (other_y, other_x, other_bottom, other_right) = _sides(a), _sides(b)
    return low(y, other_y), low(x, other_x), high(bottom, other_bottom), high(right, other_right)


def _area(sides: Sides) -> jax.Array:
    y, x, bottom, right = sides
    return jnp.maximum(bottom - y, 0.0) * jnp.maximum(right - x, 0.0)
