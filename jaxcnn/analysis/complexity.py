"""Parameters, multiply-accumulates and activations of any Flax module, counted from its jaxpr; nothing is compiled.

Formulas: convolution k^2 (Cin / groups) Cout H' W', dense in * out, activations the elements convolutions put out
(Dollár et al. 2021, "Fast and accurate model scaling"). Padded taps count, as in published tables. XLA's own cost
analysis leaves them out and counts two per multiply-accumulate: never equate the two.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Sequence
from functools import lru_cache
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from flax import linen as nn

from jaxcnn.analysis.layer_calls import Call, call_of, trace_calls
from jaxcnn.errors import InputError
from jaxcnn.nn.calls import set_mode, without_draws
from jaxcnn.ops.forms import as_written
from jaxcnn.ops.resize import SCOPE as RESIZING

COLUMNS = ("layer", "kind", "output", "parameters", "MACs")
"""Titles of `Complexity.rows`."""


class Layer(NamedTuple):
    """One layer: path below the module ("stage1_block1/conv1/conv"), class, output shape of one example, counts."""

    path: str
    kind: str
    output_shape: tuple[int, ...]
    params: int
    macs: int
    activations: int


class Complexity(NamedTuple):
    """What a module costs per image: trainable parameters, MACs (1 MAC = 2 FLOPs), activations (elements), layers.

    output_shape is that of one example's output; of several outputs the first is meant.
    """

    params: int
    macs: int
    activations: int
    layers: tuple[Layer, ...]
    output_shape: tuple[int, ...] = ()

    @property
    def rows(self) -> tuple[tuple[str, ...], ...]:
        """The layers as texts: path, class, output shape, parameters, MACs; a last row has the totals."""
        rows = [
            (each.path, each.kind, "x".join(map(str, each.output_shape)), f"{each.params:,}", f"{each.macs:,}")
            for each in self.layers
        ]
        return *rows, ("total", "", "", f"{self.params:,}", f"{self.macs:,}")

    def __str__(self) -> str:
        """Return a table of the layers."""
        rows, pads = (COLUMNS, *self.rows), (str.ljust, str.ljust, str.rjust, str.rjust, str.rjust)
        sizes = [max(map(len, column)) for column in zip(*rows, strict=True)]
        return "\n".join(
            "  ".join(pad(text, size) for pad, text, size in zip(pads, row, sizes, strict=True)) for row in rows
        )


class _Cost(NamedTuple):
    call: int | None  # index of the call that the operation belongs to
    macs: int
    activations: int


def count(module: nn.Module, input_shape: Sequence[int], *others: Sequence[int]) -> Complexity:
    """Count a module at one input shape, in inference, for one example.

    Layers are the modules that own parameters, spend MACs or call no other module, in order of their first call.
    A layer called twice counts its MACs twice and its parameters once. Convolutions and dense layers (every dot
    product) are counted; a scan counts its body times its length, a cond its dearest branch, and a while loop its body
    once, because its length is not known. A transposed convolution counts a kernel's worth per input pixel; resizing by
    `jaxcnn.ops.resize_bilinear` counts nothing.

    Args:
        module: Any Flax linen module whose call takes arrays first; `jaxcnn.nn.calls.set_mode` sets it to inference.
        input_shape: Shape of one example, without the batch: (H, W, C).
        others: Those of the module's further inputs.

    Returns:
        Totals and layers.

    Raises:
        InputError: A shape is not made of positive integers.

    >>> from flax import linen
    >>> cost = count(linen.Dense(10), (64,))
    >>> cost.params, cost.macs
    (650, 640)
    >>> print(cost)
    layer  kind   output  parameters  MACs
           Dense      10         650   640
    total                        650   640
    """
    try:
        hash(module)
    except TypeError:  # One with list fields cannot be remembered.
        return _counted.__wrapped__(module, *map(tuple, (input_shape, *others)))
    return _counted(module, *map(tuple, (input_shape, *others)))


@lru_cache(maxsize=256)
def _counted(module: nn.Module, *input_shapes: tuple[int, ...]) -> Complexity:
    variables, inputs = _variables(module, *input_shapes)
    calls, jaxpr = trace_calls(module, variables, inputs)
    costs = list(_costs(jaxpr.jaxpr, None))
    return Complexity(
        params=_params(variables),
        macs=sum(cost.macs for cost in costs),
        activations=sum(cost.activations for cost in costs),
        layers=_layers(calls, costs, variables),
        output_shape=next(call.output_shape for call in calls if call.method == "__call__"),  # after any setup
    )


def count_params(module: nn.Module, input_shape: Sequence[int], *others: Sequence[int]) -> int:
    """Count the trainable parameters alone, in half the time of `count`; same arguments and errors."""
    return _params(_variables(module, input_shape, *others)[0])


def _variables(module: nn.Module, *input_shapes: Sequence[int]) -> tuple[Any, list[jax.ShapeDtypeStruct]]:
    """Return the shapes of a module's variables and inputs."""
    for shape in input_shapes:
        if not shape or any(not isinstance(size, int) or size < 1 for size in shape):
            raise InputError(f"input_shape={shape!r}: give positive integers, the shape of one example (H, W, C)")
    inputs = [jax.ShapeDtypeStruct((1, *shape), jnp.float32) for shape in input_shapes]
    module, settings = set_mode(module, train=False)
    keys = {"params": jax.random.key(0), "dropout": jax.random.key(0)}
    with as_written(), nn.intercept_methods(without_draws):
        return jax.eval_shape(lambda *inputs: module.init(keys, *inputs, **settings), *inputs), inputs


