"""Which form of a convolution is traced: the operation as it is written, or a matrix product for maps of a few pixels.

Where a map has fewer pixels than the kernel has taps, a CPU's libraries take two to twenty times as long as one matrix
product over all pixels (`unrolled`), which does no more useful work.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from functools import partial

import jax
import jax.numpy as jnp

from jaxcnn.ops.window import Pads, Pair

# The same program, traced once per shape instead of once per layer. Batch norm does the same.
_traced_once = partial(jax.jit, static_argnums=(2, 3), inline=True)

_AS_WRITTEN = ContextVar("as_written", default=False)


@contextmanager
def as_written() -> Iterator[None]:
    """Trace every convolution and pooling within this block as the plain operation, for example to count MACs."""
    token = _AS_WRITTEN.set(True)
    try:
        yield
    finally:
        _AS_WRITTEN.reset(token)


def wants_as_written() -> bool:
    """Return whether this is traced within `as_written`."""
    return _AS_WRITTEN.get()


def has_forms() -> bool:
    """Return whether convolutions may take other forms than the plain operation: on a CPU, outside `as_written`."""
    return not wants_as_written() and jax.default_backend() == "cpu"


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


def _seen(size: int, taps: int, step: int, pads: Pair) -> list[int]:
    """Return, for each output pixel along one axis, the tap that lies on the image's first pixel."""
    return [pads[0] - step * i for i in range((size + sum(pads) - taps) // step + 1)]
