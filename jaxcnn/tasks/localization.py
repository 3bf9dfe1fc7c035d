"""Localization: one object per image, its class and its box.

References: Sermanet et al., "OverFeat", 2014 (a regressor beside a classifier); Rezatofighi et al., "Generalized
intersection over union", 2019 (the loss of the box).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxcnn import ops
from jaxcnn.errors import InputError, require
from jaxcnn.spec import Localization
from jaxcnn.tasks.task import Arrays, Batch, Sums, Task, images_only, register_task

FOUND_IOU = 0.5  # of a box that counts as found, as in ILSVRC
BETA = 0.1  # of the smooth L1 distance, in shares of the image


def localization(config: Localization | None = None) -> Task:
    """Make the task of finding one object per image; batches hold the arrays of data with boxes.

    `labels` (N, M) int32, -1 for padding, and `boxes` (N, M, 4), (ymin, xmin, ymax, xmax) as shares of the image. The
    object of an image is its largest one that is no crowd; images without an object have the weight 0. Outputs are
    {"logits": (N, K), "boxes": (N, 4)}. The loss of an image is the cross-entropy of its class plus `box_weight` times
    (1 - generalised IoU + smooth L1 distance of the corners).

    Raises:
        InputError: A negative weight.

    >>> localization().metrics({"loss": 2.0, "right": 4.0, "iou": 3.0, "found": 3.0, "count": 4.0})
    {'loss': 0.5, 'accuracy': 1.0, 'mean_iou': 0.75, 'localised': 0.75}
    """
    config = Localization() if config is None else config
    require(config.box_weight >= 0, "box_weight", config.box_weight, "must not be negative")

    def parts(outputs: Any, batch: Batch) -> tuple[jax.Array, jax.Array, jax.Array, jax.Array]:
        """Return loss, whether the class is right, IoU, and whether the image counts, each (N,)."""
        if not isinstance(outputs, Mapping) or not {"logits", "boxes"} <= outputs.keys():
            raise InputError("outputs: localization needs those of its own head; choose head='localizer'")
        label, box, present = largest(batch)
        log_p = jax.nn.log_softmax(outputs["logits"].astype(jnp.float32))
        classes = jnp.arange(log_p.shape[-1], dtype=jnp.int32)
        target = (classes[None, :] == label[:, None]).astype(jnp.float32)
        found = outputs["boxes"].astype(jnp.float32)
        distance = jnp.abs(found - box)
        smooth = jnp.where(distance < BETA, distance**2 / (2 * BETA), distance - BETA / 2).sum(axis=-1)
        per_image = -(target * log_p).sum(axis=-1) + config.box_weight * (1.0 - ops.box_giou(found, box) + smooth)
        right = (log_p.argmax(axis=-1).astype(jnp.int32) == label).astype(jnp.float32)
        return per_image, right, ops.box_iou(found, box), present * batch["mask"]

    def loss(outputs: Any, batch: Batch) -> tuple[jax.Array, jax.Array]:
        per_image, _, _, counted = parts(outputs, batch)
        return (per_image * counted).sum(), counted.sum()

    def sums(outputs: Any, batch: Batch) -> Sums:
        per_image, right, iou, counted = parts(outputs, batch)
        found = right * (iou >= FOUND_IOU).astype(jnp.float32)
        values = {"loss": per_image, "right": right, "iou": iou, "found": found}
        return {name: (value * counted).sum() for name, value in values.items()} | {"count": counted.sum()}

    return Task(
        "localization", ("labels", "boxes"), images_only, loss, sums, _decode, _metrics, _save, _describe, ranks=(1, 2)
    )


def largest(batch: Mapping[str, Any]) -> tuple[jax.Array, jax.Array, jax.Array]:
    """Return label (N,), box (N, 4) and presence (N,) of the largest object of each image that is no crowd."""
    labels, boxes = batch["labels"], batch["boxes"].astype(jnp.float32)
    real = labels >= 0
    if "crowd" in batch:
        real = real & ~batch["crowd"].astype(bool)
    if labels.shape[1] == 0:
        n = labels.shape[0]
        return jnp.zeros(n, jnp.int32), jnp.zeros((n, 4), jnp.float32), jnp.zeros(n, jnp.float32)
    chosen = jnp.where(real, ops.box_area(boxes), -1.0).argmax(axis=1)
    label = jnp.take_along_axis(labels, chosen[:, None], axis=1)[:, 0].astype(jnp.int32)
    box = jnp.take_along_axis(boxes, chosen[:, None, None], axis=1)[:, 0]
    present = real.any(axis=1)
    # A whole image in place of a missing box: every term stays finite, and none counts.
    whole = jnp.array([0.0, 0.0, 1.0, 1.0], jnp.float32)
    return jnp.where(present, label, 0), jnp.where(present[:, None], box, whole[None]), present.astype(jnp.float32)


def _decode(outputs: Mapping[str, jax.Array]) -> dict[str, jax.Array]:
    p = jax.nn.softmax(outputs["logits"].astype(jnp.float32))
    return {
        "labels": p.argmax(axis=-1).astype(jnp.int32),
        "scores": p.max(axis=-1),
        "boxes": outputs["boxes"].astype(jnp.float32),
    }


def _metrics(sums: Mapping[str, float]) -> dict[str, float]:
    names = {"loss": "loss", "right": "accuracy", "iou": "mean_iou", "found": "localised"}
    return {shown: sums[name] / max(sums["count"], 1.0) for name, shown in names.items()}


def _save(predictions: Arrays, split: Arrays) -> dict[str, np.ndarray]:
    """Return class and box of each image's object, -1 without one, what was found, and their IoU."""
    label, box, present = (np.asarray(each) for each in largest({name: jnp.asarray(split[name]) for name in split
                                                                if name in ("labels", "boxes", "crowd")}))  # fmt: skip
    found = predictions["boxes"]
    iou = np.asarray(ops.box_iou(jnp.asarray(found), jnp.asarray(box))) * present
    return {
        "labels": np.where(present > 0, label, -1).astype(np.int32),
        "boxes": box,
        "predictions": predictions["labels"],
        "scores": predictions["scores"],
        "found_boxes": found,
        "iou": iou,
    }


def _describe(prediction: Arrays, class_names: Sequence[str], top: int) -> dict[str, Any]:
    name, score = str(class_names[int(prediction["labels"])]), float(prediction["scores"])
    return {
        "text": f"{name} {score:.3f}",
        "boxes": prediction["boxes"][None],
        "scores": prediction["scores"][None],
        "labels": prediction["labels"][None],
        "classes": list(map(str, class_names)),
    }


register_task(Localization, localization)
