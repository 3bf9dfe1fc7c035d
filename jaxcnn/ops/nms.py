"""Non-maximum suppression with fixed shapes, equal to the greedy algorithm at every threshold."""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jaxcnn.ops.boxes import pairwise_iou


class Detections(NamedTuple):
    """Detections of one image, the best first, filled up to a fixed number D.

    Args:
        boxes: (D, 4) corners; zeros where there is none.
        scores: (D,) float32; 0 where there is none.
        labels: (D,) int32; -1 where there is none.
        places: (D,) int32, which of the given boxes each detection is; 0 where there is none.
    """

    boxes: jax.Array
    scores: jax.Array
    labels: jax.Array
    places: jax.Array


def nms(boxes: jax.Array, scores: jax.Array, threshold: float, labels: jax.Array | None = None) -> jax.Array:
    """Return which boxes greedy non-maximum suppression keeps.

    Greedy: from the best score down, a box is kept unless one that was kept overlaps it by more than the threshold.
    Whether box i is kept depends on better boxes only, so `keep = not any(overlap & better & keep)`, computed again
    until nothing changes, ends at that result: after as many passes as the longest chain of suppressions, 2 to 4 for
    detections of a network.

    Args:
        boxes: (P, 4) corners.
        scores: (P,) float; minus infinity or NaN marks padding, which is neither kept nor suppresses. Equal scores:
            the first box wins.
        threshold: IoU above which a box is suppressed.
        labels: (P,) int; only boxes of one label suppress each other. Default: all do.

    Returns:
        (P,) bool, in the order of the boxes.

    >>> boxes = jnp.array([[0.0, 0.0, 1.0, 1.0], [0.0, 0.0, 1.0, 0.9], [0.0, 0.0, 0.1, 0.1]])
    >>> nms(boxes, jnp.array([0.5, 0.9, 0.1]), 0.5).tolist()
    [False, True, True]
    """
    order = jnp.argsort(-scores, stable=True)
    boxes, valid = boxes[order], scores[order] > -jnp.inf
    places = jnp.arange(len(scores), dtype=jnp.int32)
    suppresses = (pairwise_iou(boxes, boxes) > threshold) & (places[:, None] > places[None, :])
    if labels is not None:
        suppresses &= labels[order][:, None] == labels[order][None, :]
    suppresses &= valid[None, :]

    def once(state: tuple[jax.Array, jax.Array]) -> tuple[jax.Array, jax.Array]:
        keep, _ = state
        new = valid & ~(suppresses & keep[None, :]).any(axis=1)
        return new, (new != keep).any()

    keep, _ = jax.lax.while_loop(lambda state: state[1], once, (valid, valid.any()))
    return jnp.zeros_like(keep).at[order].set(keep, unique_indices=True)


def select_detections(
    boxes: jax.Array,
    scores: jax.Array,
    *,
    score_threshold: float = 0.01,
    iou_threshold: float = 0.45,
    candidates: int = 400,
    detections: int = 100,
) -> Detections:
    """Select the detections of one image: the best candidates of all classes, then suppression class by class.

    Keeping the top candidates first bounds the cost of an untrained network, whose scores are all alike.

    Args:
        boxes: (A, 4) corners; or (A, K, 4), a box for each class.
        scores: (A, K), background excluded.
        score_threshold: Smallest score of a detection.
        iou_threshold: IoU above which the worse of two boxes of a class is dropped.
        candidates: Number of (box, class) pairs before suppression, over all classes.
        detections: Number D of detections returned.

    Returns:
        The detections; those beyond the last have the label -1.

    >>> boxes = jnp.array([[0.0, 0.0, 1.0, 1.0], [0.0, 0.0, 1.0, 0.9]])
    >>> select_detections(boxes, jnp.array([[0.5, 0.25], [0.75, 0.0]]), detections=3).labels.tolist()
    [0, 1, -1]
    """
    anchors, classes = scores.shape
    count = min(candidates, anchors * classes)
    kept = min(detections, count)
    flat = scores.astype(jnp.float32).reshape(-1)
    best, places = jax.lax.top_k(jnp.where(flat >= score_threshold, flat, -jnp.inf), count)
    labels = (places % classes).astype(jnp.int32)
    anchor = (places // classes).astype(jnp.int32)
    chosen = boxes[anchor] if boxes.ndim == 2 else boxes.reshape(-1, 4)[places]
    keep = nms(chosen, best, iou_threshold, labels)
    final, rows = jax.lax.top_k(jnp.where(keep, best, -jnp.inf), kept)
    real = final > -jnp.inf
    padding = detections - kept
    return Detections(
        jnp.pad(jnp.where(real[:, None], chosen[rows], 0.0), ((0, padding), (0, 0))),
        jnp.pad(jnp.where(real, final, 0.0), (0, padding)),
        jnp.pad(jnp.where(real, labels[rows], np.int32(-1)), (0, padding), constant_values=-1),
        jnp.pad(jnp.where(real, anchor[rows], np.int32(0)), (0, padding)),
    )
