"""Image classification: softmax cross-entropy, with label smoothing (Szegedy et al. 2016, section 7)."""

from collections.abc import Mapping

import jax
import jax.numpy as jnp

from jaxcnn.errors import InputError
from jaxcnn.tasks.task import Batch, Sums, Task


def cross_entropy(logits: jax.Array, labels: jax.Array, smoothing: float = 0.0) -> jax.Array:
    """Cross-entropy of each example in nats.

    Args:
        logits: (N, K) float.
        labels: (N,) int, 0 <= label < K.
        smoothing: Share e of the target spread evenly: (1 - e) onehot + e / K.

    Returns:
        (N,) float32.
    """
    log_p = jax.nn.log_softmax(logits.astype(jnp.float32))
    picked = jnp.take_along_axis(log_p, labels[:, None], axis=1)[:, 0]
    return -(1.0 - smoothing) * picked - smoothing * log_p.mean(axis=1)


def classification(label_smoothing: float = 0.0) -> Task:
    """The task of naming one class per image; batches hold `images`, `labels` (N,) int32 and `mask` (N,) float32.

    The loss that is minimised is smoothed; the `loss` that is reported is not, so that runs compare.

    Raises:
        InputError: label_smoothing outside [0, 1).
    """
    if not 0.0 <= label_smoothing < 1.0:
        raise InputError(f"label_smoothing={label_smoothing}: must be in [0, 1); 0 switches it off")

    def loss(logits: jax.Array, batch: Batch) -> tuple[jax.Array, jax.Array]:
        per_example = cross_entropy(logits, batch["labels"], label_smoothing)
        return (per_example * batch["mask"]).sum(), batch["mask"].sum()

    def sums(logits: jax.Array, batch: Batch) -> Sums:
        right = (logits.argmax(axis=1).astype(batch["labels"].dtype) == batch["labels"]).astype(jnp.float32)
        return {
            "loss": (cross_entropy(logits, batch["labels"]) * batch["mask"]).sum(),
            "correct": (right * batch["mask"]).sum(),
            "count": batch["mask"].sum(),
        }

    return Task("classification", _images, loss, sums, _decode, _metrics)


def _images(batch: Batch) -> tuple[jax.Array]:
    return (batch["images"],)


def _decode(logits: jax.Array) -> dict[str, jax.Array]:
    probabilities = jax.nn.softmax(logits.astype(jnp.float32))
    return {"predictions": logits.argmax(axis=1).astype(jnp.int32), "probabilities": probabilities}


def _metrics(sums: Mapping[str, float]) -> dict[str, float]:
    count = max(sums["count"], 1.0)
    return {"loss": sums["loss"] / count, "accuracy": sums["correct"] / count}
