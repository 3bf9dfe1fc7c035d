"""Two-dimensional convolution (cross-correlation, as everywhere in deep learning): LeCun et al. 1989."""

from __future__ import annotations

import jax
import jax.numpy as jnp

from jaxcnn.errors import InputError
from jaxcnn.ops.forms import has_forms, unrolled
from jaxcnn.ops.onednn import Geometry, convolve, plain, takes
from jaxcnn.ops.window import BORDERS, Padding, Size, as_pair, window_padding


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
            pixels for every side, or (height, width), each a number or (low, high). As in Flax, "CIRCULAR" pads with
            the pixels of the opposite edge, "REFLECT" with those of the mirrored image.

    Returns:
        (N, H', W', Cout), of x's dtype.

    Raises:
        InputError: Ranks, channels, groups, dtype or padding do not fit together.
    """
    stride, dilation = as_pair("stride", stride), as_pair("dilation", dilation)
    _check(x, kernel, bias, groups)
    pads = window_padding(x.shape, (kernel.shape[0], kernel.shape[1]), stride, dilation, padding)
    if isinstance(padding, str) and padding in BORDERS:
        x, pads = jnp.pad(x, ((0, 0), *pads, (0, 0)), BORDERS[padding]), ((0, 0), (0, 0))
    geometry = Geometry(stride, dilation, pads, groups)
    few_pixels = x.shape[1] * x.shape[2] < kernel.shape[0] * kernel.shape[1]
    if has_forms() and few_pixels and groups == 1 and dilation == (1, 1):
        y = unrolled(x, kernel, stride, pads)
    elif has_forms() and takes(x, kernel):
        y = convolve(x, kernel, geometry)
    else:
        y = plain(x, kernel, geometry)
    return y if bias is None else y + jnp.reshape(bias, (1, 1, 1, -1))


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
