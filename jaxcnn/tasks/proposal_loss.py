"""The loss of two-stage detectors: of the proposals, and of what their regions hold. Ren et al. 2015, section 3.

Background counts as in SSD: the hardest, so many for each object. The paper draws a random sample instead.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp

from jaxcnn import ops
from jaxcnn.spec import Detection
from jaxcnn.tasks.anchor_loss import Parts, anchor_parts, choose, smooth_l1, true_labels
from jaxcnn.tasks.task import Batch

REGION = 0.5  # IoU with a true box from which on a region holds it
REGION_WEIGHTS = (10.0, 10.0, 5.0, 5.0)


def proposal_parts(outputs: dict[str, jax.Array], batch: Batch, config: Detection) -> Parts:
    """Compute the losses of both stages, each per object: their sum, with the weight of the first.

    Args:
        outputs: Those of `jaxcnn.models.faster_rcnn.FasterRcnnHead`.
        batch: labels (N, M), boxes (N, M, 4), and crowd (N, M) if there are any.
        config: Options of the task.
    """
    # The first stage is an SSD with the one class "object".
    objectness = outputs["objectness"].astype(jnp.float32)
    two = jnp.stack([jnp.zeros_like(objectness), objectness], axis=-1)
    objects = {**batch, "labels": jnp.minimum(batch["labels"], 0)}
    first = anchor_parts({"scores": two, "codes": outputs["codes"], "anchors": outputs["anchors"]}, objects, config)

    def second(
        proposals: jax.Array, scores: jax.Array, refined: jax.Array, boxes: jax.Array, labels: jax.Array
    ) -> tuple[jax.Array, jax.Array, jax.Array]:
        match = ops.match_anchors(proposals, boxes, labels, foreground=REGION, force=False)
        positive, box = match >= 0, jnp.maximum(match, 0)
        log_p = jax.nn.log_softmax(scores.astype(jnp.float32))
        target = jnp.where(positive, labels[box] + 1, 0)
        entropy = -jnp.take_along_axis(log_p, target[:, None], axis=1)[:, 0]
        hard = ops.hard_negatives(-log_p[:, 0], positive, ~positive, config.negatives, config.least_negatives)
        wanted = ops.encode_boxes(jnp.where(positive[:, None], boxes[box], proposals), proposals, REGION_WEIGHTS)
        if refined.ndim == 3:  # codes of each class
            refined = jnp.take_along_axis(refined, jnp.maximum(labels[box], 0)[:, None, None], axis=1)[:, 0]
        distance = smooth_l1(refined.astype(jnp.float32) - jax.lax.stop_gradient(wanted))
        found = positive.astype(jnp.float32)
        counted = found + hard.astype(jnp.float32)
        # A region without area is no target: its codes would be of any size.
        distance = jnp.where(ops.box_area(proposals) > 1e-6, distance, 0.0)
        return (entropy * counted).sum(), (distance * found).sum(), jnp.maximum(found.sum(), 1.0)

    classes, boxes, count = jax.vmap(second)(
        outputs["proposals"], outputs["scores"], outputs["refined"], batch["boxes"], true_labels(batch)
    )
    # Each stage per object of its own: the second's sums are scaled to the first's weight.
    scale = first.weight / count
    return Parts(first.classes + classes * scale, first.boxes + boxes * scale, first.weight, first.matched)


def proposal_detections(outputs: dict[str, jax.Array], config: Detection) -> ops.Detections:
    """Return the detections of each image, as `jaxcnn.tasks.anchor_loss.anchor_detections`."""

    def one(proposals: jax.Array, scores: jax.Array, refined: jax.Array) -> ops.Detections:
        proposals = proposals if refined.ndim == 2 else proposals[:, None]
        boxes = ops.clip_boxes(ops.decode_boxes(refined.astype(jnp.float32), proposals, REGION_WEIGHTS))
        return choose(boxes, jax.nn.softmax(scores.astype(jnp.float32))[:, 1:], config)

    return jax.vmap(one)(outputs["proposals"], outputs["scores"], outputs["refined"])
