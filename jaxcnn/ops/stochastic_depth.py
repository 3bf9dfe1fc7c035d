"""Stochastic depth: Huang et al. 2016, "Deep networks with stochastic depth"."""

from __future__ import annotations

import jax
import jax.numpy as jnp

from jaxcnn.ops.dropout import dropout


def stochastic_depth(key: jax.Array, x: jax.Array, rate: float, *, axis_name: str | None = None) -> jax.Array:
    """Set a random share of examples to zero, whole, and divide the others by what is left, so that the mean stays.

    Huang et al. drop a block for a whole batch and multiply by what is left in inference; dropping it for single
    examples and dividing in training has the same mean, and inference needs no change.

    Args:
        key: PRNG key.
        x: (N, ...), floating point: the output of a residual branch, before the shortcut is added.
        rate: Share of examples dropped, 0 <= rate < 1; a Python number.
        axis_name: Mapped axis over which a batch is spread, as for `dropout`.

    Returns:
        Array of x's shape and dtype.

    Raises:
        InputError: The rate lies outside [0, 1).

    Reference:
        Huang et al. 2016, arXiv:1603.09382, equation 2.
    """
    examples = jnp.ones((x.shape[0],) + (1,) * (x.ndim - 1), x.dtype)
    return x * dropout(key, examples, rate, axis_name=axis_name)
