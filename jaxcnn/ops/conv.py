"""Two-dimensional convolution (cross-correlation, as everywhere in deep learning): LeCun et al. 1989."""

from __future__ import annotations

from functools import partial

import jax
import jax.numpy as jnp

from jaxcnn.errors import InputError
from jaxcnn.ops import onednn
from jaxcnn.ops.forms import Forms, banded, forms, is_as_written, settle, unrolled
from jaxcnn.ops.onednn import Geometry
from jaxcnn.ops.window import BORDERS, Padding, Pads, Pair, Size, as_pair, window_padding


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
    chosen = forms(x.shape[1:3], kernel.shape, stride) if groups == 1 and dilation == (1, 1) else None
    geometry = Geometry(stride, dilation, pads, groups)
    if not is_as_written() and onednn.takes(x, kernel):
        y = onednn.convolve(x, kernel, geometry)
    elif chosen:
        y = _shaped(x, kernel, stride, pads, chosen)
    else:
        y = onednn.plain(x, kernel, geometry)
    return y if bias is None else y + jnp.reshape(bias, (1, 1, 1, -1))


def _shaped(x: jax.Array, kernel: jax.Array, stride: Pair, pads: Pads, chosen: Forms) -> jax.Array:
    if kernel.shape[:2] == (1, 1) and pads == ((0, 0), (0, 0)):
        # A matrix product; its gradients need no convolution.
        return jnp.tensordot(x[:, :: stride[0], :: stride[1]], kernel[0, 0], 1)
    if chosen.forward in (unrolled, banded):
        return chosen.forward(x, kernel, stride, pads)
    return _convolve(x, kernel, stride, pads, chosen)


@partial(jax.custom_jvp, nondiff_argnums=(2, 3, 4))
def _convolve(x: jax.Array, kernel: jax.Array, stride: Pair, pads: Pads, chosen: Forms) -> jax.Array:
    return chosen.forward(x, kernel, stride, pads)


@_convolve.defjvp
def _derivative(
    stride: Pair,
    pads: Pads,
    chosen: Forms,
    primals: tuple[jax.Array, jax.Array],
    tangents: tuple[jax.Array, jax.Array],
) -> tuple[jax.Array, jax.Array]:
    """Apply the product rule, each term in its own form; JAX transposes it for the gradient."""
    (x, kernel), (dx, dkernel) = primals, tangents
    y = _convolve(x, kernel, stride, pads, chosen)
    towards_images = chosen.images(settle(dx), kernel, stride, pads)
    towards_kernel = chosen.kernel(settle(x), dkernel, stride, pads)
    return y, settle(towards_images + towards_kernel)


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
