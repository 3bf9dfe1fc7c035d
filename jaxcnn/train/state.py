"""The state of a training run: arrays only."""

import inspect
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from flax import linen

from jaxcnn.train.drawing import drawn


class TrainState(NamedTuple):
    """Everything that a step changes. A resume needs this and nothing else.

    Args:
        step: int32 scalar, steps done.
        params: Trainable arrays, the module's `params` collection.
        batch_stats: Running statistics of batch norm, `{}` where a module has none.
        opt_state: The optimiser's arrays; learning rate and weight decay among them.
    """

    step: jax.Array
    params: Any
    batch_stats: Any
    opt_state: Any


def call_keywords(module: linen.Module) -> frozenset[str]:
    """Which of `train` and `mask` the module's `__call__` accepts: a user's module need have neither."""
    signature = inspect.signature(type(module).__call__)
    if any(p.kind is inspect.Parameter.VAR_KEYWORD for p in signature.parameters.values()):
        return frozenset({"train", "mask"})
    return frozenset(signature.parameters) & {"train", "mask"}


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
        train: Batch statistics are used and updated, dropout acts.
        mask: (N,) float; 0 marks padding that batch statistics must not see.
        key: PRNG key of dropout; needed where train is true and the module has dropout.

    Returns:
        The module's outputs and its new batch_stats (unchanged unless train).
    """
    accepted = call_keywords(module)
    keywords = {name: value for name, value in {"train": train, "mask": mask}.items() if name in accepted}
    rngs = {"dropout": key} if key is not None else None
    stats = variables.get("batch_stats", {})
    if not train:
        return module.apply(variables, *inputs, rngs=rngs, **keywords), stats
    outputs, changed = module.apply(variables, *inputs, rngs=rngs, mutable=["batch_stats"], **keywords)
    return outputs, changed.get("batch_stats", stats)


def make_init(
    module: linen.Module, tx: optax.GradientTransformation, input_shape: tuple[int, ...]
) -> Callable[[jax.Array], TrainState]:
    """key -> a fresh state for images of `input_shape` (H, W, C); equal keys give equal states (see `drawing`)."""

    def init(key: jax.Array) -> TrainState:
        images = jnp.zeros((1, *input_shape), jnp.float32)
        keywords: dict[str, Any] = {"train": False} if "train" in call_keywords(module) else {}
        variables = module.init(key, images, **keywords)
        params = variables["params"]
        return TrainState(jnp.int32(0), params, variables.get("batch_stats", {}), tx.init(params))

    return drawn(init)
