"""A user-defined module in place of a spec: what is refused before anything is compiled, and what it computes."""

from __future__ import annotations

import re
import warnings
from collections.abc import Callable
from dataclasses import replace
from inspect import Parameter
from typing import Any

import jax
import jax.numpy as jnp
from flax import linen

from jaxcnn import nn
from jaxcnn.analysis.fingerprint import fingerprint
from jaxcnn.errors import InputError
from jaxcnn.models import build, family_named
from jaxcnn.nn.calls import FLAGS, call_parameters, has_switch, set_mode
from jaxcnn.ops.forms import as_written
from jaxcnn.runtime.environment import version_of
from jaxcnn.spec import RunConfig
from jaxcnn.tasks import Task
from jaxcnn.train.state import apply, by_path, init_variables

EXAMPLES = 2
SWITCHED = (linen.BatchNorm, linen.Dropout, nn.BatchNorm, nn.Dropout, nn.StochasticDepth)
"""Layers that differ between training and inference."""
NNX = "one of flax.nnx, nnx.bridge.to_linen included, keeps its state in itself, where no checkpoint reaches it"
POSITIONAL = (Parameter.POSITIONAL_ONLY, Parameter.POSITIONAL_OR_KEYWORD, Parameter.VAR_POSITIONAL)
TRACED_BY = ("jax", "flax", "jaxcnn")


def own_network(config: RunConfig, model: linen.Module | None, classes: int) -> linen.Module | None:
    """Return a run's network if the user defined it: `model`, or that of a registered family; else None."""
    if model is not None or getattr(family_named(config.model.family).backbone, "__module__", "").startswith("jaxcnn."):
        return model
    return build(replace(config.model, num_classes=classes))


def check_module(module: Any, task: Task, image_shape: tuple[int, ...], classes: int) -> None:
    """Refuse a module that would not be trained as its author means it; it is traced, nothing is compiled.

    Raises:
        InputError: It is no linen module, needs more than images, has batch norm or dropout without a switch between
            training and inference, or its outputs do not have the shapes that the task needs.

    Warns:
        UserWarning: Training leaves the statistics of a batch norm as they are: it does not get the switch.
    """
    if not isinstance(module, linen.Module):
        kind = module if isinstance(module, type) else type(module)
        instance = isinstance(module, type) and issubclass(module, linen.Module)
        remedy = f"give an instance, {kind.__name__}(...)" if instance else f"give a flax.linen module, for {NNX}"
        raise InputError(f"model={kind.__name__}: {remedy}")
    name = type(module).__name__
    if type(module).__module__.startswith("flax.nnx."):
        raise InputError(f"model={name}: write it with flax.linen, for {NNX}")
    parameters = list(call_parameters(module).values())  # self, the images and others; of a Sequential perhaps none
    if parameters and (len(parameters) == 1 or parameters[1].kind not in POSITIONAL):
        raise InputError(f"model={name}: its call takes no images; let it begin (self, images)")
    if stuck := [each.name for each in parameters[2:] if each.kind is each.POSITIONAL_ONLY and each.name in FLAGS]:
        raise InputError(f"model={name}: its call takes {stuck[0]} by position only; move or leave out the /")
    needed = [
        each.name
        for each in parameters[2:]
        if each.default is each.empty and each.kind not in (each.VAR_POSITIONAL, each.VAR_KEYWORD)
        and each.name not in (*FLAGS, "mask")
    ]  # fmt: skip
    if needed:
        raise InputError(
            f"model={name}: its call needs {' and '.join(needed)} beside the images; give all other arguments defaults"
        )
    _check_collections(module, name, image_shape)
    _check_switch(module, name, image_shape)
    inputs = module_inputs(module, image_shape)
    if still := _unchanged_statistics(module, inputs):
        text = (
            f"model={name}: training leaves the statistics of {', '.join(still)} as they are; pass the switch on to it"
        )
        warnings.warn(f"{text}, unless it is meant to be frozen", stacklevel=2)
    if task.outputs is not None:
        expected = task.outputs(EXAMPLES, classes)
        for mode in ("training", "inference"):
            outputs, _ = jax.eval_shape(module_call(module, train=mode == "training"), *inputs)
            if _signature(outputs) != _signature(expected):
                raise InputError(
                    f"model={name}: its outputs for {EXAMPLES} images are {_described(outputs)} in {mode}; {task.name} "
                    f"with {classes} classes needs {_described(expected)}; change its last layer"
                )


def _check_collections(module: linen.Module, name: str, image_shape: tuple[int, ...]) -> None:
    images, keys = jax.ShapeDtypeStruct((1, *image_shape), jnp.float32), jax.eval_shape(lambda: jax.random.key(0))
    module, keywords = set_mode(module, train=False)
    with as_written():
        made = jax.eval_shape(lambda key, images: module.init(key, images, **keywords), keys, images)
    if other := sorted({*made} - {"params", "batch_stats"}):
        raise InputError(
            f"model={name}: it has variables in the collection {other[0]!r}, which no run keeps; use params and "
            "batch_stats only"
        )


