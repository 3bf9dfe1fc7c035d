"""What the layers of a network put out for given images: feature maps, ReLUs; and the kernels that make them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import jax
from flax import linen as nn

from jaxcnn.analysis.fingerprint import CALLS
from jaxcnn.analysis.layer_calls import Call, call_of, trace_calls
from jaxcnn.nn.calls import infer

Layers = dict[str, jax.Array]
"""Arrays by the path of their layer, such as "stage1_block1/conv1/conv", in the order of the calls."""
ROOT = "conv"
"""Name of a convolution that is the whole module and has no path."""


def feature_maps(module: nn.Module, variables: Any, images: jax.Array) -> Layers:
    """Return the output of every convolution, before its norm and its ReLU.

    A convolution is any submodule, of Flax or of `jaxcnn.nn`, that owns a `kernel` with four axes. One that is called
    several times has entries "name", "name_2", ...

    Args:
        module: Any Flax module; it is called in inference.
        variables: Its `params` and `batch_stats`.
        images: (N, H, W, C).

    Returns:
        Maps (N, h, w, channels) by path, in the order of the calls.

    >>> from jaxcnn.nn import Conv
    >>> conv, image = Conv(2, use_bias=False), jax.numpy.ones((1, 4, 4, 1))
    >>> {name: map.shape for name, map in feature_maps(conv, conv.init(jax.random.key(0), image), image).items()}
    {'conv': (1, 4, 4, 2)}
    """
    return in_order(lambda variables, images: traced_maps(module, variables, images))(variables, images)


def relu_outputs(module: nn.Module, variables: Any, images: jax.Array) -> Layers:
    """Return the output of every ReLU (`jax.nn.relu`), for networks that have some.

    A ReLU is no module, so it is named by the submodule that it stands in; where one submodule holds several, by the
    layer in front of it. A ReLU inside a scan or a rematerialised block is left out.

    Args:
        module: Any Flax module; it is called in inference.
        variables: Its `params` and `batch_stats`.
        images: (N, H, W, C).

    Returns:
        Outputs (N, ..., channels) by name, in the order of the calls.

    >>> class Net(nn.Module):
    ...     @nn.compact
    ...     def __call__(self, x):
    ...         return nn.relu(nn.Dense(2, name="dense1")(x))
    >>> variables = {"params": {"dense1": {"kernel": jax.numpy.ones((1, 2)), "bias": jax.numpy.array([0.0, -9.0])}}}
    >>> {name: out.tolist() for name, out in relu_outputs(Net(), variables, jax.numpy.ones((1, 1))).items()}
    {'dense1': [[1.0, 0.0]]}
    """
    return in_order(lambda variables, images: traced_relus(module, variables, images))(variables, images)


def hidden_outputs(module: nn.Module, variables: Any, images: jax.Array) -> Layers:
    """Return the layers that networks are compared by: `relu_outputs`, or `feature_maps` where there is no ReLU.

    To be called within `in_order`, as `traced_relus` is.

    >>> dense, image = nn.Dense(2), jax.numpy.ones((1, 1))
    >>> hidden_outputs(dense, dense.init(jax.random.key(0), image), image)
    {}
    """
    return traced_relus(module, variables, images) or traced_maps(module, variables, images)


def kernels(variables: Mapping[str, Any]) -> Layers:
    """Return the kernel of every convolution, (kh, kw, Cin / groups, Cout), by its path.

    >>> kernels({"params": {"conv1": {"kernel": jax.numpy.ones((3, 3, 1, 8))}}})["conv1"].shape
    (3, 3, 1, 8)
    """
    leaves = jax.tree_util.tree_leaves_with_path(variables["params"])
    named = {jax.tree_util.keystr(path, simple=True, separator="/"): leaf for path, leaf in leaves}
    return {
        name.removesuffix("kernel").rstrip("/") or ROOT: leaf
        for name, leaf in named.items()
        if name.split("/")[-1] == "kernel" and leaf.ndim == 4
    }


def is_convolution(module: nn.Module) -> bool:
    """Return whether a bound submodule owns a kernel with four axes.

    >>> is_convolution(nn.Dense(3).bind({"params": {"kernel": jax.numpy.ones((2, 3))}}))
    False
    """
    return module.has_variable("params", "kernel") and module.get_variable("params", "kernel").ndim == 4


def in_order(function: Callable[..., Layers]) -> Callable[..., Layers]:
    """Compile a function whose result is a dictionary, and keep its order, which `jax.jit` alone would sort.

    >>> list(in_order(lambda x: {"b": x, "a": x})(1.0))
    ['b', 'a']
    """
    names: list[str] = []

    @jax.jit
    def values(*arguments: Any) -> list[jax.Array]:
        outputs = function(*arguments)
        names[:] = outputs
        return list(outputs.values())

    def ordered(*arguments: Any) -> Layers:
        outputs = values(*arguments)  # names are known once it was traced
        return dict(zip(names, outputs, strict=True))

    return ordered


def numbered(pairs: Iterable[tuple[str, jax.Array]]) -> Layers:
    """Return a dictionary of pairs (name, value); a name that comes again gets a number.

    >>> numbered([("a", 1), ("a", 2)])
    {'a': 1, 'a_2': 2}
    """
    seen: Counter[str] = Counter()
    layers: Layers = {}
    for name, value in pairs:
        seen[name] += 1
        layers[name if seen[name] == 1 else f"{name}_{seen[name]}"] = value
    return layers


def traced_maps(module: nn.Module, variables: Any, images: jax.Array) -> Layers:
    """Compute `feature_maps` within a program that is traced already.

    >>> from jaxcnn.nn import Conv
    >>> conv, image = Conv(2, use_bias=False), jax.numpy.ones((1, 4, 4, 1))
    >>> list(traced_maps(conv, conv.init(jax.random.key(0), image), image))
    ['conv']
    """
    maps: list[tuple[str, jax.Array]] = []

    def keep(call: Any, args: Any, kwargs: Any, context: nn.module.InterceptorContext) -> Any:
        out = call(*args, **kwargs)
        if context.method_name == "__call__" and is_convolution(context.module):
            maps.append(("/".join(context.module.path) or ROOT, out))
        return out

    with nn.intercept_methods(keep):
        infer(module, variables, images)
    return numbered(maps)


def traced_relus(module: nn.Module, variables: Any, images: jax.Array) -> Layers:
    """Compute `relu_outputs` within a program that is traced already.

    >>> dense, image = nn.Dense(2), jax.numpy.ones((1, 1))
    >>> list(traced_relus(dense, dense.init(jax.random.key(0), image), image))
    []
    """
    calls, jaxpr = trace_calls(module, variables, [images])
    outputs: list[tuple[int | None, int | None, jax.Array]] = []
    _evaluate(jaxpr.jaxpr, jaxpr.consts, jax.tree.leaves((variables, images)), None, None, outputs)
    scopes = Counter(call for call, _, _ in outputs)
    return numbered((_relu_name(calls, call, last, scopes[call] == 1), out) for call, last, out in outputs)


def _relu_name(calls: list[Call], call: int | None, last: int | None, alone: bool) -> str:
    """Name a ReLU in a call's scope by that call, or by the submodule of it that was called last."""
    scope = () if call is None else calls[call].path
    child = () if last is None else calls[last].path[: len(scope) + 1]
    return "/".join(scope if alone and scope else child if child[: len(scope)] == scope else scope) or "relu"


