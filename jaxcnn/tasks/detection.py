"""Object detection: a box and a class for each object, by any of the heads for it.

The outputs say how they are to be read: anchors with codes (ssd, retinanet), cells with distances (yolo), proposals
with their regions (faster_rcnn).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxcnn.errors import InputError, require
from jaxcnn.spec import Detection
from jaxcnn.tasks.anchor_loss import Parts, anchor_detections, anchor_parts
from jaxcnn.tasks.border_loss import border_parts
from jaxcnn.tasks.cell_loss import cell_detections, cell_parts
from jaxcnn.tasks.dense_loss import dense_detections, dense_parts
from jaxcnn.tasks.proposal_loss import proposal_detections, proposal_parts
from jaxcnn.tasks.task import Arrays, Batch, Sums, Task, images_only, register_task

SHOWN = 0.5
"""Smallest score of a detection that `describe` lists."""


def detection(config: Detection | None = None) -> Task:
    """Make the task of finding objects; batches hold `images`, `labels` (N, M), `boxes` (N, M, 4), `mask` (N,).

    Labels are 0 .. K - 1, -1 for padding; boxes are (ymin, xmin, ymax, xmax) as shares of the image. Background exists
    in the outputs only. Nothing is ever NaN: images without objects, padding and boxes without area included.

    Args:
        config: Its options.

    Raises:
        InputError: An option out of range.

    >>> detection().metrics({"class_loss": 6.0, "box_loss": 2.0, "weight": 4.0, "matched": 3.0, "count": 2.0})
    {'loss': 2.0, 'class_loss': 1.5, 'box_loss': 0.5}
    """
    config = Detection() if config is None else config
    for name in ("box_weight", "negatives"):
        require(getattr(config, name) >= 0, name, getattr(config, name), "must not be negative")
    for name in ("match_iou", "nms_iou", "score_threshold"):
        require(0.0 <= getattr(config, name) <= 1.0, name, getattr(config, name), "must be from 0 to 1")
    for name in ("candidates", "detections"):
        require(getattr(config, name) >= 1, name, getattr(config, name), "must be at least 1")
    require(config.least_negatives >= 0, "least_negatives", config.least_negatives, "must not be negative")

    def parts(outputs: Any, batch: Batch) -> Parts:
        return _form(outputs)[0](outputs, batch, config)

    def loss(outputs: Any, batch: Batch) -> tuple[jax.Array, jax.Array]:
        found, mask = parts(outputs, batch), batch["mask"]
        return ((found.classes + config.box_weight * found.boxes) * mask).sum(), (found.weight * mask).sum()

    def sums(outputs: Any, batch: Batch) -> Sums:
        found, mask = parts(outputs, batch), batch["mask"]
        per_image = {"class_loss": found.classes, "box_loss": found.boxes, "weight": found.weight}
        per_image |= {"matched": found.matched, "count": jnp.ones_like(mask)}
        return {name: (values * mask).sum() for name, values in per_image.items()}

    def decode(outputs: Any) -> dict[str, jax.Array]:
        found = _form(outputs)[1](outputs, config)
        return {"boxes": found.boxes, "scores": found.scores, "labels": found.labels}

    def metrics(sums: Mapping[str, float]) -> dict[str, float]:
        weight = max(sums["weight"], 1.0)
        classes, boxes = sums["class_loss"] / weight, sums["box_loss"] / weight
        return {"loss": classes + config.box_weight * boxes, "class_loss": classes, "box_loss": boxes}

    return Task(
        "detection", ("labels", "boxes"), images_only, loss, sums, decode, metrics, _save, _describe, ranks=(1, 2)
    )


_FORMS = {
    "proposals": (proposal_parts, proposal_detections),
    "cells": (cell_parts, cell_detections),
    "logits": (dense_parts, dense_detections),
    "pixels": (border_parts, None),  # the task instances decodes these
    "anchors": (anchor_parts, anchor_detections),
}
"""An output that tells a kind of detector -> the functions that read its outputs."""


def _form(outputs: Any) -> Any:
    """Return the functions that read outputs: those of the loss, and those of the detections."""
    names = outputs.keys() if isinstance(outputs, Mapping) else ()
    for name, functions in _FORMS.items():
        if name in names:
            return functions
    kind = f"an array {outputs.shape}" if isinstance(outputs, jax.Array) else type(outputs).__name__
    raise InputError(f"outputs={kind}: detection needs those of a detector; choose a head for it, such as head='ssd'")


def _save(predictions: Arrays, split: Arrays) -> dict[str, np.ndarray]:
    """Return the detections, and the true boxes beside them: average precision is a function of both."""
    truth = {name: np.asarray(split[name]) for name in ("labels", "boxes", "crowd", "sizes") if name in split}
    return truth | {f"found_{name}": predictions[name] for name in ("boxes", "scores", "labels")}


def _describe(prediction: Arrays, class_names: Sequence[str], top: int) -> dict[str, Any]:
    real = prediction["labels"] >= 0
    labels, scores = prediction["labels"][real], prediction["scores"][real]
    counts = [(str(name), int(((labels == k) & (scores >= SHOWN)).sum())) for k, name in enumerate(class_names)]
    named = [f"{count} {name}" for name, count in counts if count]
    return {
        "text": ", ".join(named) or "nothing found",
        "boxes": prediction["boxes"][real],
        "scores": scores,
        "labels": labels,
        "classes": list(map(str, class_names)),
    }


register_task(Detection, detection)
