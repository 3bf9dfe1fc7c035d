"""A function of images as a flat list of operations: calls inlined, constants computed, batch norm folded.

Every format is written from such a list, so that all of them hold the same network.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import jax
import numpy as np
from jax import export
from jax.extend.core import Literal, Primitive

from jaxcnn.ops.forms import as_written

CALLS = {"jit": "jaxpr", "pjit": "jaxpr", "closed_call": "call_jaxpr", "custom_jvp_call": "call_jaxpr",
         "custom_vjp_call": "call_jaxpr", "custom_vjp_call_jaxpr": "fun_jaxpr", "remat": "jaxpr",
         "checkpoint": "jaxpr"}  # fmt: skip
"""Primitives that call another program, and their parameter that holds it."""
BATCH = "batch"
"""Name of the size of the first axis: any number of images."""
SAME = ("copy", "copy_p", "stop_gradient")
"""Primitives whose result is their operand."""
ONE_BY_ONE = ("add", "sub", "mul", "div", "max", "min")
"""Operations on two arrays, value by value."""


@dataclass(frozen=True, eq=False)
class Value:
    """An array that depends on the images: its shape, whose first entry may be a symbol, and its dtype."""

    shape: tuple[Any, ...]
    dtype: np.dtype


Operand = Value | np.ndarray


class Operation(NamedTuple):
    """One operation of JAX on values and constants."""

    primitive: Primitive
    operands: tuple[Operand, ...]
    params: Mapping[str, Any]
    results: tuple[Value, ...]


class Program(NamedTuple):
    """A function of images.

    Args:
        images: Its input, (batch, H, W, C).
        operations: In the order in which they are computed.
        outputs: Its outputs by name; constants among them do not depend on the images.
    """

    images: Value
    operations: tuple[Operation, ...]
    outputs: dict[str, Operand]


def trace(function: Callable[[Any], Any], image_shape: tuple[int, int, int], dtype: Any = np.float32) -> Program:
    """Return a function (N, H, W, C) -> outputs as a program for any N.

    Convolutions are the plain operation on every platform, not the forms that a CPU computes faster.

    Args:
        function: Pure function of images; its outputs are an array or a mapping of arrays.
        image_shape: (H, W, C).
        dtype: Of the images.

    >>> program = trace(lambda images: 2 * images.sum((1, 2, 3)) + 1, (8, 8, 1))
    >>> [each.primitive.name for each in program.operations]
    ['reduce_sum', 'mul', 'add']
    """
    (batch,) = export.symbolic_shape(BATCH)
    images = jax.ShapeDtypeStruct((batch, *image_shape), dtype)
    with as_written():
        closed, tree = jax.make_jaxpr(function, return_shape=True)(images)
    first, operations = Value(images.shape, np.dtype(dtype)), list[Operation]()
    outputs = _inline(closed.jaxpr, closed.consts, [first], operations)
    names = [_name(path) for path, _ in jax.tree_util.tree_leaves_with_path(tree)]
    program = Program(first, tuple(operations), dict(zip(names, outputs, strict=True)))
    return _without_unused(_fold(_pool(_slice(program))))


def _name(path: Sequence[Any]) -> str:
    return "/".join(str(getattr(key, "key", getattr(key, "idx", key))) for key in path) or "output"


def _inline(jaxpr: Any, consts: Sequence[Any], inputs: Sequence[Operand], made: list[Operation]) -> list[Operand]:
    """Append the operations of a jaxpr and of all that it calls; compute those of constants at once."""
    env: dict[Any, Operand] = dict(zip(jaxpr.constvars, map(np.asarray, consts), strict=True))
    env.update(zip(jaxpr.invars, inputs, strict=True))

    def read(atom: Any) -> Operand:
        literal: Any = atom
        return np.asarray(literal.val, literal.aval.dtype) if isinstance(atom, Literal) else env[atom]

    for eqn in jaxpr.eqns:
        operands, primitive, params = [read(atom) for atom in eqn.invars], eqn.primitive, eqn.params
        results: Sequence[Operand]
        if primitive.name in CALLS:
            inner = params[CALLS[primitive.name]]
            results = _inline(getattr(inner, "jaxpr", inner), getattr(inner, "consts", ()), operands, made)
        elif primitive.name in SAME:
            results = operands
        elif all(isinstance(each, np.ndarray) for each in operands) and _is_fixed(eqn.outvars):
            values = primitive.bind(*map(jax.numpy.asarray, operands), **params)
            results = [np.asarray(value) for value in (values if primitive.multiple_results else [values])]
        else:
            results = [Value(tuple(var.aval.shape), np.dtype(var.aval.dtype)) for var in eqn.outvars]
            made.append(Operation(primitive, tuple(operands), params, tuple(results)))
        env.update(zip(eqn.outvars, results, strict=True))
    return [read(atom) for atom in jaxpr.outvars]


def _is_fixed(variables: Sequence[Any]) -> bool:
    return all(isinstance(size, int) for variable in variables for size in variable.aval.shape)


def _uses(program: Program) -> Counter[Value]:
    read = [operand for each in program.operations for operand in each.operands]
    return Counter(each for each in [*read, *program.outputs.values()] if isinstance(each, Value))


def _slice(program: Program) -> Program:
    """Write gathers that take every n-th pixel as slices; JAX traces slices of any number of images as gathers."""
    return program._replace(operations=tuple(each for one in program.operations for each in _as_slices(one)))


def _as_slices(operation: Operation) -> tuple[Operation, ...]:
    """Return a slice, and a squeeze of the axes of which one place is taken, in place of a gather that is no more."""
    images, *indices = operation.operands
    if operation.primitive.name != "gather" or not isinstance(images, Value) or isinstance(indices[0], Value):
        return (operation,)
    result, numbers, rank = operation.results[0], operation.params["dimension_numbers"], len(images.shape)
    dropped = () if len(result.shape) == rank else tuple(numbers.collapsed_slice_dims)
    fits = len(result.shape) == rank - len(dropped) and result.shape[:1] == images.shape[:1]
    if not fits or 0 in numbers.start_index_map:
        return (operation,)
    sizes, params = (1, *images.shape[1:]), {**operation.params}
    params["slice_sizes"] = (1, *params["slice_sizes"][1:])
    slices = [(0, images.shape[0], 1)]
    for axis in range(1, rank):  # of each element its place along an axis
        places = np.broadcast_to(np.arange(sizes[axis]).reshape(-1, *[1] * (rank - 1 - axis)), sizes)
        taken = np.asarray(operation.primitive.bind(jax.numpy.asarray(places), jax.numpy.asarray(indices[0]), **params))
        taken = np.expand_dims(taken, dropped)
        line = np.moveaxis(taken, axis, 0).reshape(taken.shape[axis], -1)
        steps = np.unique(np.diff(line[:, 0])) if len(line) > 1 else np.ones(1, int)
        if (line != line[:, :1]).any() or len(steps) != 1 or steps[0] < 1 or line[0, 0] < 0:
            return (operation,)
        slices.append((int(line[0, 0]), int(line[-1, 0]) + 1, int(steps[0])))
    starts, stops, strides = zip(*slices, strict=True)
    params = {"start_indices": starts, "limit_indices": stops, "strides": strides}
    if not dropped:
        return (Operation(jax.lax.slice_p, (images,), params, (result,)),)
    shape = (images.shape[0], *(-(-(stop - start) // step) for start, stop, step in slices[1:]))
    part = Value(shape, result.dtype)
    squeeze = Operation(jax.lax.squeeze_p, (part,), {"dimensions": dropped}, (result,))
    return Operation(jax.lax.slice_p, (images,), params, (part,)), squeeze


def _pool(program: Program) -> Program:
    """Write a reshape to blocks of pixels and a reduction of each as the reduction of windows that it is.

    `jaxcnn.ops.max_pool` is traced as the former, which is faster to train; other programs know the latter.
    """
    made_by = {result: each for each in program.operations for result in each.results}
    changed = list[Operation]()
    for each in program.operations:
        source = made_by.get(each.operands[0]) if each.operands and isinstance(each.operands[0], Value) else None
        name = each.primitive.name
        if name in ("reduce_max", "reduce_sum") and each.params["axes"] == (2, 4) and source is not None \
                and source.primitive.name == "reshape" and len(source.results[0].shape) == 6:  # fmt: skip
            (x,), (_, rows, down, columns, across, channels) = source.operands, source.results[0].shape
            if isinstance(x, Value) and x.shape[1:] == (rows * down, columns * across, channels):
                window = (1, down, across, 1)
                params = {"window_dimensions": window, "window_strides": window, "padding": ((0, 0),) * 4,
                          "base_dilation": (1,) * 4, "window_dilation": (1,) * 4}  # fmt: skip
                windows = {"reduce_max": jax.lax.reduce_window_max_p, "reduce_sum": jax.lax.reduce_window_sum_p}
                each = Operation(windows[name], (x,), params, each.results)
        changed.append(each)
    return program._replace(operations=tuple(changed))


class _Affine(NamedTuple):
    """scale * base + shift, for each channel, not yet among the operations."""

    base: Value
    scale: np.ndarray
    shift: np.ndarray


def _fold(program: Program) -> Program:
    """Join chains of additions and multiplications by constants of the channels, and put them into the kernel before.

    After that, a batch norm behind a convolution is a bias. Sums are taken in float64.
    """
    uses, made_by = _uses(program), dict[Value, int]()
    broadcast = {each.results[0]: each for each in program.operations if each.primitive.name == "broadcast_in_dim"}
    pending, same, made = dict[Value, _Affine](), dict[Value, Value](), list[Operation]()

    def emit(primitive: Primitive, operands: Sequence[Operand], params: Mapping[str, Any], results: Any) -> None:
        made_by.update(dict.fromkeys(results, len(made)))
        made.append(Operation(primitive, tuple(operands), params, tuple(results)))

    def settle(value: Operand) -> Operand:
        """Append what a pending value still needs, and return it."""
        if not isinstance(value, Value) or value not in pending:
            return same.get(value, value) if isinstance(value, Value) else value
        base, scale, shift = pending.pop(value)
        place = made_by.get(base)
        if place is not None and uses[base] == 1 and (kernel := _kernel(made[place])) is not None:
            operands = (made[place].operands[0], (kernel * scale).astype(kernel.dtype))
            made[place], scale = made[place]._replace(operands=operands), np.ones(())
        steps = [(jax.lax.mul_p, scale)] if (scale != 1).any() else []
        steps += [(jax.lax.add_p, shift)] if (shift != 0).any() else []
        for index, (primitive, constant) in enumerate(steps):
            rank = len(value.shape)
            shaped = constant.reshape((1,) * (rank - constant.ndim) + constant.shape).astype(value.dtype)
            result = value if index == len(steps) - 1 else Value(value.shape, value.dtype)
            emit(primitive, (base, shaped), {}, (result,))
            base = result
        if not steps:
            same[value] = base
            uses[base] += uses[value] - 1
        return base

    for each in program.operations:
        name, operands = each.primitive.name, each.operands
        if name in ONE_BY_ONE:  # constants that were broadcast over the batch need not be
            operands = tuple(_narrow(operand, broadcast) for operand in operands)
        if (change := _change(name, operands, each.results[0])) is not None:
            value, scale, shift = change
            before = pending.pop(value) if value in pending and uses[value] == 1 else None
            if before is None:
                base = settle(value)
                pending[each.results[0]] = _Affine(base, scale, shift)  # type: ignore[arg-type]
            else:
                pending[each.results[0]] = _Affine(before.base, before.scale * scale, before.shift * scale + shift)
            continue
        emit(each.primitive, [settle(operand) for operand in operands], each.params, each.results)
    outputs = {name: settle(output) for name, output in program.outputs.items()}
    return Program(program.images, tuple(made), outputs)


def _narrow(operand: Operand, broadcast: Mapping[Value, Operation]) -> Operand:
    """Return a broadcast constant with size 1 along the axes that it was broadcast over."""
    each = broadcast.get(operand) if isinstance(operand, Value) else None
    if each is None or isinstance(each.operands[0], Value):
        return operand
    shape = [1] * len(each.params["shape"])
    for size, axis in zip(each.operands[0].shape, each.params["broadcast_dimensions"], strict=True):
        shape[axis] = size
    return each.operands[0].reshape(shape)


def _change(name: str, operands: Sequence[Operand], result: Value) -> tuple[Value, np.ndarray, np.ndarray] | None:
    """Return (value, scale, shift) of an addition or multiplication by a constant of the channels; else None."""
    if name not in ("add", "sub", "mul", "div") or not np.issubdtype(result.dtype, np.floating):
        return None
    first, second = operands
    value, constant = (second, first) if isinstance(second, Value) else (first, second)
    if not isinstance(value, Value) or isinstance(constant, Value) or value.shape != result.shape:
        return None
    if constant.size != max(constant.shape[-1:], default=1) or (name == "div" and value is second):
        return None
    number = constant.reshape(constant.shape[-1:]).astype(np.float64)
    number = number.reshape(()) if number.size == 1 else number
    one, none = np.ones(()), np.zeros(())
    if name == "add":
        return value, one, number
    if name == "sub":
        return (value, one, -number) if value is first else (value, -one, number)
    return value, number if name == "mul" else 1 / number, none


def _kernel(operation: Operation) -> np.ndarray | None:
    """Return the constant of a convolution or matrix product whose last axis is that of the outputs; else None."""
    constant = operation.operands[-1]
    if isinstance(constant, Value):
        return None
    if operation.primitive.name == "conv_general_dilated":
        numbers = operation.params["dimension_numbers"]
        last = numbers.rhs_spec[0] == constant.ndim - 1 and numbers.out_spec[1] == constant.ndim - 1
        return constant if last else None
    if operation.primitive.name == "dot_general":
        return constant if operation.params["dimension_numbers"][0][1] == (0,) and constant.ndim == 2 else None
    return None


def _without_unused(program: Program) -> Program:
    """Leave out what no output needs."""
    needed, kept = {each for each in program.outputs.values() if isinstance(each, Value)}, list[Operation]()
    for each in reversed(program.operations):
        if needed.intersection(each.results):
            needed.update(operand for operand in each.operands if isinstance(operand, Value))
            kept.append(each)
    return program._replace(operations=tuple(kept[::-1]))
