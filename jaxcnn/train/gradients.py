"""Loss and gradients of one batch, for the training step and for a look at a step that went wrong."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from flax import linen

from jaxcnn.tasks import Batch, Sums, Task
from jaxcnn.train.state import TrainState, apply

# (key, None in evaluation; batch; position of its first example in the whole batch) -> batch
Prepare = Callable[[jax.Array | None, Batch, int | jax.Array], Batch]


class Gradients(NamedTuple):
    """Result of one batch, over all devices together.

    Args:
        loss: float32 scalar, the mean that is minimised.
        grads: Its gradients, as the parameters.
        batch_stats: New running statistics.
        sums: The task's sums.
    """

    loss: jax.Array
    grads: Any
    batch_stats: Any
    sums: Sums


GradientsOf = Callable[[TrainState, Batch, jax.Array], Gradients]


def make_gradients(
    module: linen.Module,
    task: Task,
    *,
    prepare: Prepare | None = None,
    axis_name: str | None = None,
    accumulate: int = 1,
) -> GradientsOf:
    """Make the pure function (state, batch, key) -> Gradients.

    Args:
        module: Any Flax linen module.
        task: What the module is trained to do.
        prepare: (key, batch, start) -> batch on the device.
        axis_name: Name of the mapped axis where a batch is spread over devices.
        accumulate: Number of micro-batches, computed one after another, so that the activations of one are in memory
            at a time. The gradient is that of the whole batch; batch norm takes its statistics from each micro-batch.
    """

    def gradients(state: TrainState, batch: Batch, key: jax.Array) -> Gradients:
        prepare_key, dropout_key = jax.random.split(jax.random.fold_in(key, state.step))
        start = 0
        if axis_name is not None:
            # Examples are augmented by their position in the whole batch, on however many devices it lies.
            device = jax.lax.axis_index(axis_name)
            start = device * len(batch["mask"])
            if getattr(module, "axis_name", None) is None:
                # Its dropout knows of no other devices, and theirs must differ; one that does draws for all of them.
                dropout_key = jax.random.fold_in(dropout_key, device)
        if prepare is not None:
            batch = prepare(prepare_key, batch, start)

        def loss_of(params: Any, stats: Any, part: Batch, part_key: jax.Array, whole: Any) -> tuple[jax.Array, Any]:
            """Compute the micro-batch's share of the mean and its outputs; `whole` is the weight of the whole batch."""
            outputs, stats = apply(
                module, {"params": params, "batch_stats": stats}, task.inputs(part),
                train=True, mask=part["mask"], key=part_key,
            )  # fmt: skip
            total, weight = task.loss(outputs, part)
            weight = psum(jax.lax.stop_gradient(weight), axis_name)
            return total / (_divisor(weight) if whole is None else whole), (outputs, stats, weight)

        descend = jax.value_and_grad(loss_of, has_aux=True)
        if accumulate == 1:
            (loss, (outputs, stats, _)), grads = descend(state.params, state.batch_stats, batch, dropout_key, None)
            sums = task.sums(outputs, batch)
        else:
            loss, grads, stats, sums = _in_parts(descend, task, state, _parts(batch, accumulate), dropout_key)
        # Each device holds its share of one mean: the shares add up.
        loss, grads, sums = psum((loss, grads, sums), axis_name)
        if axis_name is not None:
            # With synchronised statistics these are equal already; with local ones the mean is what evaluation uses.
            stats = jax.lax.pmean(stats, axis_name)
        return Gradients(loss, grads, stats, sums)

    return gradients


def _divisor(weight: jax.Array) -> jax.Array:
    """Return the divisor of a loss: its weight, or 1 for a batch of padding alone, whose loss is 0."""
    return jnp.where(weight > 0, weight, 1.0)


def _in_parts(descend: Any, task: Task, state: TrainState, parts: list[Batch], key: jax.Array) -> tuple:
    """Compute loss, gradients, statistics and sums of a batch, one micro-batch at a time."""
    stats, gathered, weight = state.batch_stats, None, jnp.float32(0)
    for number, part in enumerate(parts):
        if gathered is not None:
            # A part begins when the one before it is done, or all activations would be in memory together.
            part, gathered = jax.lax.optimization_barrier((part, gathered))
        (share, (outputs, stats, more)), grads = descend(
            state.params, stats, part, jax.random.fold_in(key, number), jnp.float32(1)
        )
        found, weight = (share, grads, task.sums(outputs, part)), weight + more
        gathered = found if gathered is None else jax.tree.map(jnp.add, gathered, found)
    assert gathered is not None
    loss, grads, sums = gathered
    whole = _divisor(weight)
    return loss / whole, jax.tree.map(lambda g: g / whole, grads), stats, sums


def _parts(batch: Batch, count: int) -> list[Batch]:
    """Split a batch into micro-batches of every count-th example, so that each device keeps its share of every part.

    A batch that does not divide is filled up with masked examples.
    """
    missing = -len(batch["mask"]) % count

    def padded(values: jax.Array) -> jax.Array:
        return jnp.pad(values, [(0, missing)] + [(0, 0)] * (values.ndim - 1)) if missing else values

    whole = {name: padded(values) for name, values in batch.items()}
    return [{name: values[part::count] for name, values in whole.items()} for part in range(count)]


def psum(tree: Any, axis_name: str | None) -> Any:
    """Sum a tree over a mapped axis; without one return it unchanged."""
    return tree if axis_name is None else jax.lax.psum(tree, axis_name)
