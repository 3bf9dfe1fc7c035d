"""Dropout: Srivastava et al. 2014."""

from __future__ import annotations

import jax
import jax.numpy as jnp

from jaxcnn.errors import InputError


def dropout(key: jax.Array, x: jax.Array, rate: float) -> jax.Array:
    """Set a random share of values to zero and divide the others by what is left, so that the mean stays.

    Args:
        key: PRNG key.
        x: Any shape, floating point.
        rate: Share of values dropped, 0 <= rate < 1; a Python number.

    Returns:
        Array of x's shape and dtype.

    Raises:
        InputError: The rate lies outside [0, 1).
    """
    if not 0.0 <= rate < 1.0:
        raise InputError(f"rate={rate}: the share of units dropped must be at least 0 and below 1")
    if rate == 0.0:
        return x
    keep = jax.random.bernoulli(key, 1.0 - rate, x.shape)
    return jnp.where(keep, x / (1.0 - rate), jnp.zeros_like(x))
