"""Embedding: a vector for each image, near for images of one class; prototypes, triplets or pairs within a batch.

References: Snell, Swersky and Zemel, "Prototypical networks for few-shot learning", 2017; Hermans, Beyer and Leibe, "In
defense of the triplet loss", 2017 (hardest triplets of a batch); Hadsell, Chopra and LeCun, "Dimensionality reduction
by learning an invariant mapping", 2006 (contrastive).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jaxcnn.errors import InputError, require
from jaxcnn.spec import Embedding
from jaxcnn.tasks.task import Arrays, Batch, Sums, Task, images_only, register_task

FAR = 1e9  # squared distance to what is not there
LEAST_SQUARE = 1e-6  # under square roots, whose gradient at 0 is infinite


class Pairs(NamedTuple):
    """All pairs of examples of a batch, (N, N).

    Args:
        squares: Squared distances.
        same: Whether both are real examples of one class; not an example with itself.
        other: Whether both are real examples of different classes.
    """

    squares: jax.Array
    same: jax.Array
    other: jax.Array


class Judged(NamedTuple):
    """What a loss says of each example of a batch, (N,).

    Args:
        loss: Loss.
        counted: 1 where the example has a loss, else 0.
        good: 1 where it is named rightly (prototypes), or where its triplet still has a loss (triplet).
    """

    loss: jax.Array
    counted: jax.Array
    good: jax.Array


def embedding(config: Embedding | None = None) -> Task:
    """Make the task of vectors for images; batches hold `images`, `labels` (N,) int32 and `mask` (N,) float32.

    Outputs are vectors (N, D). In training a batch has `per_class` images of each of its classes. The loss is one of

    - prototypes: the first `shots` examples of each class in a batch are averaged; the cross-entropy of the others
      over the classes of the batch, with minus the squared distances to these means as logits;
    - triplet: for each example max(0, furthest of its class - nearest of another + margin);
    - contrastive: for each example the mean of d^2 over its class plus the mean of max(0, margin - d)^2 over others.

    Metrics describe a batch, so they depend on its classes: `batch_recall` is the share of examples whose nearest
    neighbour in the batch is of their class. `run` measures whole splits: recall, few-shot episodes, verification.

    Raises:
        InputError: per_class below 2, shots not below per_class, or a margin that is not positive.

    >>> embedding().per_class
    5
    """
    config = Embedding() if config is None else config
    require(config.per_class >= 2, "per_class", config.per_class, "must be at least 2: images are compared")
    limits = f"must be from 1 to {config.per_class - 1}, below task.per_class"
    require(1 <= config.shots < config.per_class, "shots", config.shots, limits)
    require(config.margin > 0, "margin", config.margin, "must be positive")

    def judge(vectors: jax.Array, batch: Batch) -> tuple[Judged, Pairs]:
        if getattr(vectors, "ndim", 0) != 2:
            raise InputError("outputs: an embedding needs vectors (N, D); choose head='embedding'")
        vectors = vectors.astype(jnp.float32)
        pairs = _pairs(vectors, batch)
        if config.loss == "prototypes":
            return _prototypes(vectors, batch, config.shots), pairs
        return (_triplets if config.loss == "triplet" else _contrasts)(pairs, config.margin), pairs

    def loss(vectors: jax.Array, batch: Batch) -> tuple[jax.Array, jax.Array]:
        judged, _ = judge(vectors, batch)
        return (judged.loss * judged.counted).sum(), judged.counted.sum()

    def sums(vectors: jax.Array, batch: Batch) -> Sums:
        judged, pairs = judge(vectors, batch)
        near = jnp.where(pairs.same | pairs.other, pairs.squares, FAR).argmin(axis=1)
        has = pairs.same.any(axis=1)
        found = jnp.take_along_axis(pairs.same, near[:, None], axis=1)[:, 0] & has
        distances = jnp.sqrt(pairs.squares + LEAST_SQUARE)
        summed: Sums = {
            "loss": (judged.loss * judged.counted).sum(),
            "good": (judged.good * judged.counted).sum(),
            "counted": judged.counted.sum(),
            "found": found.astype(jnp.float32).sum(),
            "count": has.astype(jnp.float32).sum(),
        }
        for name, which in (("same", pairs.same), ("other", pairs.other)):
            summed |= {name: jnp.where(which, distances, 0.0).sum(), f"{name}_pairs": which.astype(jnp.float32).sum()}
        return summed

    def metrics(sums: Mapping[str, float]) -> dict[str, float]:
        shares = {
            "loss": ("loss", "counted"),
            "batch_recall": ("found", "count"),
            "same_distance": ("same", "same_pairs"),
            "other_distance": ("other", "other_pairs"),
        }
        if good := {"prototypes": "batch_accuracy", "triplet": "active"}.get(config.loss):
            shares[good] = ("good", "counted")
        return {name: sums[total] / max(sums[count], 1.0) for name, (total, count) in shares.items()}

    return Task(
        "embedding", ("labels",), images_only, loss, sums, _decode, metrics, _save, _describe, ranks=(0,),
        per_class=config.per_class,
    )  # fmt: skip


def squared_distances(a: jax.Array, b: jax.Array) -> jax.Array:
    """Compute the squared Euclidean distances of vectors (N, D) and (M, D): (N, M)."""
    products = jnp.matmul(a, b.T, precision=jax.lax.Precision.HIGHEST)
    return jnp.maximum(jnp.square(a).sum(axis=1)[:, None] + jnp.square(b).sum(axis=1)[None] - 2.0 * products, 0.0)


def _alike(batch: Batch) -> tuple[jax.Array, jax.Array]:
    """Return which examples are of one class, and which are real, both (N, N); an example is like itself."""
    labels, mask = batch["labels"], batch["mask"] > 0
    real = mask[:, None] & mask[None]
    return (labels[:, None] == labels[None]) & real, real


def _pairs(vectors: jax.Array, batch: Batch) -> Pairs:
    alike, real = _alike(batch)
    itself = jnp.eye(vectors.shape[0], dtype=bool)
    return Pairs(squared_distances(vectors, vectors), alike & ~itself, real & ~alike)


def _prototypes(vectors: jax.Array, batch: Batch, shots: int) -> Judged:
    """Judge all examples but the first `shots` of each class by the nearest mean of those."""
    alike, _ = _alike(batch)
    n, real = vectors.shape[0], batch["mask"] > 0
    rank = (alike & jnp.tri(n, k=-1, dtype=bool)).sum(axis=1)  # how many of its class come before
    support = (alike & (real & (rank < shots))[None]).astype(jnp.float32)
    prototypes = jnp.matmul(support, vectors, precision=jax.lax.Precision.HIGHEST)
    prototypes = prototypes / jnp.maximum(support.sum(axis=1), 1.0)[:, None]
    first = (real & (rank == 0))[None]  # the column that stands for its class
    logits = jnp.where(first, -squared_distances(vectors, prototypes), -FAR)
    loss = -jnp.where(alike & first, jax.nn.log_softmax(logits), 0.0).sum(axis=1)
    right = jnp.take_along_axis(alike, logits.argmax(axis=1)[:, None], axis=1)[:, 0]
    query = real & (rank >= shots)
    return Judged(loss, query.astype(jnp.float32), right.astype(jnp.float32))


def _triplets(pairs: Pairs, margin: float) -> Judged:
    """Judge each example by the furthest of its class and the nearest of another."""
    furthest = jnp.where(pairs.same, pairs.squares, 0.0).max(axis=1)
    nearest = jnp.where(pairs.other, pairs.squares, FAR).min(axis=1)
    counted = pairs.same.any(axis=1) & pairs.other.any(axis=1)
    loss = jnp.maximum(jnp.sqrt(furthest + LEAST_SQUARE) - jnp.sqrt(nearest + LEAST_SQUARE) + margin, 0.0)
    return Judged(loss, counted.astype(jnp.float32), (loss > 0).astype(jnp.float32))


def _contrasts(pairs: Pairs, margin: float) -> Judged:
    """Judge each example by its mean over pairs of its class, and over pairs with others."""
    short = jnp.square(jnp.maximum(margin - jnp.sqrt(pairs.squares + LEAST_SQUARE), 0.0))
    loss = jnp.zeros(pairs.squares.shape[0], jnp.float32)
    for values, which in ((pairs.squares, pairs.same), (short, pairs.other)):
        loss = loss + jnp.where(which, values, 0.0).sum(axis=1) / jnp.maximum(which.sum(axis=1), 1).astype(jnp.float32)
    counted = pairs.same.any(axis=1) | pairs.other.any(axis=1)
    return Judged(loss, counted.astype(jnp.float32), jnp.zeros_like(loss))


def _decode(vectors: jax.Array) -> dict[str, jax.Array]:
    return {"vectors": vectors.astype(jnp.float32)}


def _save(predictions: Arrays, split: Arrays) -> dict[str, np.ndarray]:
    return {"labels": np.asarray(split["labels"]).astype(np.int32), "vectors": predictions["vectors"]}


def _describe(prediction: Arrays, class_names: Sequence[str], top: int) -> dict[str, Any]:
    vector = prediction["vectors"]
    return {"text": f"a vector of {len(vector)} numbers, length {np.linalg.norm(vector):.3f}", "vector": vector}


register_task(Embedding, embedding)
