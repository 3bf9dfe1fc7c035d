"""Image classification: cross-entropy with smoothed (Szegedy et al. 2016, section 7), weighted or mixed targets."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxcnn.errors import InputError, require
from jaxcnn.spec import Classification
from jaxcnn.tasks.task import Arrays, Batch, Sums, Task, images_only, register_task

TOP = 5
"""Most probable classes among which the label counts as named; without meaning for as few classes."""


def cross_entropy(
    logits: jax.Array, labels: jax.Array, smoothing: float = 0.0, class_weights: jax.Array | None = None
) -> jax.Array:
    """Compute the cross-entropy of each example in nats.

    Args:
        logits: (N, K) float.
        labels: (N,) int, 0 <= label < K.
        smoothing: Share e of the target spread evenly: (1 - e) onehot + e / K.
        class_weights: (K,) float32, multiplies each class's term of the sum, as PyTorch's CrossEntropyLoss does.
            Default: all one.

    Returns:
        (N,) float32.
    """
    log_p = jax.nn.log_softmax(logits.astype(jnp.float32))
    if class_weights is not None:
        log_p = log_p * class_weights[None, :]
    picked = jnp.take_along_axis(log_p, labels[:, None], axis=1)[:, 0]
    return -(1.0 - smoothing) * picked - smoothing * log_p.mean(axis=1)


def classification(config: Classification | None = None) -> Task:
    """Make the task of naming one class per image; batches hold `images`, `labels` (N,) int32 and `mask` (N,) float32.

    Where a batch also holds `mixed_labels` (N,) int32 and `share` (N,) float32 (`jaxcnn.data.augment.make_mix`), the
    loss that is minimised is share times that of the label plus 1 - share times that of the mixed label. The reported
    `loss` is neither smoothed, weighted nor mixed, so that runs compare; accuracy is that of `labels`.

    Args:
        config: Its options, class weights as numbers. An example counts by its label's weight, in the loss and in the
            loss's divisor, as in PyTorch's CrossEntropyLoss(weight, reduction="mean"): only their ratios matter.

    Raises:
        InputError: label_smoothing outside [0, 1), or weights that are negative, not finite or all zero.

    >>> classification().metrics({"loss": 5.0, "correct": 8.0, "count": 10.0})
    {'loss': 0.5, 'accuracy': 0.8}
    """
    config = Classification() if config is None else config
    smoothing, class_weights = config.label_smoothing, config.class_weights
    require(0.0 <= smoothing < 1.0, "label_smoothing", smoothing, "must be in [0, 1); 0 disables it")
    if isinstance(class_weights, tuple):
        usable = all(math.isfinite(weight) and weight >= 0.0 for weight in class_weights)
        require(usable, "class_weights", class_weights, "every weight must be a finite number of at least 0")
        none = "all are 0, so nothing would be learned; give one above 0"
        require(any(class_weights), "class_weights", class_weights, none)

    def target(logits: jax.Array, labels: jax.Array) -> tuple[jax.Array, jax.Array]:
        """Compute loss and weight of each example as if it had this label alone."""
        if isinstance(class_weights, str):
            raise InputError(
                f"class_weights={class_weights!r}: it needs the data; call jaxcnn.tasks.resolve_task first"
            )
        if class_weights is None:
            return cross_entropy(logits, labels, smoothing), jnp.ones(len(labels), jnp.float32)
        if len(class_weights) != logits.shape[-1]:
            raise InputError(f"class_weights={class_weights}: give one weight for each of {logits.shape[-1]} classes")
        weights = jnp.array(class_weights, jnp.float32)
        return cross_entropy(logits, labels, smoothing, weights), weights[labels]

    def loss(logits: jax.Array, batch: Batch) -> tuple[jax.Array, jax.Array]:
        per_example, weight = target(logits, batch["labels"])
        if "mixed_labels" in batch:
            share, (others, other_weight) = batch["share"], target(logits, batch["mixed_labels"])
            per_example = share * per_example + (1.0 - share) * others
            weight = share * weight + (1.0 - share) * other_weight
        return (per_example * batch["mask"]).sum(), (weight * batch["mask"]).sum()

    def sums(logits: jax.Array, batch: Batch) -> Sums:
        right = (logits.argmax(axis=1).astype(batch["labels"].dtype) == batch["labels"]).astype(jnp.float32)
        return {
            "loss": (cross_entropy(logits, batch["labels"]) * batch["mask"]).sum(),
            "correct": (right * batch["mask"]).sum(),
            "count": batch["mask"].sum(),
        }

    return Task(
        "classification", ("labels",), images_only, loss, sums, _decode, _metrics, _save, _describe, config.test_flips,
        outputs=lambda examples, classes: jax.ShapeDtypeStruct((examples, classes), jnp.float32),
        details=_details, ranks=(0,),
    )  # fmt: skip


def _resolve(config: Classification, train: Arrays, class_names: Sequence[str]) -> Classification:
    """Return the config with one weight per class: as given, or N / (K n_k) for "balanced" (as in scikit-learn)."""
    weights, classes = config.class_weights, len(class_names)
    if weights == "balanced":
        counts = np.bincount(train["labels"], minlength=classes)
        weights = tuple(len(train["labels"]) / (classes * max(int(count), 1)) for count in counts)
    elif weights is not None:
        if len(weights) != classes:
            raise InputError(
                f"class_weights={weights!r}: the data have {classes} classes; give balanced, or one number each"
            )
        weights = tuple(float(weight) for weight in weights)
    return replace(config, class_weights=weights)


def _decode(logits: jax.Array) -> dict[str, jax.Array]:
    probabilities = jax.nn.softmax(logits.astype(jnp.float32))
    return {"predictions": logits.argmax(axis=1).astype(jnp.int32), "probabilities": probabilities}


def _metrics(sums: Mapping[str, float]) -> dict[str, float]:
    count = max(sums["count"], 1.0)
    return {"loss": sums["loss"] / count, "accuracy": sums["correct"] / count}


def _save(predictions: Arrays, split: Arrays) -> dict[str, np.ndarray]:
    labels = np.asarray(split["labels"])
    return {
        "labels": labels.astype(np.int32),
        "predictions": predictions["predictions"],
        "probability": predictions["probabilities"].max(axis=1),
        "correct": predictions["predictions"] == labels,
    }


def _details(predictions: Arrays, split: Arrays) -> dict[str, Any]:
    """Return accuracy by class (None without examples), confusion counts [label][prediction], top-5 accuracy."""
    labels, probabilities = np.asarray(split["labels"]), predictions["probabilities"]
    classes = max(probabilities.shape[1], int(labels.max()) + 1)
    confusion = np.zeros((classes, classes), np.int64)
    np.add.at(confusion, (labels, predictions["predictions"]), 1)
    pairs = zip(confusion.diagonal(), confusion.sum(axis=1), strict=True)
    details: dict[str, Any] = {"class_accuracy": [float(right / count) if count else None for right, count in pairs]}
    if probabilities.shape[1] > TOP:
        best = np.argsort(-probabilities, axis=1, kind="stable")[:, :TOP]
        details[f"top{TOP}_accuracy"] = float((best == labels[:, None]).any(axis=1).mean())
    return details | {"confusion": confusion.tolist()}


def _describe(prediction: Arrays, class_names: Sequence[str], top: int) -> dict[str, Any]:
    row = prediction["probabilities"]
    best = [(str(class_names[i]), float(row[i])) for i in np.argsort(-row)[: max(top, 1)]]
    listed = ", ".join(f"{name} {share:.3f}" for name, share in best)
    text = f"{best[0][0]} {best[0][1]:.3f}   (top {len(best)}: {listed})"
    return {"text": text, "name": best[0][0], "probability": best[0][1], "top": best}


register_task(Classification, classification, _resolve)
