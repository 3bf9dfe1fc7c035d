"""The one definition of a training step and of an evaluation step."""

from collections.abc import Callable
from typing import Any, Literal

import jax
import jax.numpy as jnp
import optax
from flax import linen

from jaxcnn.tasks import Batch, Sums, Task
from jaxcnn.train.gradients import Gradients, Prepare, make_gradients, psum
from jaxcnn.train.state import TrainState, apply

TrainStep = Callable[[TrainState, Batch, jax.Array], tuple[TrainState, Sums]]
EvalStep = Callable[[TrainState, Batch], tuple[Sums, dict[str, jax.Array]]]

INFINITE = 0x7F800000  # the exponent of float32 infinities and NaN
NONFINITE = "nonfinite"
"""Name of the sum that counts steps whose loss or gradients were not finite."""
Nonfinite = Literal["report", "halt", "skip"]


def make_train_step(
    module: linen.Module,
    tx: optax.GradientTransformation,
    task: Task,
    *,
    prepare: Prepare | None = None,
    axis_name: str | None = None,
    accumulate: int = 1,
    ema: float | None = None,
    nonfinite: Nonfinite = "report",
) -> TrainStep:
    """The pure step `(state, batch, key) -> (state, sums)`; jit, pmap and the rest are applied in `parallel`.

    Args:
        module: Any Flax linen module.
        tx: The optimiser, an optax transformation.
        task: What the module is trained to do.
        prepare: (key, batch, start) -> batch on the device: normalisation and augmentation.
        axis_name: Name of the mapped axis where one step is spread over devices. The loss is divided by the weight of
            all devices together, so uneven masks change nothing.
        accumulate: Parts in which a batch is computed; see `make_gradients`.
        ema: Decay a step of the moving averages in the state; None: it holds none. Early on they move faster, by
            1 - (1 + step) / (10 + step), or they would remember the initial weights (as TensorFlow's
            ExponentialMovingAverage does with `num_updates`).
        nonfinite: What is done about a loss or gradients that are not finite. report: nothing, but the sums say where
            the loss is not (looking at every gradient must be compiled too). halt: such a step changes no array,
            nor does any later one, so that the state stays as it was before the first of them, for whoever looks into
            it. skip: it changes no array, it is counted, and training goes on.

    Returns:
        The step. Its key is the run's: the step folds its own number in, so the same (state, batch, key) gives the same
        result whatever came before. Its sums are the task's, and `NONFINITE`.
    """
    gradients = make_gradients(module, task, prepare=prepare, axis_name=axis_name, accumulate=accumulate)

    def moved(state: TrainState, found: Gradients) -> TrainState:
        updates, opt_state = tx.update(found.grads, state.opt_state, state.params)
        params = optax.apply_updates(state.params, updates)
        averages = _averages(state, {"params": params, "batch_stats": found.batch_stats}, ema)
        return TrainState(state.step + 1, params, found.batch_stats, opt_state, state.skipped, averages)

    def reporting(state: TrainState, batch: Batch, key: jax.Array) -> tuple[TrainState, Sums]:
        found = gradients(state, batch, key)
        return moved(state, found), found.sums | _counted(jnp.isfinite(found.loss))

    def guarded(state: TrainState, batch: Batch, key: jax.Array) -> tuple[TrainState, Sums]:
        found, skip = gradients(state, batch, key), nonfinite == "skip"
        good = jnp.isfinite(found.loss) & _finite(found.grads)
        if not skip:
            good &= state.skipped == 0
        stay = state._replace(step=state.step + int(skip), skipped=state.skipped + 1)
        sums = {name: jnp.where(good, value, 0) for name, value in found.sums.items()}
        return _either(good, lambda: moved(state, found), lambda: stay), sums | _counted(good)

    return reporting if nonfinite == "report" else guarded


def _counted(good: jax.Array) -> Sums:
    return {NONFINITE: 1.0 - good.astype(jnp.float32)}


def _either(good: jax.Array, move: Callable[[], TrainState], stay: Callable[[], TrainState]) -> TrainState:
    """One or the other: by a branch on a CPU, by a choice for every array on accelerators, which do not wait for it."""

    def choose(good: jax.Array) -> TrainState:
        return jax.tree.map(lambda new, old: jnp.where(good, new, old), move(), stay())

    return jax.lax.platform_dependent(good, cpu=lambda good: jax.lax.cond(good, move, stay), default=choose)


def _finite(grads: Any) -> jax.Array:
    """Whether the gradients are, by their exponents: integers, whose maximum a CPU finds many at a time."""
    largest = jnp.int32(0)
    for leaf in jax.tree.leaves(grads):
        exponents = jax.lax.bitcast_convert_type(leaf.astype(jnp.float32), jnp.int32) & INFINITE
        largest = jnp.maximum(largest, exponents.max())
    return largest < INFINITE


def _averages(state: TrainState, now: dict[str, Any], decay: float | None) -> Any:
    if decay is None:
        return state.ema
    done = state.step.astype(jnp.float32)
    keep = jnp.minimum(decay, (1 + done) / (10 + done))
    return jax.tree.map(lambda average, value: keep * average + (1 - keep) * value, state.ema, now)


def make_eval_step(
    module: linen.Module,
    task: Task,
    *,
    prepare: Prepare | None = None,
    axis_name: str | None = None,
    flips: bool = False,
) -> EvalStep:
    """The pure `(state, batch) -> (sums, predictions)`: running statistics, no dropout, padding masked out.

    Where the state keeps moving averages of the weights, the model has those. With `flips` the outputs are the mean
    over each image and its mirror image.
    """

    def step(state: TrainState, batch: Batch) -> tuple[Sums, dict[str, jax.Array]]:
        if prepare is not None:
            batch = prepare(None, batch, 0)
        variables = state.trained
        outputs, _ = apply(module, variables, task.inputs(batch), train=False, mask=batch["mask"])
        if flips:
            inputs = task.inputs({**batch, "images": batch["images"][:, :, ::-1]})
            mirrored, _ = apply(module, variables, inputs, train=False, mask=batch["mask"])
            outputs = jax.tree.map(lambda a, b: (a + b) / 2, outputs, mirrored)
        return psum(task.sums(outputs, batch), axis_name), task.decode(outputs)

    return step
