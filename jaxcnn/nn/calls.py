"""How any Flax module is called: its switch between training and inference, its mask, the dtype of its layers."""

from __future__ import annotations

import inspect
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn

FLAGS = {"train": True, "training": True, "is_training": True, "deterministic": False, "use_running_average": False}
"""Names of the switch between training and inference, each with its value in training."""


def set_mode(module: nn.Module, *, train: bool, mask: jax.Array | None = None) -> tuple[nn.Module, dict[str, Any]]:
    """Return a module and the keyword arguments of its call that switch it to training or to inference.

    The switch is an argument of `__call__` with one of the names in `FLAGS`, or else a field of the module with such a
    name. `mask` is passed to a call that has such an argument. A call with `**keywords` gets `train` and `mask`.
    """
    parameters, values = call_parameters(module), {name: train == value for name, value in FLAGS.items()}
    anything = any(each.kind is inspect.Parameter.VAR_KEYWORD for each in parameters.values())
    keywords: dict[str, Any] = {name: value for name, value in values.items() if name in parameters}
    if anything and not keywords:
        keywords = {"train": train}
    elif not keywords and (fields := _switch_fields(module)):
        chosen: dict[str, Any] = {name: values[name] for name in fields}
        module = module.clone(**chosen)
    return module, keywords | ({"mask": mask} if anything or "mask" in parameters else {})


def infer(module: nn.Module, variables: Any, *inputs: Any) -> Any:
    """Return a module's outputs in inference mode; nothing but its inputs and variables counts.

    >>> infer(nn.Dense(3), {"params": {"kernel": jnp.ones((2, 3)), "bias": jnp.zeros(3)}}, jnp.ones((1, 2))).tolist()
    [[2.0, 2.0, 2.0]]
    """
    module, settings = set_mode(module, train=False)
    return module.apply(variables, *inputs, **settings)


def has_switch(module: nn.Module) -> bool:
    """Return whether `set_mode` can switch a module."""
    parameters = call_parameters(module)
    anything = any(each.kind is inspect.Parameter.VAR_KEYWORD for each in parameters.values())
    return anything or not parameters.keys().isdisjoint(FLAGS) or bool(_switch_fields(module))


def call_parameters(module: nn.Module) -> Mapping[str, inspect.Parameter]:
    """Return the parameters of a module's `__call__` by name; of a `Sequential` those of its first layer."""
    if isinstance(module, nn.Sequential):  # it hands its arguments to that layer
        first = module.layers[0] if module.layers else None
        return call_parameters(first) if isinstance(first, nn.Module) else {}
    return inspect.signature(type(module).__call__).parameters


def _switch_fields(module: nn.Module) -> list[str]:
    return [name for name in FLAGS if isinstance(getattr(module, name, ""), bool | None)]


def without_draws(call: Any, args: Any, kwargs: Any, context: nn.module.InterceptorContext) -> Any:
    """Call a layer with zeros for its initialisers, as `flax.linen.intercept_methods` wants it: only shapes count.

    Tracing what the initialisers of ours and Flax's layers draw takes up to 40 % of the time of counting parameters.
    """
    for name in ("kernel_init", "bias_init", "scale_init"):
        if callable(getattr(context.module, name, None)):
            object.__setattr__(context.module, name, nn.initializers.zeros)  # frozen; it lives for one call
    return call(*args, **kwargs)


@contextmanager
def compute_in(dtype: Any) -> Iterator[None]:
    """Let Flax layers without a dtype of their own compute in 16 bits while the block lasts; others change nothing.

    `flax.linen` layers take the wider of the dtypes of input and parameters, so float32 parameters would leave no
    layer in bfloat16. The layers of `jaxcnn.nn` compute in the dtype of their input already.
    """
    if not jnp.issubdtype(dtype, jnp.floating) or jnp.dtype(dtype).itemsize > 2:
        yield
        return

    def narrow(call: Any, args: Any, kwargs: Any, context: nn.module.InterceptorContext) -> Any:
        if getattr(context.module, "dtype", dtype) is None:
            object.__setattr__(context.module, "dtype", dtype)  # a module is frozen; this one lives for one call
        return call(*args, **kwargs)

    with nn.intercept_methods(narrow):
        yield
