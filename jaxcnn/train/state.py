"""The state of a training run: arrays only."""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from flax import linen

from jaxcnn.nn.calls import compute_in, set_mode
from jaxcnn.ops.forms import as_written

UNOPTIMISED = {"xla_backend_optimization_level": 0}


class TrainState(NamedTuple):
    """Everything that a step changes. A resume needs this and nothing else.

    Args:
        step: int32 scalar, steps done.
        params: Trainable arrays, the module's `params` collection.
        batch_stats: Running statistics of batch norm, `{}` where a module has none.
        opt_state: The optimiser's arrays; learning rate and weight decay among them.
        skipped: int32 scalar, steps that changed nothing because their loss or gradients were not finite.
        ema: Moving averages of `params` and `batch_stats`, by these names; `{}` where none are kept.
    """

    step: jax.Array
    params: Any
    batch_stats: Any
    opt_state: Any
    skipped: jax.Array
    ema: Any

    @property
    def trained(self) -> dict[str, Any]:
        """Variables with which the model is evaluated: the averages where they are kept."""
        return self.ema or {"params": self.params, "batch_stats": self.batch_stats}

    def with_params(self, params: Any) -> "TrainState":
        """Return the state with other parameters, and averages that start there."""
        return self._replace(params=params, ema={**self.ema, "params": params} if self.ema else {})


def apply(
    module: linen.Module,
    variables: Mapping[str, Any],
    inputs: tuple[Any, ...],
    *,
    train: bool,
    mask: jax.Array | None = None,
    key: jax.Array | None = None,
) -> tuple[Any, Any]:
    """Call a module purely: (variables, inputs) -> (outputs, batch_stats).

    Args:
        variables: `params` and `batch_stats`.
        inputs: Positional arguments of the module, images (N, H, W, C) first.
        train: Batch statistics are used and updated, dropout acts (see `jaxcnn.nn.calls.set_mode`).
        mask: (N,) float; 0 marks padding that batch statistics must not see.
        key: PRNG key of dropout; needed where train is true and the module has dropout.

    Returns:
        The module's outputs and its new batch_stats (unchanged unless train).
    """
    module, keywords = set_mode(module, train=train, mask=mask)
    rngs = {"dropout": key} if key is not None else None
    stats = variables.get("batch_stats", {})
    with compute_in(inputs[0].dtype):
        if not train:
            return module.apply(variables, *inputs, rngs=rngs, **keywords), stats
        outputs, changed = module.apply(variables, *inputs, rngs=rngs, mutable=["batch_stats"], **keywords)
    return outputs, changed.get("batch_stats", stats)


def init_variables(module: linen.Module, input_shape: tuple[int, ...], key: jax.Array) -> dict[str, Any]:
    """Draw the `params` and `batch_stats` of a module for images of `input_shape` (H, W, C)."""
    images = jnp.zeros((1, *input_shape), jnp.float32)
    module, keywords = set_mode(module, train=False)
    with as_written():  # No value is kept, and the plain operation is the quickest to trace.
        variables = module.init(key, images, **keywords)
    return {"params": variables["params"], "batch_stats": variables.get("batch_stats", {})}


def by_path(tree: Any) -> dict[str, Any]:
    """Return the leaves by paths such as "block1/conv/kernel"; keys, fields and positions are spelled alike."""
    leaves = jax.tree_util.tree_leaves_with_path(tree)
    return {jax.tree_util.keystr(path, simple=True, separator="/"): leaf for path, leaf in leaves}


def make_init(
    module: linen.Module, tx: optax.GradientTransformation, input_shape: tuple[int, ...], *, ema: bool = False
) -> Callable[[jax.Array], TrainState]:
    """Make the function key -> a fresh state for images of `input_shape` (H, W, C); equal keys give equal states.

    Random kernels take long to optimise and run once, so the program is compiled without optimisation: ResNet-20 1.4 s
    instead of 16 s on two CPU cores.

    With `ema` the state keeps moving averages of the weights.

    >>> make_init(linen.Dense(10), optax.sgd(0.1), (64,))(jax.random.key(0)).params["kernel"].shape
    (64, 10)
    """

    def init(key: jax.Array) -> TrainState:
        variables = init_variables(module, input_shape, key)
        params, stats = variables["params"], variables["batch_stats"]
        averages = {"params": params, "batch_stats": stats} if ema else {}
        return TrainState(jnp.int32(0), params, stats, tx.init(params), jnp.int32(0), averages)

    return jax.jit(init, compiler_options=UNOPTIMISED)
