"""The loss of a network as a function of its parameters alone, for gradients, curvature and landscapes."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn

from jaxcnn.nn.calls import infer
from jaxcnn.tasks import Batch, Task


def mean_loss(
    module: nn.Module, variables: Mapping[str, Any], task: Task, batches: Sequence[Batch]
) -> Callable[[Any], jax.Array]:
    """Make the function params -> mean loss over batches, without weight decay.

    The module is called in inference: batch norm uses the running statistics of `variables`, nothing is dropped.

    Args:
        module: Any Flax module.
        variables: Its `params` and `batch_stats`; of these the params are the function's argument.
        task: Says the inputs and the loss; `jaxcnn.tasks.classification()` for logits.
        batches: Batches of one size, as the task takes them: images, labels, mask.

    Raises:
        ValueError: There is no batch.

    >>> from jaxcnn.tasks import classification
    >>> batch = {"images": jnp.ones((2, 1)), "labels": jnp.array([0, 1]), "mask": jnp.ones(2)}
    >>> params = {"kernel": jnp.zeros((1, 2)), "bias": jnp.zeros(2)}
    >>> round(float(mean_loss(nn.Dense(2), {"params": params}, classification(), [batch])(params)), 4)
    0.6931
    """
    if not batches:
        raise ValueError("batches is empty; give at least one")
    stacked = jax.tree.map(lambda *parts: jnp.stack([jnp.asarray(part) for part in parts]), *batches)
    others = {name: value for name, value in variables.items() if name != "params"}

    def loss(params: Any) -> jax.Array:
        # The activations of one batch are in memory at a time, in the backward pass as well.
        @jax.checkpoint
        def add(sums: tuple[jax.Array, jax.Array], batch: Batch) -> tuple[tuple[jax.Array, jax.Array], None]:
            outputs = infer(module, {**others, "params": params}, *task.inputs(batch))
            total, weight = task.loss(outputs, batch)
            return (sums[0] + total, sums[1] + weight), None

        (total, weight), _ = jax.lax.scan(add, (jnp.float32(0), jnp.float32(0)), stacked)
        return total / weight

    return loss