def _evaluate(
    jaxpr: Any,
    constants: Sequence[Any],
    arguments: Sequence[Any],
    outer: int | None,
    last: int | None,
    relus: list[tuple[int | None, int | None, Any]],
) -> list[Any]:
    """Evaluate a jaxpr; add to `relus` the call around each ReLU, the call in front of it, and its output.

    outer is the call around the jaxpr, last the one in front of it.
    """
    values = dict(zip(jaxpr.constvars, constants, strict=True)) | dict(zip(jaxpr.invars, arguments, strict=True))

    def read(atom: Any) -> Any:
        return atom.val if hasattr(atom, "val") else values[atom]

    for eqn in jaxpr.eqns:
        call, inputs = call_of(eqn, outer), [read(atom) for atom in eqn.invars]
        called = eqn.params.get("jaxpr", eqn.params.get("call_jaxpr"))
        if eqn.primitive.name in CALLS and called is not None:
            outputs = _evaluate(called.jaxpr, called.consts, inputs, call, last, relus)
            if eqn.params.get("name") == "relu" and eqn.primitive.name in ("jit", "pjit"):
                relus.append((call, last, outputs[0]))
        else:
            outputs = eqn.primitive.bind(*inputs, **eqn.params)
            outputs = outputs if eqn.primitive.multiple_results else [outputs]
        values |= dict(zip(eqn.outvars, outputs, strict=True))
        last = call if call is not None else last
    return [read(atom) for atom in jaxpr.outvars]
