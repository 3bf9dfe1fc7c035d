"""A module's operations as JAX traces them, each marked with the call of the submodule that it serves."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
from flax import linen as nn

from jaxcnn.nn.calls import infer, without_draws
from jaxcnn.ops.forms import as_written

MARK = "jaxcnn_layer_"


class Call(NamedTuple):
    """One call of a submodule: its path, class, method, and the output's shape of one example."""

    path: tuple[str, ...]
    kind: str
    method: str
    output_shape: tuple[int, ...]


def trace_calls(module: nn.Module, variables: Any, inputs: Sequence[Any]) -> tuple[list[Call], Any]:
    """Trace a module in inference, with every call of a submodule under a scope of its own name.

    Args:
        module: Any Flax module.
        variables: Its variables, arrays or their shapes.
        inputs: Its inputs, arrays or their shapes.

    Returns:
        The calls in order, and the closed jaxpr of (variables, *inputs); `call_of` finds the call of an operation.

    >>> from flax import linen
    >>> calls, _ = trace_calls(linen.Dense(3), {"params": {"kernel": jax.numpy.ones((2, 3)),
    ...     "bias": jax.numpy.ones(3)}}, [jax.ShapeDtypeStruct((1, 2), jax.numpy.float32)])
    >>> [(call.kind, call.output_shape) for call in calls]
    [('Dense', (3,))]
    """
    calls: list[Call] = []

    def mark(call: Any, args: Any, kwargs: Any, context: nn.module.InterceptorContext) -> Any:
        if context.method_name == "setup":  # the call itself follows
            return call(*args, **kwargs)
        index = len(calls)
        calls.append(Call(context.module.path, type(context.module).__name__, context.method_name, ()))
        with jax.named_scope(f"{MARK}{index}"):
            out = call(*args, **kwargs)
        arrays = [leaf for leaf in jax.tree.leaves(out) if hasattr(leaf, "shape")]
        calls[index] = calls[index]._replace(output_shape=tuple(arrays[0].shape[1:]) if arrays else ())
        return out

    def apply(variables: Any, *inputs: jax.Array) -> Any:
        with nn.intercept_methods(without_draws), nn.intercept_methods(mark):
            return infer(module, variables, *inputs)

    with as_written():  # What the network is, not in which form this platform computes it.
        return calls, jax.make_jaxpr(apply)(variables, *inputs)


def call_of(eqn: Any, outer: int | None) -> int | None:
    """Return the index of the innermost call that an equation serves; `outer`, that of the equation around it, if none.

    >>> jaxpr = jax.make_jaxpr(lambda x: x + 1)(1.0)
    >>> call_of(jaxpr.eqns[0], 7)
    7
    """
    marks = re.findall(MARK + r"(\d+)", str(eqn.source_info.name_stack))
    return int(marks[-1]) if marks else outer
