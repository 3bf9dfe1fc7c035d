"""Convolutions by oneDNN on a CPU: three bilinear primitives, each the transpose of the two others.

    forward   (images, kernel) -> output
    images    (output, kernel) -> images
    kernel    (images, output) -> kernel

So a derivative of any order, forward or reverse, is made of the same three. Where a program is lowered for several
devices and the compiler partitions it, for another platform, or for a shape or dtype that oneDNN has no optimized code
for, the primitive becomes XLA's plain convolution. `vmap` adds one axis in front of all operands; the bridge computes
its entries one after another.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.extend.core import Primitive
from jax.interpreters import ad, batching, mlir

from jaxcnn.ops.window import Pads, Pair
from jaxcnn.runtime import onednn

FORWARD, IMAGES, KERNEL = range(3)
DTYPES = (jnp.float32, jnp.bfloat16)


class Geometry(NamedTuple):
    """All of a convolution but its operands."""

    stride: Pair
    dilation: Pair
    pads: Pads
    groups: int


def takes(x: jax.Array, kernel: jax.Array) -> bool:
    """Return whether `convolve` may be called: the bridge is there and the dtypes are its own."""
    if x.dtype != kernel.dtype or x.dtype not in DTYPES:
        return False
    # Under shard_map with its check of what varies, operands would have to be made alike; the plain operation is.
    varies = any(getattr(getattr(jax.typeof(v), "mat", None), "varying", ()) for v in (x, kernel))
    return not varies and onednn.bridge() is not None


def convolve(x: jax.Array, kernel: jax.Array, geometry: Geometry) -> jax.Array:
    """Convolve images (N, H, W, Cin) with kernels (kh, kw, Cin / groups, Cout)."""
    taps = zip(x.shape[1:3], kernel.shape[:2], geometry.stride, geometry.dilation, geometry.pads, strict=True)
    size = [(length + sum(pad) - step * (width - 1) - 1) // down + 1 for length, width, down, step, pad in taps]
    return PRIMITIVES[FORWARD].bind(x, kernel, shape=(x.shape[0], *size, kernel.shape[3]), geometry=geometry)


def plain(x: jax.Array, kernel: jax.Array, geometry: Geometry) -> jax.Array:
    """Compute the same by XLA's convolution."""
    return lax.conv_general_dilated(
        x,
        kernel,
        window_strides=geometry.stride,
        padding=geometry.pads,
        rhs_dilation=geometry.dilation,
        dimension_numbers=("NHWC", "HWIO", "NHWC"),
        feature_group_count=geometry.groups,
    )


def _plain(kind: int, a: jax.Array, b: jax.Array, *, shape: Sequence[int], geometry: Geometry) -> jax.Array:
    """Compute one of the three by XLA."""
    if a.ndim == 5:
        return jax.vmap(partial(_plain, kind, shape=shape[1:], geometry=geometry))(a, b)
    unknown = jax.ShapeDtypeStruct(tuple(shape), a.dtype)
    if kind == FORWARD:
        return plain(a, b, geometry)
    if kind == IMAGES:
        return jax.linear_transpose(lambda x: plain(x, b, geometry), unknown)(a)[0]
    return jax.linear_transpose(lambda kernel: plain(a, kernel, geometry), unknown)(b)[0]


def _make_primitive(kind: int) -> Primitive:
    primitive = Primitive(f"onednn_{('forward', 'images', 'kernel')[kind]}")
    primitive.def_impl(jax.jit(primitive.bind, static_argnames=("shape", "geometry")))
    primitive.def_abstract_eval(lambda a, b, *, shape, geometry: a.update(shape=shape))
    by_xla = mlir.lower_fun(partial(_plain, kind), multiple_results=False)
    by_onednn = jax.ffi.ffi_lowering(onednn.TARGET)

    def lower(context: Any, a: Any, b: Any, *, shape: tuple[int, ...], geometry: Geometry) -> Any:
        values = [kind, context.avals_in[0].dtype == jnp.bfloat16, *_numbers(geometry)]
        if _partitioned(context) or not _is_fast(values, *(v.shape for v in context.avals_in), shape):
            return by_xla(context, a, b, shape=shape, geometry=geometry)
        return by_onednn(context, a, b, geometry=np.array(values, np.int64))

    mlir.register_lowering(primitive, by_xla)
    mlir.register_lowering(primitive, lower, platform="cpu")
    batching.primitive_batchers[primitive] = partial(_batched, primitive, kind)
    return primitive