def _check_switch(module: linen.Module, name: str, image_shape: tuple[int, ...]) -> None:
    # A Sequential hands the switch to its first layer alone.
    switched, reached = has_switch(module), ("layers_0",) if isinstance(module, linen.Sequential) else ()
    without: list[str] = []

    def look(call: Any, args: Any, kwargs: Any, context: linen.module.InterceptorContext) -> Any:
        if isinstance(context.module, SWITCHED) and not (switched and context.module.path[: len(reached)] == reached):
            without.append(type(context.module).__name__)
        return call(*args, **kwargs)

    with linen.intercept_methods(look):
        variables, *_ = module_inputs(module, image_shape)
    if without or (variables["batch_stats"] and not switched):
        raise InputError(
            f"model={name}: it has {without[0] if without else 'batch_stats'} and no switch between training and "
            f"inference; give its call an argument train (or {', '.join([*FLAGS][1:])}) and pass it on to that layer"
        )


def _unchanged_statistics(module: linen.Module, inputs: tuple[Any, Any, Any, Any]) -> list[str]:
    """Return the paths of the layers whose batch statistics come out of a training call as they went in."""
    jaxpr = jax.make_jaxpr(lambda *inputs: module_call(module, train=True)(*inputs)[1])(*inputs).jaxpr
    leaves = zip(by_path(inputs[0]["batch_stats"]), jaxpr.outvars, strict=False)
    return list(dict.fromkeys(path.rpartition("/")[0] for path, leaf in leaves if leaf in jaxpr.invars))


def module_inputs(module: linen.Module, image_shape: tuple[int, ...]) -> tuple[Any, Any, Any, Any]:
    """Return the shapes of a module's variables, of a few images, their mask and a key."""
    key = jax.eval_shape(lambda: jax.random.key(0))
    variables = jax.eval_shape(lambda key: init_variables(module, image_shape, key), key)
    images = jax.ShapeDtypeStruct((EXAMPLES, *image_shape), jnp.float32)
    return variables, images, jax.ShapeDtypeStruct((EXAMPLES,), jnp.float32), key


def module_call(module: linen.Module, *, train: bool) -> Callable[..., tuple[Any, Any]]:
    """Return the function of what `module_inputs` gives to outputs and new statistics."""

    def call(variables: Any, images: jax.Array, mask: jax.Array, key: jax.Array) -> tuple[Any, Any]:
        with as_written():  # what the network is, not in which form this platform computes it
            return apply(module, variables, (images,), train=train, mask=mask, key=key if train else None)

    return call


def _with_gradients(call: Callable[..., tuple[Any, Any]]) -> Callable[..., Any]:
    """Return the function to what a call gives, and to the gradients of the sum of all its outputs."""

    def total(params: Any, variables: Any, *rest: Any) -> Any:
        outputs, stats = call({**variables, "params": params}, *rest)
        floats = [leaf for leaf in jax.tree.leaves(outputs) if jnp.issubdtype(leaf.dtype, jnp.floating)]
        return sum(leaf.astype(jnp.float32).sum() for leaf in floats), (outputs, stats)

    descend = jax.value_and_grad(total, has_aux=True)
    return lambda variables, *rest: descend(variables["params"], variables, *rest)


def module_record(module: linen.Module) -> dict[str, str]:
    """Return import path and fields of a user-defined module.

    A field that is a function shows its address, which each process chooses anew: it is left out.
    """
    kind = type(module)
    fields = re.sub(r" at 0x[0-9a-f]+", "", repr(module))
    return {"module": f"{kind.__module__}:{kind.__qualname__}", "fields": fields}


def computation(module: linen.Module, image_shape: tuple[int, ...]) -> dict[str, str]:
    """Return fingerprints of a module's initialisation, training (with gradients) and inference.

    They are the same in every process. `traced_by` names the versions that traced: others may trace other operations.
    """
    inputs = module_inputs(module, image_shape)
    return {
        "traced_by": versions(),
        "initialisation": fingerprint(lambda key: init_variables(module, image_shape, key), inputs[-1]),
        "training": fingerprint(_with_gradients(module_call(module, train=True)), *inputs),
        "inference": fingerprint(module_call(module, train=False), *inputs),
    }


def versions() -> str:
    """Return the versions that trace a computation."""
    return ", ".join(f"{name} {version_of(name)}" for name in TRACED_BY)


def _signature(outputs: Any) -> Any:
    leaves, structure = jax.tree.flatten(outputs)
    return structure, [(leaf.shape, jnp.issubdtype(leaf.dtype, jnp.floating)) for leaf in leaves]


def _described(outputs: Any) -> str:
    return re.sub(r"ShapeDtypeStruct\(shape=(\([^)]*\)), dtype=(\w+)[^)]*\)", r"\2 \1", repr(outputs))
