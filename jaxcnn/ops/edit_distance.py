"""The edit distance of sequences of fixed length, padded."""

from __future__ import annotations

import jax
import jax.numpy as jnp


def edit_distance(a: jax.Array, b: jax.Array) -> jax.Array:
    """Compute the Levenshtein distance of each pair of sequences: insertions, deletions and substitutions.

    Args:
        a: (N, T) int32, each row a sequence and then negative numbers.
        b: (N, L) int32, likewise.

    Returns:
        (N,) int32.

    >>> edit_distance(jnp.array([[1, 2, 3, -1]], jnp.int32), jnp.array([[2, 3, 3]], jnp.int32)).tolist()
    [2]
    """
    columns = jnp.arange(b.shape[1] + 1, dtype=jnp.int32)[None]
    lengths = (b >= 0).sum(axis=1).astype(jnp.int32)

    def extend(row: jax.Array, symbol: jax.Array) -> tuple[jax.Array, None]:
        """Return the distances (N, L + 1) of a one symbol longer `a` to all beginnings of b."""
        changed = row[:, :-1] + (symbol[:, None] != b).astype(jnp.int32)
        without = jnp.concatenate([row[:, :1] + 1, jnp.minimum(changed, row[:, 1:] + 1)], axis=1)
        # An insertion costs 1 from the left neighbour: min over k of without[k] + (j - k).
        longer = jax.lax.cummin(without - columns, axis=1) + columns
        return jnp.where((symbol >= 0)[:, None], longer, row), None

    first = jnp.broadcast_to(columns, (b.shape[0], b.shape[1] + 1))
    last, _ = jax.lax.scan(extend, first, a.T)
    return jnp.take_along_axis(last, lengths[:, None], axis=1)[:, 0]
