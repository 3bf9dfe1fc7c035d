"""Image classification: cross-entropy with smoothed (Szegedy et al. 2016, section 7), weighted or mixed targets."""

import math
from collections.abc import Mapping

import jax
import jax.numpy as jnp

from jaxcnn.errors import InputError
from jaxcnn.tasks.task import Batch, Sums, Task


def cross_entropy(
    logits: jax.Array, labels: jax.Array, smoothing: float = 0.0, class_weights: jax.Array | None = None
) -> jax.Array:
    """Cross-entropy of each example in nats.

    Args:
        logits: (N, K) float.
        labels: (N,) int, 0 <= label < K.
        smoothing: Share e of the target spread evenly: (1 - e) onehot + e / K.
        class_weights: (K,) float32, multiplies each class's term of the sum, as PyTorch's CrossEntropyLoss does; None:
            all one.

    Returns:
        (N,) float32.
    """
    log_p = jax.nn.log_softmax(logits.astype(jnp.float32))
    if class_weights is not None:
        log_p = log_p * class_weights[None, :]
    picked = jnp.take_along_axis(log_p, labels[:, None], axis=1)[:, 0]
    return -(1.0 - smoothing) * picked - smoothing * log_p.mean(axis=1)


def classification(label_smoothing: float = 0.0, class_weights: tuple[float, ...] | None = None) -> Task:
    """The task of naming one class per image; batches hold `images`, `labels` (N,) int32 and `mask` (N,) float32.

    Where a batch holds `mixed_labels` (N,) int32 and `share` (N,) float32 besides (`jaxcnn.data.augment.make_mix`), the
    loss that is minimised is share times that of the label plus 1 - share times that of the mixed label. The `loss`
    that is reported is neither smoothed, weighted nor mixed, so that runs compare; accuracy is that of `labels`.

    Args:
        label_smoothing: Share of the target spread evenly over the classes.
        class_weights: Weight of each class. An example counts by its label's weight, in the loss and in what the loss
            is divided by, as in PyTorch's CrossEntropyLoss(weight, reduction="mean"): only their ratios matter.

    Raises:
        InputError: label_smoothing outside [0, 1), or weights that are negative, not finite or all zero.
    """
    if not 0.0 <= label_smoothing < 1.0:
        raise InputError(f"label_smoothing={label_smoothing}: must be in [0, 1); 0 switches it off")
    if class_weights is not None:
        _check_weights(class_weights)

    def target(logits: jax.Array, labels: jax.Array) -> tuple[jax.Array, jax.Array]:
        """Loss and weight of each example, had it this label alone."""
        if class_weights is None:
            return cross_entropy(logits, labels, label_smoothing), jnp.ones(len(labels), jnp.float32)
        if len(class_weights) != logits.shape[-1]:
            raise InputError(f"class_weights={class_weights}: give one weight for each of {logits.shape[-1]} classes")
        weights = jnp.array(class_weights, jnp.float32)
        return cross_entropy(logits, labels, label_smoothing, weights), weights[labels]

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

    return Task("classification", _images, loss, sums, _decode, _metrics)


def _check_weights(class_weights: tuple[float, ...]) -> None:
    if not all(math.isfinite(weight) and weight >= 0.0 for weight in class_weights):
        raise InputError(f"class_weights={class_weights}: every weight must be a finite number of at least 0")
    if not any(class_weights):
        raise InputError(f"class_weights={class_weights}: all are 0, so nothing would be learned; give one above 0")


def _images(batch: Batch) -> tuple[jax.Array]:
    return (batch["images"],)


def _decode(logits: jax.Array) -> dict[str, jax.Array]:
    probabilities = jax.nn.softmax(logits.astype(jnp.float32))
    return {"predictions": logits.argmax(axis=1).astype(jnp.int32), "probabilities": probabilities}


def _metrics(sums: Mapping[str, float]) -> dict[str, float]:
    count = max(sums["count"], 1.0)
    return {"loss": sums["loss"] / count, "accuracy": sums["correct"] / count}
