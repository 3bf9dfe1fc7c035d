"""Instance segmentation: a box, a class and a mask for each object.

Detection with masks (mask_rcnn; He et al. 2017, section 3), or pixels told apart by borders between objects (borders).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxcnn.errors import InputError, require
from jaxcnn.spec import Instances
from jaxcnn.tasks.border_loss import border_instances
from jaxcnn.tasks.detection import detection
from jaxcnn.tasks.mask_loss import mask_loss, take_class
from jaxcnn.tasks.proposal_loss import proposal_detections, proposal_parts
from jaxcnn.tasks.task import Arrays, Batch, Sums, Task, register_task

MASKS = ("mask_boxes", "masks")
"""Arrays of a prediction beside those of a detection: the regions (D, 4) that the masks cover, as shares of the image,
and the masks uint8 (D, S, S), probabilities times 255."""


def instances(config: Instances | None = None) -> Task:
    """Make the task of finding objects with their masks; batches are those of detection and hold `instances` (N, H, W).

    `instances` is k where the k-th object of `labels` and `boxes` is seen, 0 elsewhere.

    Args:
        config: Its options.

    Raises:
        InputError: An option out of range.

    >>> sums = {"class_loss": 6.0, "box_loss": 2.0, "mask_loss": 2.0, "weight": 4.0, "matched": 3.0, "count": 2.0}
    >>> instances().metrics(sums)
    {'loss': 2.5, 'class_loss': 1.5, 'box_loss': 0.5, 'mask_loss': 0.5}
    """
    config = Instances() if config is None else config
    require(config.mask_weight >= 0, "mask_weight", config.mask_weight, "must not be negative")
    base = detection(config)

    def of_masks(outputs: Any, batch: Batch) -> jax.Array:
        """Return the sum of the masks' losses, each image weighted by its objects like those of the boxes."""
        if not isinstance(outputs, dict) or not {"masks", "pixels"} & outputs.keys():
            raise InputError("outputs: instances needs masks or borders; choose head='mask_rcnn' or head='borders'")
        if "pixels" in outputs:  # there is but one loss
            return jnp.zeros_like(batch["mask"]).sum()
        weight = proposal_parts(outputs, batch, config).weight  # computed once: XLA joins equal parts
        return (mask_loss(outputs, batch) * weight * batch["mask"]).sum()

    def loss(outputs: Any, batch: Batch) -> tuple[jax.Array, jax.Array]:
        total, weight = base.loss(outputs, batch)
        return total + config.mask_weight * of_masks(outputs, batch), weight

    def sums(outputs: Any, batch: Batch) -> Sums:
        return {**base.sums(outputs, batch), "mask_loss": of_masks(outputs, batch)}

    def decode(outputs: Any) -> dict[str, jax.Array]:
        if "pixels" in outputs:
            return border_instances(outputs, config)
        found = proposal_detections(outputs, config)

        def masks(places: jax.Array, labels: jax.Array, masks: jax.Array) -> jax.Array:
            p = jax.nn.sigmoid(take_class(masks[places].astype(jnp.float32), labels))
            return jnp.round(255 * p).astype(jnp.uint8)

        return {
            "boxes": found.boxes,
            "scores": found.scores,
            "labels": found.labels,
            "mask_boxes": jnp.take_along_axis(outputs["mask_boxes"], found.places[..., None], axis=1),
            "masks": jax.vmap(masks)(found.places, found.labels, outputs["masks"]),
        }

    def metrics(sums: Mapping[str, float]) -> dict[str, float]:
        values, masks = base.metrics(sums), sums["mask_loss"] / max(sums["weight"], 1.0)
        return {**values, "loss": values["loss"] + config.mask_weight * masks, "mask_loss": masks}

    def save(predictions: Arrays, split: Arrays) -> dict[str, np.ndarray]:
        truth = {"instances": np.asarray(split["instances"])}
        return base.save(predictions, split) | truth | {f"found_{name}": predictions[name] for name in MASKS}

    def describe(prediction: Arrays, class_names: Sequence[str], top: int) -> dict[str, Any]:
        real = prediction["labels"] >= 0
        return base.describe(prediction, class_names, top) | {name: prediction[name][real] for name in MASKS}

    return base._replace(
        name="instances", targets=("labels", "boxes", "instances"), loss=loss, sums=sums, decode=decode,
        metrics=metrics, save=save, describe=describe, ranks=(1, 2, 2),
    )  # fmt: skip


register_task(Instances, instances)
