"""Frozen layers: in inference mode while the others are trained, and no gradient passes through them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn

from jaxcnn.nn.calls import call_parameters
from jaxcnn.ops.forms import as_written


@contextmanager
def frozen_layers(names: tuple[str, ...]) -> Iterator[None]:
    """Call layers in inference mode, without gradients, while the block lasts: their batch norm and dropout too.

    Args:
        names: Top-level names of the layers. No layer before a frozen one may be trained: it would get no gradient.

    >>> with frozen_layers(("conv1",)):
    ...     pass
    """

    def call_frozen(call: Any, args: Any, kwargs: Any, context: nn.module.InterceptorContext) -> Any:
        path = context.module.path
        if context.method_name != "__call__" or not path or path[0] not in names:
            return call(*args, **kwargs)
        if "train" in (parameters := list(call_parameters(context.module))):
            place = parameters.index("train") - 1  # without self
            args, kwargs = (*args[:place], False, *args[place + 1 :]) if len(args) > place else args, dict(kwargs)
            if len(args) <= place:
                kwargs["train"] = False
        return jax.lax.stop_gradient(call(*args, **kwargs))

    with nn.intercept_methods(call_frozen):
        yield


def layer_order(module: nn.Module, image_shape: tuple[int, ...]) -> tuple[str, ...]:
    """Return the top-level names of a module's layers in the order of their calls, for images (H, W, C).

    >>> layer_order(nn.Sequential([nn.Dense(2), nn.Dense(3)]), (4, 4, 1))
    ('layers_0', 'layers_1')
    """
    names = dict[str, None]()

    def note(call: Any, args: Any, kwargs: Any, context: nn.module.InterceptorContext) -> Any:
        if context.method_name == "__call__" and context.module.path:
            names.setdefault(context.module.path[0])
        return call(*args, **kwargs)

    with as_written(), nn.intercept_methods(note):
        jax.eval_shape(module.init, jax.random.key(0), jnp.zeros((1, *image_shape)))
    return tuple(names)