def _numbers(geometry: Geometry) -> list[int]:
    stride, dilation, pads, groups = geometry
    return [*stride, *dilation, *pads[0], *pads[1], groups]


def _partitioned(context: Any) -> bool:
    """Return whether the compiler may spread this operation over devices, which would gather its operands."""
    axes = context.module_context.axis_context
    if hasattr(axes, "manual_axes"):  # under shard_map or pmap each device computes its own rows
        return set(axes.manual_axes) != set(axes.mesh.axis_names)
    return getattr(axes, "num_devices", 1) != 1


def _is_fast(values: list[int], *shapes: tuple[int, ...]) -> bool:
    library = onednn.bridge()
    if library is None or 0 in np.concatenate(shapes):
        return False
    a, b, c = (shape[-4:] for shape in shapes)
    images, kernel, output = {FORWARD: (a, b, c), IMAGES: (c, b, a), KERNEL: (a, c, b)}[values[0]]
    key = [*values, *images, *kernel, *output]
    return bool(library.jaxcnn_is_fast((ctypes.c_int64 * len(key))(*key)))


def _batched(
    primitive: Primitive,
    kind: int,
    operands: Sequence[jax.Array],
    axes: Sequence[int | None],
    *,
    shape: tuple[int, ...],
    geometry: Geometry,
) -> tuple[jax.Array, int]:
    size = next(v.shape[axis] for v, axis in zip(operands, axes, strict=True) if axis is not None)
    a, b = (
        jnp.broadcast_to(v, (size, *v.shape)) if axis is None else jnp.moveaxis(v, axis, 0)
        for v, axis in zip(operands, axes, strict=True)
    )
    if kind != KERNEL and axes[1] is None and len(shape) == 4:  # one kernel for all: only more images
        flat = primitive.bind(
            a.reshape(-1, *a.shape[2:]), operands[1], shape=(size * shape[0], *shape[1:]), geometry=geometry
        )
        return flat.reshape(size, *shape), 0
    a, b = (v.reshape(-1, *v.shape[-4:]) for v in (a, b))
    out = primitive.bind(a, b, shape=(len(a), *shape[-4:]), geometry=geometry)
    return out.reshape(size, *shape), 0


PRIMITIVES = tuple(map(_make_primitive, (FORWARD, IMAGES, KERNEL)))


def _transposed(kind: int, towards_a: Callable[..., Any], towards_b: Callable[..., Any]) -> None:
    """Register the transposes: `towards_a` takes (cotangent, b), `towards_b` (cotangent, a)."""

    def rule(towards: Callable[..., Any], ct: Any, unknown: Any, known: Any, geometry: Geometry) -> Any:
        primitive, *operands = towards(ct, known)
        return PRIMITIVES[primitive].bind(*operands, shape=unknown.aval.shape, geometry=geometry)

    ad.defbilinear(
        PRIMITIVES[kind],
        lambda ct, a, b, *, shape, geometry: rule(towards_a, ct, a, b, geometry),
        lambda ct, a, b, *, shape, geometry: rule(towards_b, ct, b, a, geometry),
    )


_transposed(FORWARD, lambda ct, kernel: (IMAGES, ct, kernel), lambda ct, x: (KERNEL, x, ct))
_transposed(IMAGES, lambda ct, kernel: (FORWARD, ct, kernel), lambda ct, dy: (KERNEL, ct, dy))
_transposed(KERNEL, lambda ct, dy: (IMAGES, dy, ct), lambda ct, x: (FORWARD, x, ct))
