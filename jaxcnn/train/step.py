"""The one definition of a training step and of an evaluation step."""

from collections.abc import Callable
from typing import Any

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


def make_train_step(
    module: linen.Module,
    tx: optax.GradientTransformation,
    task: Task,
    *,
    prepare: Prepare | None = None,
    axis_name: str | None = None,
    accumulate: int = 1,
    ema: float | None = None,
    skip_nonfinite: bool = False,
) -> TrainStep:
    """Make the pure step `(state, batch, key) -> (state, sums)`; jit, pmap and the rest are applied in `parallel`.

    Args:
        module: Any Flax linen module.
        tx: Any optax transformation; one that asks for `value` (reduce_on_plateau) gets the loss of the batch.
        prepare: (key, batch, start) -> batch on the device: normalisation and augmentation.
        axis_name: Name of the mapped axis where one step is spread over devices. The loss is divided by the weight of
            all devices together, so uneven masks change nothing.
        accumulate: Parts in which a batch is computed; see `make_gradients`.
        ema: Decay a step of the moving averages in the state; None: it holds none. Early on they move faster, by
            1 - (1 + step) / (10 + step), or they would remember the initial weights (as TensorFlow's
            ExponentialMovingAverage does with `num_updates`).
        skip_nonfinite: A step whose loss or gradients are not finite changes no array and is counted. False: the step
            is applied, and the sums count losses that are not finite (a look at every gradient costs compile time).

    Returns:
        The step. Its key is the run's: the step folds its own number in, so the same (state, batch, key) gives the same
        result whatever came before. Its sums are the task's, and `NONFINITE`.

    >>> from jaxcnn.tasks import classification
    >>> from jaxcnn.train import make_init
    >>> module, tx, key = linen.Dense(10), optax.sgd(0.1), jax.random.key(0)
    >>> step, state = make_train_step(module, tx, classification()), make_init(module, tx, (64,))(key)
    >>> batch = {"images": jnp.ones((8, 64)), "labels": jnp.zeros(8, jnp.int32), "mask": jnp.ones(8)}
    >>> state, sums = step(state, batch, key)
    >>> int(state.step), float(sums["count"])
    (1, 8.0)
    """
    gradients = make_gradients(module, task, prepare=prepare, axis_name=axis_name, accumulate=accumulate)
    update: Any = optax.with_extra_args_support(tx).update

    def moved(state: TrainState, found: Gradients) -> TrainState:
        updates, opt_state = update(found.grads, state.opt_state, state.params, value=found.loss)
        params = optax.apply_updates(state.params, updates)
        averages = _averages(state, {"params": params, "batch_stats": found.batch_stats}, ema)
        return TrainState(state.step + 1, params, found.batch_stats, opt_state, state.skipped, averages)

    def reporting(state: TrainState, batch: Batch, key: jax.Array) -> tuple[TrainState, Sums]:
        found = gradients(state, batch, key)
        return moved(state, found), found.sums | _counted(jnp.isfinite(found.loss))

    def guarded(state: TrainState, batch: Batch, key: jax.Array) -> tuple[TrainState, Sums]:
        found = gradients(state, batch, key)
        good = jnp.isfinite(found.loss) & _finite(found.grads)
        stay = state._replace(step=state.step + 1, skipped=state.skipped + 1)
        sums = {name: jnp.where(good, value, 0) for name, value in found.sums.items()}
        return _either(good, lambda: moved(state, found), lambda: stay), sums | _counted(good)

    return guarded if skip_nonfinite else reporting


def _counted(good: jax.Array) -> Sums:
    return {NONFINITE: 1.0 - good.astype(jnp.float32)}


def _either(good: jax.Array, move: Callable[[], TrainState], stay: Callable[[], TrainState]) -> TrainState:
    """Select one of two states: by a branch on a CPU, by `where` for every array on accelerators."""

    def choose(good: jax.Array) -> TrainState:
        return jax.tree.map(lambda new, old: jnp.where(good, new, old), move(), stay())

    return jax.lax.platform_dependent(good, cpu=lambda good: jax.lax.cond(good, move, stay), default=choose)


def _finite(grads: Any) -> jax.Array:
    """Return whether all gradients are finite, by the largest exponent: a CPU finds it many at a time (SIMD)."""
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
) -> EvalStep:
    """Make the pure `(state, batch) -> (sums, predictions)`: running statistics, no dropout, padding masked out.

    Where the state keeps moving averages of the weights, the model uses those. Where the task asks for `test_flips` the
    outputs are the mean over each image and its mirror image.

    >>> from jaxcnn.tasks import classification
    >>> from jaxcnn.train import make_init
    >>> module, key = linen.Dense(10), jax.random.key(0)
    >>> state = make_init(module, optax.sgd(0.1), (64,))(key)
    >>> batch = {"images": jnp.ones((8, 64)), "labels": jnp.zeros(8, jnp.int32), "mask": jnp.ones(8)}
    >>> sums, predictions = make_eval_step(module, classification())(state, batch)
    >>> predictions["probabilities"].shape
    (8, 10)
    """
    forward = make_forward(module, task, prepare=prepare)

    def step(state: TrainState, batch: Batch) -> tuple[Sums, dict[str, jax.Array]]:
        outputs = forward(state, batch)
        return psum(task.sums(outputs, batch), axis_name), task.decode(outputs)

    return step


def make_forward(
    module: linen.Module, task: Task, *, prepare: Prepare | None = None
) -> Callable[[TrainState, Batch], Any]:
    """Make the pure `(state, batch) -> outputs` of evaluation; the batch needs no targets."""

    def forward(state: TrainState, batch: Batch) -> Any:
        if prepare is not None:
            batch = prepare(None, batch, 0)
        outputs, _ = apply(module, state.trained, task.inputs(batch), train=False, mask=batch["mask"])
        if task.test_flips:
            inputs = task.inputs({**batch, "images": batch["images"][:, :, ::-1]})
            mirrored, _ = apply(module, state.trained, inputs, train=False, mask=batch["mask"])
            outputs = jax.tree.map(lambda a, b: (a + b) / 2, outputs, mirrored)
        return outputs

    return forward
