"""Reading: the characters of a line, without places; connectionist temporal classification (CTC).

Reference: Graves, Fernández, Gomez and Schmidhuber, "Connectionist temporal classification", 2006.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

from jaxcnn import ops
from jaxcnn.errors import InputError
from jaxcnn.spec import Reading
from jaxcnn.tasks.task import Arrays, Batch, Sums, Task, images_only, register_task


def reading(config: Reading | None = None) -> Task:
    """Make the task of reading a line; batches hold `images`, `labels` (N, L) int32, -1 for padding, `mask` (N,).

    Outputs are logits (N, T, K + 1), one row for each of T columns; class K is the blank. The loss is CTC's, a mean
    over lines. `character_error` is the edit distance of the characters that are read to those that are there, over all
    lines together, divided by the number of the latter; `line_accuracy` is the share of lines without a mistake.

    >>> reading().metrics({"loss": 3.0, "count": 2.0, "edits": 1.0, "characters": 20.0, "right": 1.0})
    {'loss': 1.5, 'character_error': 0.05, 'line_accuracy': 0.5}
    """

    def per_line(logits: jax.Array, batch: Batch) -> jax.Array:
        labels = batch["labels"]
        if getattr(logits, "ndim", 0) != 3:
            raise InputError("outputs: reading needs logits (N, columns, characters); choose head='reader'")
        if logits.shape[1] < labels.shape[1]:
            raise InputError(
                f"outputs: {logits.shape[1]} columns cannot hold {labels.shape[1]} characters; choose wider images "
                "(data.size), or a model whose last map is larger"
            )
        padding = (labels < 0).astype(jnp.float32)
        # Rank and dtype promotion are optax's own matter.
        with jax.numpy_dtype_promotion("standard"), jax.numpy_rank_promotion("allow"):
            loss = optax.losses.ctc_loss(
                logits.astype(jnp.float32), jnp.zeros(logits.shape[:2], jnp.float32), jnp.maximum(labels, 0), padding,
                blank_id=logits.shape[2] - 1,
            )  # fmt: skip
        return jnp.maximum(loss, 0.0)  # rounding makes sure lines negative

    def loss(logits: jax.Array, batch: Batch) -> tuple[jax.Array, jax.Array]:
        return (per_line(logits, batch) * batch["mask"]).sum(), batch["mask"].sum()

    def sums(logits: jax.Array, batch: Batch) -> Sums:
        labels, mask = batch["labels"], batch["mask"]
        edits = ops.edit_distance(read_greedily(logits)[0], labels).astype(jnp.float32)
        characters = (labels >= 0).sum(axis=1).astype(jnp.float32)
        values = {
            "loss": per_line(logits, batch),
            "edits": edits,
            "characters": characters,
            "right": (edits == 0).astype(jnp.float32),
        }
        return {name: (value * mask).sum() for name, value in values.items()} | {"count": mask.sum()}

    return Task("reading", ("labels",), images_only, loss, sums, _decode, _metrics, _save, _describe, ranks=(1,))


def read_greedily(logits: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Read the likeliest class of each column, repetitions once and blanks left out.

    Args:
        logits: (N, T, K + 1); class K is the blank.

    Returns:
        Characters (N, T) int32, -1 after the last, and their probabilities (N, T), 0 there.

    >>> logits = 9 * jax.nn.one_hot(jnp.array([[0, 0, 2, 0, 1, 2]]), 3)
    >>> read_greedily(logits)[0].tolist()
    [[0, 0, 1, -1, -1, -1]]
    """
    p = jax.nn.softmax(logits.astype(jnp.float32))
    best = p.argmax(axis=2).astype(jnp.int32)
    before = jnp.pad(best[:, :-1], ((0, 0), (1, 0)), constant_values=-1)
    kept = (best != logits.shape[2] - 1) & (best != before)
    order = jnp.argsort(~kept, axis=1, stable=True)
    kept = jnp.take_along_axis(kept, order, axis=1)
    characters = jnp.where(kept, jnp.take_along_axis(best, order, axis=1), -1)
    return characters, jnp.where(kept, jnp.take_along_axis(p.max(axis=2), order, axis=1), 0.0)


def _decode(logits: jax.Array) -> dict[str, jax.Array]:
    characters, p = read_greedily(logits)
    return {"predictions": characters, "probabilities": p}


def _metrics(sums: Mapping[str, float]) -> dict[str, float]:
    count = max(sums["count"], 1.0)
    return {
        "loss": sums["loss"] / count,
        "character_error": sums["edits"] / max(sums["characters"], 1.0),
        "line_accuracy": sums["right"] / count,
    }


def _save(predictions: Arrays, split: Arrays) -> dict[str, np.ndarray]:
    read = predictions["predictions"]
    longest = max(int((read >= 0).sum(axis=1).max()), 1)
    return {
        "labels": np.asarray(split["labels"]).astype(np.int32),
        "predictions": read[:, :longest],
        "probabilities": predictions["probabilities"][:, :longest],
    }


def _describe(prediction: Arrays, class_names: Sequence[str], top: int) -> dict[str, Any]:
    read = prediction["predictions"] >= 0
    text = "".join(str(class_names[k]) for k in prediction["predictions"][read])
    return {"text": text, "line": text, "probabilities": prediction["probabilities"][read].tolist()}


register_task(Reading, reading)
