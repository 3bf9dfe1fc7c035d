"""Dropout (Srivastava et al. 2014) and stochastic depth (Huang et al. 2016)."""

from __future__ import annotations

import jax
import jax.numpy as jnp
from jax import lax

from jaxcnn.errors import require


def dropout(key: jax.Array, x: jax.Array, rate: float, *, axis_name: str | None = None) -> jax.Array:
    """Set a random share of values to zero and divide the others by what is left, so that the mean stays.

    Args:
        key: PRNG key.
        x: Any shape, floating point.
        rate: Share of values dropped, from 0 to 1 (all are zero then); a Python number.
        axis_name: Mapped axis (pmap, shard_map) over which a batch is spread: x is this device's rows of it, and the
            rows are dropped that would be on one device. The key must be the same on all devices.

    Returns:
        Array of x's shape and dtype.

    Raises:
        InputError: The rate lies outside [0, 1].
    """
    require(0.0 <= rate <= 1.0, "rate", rate, "the share of units dropped must be between 0 and 1")
    if rate in (0.0, 1.0):
        return x if rate == 0.0 else jnp.zeros_like(x)
    keep = _draw(key, 1.0 - rate, x.shape, axis_name)
    return jnp.where(keep, x / (1.0 - rate), jnp.zeros_like(x))


def stochastic_depth(key: jax.Array, x: jax.Array, rate: float, *, axis_name: str | None = None) -> jax.Array:
    """Set a random share of examples to zero, whole, and divide the others by what is left, so that the mean stays.

    Huang et al. drop a block for a whole batch and multiply by what is left in inference; dropping it for single
    examples and dividing in training has the same mean, and inference needs no change.

    Args:
        key: PRNG key.
        x: (N, ...), floating point: the output of a residual branch, before the shortcut is added.
        rate: Share of examples dropped, from 0 to 1; a Python number.
        axis_name: Mapped axis over which a batch is spread, as for `dropout`; result and errors likewise.

    Reference:
        Huang et al. 2016, arXiv:1603.09382, equation 2.

    >>> stochastic_depth(jax.random.key(0), jnp.ones((4, 8, 8, 2)), 0.5).shape
    (4, 8, 8, 2)
    """
    examples = jnp.ones((x.shape[0],) + (1,) * (x.ndim - 1), x.dtype)
    return x * dropout(key, examples, rate, axis_name=axis_name)


def _draw(key: jax.Array, share: float, shape: tuple[int, ...], axis_name: str | None) -> jax.Array:
    if axis_name is None:
        return jax.random.bernoulli(key, share, shape)
    # Each value is a function of the key and its place alone, so the compiler draws no more than the rows kept.
    whole = jax.random.bernoulli(key, share, (lax.axis_size(axis_name) * shape[0], *shape[1:]))
    return lax.dynamic_slice_in_dim(whole, lax.axis_index(axis_name) * shape[0], shape[0])
