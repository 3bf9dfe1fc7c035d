"""Pooling over windows of an image and over whole images."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from jaxcnn.errors import InputError, require
from jaxcnn.ops.forms import wants_as_written
from jaxcnn.ops.window import BORDERS, Padding, Pads, Pair, Size, as_pair, window_padding

NO_PADS = ((0, 0), (0, 0))


def max_pool(x: jax.Array, window: Size, *, stride: Size | None = None, padding: Padding = "VALID") -> jax.Array:
    """Return the largest value in each window.

    Windows that neither overlap nor leave gaps nor need padding go through reshape and max: on a CPU the gradient of
    the general form (select-and-scatter) takes longer than a small network's convolutions. The two differ where a
    window holds its maximum several times: the general form, like PyTorch, sends the gradient to the first of them,
    the reshaped one shares it among them. Behind a ReLU the usual tie is at zero, where the ReLU passes no gradient.

    Args:
        x: (N, H, W, C), floating point.
        window: Side of the window, or (height, width).
        stride: Pixels between windows; None: the window.
        padding: As for `conv2d`; padded pixels never win. "CEIL" keeps the last rows and columns: 5x5 under 2x2 gives
            3x3.

    Returns:
        (N, H', W', C); see `output_size`.

    Raises:
        InputError: The window does not fit, or x is not a batch of floating point images.
    """
    window, stride, pads = _geometry(x, window, stride, padding)
    if window == stride and pads == NO_PADS:
        blocks = _blocks(x, window)
        if window != (2, 2) or wants_as_written():
            return jnp.max(blocks, axis=(2, 4))
        # XLA reduces two short axes at once slowly: LeNet-5's logits take 1.4 times as long on a CPU.
        rows = jnp.maximum(blocks[:, :, 0], blocks[:, :, 1])
        return jnp.maximum(rows[:, :, :, 0], rows[:, :, :, 1])
    low = np.array(-np.inf, x.dtype)
    return lax.reduce_window(x, low, lax.max, (1, *window, 1), (1, *stride, 1), ((0, 0), *pads, (0, 0)))


def avg_pool(
    x: jax.Array,
    window: Size,
    *,
    stride: Size | None = None,
    padding: Padding = "VALID",
    count_include_pad: bool = True,
) -> jax.Array:
    """Return the mean of each window, (N, H', W', C); other arguments and errors are those of `max_pool`.

    Args:
        count_include_pad: Whether zeros that `padding` asked for count in the mean. Those that "CEIL" adds never do.
    """
    window, stride, pads = _geometry(x, window, stride, padding)
    if window == stride and pads == NO_PADS:
        return jnp.mean(_blocks(x, window), axis=(2, 4))
    zero = np.array(0, x.dtype)
    sums = lax.reduce_window(x, zero, lax.add, (1, *window, 1), (1, *stride, 1), ((0, 0), *pads, (0, 0)))
    if padding != "CEIL" and count_include_pad:
        return sums / (window[0] * window[1])
    counts = np.outer(*(_real(x.shape[i + 1], window[i], stride[i], pads[i]) for i in (0, 1)))
    # A window of padding alone has nothing to average: its sum is zero, and so is its mean.
    return sums / jnp.asarray(np.maximum(counts, 1)[None, :, :, None], x.dtype)


def adaptive_avg_pool(x: jax.Array, size: Size) -> jax.Array:
    """Average over a fixed grid of bins for images of any size; bins as in PyTorch, they may overlap by a pixel.

    Args:
        x: (N, H, W, C).
        size: Bins, one integer or (height, width); bin i covers floor(i H / size) to ceil((i + 1) H / size).

    Returns:
        (N, *size, C).

    >>> adaptive_avg_pool(jnp.ones((1, 7, 5, 3)), 2).shape
    (1, 2, 2, 3)
    """
    size = as_pair("size", size)
    _check(x)
    if x.shape[1:3] == size:
        return x
    if x.shape[1] % size[0] == 0 and x.shape[2] % size[1] == 0:
        return avg_pool(x, (x.shape[1] // size[0], x.shape[2] // size[1]))
    for axis, bins in zip((1, 2), size, strict=True):
        length = x.shape[axis]
        edges = [(i * length // bins, -(-(i + 1) * length // bins)) for i in range(bins)]
        parts = [lax.slice_in_dim(x, start, stop, axis=axis).mean(axis=axis, keepdims=True) for start, stop in edges]
        x = jnp.concatenate(parts, axis=axis)
    return x


def global_avg_pool(x: jax.Array) -> jax.Array:
    """Average over all pixels: (N, H, W, C) to (N, C). Reference: Lin, Chen and Yan, "Network in Network", 2013."""
    _check(x)
    return jnp.mean(x, axis=(1, 2))


def global_max_pool(x: jax.Array) -> jax.Array:
    """Return the maximum over all pixels: (N, H, W, C) to (N, C); equal maxima share the gradient equally.

    >>> global_max_pool(jnp.arange(4.0).reshape(1, 2, 2, 1)).item()
    3.0
    """
    _check(x)
    return jnp.max(x, axis=(1, 2))


def _check(x: jax.Array) -> None:
    if x.ndim != 4 or not jnp.issubdtype(x.dtype, jnp.floating):
        raise InputError(f"x of shape {x.shape} and dtype {x.dtype}: pooling takes floating point images (N, H, W, C)")


def _geometry(x: jax.Array, window: Size, stride: Size | None, padding: Padding) -> tuple[Pair, Pair, Pads]:
    _check(x)
    window = as_pair("window", window)
    stride = window if stride is None else as_pair("stride", stride)
    require(padding not in tuple(BORDERS), "padding", repr(padding), "only convolutions have it; give 'SAME' or pixels")
    return window, stride, window_padding(x.shape, window, stride, (1, 1), padding)


def _blocks(x: jax.Array, window: Pair) -> jax.Array:
    """Return (N, H, W, C) as (N, H / kh, kh, W / kw, kw, C), without the pixels that fill no window."""
    n, height, width, channels = x.shape
    rows, columns = height // window[0], width // window[1]
    x = x[:, : rows * window[0], : columns * window[1], :]
    return x.reshape(n, rows, window[0], columns, window[1], channels)


def _real(size: int, window: int, stride: int, pads: Pair) -> np.ndarray:
    """Count the image pixels that each window along one axis covers."""
    count = (size + sum(pads) - window) // stride + 1
    starts = np.arange(count) * stride - pads[0]
    return np.minimum(starts + window, size) - np.maximum(starts, 0)
