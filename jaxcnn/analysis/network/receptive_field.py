"""Which part of the image a unit can see (theoretical receptive field), and which part moves it (effective)."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from fractions import Fraction
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn

from jaxcnn.analysis.fingerprint import CALLS
from jaxcnn.analysis.network.layer_outputs import ROOT, in_order, numbered, traced_maps
from jaxcnn.errors import InputError
from jaxcnn.nn.calls import infer, set_mode
from jaxcnn.ops.forms import as_written


class ReceptiveField(NamedTuple):
    """Pixels that a unit of a map depends on: row and column first, then height and width.

    Unit (i, j) sees the rows from start + i stride on, `size` many; columns likewise. The padding counts: start may be
    negative, and size larger than the image. A stride of 0 means that all units see the same, one below 1 that the map
    is finer than the image; behind upsampling the size is an upper bound.

    Args:
        size: (height, width) in pixels.
        stride: Pixels between neighbouring units.
        start: First row and column that unit (0, 0) sees.
    """

    size: tuple[int, int]
    stride: tuple[float, float]
    start: tuple[int, int]

    def box(self, unit: tuple[int, int]) -> tuple[int, int, int, int]:
        """Return (top, left, bottom, right) of what a unit sees, not clipped to the image; the ends are exclusive.

        >>> ReceptiveField((3, 3), (2, 2), (-1, -1)).box((1, 2))
        (1, 3, 4, 6)
        """
        top, left = (math.floor(s + i * step) for s, i, step in zip(self.start, unit, self.stride, strict=True))
        return top, left, top + self.size[0], left + self.size[1]


class _Axis(NamedTuple):
    """Rows (or columns) that an element sees: sum of steps times its indices, plus low .. high.

    steps has an entry for each axis of the array.
    """

    steps: tuple[Fraction, ...]
    low: Fraction
    high: Fraction


_Seen = tuple[_Axis, _Axis] | None  # None: no pixel at all
_Shape = tuple[int, ...]
_Axes = Sequence[_Axis | None]


def receptive_fields(module: nn.Module, input_shape: Sequence[int]) -> dict[str, ReceptiveField]:
    """Compute the theoretical receptive field of every submodule that puts out a map (N, h, w, C).

    Nothing is compiled: the field is followed through the operations that JAX traces, r += (k - 1) stride d for a
    window of k taps at dilation d, over skips (the union of both ways), pooling in any form, and upsampling.

    Args:
        module: Any Flax module; it is called in inference.
        input_shape: Shape of one image, (H, W, C).

    Returns:
        Fields by path, in the order of the calls; one that is called several times has entries "name", "name_2", ...

    Raises:
        InputError: input_shape is not (H, W, C).

    Reference:
        Araujo, Norris & Sim 2019, "Computing receptive fields of convolutional neural networks".

    >>> from jaxcnn.nn import Conv
    >>> receptive_fields(nn.Sequential([Conv(2, 3), Conv(2, 5, stride=2, padding=2)]), (16, 16, 1))["layers_1"]
    ReceptiveField(size=(7, 7), stride=(2, 2), start=(-3, -3))
    """
    if len(input_shape) != 3:
        raise InputError(f"input_shape={tuple(input_shape)}: give the shape of one image (H, W, C)")
    images = jax.ShapeDtypeStruct((1, *input_shape), jnp.float32)
    with as_written():
        variables = jax.eval_shape(lambda images: _init(module, images), images)
    names: list[str] = []

    def outputs(variables: Any, images: jax.Array) -> list[jax.Array]:
        maps = _traced_outputs(module, variables, images)
        names[:] = maps
        return list(maps.values())

    with as_written():
        jaxpr = jax.make_jaxpr(outputs)(variables, images).jaxpr
    zero, one = Fraction(0), Fraction(1)
    pixels = (_Axis((zero, one, zero, zero), zero, zero), _Axis((zero, zero, one, zero), zero, zero))
    seen = _follow(jaxpr, [*(None for _ in jaxpr.invars[:-1]), pixels])
    return {name: _field(axes) for name, axes in zip(names, seen, strict=True) if axes is not None}


def effective_receptive_fields(
    module: nn.Module, variables: Mapping[str, Any], images: jax.Array
) -> dict[str, jax.Array]:
    """Compute how strongly each pixel moves the centre of every convolution's map.

    E |d y / d pixel| over images and channels of the image, with y the sum over channels at the middle of the map.

    Args:
        module: Any Flax module; it is called in inference.
        variables: Its `params` and `batch_stats`.
        images: (N, H, W, C); random ones show the architecture, those of a data set what it uses there.

    Returns:
        (H, W) by path, with a peak of 1; all zero where no pixel moves it.

    Reference:
        Luo et al. 2016, "Understanding the effective receptive field in deep convolutional neural networks".

    >>> from jaxcnn.nn import Conv
    >>> conv, image = Conv(1, 3, kernel_init=nn.initializers.ones), jnp.ones((1, 5, 5, 1))
    >>> effective_receptive_fields(conv, conv.init(jax.random.key(0), image), image)["conv"][2].tolist()
    [0.0, 1.0, 1.0, 1.0, 0.0]
    """

    def fields(variables: Any, images: jax.Array) -> dict[str, jax.Array]:
        def centres(images: jax.Array) -> dict[str, jax.Array]:
            maps = traced_maps(module, variables, images)
            return {name: map[:, map.shape[1] // 2, map.shape[2] // 2].sum() for name, map in maps.items()}

        def chosen(images: jax.Array, row: jax.Array) -> jax.Array:
            return (jnp.stack(list(centres(images).values())).astype(jnp.float32) * row).sum()

        names = list(centres(images))  # what it computes is not used, so it is not compiled either
        if not names:
            return {}
        rows = jnp.eye(len(names))  # one program for all layers: each row chooses one
        strength = jax.lax.map(lambda row: jnp.abs(jax.grad(chosen)(images, row)).mean(axis=(0, 3)), rows)
        peak = strength.max(axis=(1, 2), keepdims=True)
        return dict(zip(names, strength / jnp.where(peak > 0, peak, 1), strict=True))

    return in_order(fields)(variables, images)


def effective_size(field: jax.Array | np.ndarray, threshold: float = 0.0455) -> float:
    """Compute the side of the square that has as many pixels as exceed a share of the peak.

    Args:
        field: (H, W), from `effective_receptive_fields`.
        threshold: Share of the peak; 1 - 0.9545, as Luo et al. have it.

    >>> effective_size(np.array([[0.0, 0.01], [0.5, 1.0]]))
    1.4142135623730951
    """
    field = np.asarray(field)
    return math.sqrt(int((field > threshold * field.max()).sum()))


def _init(module: nn.Module, images: jax.Array) -> Any:
    key = jax.random.key(0)
    module, settings = set_mode(module, train=False)
    return module.init({"params": key, "dropout": key}, images, **settings)


def _traced_outputs(module: nn.Module, variables: Any, images: jax.Array) -> dict[str, jax.Array]:
    maps: list[tuple[str, jax.Array]] = []

    def keep(call: Any, args: Any, kwargs: Any, context: nn.module.InterceptorContext) -> Any:
        out = call(*args, **kwargs)
        if context.method_name == "__call__" and context.module.path and getattr(out, "ndim", 0) == 4:
            maps.append(("/".join(context.module.path), out))
        return out

    with nn.intercept_methods(keep):
        out = infer(module, variables, images)
    if not maps and getattr(out, "ndim", 0) == 4:
        maps.append((ROOT, out))
    return numbered(maps)


def _field(axes: tuple[_Axis, _Axis]) -> ReceptiveField:
    lows, highs = [math.floor(axis.low) for axis in axes], [math.ceil(axis.high) for axis in axes]
    steps = [axis.steps[place] for axis, place in zip(axes, (1, 2), strict=True)]
    stride = tuple(int(step) if step.denominator == 1 else float(step) for step in steps)
    size = tuple(high - low + 1 for low, high in zip(lows, highs, strict=True))
    return ReceptiveField((size[0], size[1]), (stride[0], stride[1]), (lows[0], lows[1]))


def _follow(jaxpr: Any, arguments: Sequence[_Seen]) -> list[_Seen]:
    """Return what each output of a jaxpr sees, given what its inputs see; constants see nothing."""
    seen: dict[Any, _Seen] = dict(zip(jaxpr.invars, arguments, strict=True))

    def read(atom: Any) -> _Seen:
        return None if hasattr(atom, "val") else seen.get(atom)

    for eqn in jaxpr.eqns:
        inputs = [read(atom) for atom in eqn.invars]
        called = eqn.params.get("jaxpr", eqn.params.get("call_jaxpr"))
        if all(each is None for each in inputs):
            continue
        if (eqn.primitive.name in (*CALLS, "checkpoint", "remat2")) and called is not None:
            outputs = _follow(getattr(called, "jaxpr", called), inputs)
        else:
            outputs = [_through(eqn, inputs, var.aval.shape) for var in eqn.outvars]
        seen |= dict(zip(eqn.outvars, outputs, strict=True))
    return [read(atom) for atom in jaxpr.outvars]


def _through(eqn: Any, inputs: Sequence[_Seen], shape: _Shape) -> _Seen:
    """Return what an output of this shape sees."""
    shapes, name = [tuple(getattr(atom.aval, "shape", ())) for atom in eqn.invars], eqn.primitive.name
    rule = _RULES.get(name, _element_by_element if name in ELEMENTWISE else _everything)
    down, across = ([None if seen is None else seen[place] for seen in inputs] for place in (0, 1))
    return rule(eqn.params, down, shapes, shape), rule(eqn.params, across, shapes, shape)


def _absorb(axis: _Axis, place: int, length: int) -> _Axis:
    """Let every element see what all along one axis of the array see together."""
    reach = axis.steps[place] * (length - 1)
    steps = (*axis.steps[:place], Fraction(0), *axis.steps[place + 1 :])
    return _Axis(steps, axis.low + min(reach, 0), axis.high + max(reach, 0))


def _absorb_all(axis: _Axis, places: Sequence[int], shape: _Shape) -> _Axis:
    for place in places:
        axis = _absorb(axis, place, shape[place])
    return axis


def _union(axes: Sequence[_Axis], shape: _Shape) -> _Axis:
    differing = [place for place in range(len(shape)) if len({axis.steps[place] for axis in axes}) > 1]
    axes = [_absorb_all(axis, differing, shape) for axis in axes]
    return _Axis(axes[0].steps, min(axis.low for axis in axes), max(axis.high for axis in axes))


def _everything(params: Any, axes: _Axes, shapes: Sequence[_Shape], shape: _Shape) -> _Axis:
    """Of an operation without a rule: each element sees all that any input sees, an upper bound."""
    flat = [_absorb_all(a, range(len(s)), s) for a, s in zip(axes, shapes, strict=True) if a is not None]
    return _Axis((Fraction(0),) * len(shape), min(axis.low for axis in flat), max(axis.high for axis in flat))


def _element_by_element(params: Any, axes: _Axes, shapes: Sequence[_Shape], shape: _Shape) -> _Axis:
    if any(axis is not None and other != shape for axis, other in zip(axes, shapes, strict=True)):
        return _everything(params, axes, shapes, shape)
    return _union([axis for axis in axes if axis is not None], shape)


def _window(axis: _Axis, place: int, taps: int, stride: int, pad: int, dilation: int, base: int) -> _Axis:
    """Move a window of so many taps along one axis of the array; `base` - 1 zeros lie between its elements."""
    step = axis.steps[place] / base
    reach, steps = step * (taps - 1) * dilation, (*axis.steps[:place], step * stride, *axis.steps[place + 1 :])
    return _Axis(steps, axis.low - step * pad + min(reach, 0), axis.high - step * pad + max(reach, 0))


def _conv(params: Any, axes: _Axes, shapes: Sequence[_Shape], shape: _Shape) -> _Axis:
    axis, kernel = axes
    if axis is None or kernel is not None:
        return _everything(params, axes, shapes, shape)
    images, taps, out = params["dimension_numbers"]
    axis = _absorb(axis, images[1], shapes[0][images[1]])
    for i in range(len(images) - 2):
        axis = _window(
            axis, images[2 + i], shapes[1][taps[2 + i]], params["window_strides"][i], params["padding"][i][0],
            params["rhs_dilation"][i], params["lhs_dilation"][i],
        )  # fmt: skip
    steps = dict(zip(out, (axis.steps[place] for place in images), strict=True))
    return axis._replace(steps=tuple(steps[place] for place in range(len(shape))))


def _pool(params: Any, axes: _Axes, shapes: Sequence[_Shape], shape: _Shape) -> _Axis:
    axis = axes[0]
    if axis is None:
        return _everything(params, axes, shapes, shape)
    for place in range(len(shape)):
        axis = _window(
            axis, place, params["window_dimensions"][place], params["window_strides"][place],
            params["padding"][place][0], params["window_dilation"][place], params["base_dilation"][place],
        )  # fmt: skip
    return axis


def _reduce(params: Any, axes: _Axes, shapes: Sequence[_Shape], shape: _Shape) -> _Axis:
    axis = _the(axes)
    axis = _absorb_all(axis, params["axes"], shapes[0])
    return axis._replace(steps=tuple(step for place, step in enumerate(axis.steps) if place not in params["axes"]))


def _squeeze(params: Any, axes: _Axes, shapes: Sequence[_Shape], shape: _Shape) -> _Axis:
    return _reduce({"axes": params["dimensions"]}, axes, shapes, shape)


def _transpose(params: Any, axes: _Axes, shapes: Sequence[_Shape], shape: _Shape) -> _Axis:
    axis = _the(axes)
    return axis._replace(steps=tuple(axis.steps[place] for place in params["permutation"]))


def _broadcast(params: Any, axes: _Axes, shapes: Sequence[_Shape], shape: _Shape) -> _Axis:
    axis, steps = _the(axes), [Fraction(0)] * len(shape)
    for place, target in enumerate(params["broadcast_dimensions"]):
        steps[target] = axis.steps[place] if shapes[0][place] > 1 else Fraction(0)
    return axis._replace(steps=tuple(steps))


def _slice(params: Any, axes: _Axes, shapes: Sequence[_Shape], shape: _Shape) -> _Axis:
    axis, strides = _the(axes), params["strides"] or (1,) * len(shape)
    for place, (start, stride) in enumerate(zip(params["start_indices"], strides, strict=True)):
        axis = _window(axis, place, 1, stride, -start, 1, 1)
    return axis


def _pad(params: Any, axes: _Axes, shapes: Sequence[_Shape], shape: _Shape) -> _Axis:
    axis = axes[0]
    if axis is None or axes[1] is not None:
        return _everything(params, axes, shapes, shape)
    for place, (low, _, between) in enumerate(params["padding_config"]):
        axis = _window(axis, place, 1, 1, low, 1, between + 1)
    return axis


def _concatenate(params: Any, axes: _Axes, shapes: Sequence[_Shape], shape: _Shape) -> _Axis:
    place = params["dimension"]
    return _union([_absorb(a, place, s[place]) for a, s in zip(axes, shapes, strict=True) if a is not None], shape)


def _dot(params: Any, axes: _Axes, shapes: Sequence[_Shape], shape: _Shape) -> _Axis:
    contracted, batch = params["dimension_numbers"]
    if None not in axes:
        return _everything(params, axes, shapes, shape)
    side = 0 if axes[0] is not None else 1
    axis = _absorb_all(_the(axes), contracted[side], shapes[side])
    free = [place for place in range(len(shapes[side])) if place not in (*contracted[side], *batch[side])]
    others = len(shape) - len(batch[side]) - len(free)
    kept, zeros = [axis.steps[place] for place in free], [Fraction(0)] * others
    both = (*kept, *zeros) if side == 0 else (*zeros, *kept)
    return axis._replace(steps=(*(axis.steps[place] for place in batch[side]), *both))


def _reshape(params: Any, axes: _Axes, shapes: Sequence[_Shape], shape: _Shape) -> _Axis:
    axis, old = _the(axes), list(shapes[0])
    low, high, steps, place = axis.low, axis.high, [], 0
    new = list(shape)
    while new or place < len(old):
        step, length = Fraction(0), 1  # of a group of old axes, merged into one that a group of new ones divides
        wanted, group = 1, []
        while new and (wanted < length or not group or new[0] == 1):
            group.append(new.pop(0))
            wanted *= group[-1]
            while place < len(old) and length < wanted:
                other, count = axis.steps[place], old[place]
                if length == 1:
                    step = other
                elif count > 1:
                    step /= count
                    reach = (other - step) * (count - 1)
                    low, high = low + min(reach, 0), high + max(reach, 0)
                length, place = length * count, place + 1
        while place < len(old) and old[place] == 1:
            place += 1
        if not group:
            break
        for count in group:
            length //= count
            steps.append(step * length if count > 1 else Fraction(0))
    return _Axis(tuple(steps), low, high)


def _the(axes: _Axes) -> _Axis:
    """Return the one operand that sees pixels."""
    return next(axis for axis in axes if axis is not None)


ELEMENTWISE = frozenset((
    "abs", "add", "add_any", "and", "cbrt", "ceil", "clamp", "convert_element_type", "copy", "copy_p", "cos", "div",
    "eq", "erf", "erf_inv", "erfc", "exp", "exp2", "expm1", "floor", "ge", "gt", "integer_pow", "is_finite", "le",
    "log", "log1p", "logistic", "lt", "max", "min", "mul", "ne", "neg", "not", "or", "pow", "reduce_precision", "rem",
    "round", "rsqrt", "select_n", "sign", "sin", "sqrt", "square", "stop_gradient", "sub", "tan", "tanh", "xor",
))  # fmt: skip
"""Names of operations whose elements see what the operands' elements at the same place see."""

_RULES = {
    "conv_general_dilated": _conv,
    **dict.fromkeys(("reduce_window_max", "reduce_window_min", "reduce_window_sum"), _pool),
    **dict.fromkeys(("reduce_sum", "reduce_max", "reduce_min", "reduce_prod", "argmax", "argmin"), _reduce),
    "squeeze": _squeeze,
    "transpose": _transpose,
    "broadcast_in_dim": _broadcast,
    "slice": _slice,
    "pad": _pad,
    "concatenate": _concatenate,
    "dot_general": _dot,
    "reshape": _reshape,
}
