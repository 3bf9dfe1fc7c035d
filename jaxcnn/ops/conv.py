"""Two-dimensional convolution (cross-correlation, as everywhere in deep learning): LeCun et al. 1989."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

import jax
import jax.numpy as jnp
from jax import lax

from jaxcnn.errors import InputError
from jaxcnn.ops.window import Padding, Pads, Pair, Size, as_pair, window_padding

# Channels that a narrow convolution is widened to while it is traced; 0: convolutions stay as they are.
_FOLD: ContextVar[int] = ContextVar("jaxcnn_fold", default=0)
# Fewer channels in (a stem's 3) are left alone: whether folding pays there has not been measured.
_LEAST_CHANNELS = 8


@contextmanager
def folded_convolutions(channels: int = 64) -> Iterator[None]:
    """Trace narrow convolutions in a wider form of the same result, which suits the matrix units of a GPU.

    Neighbouring columns become channels, (N, H, W, C) to (N, H, W / F, F C), which moves no data; the kernel is laid
    out anew with zeros between. That is F times the multiplications, on matrix units that were mostly idle: on an
    H200, 16 channels at 32x32 (batch 128) take 20 us instead of 28, and their kernel's gradient 41 instead of 57. On
    a CPU it is slower.

    Args:
        channels: Channels to fill; wider convolutions, strided, dilated and grouped ones are left alone.
    """
    token = _FOLD.set(channels)
    try:
        yield
    finally:
        _FOLD.reset(token)


def conv2d(
    x: jax.Array,
    kernel: jax.Array,
    bias: jax.Array | None = None,
    *,
    stride: Size = 1,
    dilation: Size = 1,
    groups: int = 1,
    padding: Padding = "SAME",
) -> jax.Array:
    """Convolve images with a bank of kernels.

    Multiply-accumulates: kh kw (Cin / groups) Cout H' W' per image; see `output_size` for H' and W'.

    Args:
        x: Images (N, H, W, Cin), floating point.
        kernel: Weights (kh, kw, Cin / groups, Cout), of x's dtype.
        bias: (Cout,), of x's dtype, or None.
        stride: Pixels between windows; an integer or (height, width).
        dilation: Pixels between taps; an integer or (height, width).
        groups: Number of channel groups that do not see each other.
        padding: "SAME", "VALID", "CEIL" (zeros at the bottom and right until the last pixel is seen), a number of
            pixels for every side, or ((top, bottom), (left, right)).

    Returns:
        (N, H', W', Cout), of x's dtype.

    Raises:
        InputError: Ranks, channels, groups, dtype or padding do not fit together.
    """
    stride, dilation = as_pair("stride", stride), as_pair("dilation", dilation)
    _check(x, kernel, bias, groups)
    pads = window_padding(x.shape, (kernel.shape[0], kernel.shape[1]), stride, dilation, padding)
    plain = stride == dilation == (1, 1) and groups == 1
    columns = _columns(x.shape, kernel.shape, pads) if plain else 1
    if columns > 1:
        y = _folded(x, kernel, pads[0], columns)
    else:
        y = lax.conv_general_dilated(
            x,
            kernel,
            window_strides=stride,
            padding=pads,
            rhs_dilation=dilation,
            dimension_numbers=("NHWC", "HWIO", "NHWC"),
            feature_group_count=groups,
        )
    return y if bias is None else y + jnp.reshape(bias, (1, 1, 1, -1))


def _columns(shape: tuple[int, ...], kernel: tuple[int, ...], pads: Pads) -> int:
    """How many neighbouring columns to fold into channels; 1: none."""
    reach, most = kernel[1] // 2, _FOLD.get() // max(kernel[2:])
    if reach < 1 or kernel[1] % 2 == 0 or pads[1] != (reach, reach) or shape[3] < _LEAST_CHANNELS:
        return 1  # the output must have the input's columns
    return max((f for f in range(max(2, reach), most + 1) if shape[2] % f == 0), default=1)


def _folded(x: jax.Array, kernel: jax.Array, rows: Pair, fold: int) -> jax.Array:
    """Convolution of stride 1 that keeps the columns, `fold` of them at a time: each sees its own fold and its two
    neighbours, of which the kernel reads its width and the rest is multiplied by zero.
    """
    n, height, width, channels = x.shape
    kh, kw, _, features = kernel.shape
    first = fold - kw // 2
    # Axis 1 runs over the columns of three folds, axis 3 over the columns put out.
    wide = jnp.stack(
        [jnp.pad(kernel, ((0, 0), (first + j, 3 * fold - kw - first - j), (0, 0), (0, 0))) for j in range(fold)], axis=3
    )
    y = lax.conv_general_dilated(
        x.reshape(n, height, width // fold, fold * channels),
        wide.reshape(kh, 3, fold * channels, fold * features),
        window_strides=(1, 1),
        padding=(rows, (1, 1)),
        dimension_numbers=("NHWC", "HWIO", "NHWC"),
    )
    return y.reshape(n, y.shape[1], width, features)


def _check(x: jax.Array, kernel: jax.Array, bias: jax.Array | None, groups: int) -> None:
    if x.ndim != 4:
        raise InputError(f"x of shape {x.shape}: convolution takes images of shape (N, H, W, C); reshape them")
    if kernel.ndim != 4:
        raise InputError(f"kernel of shape {kernel.shape}: it must be (height, width, in channels, out channels)")
    if not jnp.issubdtype(x.dtype, jnp.floating):
        raise InputError(f"x of dtype {x.dtype}: convolution takes floating point; use x.astype('float32') / 255")
    if groups < 1 or x.shape[3] % groups or kernel.shape[3] % groups:
        raise InputError(f"groups={groups}: it must divide {x.shape[3]} channels in and {kernel.shape[3]} channels out")
    if kernel.shape[2] * groups != x.shape[3]:
        raise InputError(
            f"kernel of shape {kernel.shape}: with groups={groups} it reads {kernel.shape[2] * groups} channels, "
            f"the images have {x.shape[3]}; give one of the two the other's channels"
        )
    if bias is not None and bias.shape != (kernel.shape[3],):
        raise InputError(f"bias of shape {bias.shape}: it must be ({kernel.shape[3]},), one value per channel out")
