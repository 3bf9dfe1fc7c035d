"""Choose the XLA form of a convolution per platform: the one place where mathematics meets a compiler's weaknesses.

All forms compute the same sums in float32 up to rounding. On accelerators there is one, the plain operation. On a CPU,
XLA's own choices cost more than the convolutions themselves (measured by experiments/benchmarks/train_step.py):

- it fuses what precedes a kernel's gradient into transposed copies and computes it again in a bad order: `settle`
  keeps neighbours apart;
- with oneDNN switched on, YNNPACK still takes most two-dimensional convolutions. It is slower than oneDNN forwards and
  towards the images, and faster towards the kernel of a large map: a depth axis of length one sends a convolution to
  oneDNN (`spatial`);
- a strided convolution's gradient towards its images runs on one slow path: over blocks of pixels it has stride 1
  (`blocked`);
- where a map has fewer pixels than the kernel has taps, XLA swaps the two and no library takes the result: a matrix
  product over all pixels does no more useful work (`unrolled`);
- calling a library costs more than a small convolution: over whole rows of pixels it is one matrix product (`banded`).
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from jaxcnn.ops.window import Pads, Pair

Convolution = Callable[[jax.Array, jax.Array, Pair, Pads], jax.Array]
ONEDNN_FLAGS = ("--xla_cpu_use_onednn=true", "--xla_cpu_experimental_onednn_custom_call=true")
# In jaxlib 0.10 the flags are known and change no convolution.
ONEDNN_SINCE = (0, 12)
# Up to here oneDNN's kernel gradient is the faster one.
FEW_PIXELS = 64
# Width times channels, in or out, up to which a matrix product over rows beats oneDNN, and what there is without it.
SHORT_ROW, LONG_ROW = 80, 160

# The same program, traced once per shape instead of once per layer: 0.87 s instead of 1.61 s to trace and lower the
# training step of ResNet-26 with batch norm (experiments/benchmarks/startup.py). Batch norm does the same.
_traced_once = partial(jax.jit, static_argnums=(2, 3), inline=True)

_AS_WRITTEN = ContextVar("as_written", default=False)


@contextmanager
def as_written() -> Iterator[None]:
    """Trace every convolution within this block as the plain operation, for example to count a network's MACs."""
    token = _AS_WRITTEN.set(True)
    try:
        yield
    finally:
        _AS_WRITTEN.reset(token)


def is_as_written() -> bool:
    """Return whether this is within a block of `as_written`."""
    return _AS_WRITTEN.get()


class Forms(NamedTuple):
    """The forward, input-gradient and kernel-gradient implementations of a convolution."""

    forward: Convolution
    images: Convolution
    kernel: Convolution


def forms(image: Sequence[int], kernel: Sequence[int], stride: Pair) -> Forms | None:
    """Return the forms for this process's backend; None: the plain operation with JAX's own derivatives.

    Args:
        image: Height and width of the images.
        kernel: Height and width of the kernel, channels in and out.
        stride: Of the convolution.
    """
    if _AS_WRITTEN.get() or jax.default_backend() != "cpu":
        return None
    if kernel[0] * kernel[1] > image[0] * image[1]:
        return Forms(unrolled, unrolled, unrolled)
    onednn = has_onednn()
    if image[1] * max(kernel[2:]) <= (SHORT_ROW if onednn else LONG_ROW):
        return Forms(banded, banded, banded)
    if not onednn:
        return Forms(planar, planar, planar)
    images = spatial if stride == (1, 1) else blocked
    return Forms(spatial, images, spatial if image[0] * image[1] <= FEW_PIXELS else planar)


def has_onednn() -> bool:
    """Return whether XLA hands convolutions to oneDNN: its flags are set and this version honours them."""
    version = tuple(int(part) for part in jax.__version__.split(".")[:2])
    return version >= ONEDNN_SINCE and set(ONEDNN_FLAGS) <= set(os.environ.get("XLA_FLAGS", "").split())


def settle(x: jax.Array) -> jax.Array:
    """Return x behind an optimization barrier: it, and its cotangent, are computed once before they are used."""
    return lax.optimization_barrier(x)


def planar(x: jax.Array, kernel: jax.Array, stride: Pair, pads: Pads) -> jax.Array:
    """Compute the plain two-dimensional convolution of (N, H, W, Cin) with (kh, kw, Cin, Cout)."""
    return lax.conv_general_dilated(x, kernel, stride, pads, dimension_numbers=("NHWC", "HWIO", "NHWC"))


