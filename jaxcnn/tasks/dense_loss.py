"""The loss of detectors that judge all anchors, with a focal loss in place of a choice of background (RetinaNet).

Reference: Lin et al. 2017, "Focal loss for dense object detection".
"""

from __future__ import annotations

import jax
import jax.numpy as jnp

from jaxcnn import ops
from jaxcnn.spec import Detection
from jaxcnn.tasks.anchor_loss import Parts, choose, smooth_l1, true_labels
from jaxcnn.tasks.cell_loss import focal_loss
from jaxcnn.tasks.task import Batch

UNCLEAR = 0.1
"""How far below the IoU that makes an anchor an object it is neither object nor background."""


def dense_parts(outputs: dict[str, jax.Array], batch: Batch, config: Detection) -> Parts:
    """Compute the focal loss over all anchors and smooth L1 of the matched boxes.

    Args:
        outputs: logits (N, A, K), codes (N, A, 4) relative to anchors (A, 4).
        batch: labels (N, M), boxes (N, M, 4), and crowd (N, M) if there are any.
        config: Options of the task.
    """
    anchors = outputs["anchors"]

    def one(logits: jax.Array, codes: jax.Array, boxes: jax.Array, labels: jax.Array) -> Parts:
        background = max(config.match_iou - UNCLEAR, 0.0)
        match = ops.match_anchors(anchors, boxes, labels, foreground=config.match_iou, background=background)
        positive, box = match >= 0, jnp.maximum(match, 0)
        classes = jnp.arange(logits.shape[-1], dtype=jnp.int32)
        target = ((labels[box][:, None] == classes[None, :]) & positive[:, None]).astype(jnp.float32)
        counted = (match != ops.IGNORED).astype(jnp.float32)
        wanted = ops.encode_boxes(jnp.where(positive[:, None], boxes[box], anchors), anchors)
        distance = smooth_l1(codes.astype(jnp.float32) - jax.lax.stop_gradient(wanted))
        found = positive.astype(jnp.float32)
        focal = (focal_loss(logits, target).sum(axis=1) * counted).sum()
        return Parts(focal, (distance * found).sum(), jnp.maximum(found.sum(), 1.0), found.sum())

    return jax.vmap(one)(outputs["logits"], outputs["codes"], batch["boxes"], true_labels(batch))


def dense_detections(outputs: dict[str, jax.Array], config: Detection) -> ops.Detections:
    """Return the detections of each image, as `jaxcnn.tasks.anchor_loss.anchor_detections`."""

    def one(logits: jax.Array, codes: jax.Array) -> ops.Detections:
        boxes = ops.clip_boxes(ops.decode_boxes(codes.astype(jnp.float32), outputs["anchors"]))
        return choose(boxes, jax.nn.sigmoid(logits.astype(jnp.float32)), config)

    return jax.vmap(one)(outputs["logits"], outputs["codes"])