def _params(variables: Any) -> int:
    return sum(math.prod(leaf.shape) for leaf in jax.tree.leaves(variables.get("params", {})))


def _costs(jaxpr: Any, outer: int | None) -> Iterator[_Cost]:
    """Yield the costs of all convolutions and dot products, inner jaxprs included."""
    for eqn in jaxpr.eqns:
        if RESIZING in str(eqn.source_info.name_stack):
            continue
        call = call_of(eqn, outer)
        name = eqn.primitive.name
        if name == "conv_general_dilated":
            yield _Cost(call, _conv_macs(eqn), eqn.outvars[0].aval.size)
        elif name == "dot_general":
            (contracted, _), _ = eqn.params["dimension_numbers"]
            depth = math.prod(eqn.invars[0].aval.shape[axis] for axis in contracted)
            yield _Cost(call, eqn.outvars[0].aval.size * depth, 0)
        elif name == "cond":
            branches = [list(_costs(branch.jaxpr, call)) for branch in eqn.params["branches"]]
            yield from max(branches, key=lambda costs: sum(cost.macs for cost in costs))
        else:
            times = eqn.params["length"] if name == "scan" else 1
            for inner in _inner(eqn.params):
                for cost in _costs(inner, call):
                    yield cost._replace(macs=cost.macs * times, activations=cost.activations * times)


def _conv_macs(eqn: Any) -> int:
    image, kernel = (var.aval for var in eqn.invars)
    features_out, features_in = eqn.params["dimension_numbers"].rhs_spec[:2]
    if any(step != 1 for step in eqn.params["lhs_dilation"]):  # transposed: zeros between pixels cost nothing
        return image.size * (kernel.size // kernel.shape[features_in]) // eqn.params["feature_group_count"]
    return eqn.outvars[0].aval.size * (kernel.size // kernel.shape[features_out])


def _inner(params: dict[str, Any]) -> Iterator[Any]:
    """Yield the jaxprs among an equation's parameters, of any primitive (jit, remat, custom gradients, loops)."""
    for value in params.values():
        for item in value if isinstance(value, tuple | list) else (value,):
            jaxpr = getattr(item, "jaxpr", item)  # closed or open
            if hasattr(jaxpr, "eqns"):
                yield jaxpr


def _layers(calls: list[Call], costs: list[_Cost], variables: Any) -> tuple[Layer, ...]:
    params, macs, activations = Counter(), Counter(), Counter()  # by the path of the module that owns or spends them
    for keys, leaf in jax.tree_util.tree_leaves_with_path(variables.get("params", {})):
        path = tuple(key.key for key in keys if isinstance(key, jax.tree_util.DictKey))
        params[path[:-1]] += math.prod(leaf.shape)
    for cost in costs:
        path = () if cost.call is None else calls[cost.call].path
        macs[path] += cost.macs
        activations[path] += cost.activations
    parents = {call.path[:depth] for call in calls for depth in range(len(call.path))}
    first: dict[tuple[str, ...], Call] = {}
    for call in calls:
        if call.path not in first or (call.method == "__call__" != first[call.path].method):
            first[call.path] = call
    return tuple(
        Layer("/".join(path), call.kind, call.output_shape, params[path], macs[path], activations[path])
        for path, call in first.items()
        if path not in parents or params[path] or macs[path]
    )
