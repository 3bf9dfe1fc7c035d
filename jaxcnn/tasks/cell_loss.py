"""The loss of detectors without anchors: focal cross-entropy of all cells, GIoU of the boxes of the matched ones.

References: Tian et al. 2019, "FCOS" (which cell finds which object); Lin et al. 2017, "Focal loss"; Rezatofighi et al.
2019 (GIoU).
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np

from jaxcnn import ops
from jaxcnn.ops.boxes import NO_AREA
from jaxcnn.spec import Detection
from jaxcnn.tasks.anchor_loss import Parts, choose, true_labels
from jaxcnn.tasks.task import Batch

ALPHA, GAMMA = 0.25, 2.0  # of the focal loss, as in the paper
CENTRE = 1.5  # cells around the centre of an object that may find it
SMALLEST, LARGEST = 1.0, 2.0
"""Longest distance from the centre to a side, in cells, for which a map finds an object; the finest also finds smaller
ones, the coarsest larger ones. So each object belongs to one map: where two maps shared the frequent red blood cells of
BCCD, the finest never learned the rare platelets (AP50 0.06)."""
LONGEST = 6.0
"""Largest logarithm of a distance: exp of an untrained output may overflow."""
BOX_WEIGHT = 2.0  # GIoU is at most 2 where the classes' losses are sums over all cells


def cell_parts(outputs: dict[str, jax.Array], batch: Batch, config: Detection) -> Parts:
    """Compute the focal loss over all cells and 1 - GIoU over the matched ones.

    Args:
        outputs: scores (N, A, K), distances (N, A, 4), cells (A, 4).
        batch: labels (N, M), boxes (N, M, 4), and crowd (N, M) if there are any.
        config: Options of the task.
    """
    cells = outputs["cells"]

    def one(scores: jax.Array, distances: jax.Array, boxes: jax.Array, labels: jax.Array) -> Parts:
        match = match_cells(cells, boxes, labels)
        positive = match >= 0
        box = jnp.maximum(match, 0)
        classes = jnp.arange(scores.shape[-1], dtype=jnp.int32)
        target = ((labels[box][:, None] == classes[None, :]) & positive[:, None]).astype(jnp.float32)
        found = positive.astype(jnp.float32)
        # A cell without a box gets its own prediction as its target: finite, and of weight 0.
        predicted = cell_boxes(cells, distances)
        wanted = jnp.where(positive[:, None], boxes[box], jax.lax.stop_gradient(predicted))
        missed = (1.0 - ops.box_giou(predicted, wanted)) * found
        count = found.sum()
        return Parts(focal_loss(scores, target).sum(), BOX_WEIGHT * missed.sum(), jnp.maximum(count, 1.0), count)

    return jax.vmap(one)(outputs["scores"], outputs["distances"], batch["boxes"], true_labels(batch))


def cell_detections(outputs: dict[str, jax.Array], config: Detection) -> ops.Detections:
    """Return the detections of each image, as `jaxcnn.tasks.anchor_loss.anchor_detections`."""

    def one(scores: jax.Array, distances: jax.Array) -> ops.Detections:
        boxes = ops.clip_boxes(cell_boxes(outputs["cells"], distances))
        return choose(boxes, jax.nn.sigmoid(scores.astype(jnp.float32)), config)

    return jax.vmap(one)(outputs["scores"], outputs["distances"])


def cell_boxes(cells: jax.Array, distances: jax.Array) -> jax.Array:
    """Return the boxes (A, 4) of cells (A, 4) and logarithms of distances (A, 4) in cells."""
    sides = jnp.exp(jnp.minimum(distances.astype(jnp.float32), LONGEST)) * jnp.tile(cells[:, 2:], (1, 2))
    centres = cells[:, :2]
    return jnp.concatenate([centres - sides[:, :2], centres + sides[:, 2:]], axis=1)


def focal_loss(logits: jax.Array, target: jax.Array) -> jax.Array:
    """Compute the focal loss (...) of logits (...) against 0 or 1; alpha 0.25, gamma 2."""
    logits = logits.astype(jnp.float32)
    p = jax.nn.sigmoid(logits)
    entropy = jnp.logaddexp(0.0, logits) - target * logits
    wrong = target * (1.0 - p) + (1.0 - target) * p
    weight = target * ALPHA + (1.0 - target) * (1.0 - ALPHA)
    return weight * wrong**GAMMA * entropy


def match_cells(cells: jax.Array, boxes: jax.Array, labels: jax.Array) -> jax.Array:
    """Return which object each cell shall find: int32 (A,), -1 for background.

    A cell may find an object whose box holds its centre, near the object's centre, and whose size fits the map; of
    several the smallest. The cell nearest to an object's centre, on the map that fits it best, always finds it.

    Args:
        cells: (A, 4), y, x, height and width.
        boxes: (M, 4) corners.
        labels: (M,) int; negative ones are padding.
    """
    count = len(labels)
    if count == 0:
        return jnp.full(len(cells), -1, jnp.int32)
    real = (labels >= 0) & (ops.box_area(boxes) > NO_AREA)
    y, x, high, wide = (cells[:, i : i + 1] for i in range(4))  # (A, 1)
    top, left, bottom, right = (boxes[None, :, i] for i in range(4))  # (1, M)
    down, across = (y - (top + bottom) / 2) / high, (x - (left + right) / 2) / wide  # (A, M), in cells
    inside = (y > top) & (y < bottom) & (x > left) & (x < right)
    near = (jnp.abs(down) <= CENTRE) & (jnp.abs(across) <= CENTRE)
    half = jnp.maximum((bottom - top) / high, (right - left) / wide) / 2
    finest, coarsest = high <= high.min() * 1.5, high >= high.max() / 1.5
    fits = ((half >= SMALLEST) | finest) & ((half <= LARGEST) | coarsest)
    areas = ops.box_area(boxes)[None, :]
    cost = jnp.where(inside & near & fits & real[None, :], areas, jnp.inf)
    smallest = cost.argmin(axis=1).astype(jnp.int32)
    matched = jnp.where(jnp.isfinite(cost.min(axis=1)), smallest, np.int32(-1))
    # The map that fits best has the half side nearest to the middle of the range, in its logarithm.
    middle = 0.5 * np.log(SMALLEST * LARGEST)
    misfit = jnp.abs(jnp.log(jnp.maximum(half, 1e-6)) - middle)
    distance = jnp.where(real[None, :], misfit * 1e3 + jnp.maximum(jnp.abs(down), jnp.abs(across)), jnp.inf)
    wanted = jnp.where(real, distance.argmin(axis=0).astype(jnp.int32), np.int32(len(cells)))
    forced = jnp.full(len(cells), -1, jnp.int32).at[wanted].max(jnp.arange(count, dtype=jnp.int32), mode="drop")
    return jnp.where(forced >= 0, forced, matched)
