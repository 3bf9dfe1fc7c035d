"""Batch normalisation: Ioffe and Szegedy 2015.

The variance is the biased one (divided by the number of values, not by one less) everywhere: to normalise, as in every
framework, and in the running average, as in Flax. PyTorch keeps the unbiased one there; convert with n / (n - 1).
"""

from __future__ import annotations

import math
from functools import partial

import jax
import jax.numpy as jnp
from jax import lax

from jaxcnn.errors import InputError


def batch_norm_train(
    x: jax.Array,
    scale: jax.Array,
    bias: jax.Array,
    *,
    mask: jax.Array | None = None,
    axis_name: str | None = None,
    epsilon: float = 1e-5,
) -> tuple[jax.Array, jax.Array, jax.Array]:
    """Normalise each channel by the batch's own mean and variance, then scale and shift it.

    Statistics are taken in float32 in two passes (the mean, then the squared distances to it), because
    E[x^2] - E[x]^2 loses all digits where the mean is large against the spread.

    Args:
        x: (N, ..., C), channels last.
        scale: (C,), gamma.
        bias: (C,), beta.
        mask: (N,), true (or non-zero) where an example counts. Others give nothing to the statistics.
        axis_name: Mapped axis (pmap, shard_map, vmap) over which statistics are shared. Sums and counts are added up
            rather than means averaged, so that devices with unequal masks agree with one device exactly.
        epsilon: Added to the variance.

    Returns:
        y of x's shape and dtype; mean (C,) and biased variance (C,), float32. With no example at all, mean and
        variance are zero.

    Raises:
        InputError: Shapes do not fit together, or there is one value per channel: its variance is 0.

    >>> y, mean, var = batch_norm_train(jnp.array([[1.0], [3.0]]), jnp.ones(1), jnp.zeros(1), epsilon=0.0)
    >>> y.tolist(), mean.tolist(), var.tolist()
    ([[-1.0], [1.0]], [2.0], [1.0])
    """
    _check(x, scale, bias)
    values = x.size // x.shape[-1] * (1 if axis_name is None else lax.axis_size(axis_name))
    if values == 1:
        raise InputError(
            f"x of shape {x.shape}: batch norm in training needs more than one value per channel; choose a larger "
            "batch_size, or larger images"
        )
    return _by_batch(x, scale, bias, mask, axis_name, epsilon)


# Traced once per shape, not once per layer; `inline` leaves the program as it was (see `forms`).
@partial(jax.jit, static_argnums=(4, 5), inline=True)
def _by_batch(
    x: jax.Array, scale: jax.Array, bias: jax.Array, mask: jax.Array | None, axis_name: str | None, epsilon: float
) -> tuple[jax.Array, jax.Array, jax.Array]:
    weights = _weights(x, mask)
    wide = x.astype(jnp.float32)
    count = example_count(x, mask, axis_name) * math.prod(x.shape[1:-1])
    count = jnp.maximum(count, 1.0)
    mean = _total(wide, weights, axis_name) / count
    # The variance is taken about a constant that equals the mean: the same value, the same derivatives of every order
    # (the correction below is zero), and a gradient that passes over the images once less.
    about = lax.stop_gradient(mean)
    centred = wide - _channels(about, x.ndim)
    off = mean - about
    var = _total(jnp.square(centred), weights, axis_name) / count - jnp.square(off)
    factor = scale.astype(jnp.float32) * lax.rsqrt(var + epsilon)
    y = centred * _channels(factor, x.ndim) + _channels(bias.astype(jnp.float32) - off * factor, x.ndim)
    return y.astype(x.dtype), mean, var


def batch_norm_inference(
    x: jax.Array, scale: jax.Array, bias: jax.Array, mean: jax.Array, var: jax.Array, *, epsilon: float = 1e-5
) -> jax.Array:
    """Normalise by given statistics: one multiplication and one addition per value.

    Args:
        mean: (C,), usually the running average over training.
        var: (C,), likewise. The other arguments and the errors are those of `batch_norm_train`.

    Returns:
        Array of x's shape and dtype.

    >>> ones = jnp.ones(2)
    >>> batch_norm_inference(jnp.full((1, 2), 3.0), ones, ones, mean=ones, var=ones, epsilon=0.0).tolist()
    [[3.0, 3.0]]
    """
    _check(x, scale, bias)
    return _by_statistics(x, scale, bias, mean, var, epsilon)


@partial(jax.jit, static_argnums=5, inline=True)
def _by_statistics(
    x: jax.Array, scale: jax.Array, bias: jax.Array, mean: jax.Array, var: jax.Array, epsilon: float
) -> jax.Array:
    factor = scale.astype(jnp.float32) * lax.rsqrt(var + epsilon)
    wide = x.astype(jnp.float32) - _channels(mean, x.ndim)
    y = wide * _channels(factor, x.ndim) + _channels(bias.astype(jnp.float32), x.ndim)
    return y.astype(x.dtype)


def example_count(x: jax.Array, mask: jax.Array | None = None, axis_name: str | None = None) -> jax.Array:
    """Count the unmasked examples over all devices of `axis_name`: a float32 scalar.

    >>> example_count(jnp.ones((3, 2)), jnp.array([1.0, 1.0, 0.0])).item()
    2.0
    """
    weights = _weights(x, mask)
    local = jnp.asarray(x.shape[0], jnp.float32) if weights is None else jnp.sum(weights.astype(jnp.float32))
    return local if axis_name is None else lax.psum(local, axis_name)


def _check(x: jax.Array, scale: jax.Array, bias: jax.Array) -> None:
    if x.ndim < 2 or not jnp.issubdtype(x.dtype, jnp.floating):
        raise InputError(f"x of shape {x.shape} and dtype {x.dtype}: batch norm takes floating point (N, ..., C)")
    for name, value in (("scale", scale), ("bias", bias)):
        if value.shape != (x.shape[-1],):
            raise InputError(f"{name} of shape {value.shape}: it must be ({x.shape[-1]},), one value per channel of x")


def _weights(x: jax.Array, mask: jax.Array | None) -> jax.Array | None:
    if mask is None:
        return None
    if mask.shape != x.shape[:1]:
        raise InputError(f"mask of shape {mask.shape}: it must be {x.shape[:1]}, one value per example of x")
    return mask.astype(bool)


def _total(values: jax.Array, weights: jax.Array | None, axis_name: str | None) -> jax.Array:
    """Sum over all but channels, image by image first: (N, ..., C) to (C,)."""
    sums = jnp.sum(values, axis=tuple(range(1, values.ndim - 1)))
    if weights is not None:
        # `where`, not a product: a masked-out example may hold NaN or infinity, and 0 * NaN is NaN.
        sums = jnp.where(weights[:, None], sums, jnp.zeros_like(sums))
    total = jnp.sum(sums, axis=0)
    return total if axis_name is None else lax.psum(total, axis_name)


def _channels(vector: jax.Array, ndim: int) -> jax.Array:
    return vector.reshape((1,) * (ndim - 1) + (-1,))
