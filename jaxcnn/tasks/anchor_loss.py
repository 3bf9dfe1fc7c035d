"""The loss of detectors that judge anchors, with the hardest background (SSD). Liu et al. 2016, section 2.2."""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp

from jaxcnn import ops
from jaxcnn.spec import Detection
from jaxcnn.tasks.task import Batch


class Parts(NamedTuple):
    """The loss of each image of a batch, before masking.

    Args:
        classes: (N,) float32.
        boxes: (N,) float32.
        weight: (N,) float32: what an image adds to the divisor.
        matched: (N,) float32: anchors, or cells, that have a box.
    """

    classes: jax.Array
    boxes: jax.Array
    weight: jax.Array
    matched: jax.Array


def true_labels(batch: Batch) -> jax.Array:
    """Return the labels (N, M) of the objects that count: crowds and difficult ones are like padding, -1."""
    labels = batch["labels"]
    return jnp.where(batch["crowd"].astype(bool), -1, labels) if "crowd" in batch else labels


def smooth_l1(difference: jax.Array) -> jax.Array:
    """Compute the smooth L1 distance (...) of differences (..., 4), summed over the last axis. Girshick 2015."""
    size = jnp.abs(difference)
    return jnp.where(size < 1.0, 0.5 * size**2, size - 0.5).sum(axis=-1)


def anchor_parts(outputs: dict[str, jax.Array], batch: Batch, config: Detection) -> Parts:
    """Compute cross-entropy over the matched anchors and the hardest background, and smooth L1 of the matched boxes.

    An image without objects has weight 1, so that its background counts.

    Args:
        outputs: scores (N, A, K + 1), background first; codes (N, A, 4) relative to anchors (A, 4).
        batch: labels (N, M), boxes (N, M, 4), and crowd (N, M) if there are any.
        config: Options of the task.
    """
    anchors = outputs["anchors"]

    def one(scores: jax.Array, codes: jax.Array, boxes: jax.Array, labels: jax.Array) -> Parts:
        match = ops.match_anchors(anchors, boxes, labels, foreground=config.match_iou)
        positive = match >= 0
        box = jnp.maximum(match, 0)
        log_p = jax.nn.log_softmax(scores.astype(jnp.float32))
        target = jnp.where(positive, labels[box] + 1, 0)
        entropy = -jnp.take_along_axis(log_p, target[:, None], axis=1)[:, 0]
        hard = ops.hard_negatives(
            -log_p[:, 0], positive, match == ops.BACKGROUND, config.negatives, config.least_negatives
        )
        # Anchors without a box get a target that is finite, and weight 0.
        wanted = ops.encode_boxes(jnp.where(positive[:, None], boxes[box], anchors), anchors)
        distance = smooth_l1(codes.astype(jnp.float32) - jax.lax.stop_gradient(wanted))
        found = positive.astype(jnp.float32)
        return Parts(
            (entropy * (found + hard.astype(jnp.float32))).sum(),
            (distance * found).sum(),
            jnp.maximum(found.sum(), 1.0),
            found.sum(),
        )

    return jax.vmap(one)(outputs["scores"], outputs["codes"], batch["boxes"], true_labels(batch))


def anchor_detections(outputs: dict[str, jax.Array], config: Detection) -> ops.Detections:
    """Return the detections of each image: boxes (N, D, 4), scores (N, D), labels (N, D), -1 where there is none."""
    anchors = outputs["anchors"]

    def one(scores: jax.Array, codes: jax.Array) -> ops.Detections:
        boxes = ops.clip_boxes(ops.decode_boxes(codes.astype(jnp.float32), anchors))
        return choose(boxes, jax.nn.softmax(scores.astype(jnp.float32))[:, 1:], config)

    return jax.vmap(one)(outputs["scores"], outputs["codes"])


def choose(boxes: jax.Array, scores: jax.Array, config: Detection) -> ops.Detections:
    """Return the detections among the boxes of one image; arguments as for `jaxcnn.ops.select_detections`."""
    return ops.select_detections(
        boxes, scores, score_threshold=config.score_threshold, iou_threshold=config.nms_iou,
        candidates=config.candidates, detections=config.detections,
    )  # fmt: skip