def spatial(x: jax.Array, kernel: jax.Array, stride: Pair, pads: Pads) -> jax.Array:
    """Compute it as a three-dimensional convolution over a depth of one."""
    y = lax.conv_general_dilated(
        x[:, None], kernel[None], (1, *stride), ((0, 0), *pads), dimension_numbers=("NDHWC", "DHWIO", "NDHWC")
    )
    return y[:, 0]


def blocked(x: jax.Array, kernel: jax.Array, stride: Pair, pads: Pads) -> jax.Array:
    """Compute it over blocks of stride x stride pixels, channels side by side: stride 1, ceil(k / stride) taps."""
    n, height, width, channels = x.shape
    (rows, row_taps, row_pads), (columns, column_taps, column_pads) = (
        _blocks(size, taps, step, pad)
        for size, taps, step, pad in zip((height, width), kernel.shape[:2], stride, pads, strict=True)
    )
    down, across = stride
    x = lax.pad(x, np.zeros((), x.dtype), ((0, 0, 0), (*row_pads, 0), (*column_pads, 0), (0, 0, 0)))
    x = x.reshape(n, rows, down, columns, across, channels).transpose(0, 1, 3, 2, 4, 5)
    x = x.reshape(n, rows, columns, down * across * channels)
    missing = ((0, row_taps * down - kernel.shape[0]), (0, column_taps * across - kernel.shape[1]))
    k = jnp.pad(kernel, (*missing, (0, 0), (0, 0)))
    k = k.reshape(row_taps, down, column_taps, across, channels, -1).transpose(0, 2, 1, 3, 4, 5)
    k = k.reshape(row_taps, column_taps, down * across * channels, -1)
    return spatial(x, k, (1, 1), ((0, 0), (0, 0)))


@_traced_once
def unrolled(x: jax.Array, kernel: jax.Array, stride: Pair, pads: Pads) -> jax.Array:
    """Compute it as one matrix product, (N, H W Cin) with (H W Cin, H' W' Cout); for maps of a few pixels."""
    height, width = x.shape[1:3]
    rows, columns = (_seen(*axis) for axis in zip((height, width), kernel.shape[:2], stride, pads, strict=True))
    # Around the kernel as many zeros as the images have pixels: each pixel of the output sees its own window of that.
    edges = tuple((size + max(pad), size + max(pad)) for size, pad in zip((height, width), pads, strict=True))
    wide = jnp.pad(kernel, (*edges, (0, 0), (0, 0)))
    windows = [wide[edges[0][0] + top :][:height, edges[1][0] + left :][:, :width] for top in rows for left in columns]
    y = jnp.tensordot(x, jnp.stack(windows, 3), ((1, 2, 3), (0, 1, 2)))
    return y.reshape(x.shape[0], len(rows), len(columns), kernel.shape[3])


@_traced_once
def banded(x: jax.Array, kernel: jax.Array, stride: Pair, pads: Pads) -> jax.Array:
    """Compute it as one matrix product over rows, (N H', kh W Cin) with (kh W Cin, W' Cout); for short rows."""
    n, height, width, channels = x.shape
    down, (left, right) = stride[0], pads[1]
    rows = len(_seen(height, kernel.shape[0], down, pads[0]))
    columns = _seen(width, kernel.shape[1], stride[1], pads[1])
    edge = width + max(left, right)
    wide = jnp.pad(kernel, ((0, 0), (edge, edge), (0, 0), (0, 0)))
    band = jnp.stack([wide[:, edge + tap :][:, :width] for tap in columns], 3)
    x = lax.pad(x.reshape(n, height, width * channels), np.zeros((), x.dtype), ((0, 0, 0), (*pads[0], 0), (0, 0, 0)))
    taps = [x[:, i : i + down * (rows - 1) + 1 : down] for i in range(kernel.shape[0])]
    depth = kernel.shape[0] * width * channels  # spelled out: without images -1 could be anything
    y = jnp.concatenate(taps, 2).reshape(n * rows, depth) @ band.reshape(depth, -1)
    return y.reshape(n, rows, len(columns), kernel.shape[3])


def _seen(size: int, taps: int, step: int, pads: Pair) -> list[int]:
    """Return, for each output pixel along one axis, the tap that lies on the image's first pixel."""
    return [pads[0] - step * i for i in range((size + sum(pads) - taps) // step + 1)]


def _blocks(size: int, taps: int, step: int, pads: Pair) -> tuple[int, int, Pair]:
    """Return for one axis the input blocks, taps over blocks, and pixels to add (negative: to drop) on either side."""
    out = (size + sum(pads) - taps) // step + 1
    block_taps = -(-taps // step)
    blocks = out - 1 + block_taps
    return blocks, block_taps, (pads[0], blocks * step - size - pads[0])
