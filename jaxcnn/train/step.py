"""The one definition of a training step and of an evaluation step."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import optax
from flax import linen

from jaxcnn.tasks import Batch, Sums, Task
from jaxcnn.train.state import TrainState, apply

TrainStep = Callable[[TrainState, Batch, jax.Array], tuple[TrainState, Sums]]
EvalStep = Callable[[TrainState, Batch], tuple[Sums, dict[str, jax.Array]]]
# (key, None in evaluation; batch; position of its first example in the whole batch) -> batch
Prepare = Callable[[jax.Array | None, Batch, int | jax.Array], Batch]


def make_train_step(
    module: linen.Module,
    tx: optax.GradientTransformation,
    task: Task,
    *,
    prepare: Prepare | None = None,
    axis_name: str | None = None,
) -> TrainStep:
    """The pure step `(state, batch, key) -> (state, sums)`; jit, pmap and the rest are applied in `parallel`.

    Args:
        module: Any Flax linen module.
        tx: The optimiser, an optax transformation.
        task: What the module is trained to do.
        prepare: (key, batch, start) -> batch on the device: normalisation and augmentation.
        axis_name: Name of the mapped axis where one step is spread over devices. The loss is divided by the weight of
            all devices together, so uneven masks change nothing.

    Returns:
        The step. Its key is the run's: the step folds its own number in, so the same (state, batch, key) gives the same
        result whatever came before.
    """

    def step(state: TrainState, batch: Batch, key: jax.Array) -> tuple[TrainState, Sums]:
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

        def loss_of(params: Any) -> tuple[jax.Array, tuple[Any, Any]]:
            variables = {"params": params, "batch_stats": state.batch_stats}
            outputs, stats = apply(
                module, variables, task.inputs(batch), train=True, mask=batch["mask"], key=dropout_key
            )
            total, weight = task.loss(outputs, batch)
            weight = _psum(jax.lax.stop_gradient(weight), axis_name)
            return total / jnp.maximum(weight, 1.0), (outputs, stats)

        grads, (outputs, stats) = jax.grad(loss_of, has_aux=True)(state.params)
        # Each device holds its share of one mean: the shares add up.
        grads = _psum(grads, axis_name)
        updates, opt_state = tx.update(grads, state.opt_state, state.params)
        params = optax.apply_updates(state.params, updates)
        if axis_name is not None:
            # With synchronised statistics these are equal already; with local ones the mean is what evaluation uses.
            stats = jax.lax.pmean(stats, axis_name)
        return TrainState(state.step + 1, params, stats, opt_state), _psum(task.sums(outputs, batch), axis_name)

    return step


def make_eval_step(
    module: linen.Module,
    task: Task,
    *,
    prepare: Prepare | None = None,
    axis_name: str | None = None,
    flips: bool = False,
) -> EvalStep:
    """The pure `(state, batch) -> (sums, predictions)`: running statistics, no dropout, padding masked out.

    With `flips` the outputs are the mean over each image and its mirror image.
    """

    def step(state: TrainState, batch: Batch) -> tuple[Sums, dict[str, jax.Array]]:
        if prepare is not None:
            batch = prepare(None, batch, 0)
        variables = {"params": state.params, "batch_stats": state.batch_stats}
        outputs, _ = apply(module, variables, task.inputs(batch), train=False, mask=batch["mask"])
        if flips:
            inputs = task.inputs({**batch, "images": batch["images"][:, :, ::-1]})
            mirrored, _ = apply(module, variables, inputs, train=False, mask=batch["mask"])
            outputs = jax.tree.map(lambda a, b: (a + b) / 2, outputs, mirrored)
        return _psum(task.sums(outputs, batch), axis_name), task.decode(outputs)

    return step


def _psum(tree: Any, axis_name: str | None) -> Any:
    return tree if axis_name is None else jax.lax.psum(tree, axis_name)
