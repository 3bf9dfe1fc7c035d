"""Which of very many anchors or proposals a loss counts: the hardest background, or a random sample of fixed size."""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np


class Sample(NamedTuple):
    """A sample of the proposals of one image, filled up to a fixed number S.

    Args:
        indices: (S,) int32 places of the sampled proposals.
        valid: (S,) bool: whether a place holds a sample; where proposals are few, some do not.
        positive: (S,) bool: whether the sample is an object.
    """

    indices: jax.Array
    valid: jax.Array
    positive: jax.Array


def hard_negatives(losses: jax.Array, positive: jax.Array, negative: jax.Array, ratio: float, floor: int) -> jax.Array:
    """Choose the background anchors of one image with the largest losses.

    Their number is `ratio` times that of the positive anchors (Liu et al. 2016, section 2.2: 3), and at least `floor`:
    an image without objects would teach nothing otherwise.

    Args:
        losses: (A,) float, the loss of each anchor as background; no gradient flows through the choice.
        positive: (A,) bool, anchors that have a box.
        negative: (A,) bool, anchors that are background.
        ratio: Negatives for each positive.
        floor: Smallest number of negatives, as far as there are any.

    Returns:
        (A,) bool, the chosen ones.

    >>> positive = jnp.array([True, False, False, False])
    >>> hard_negatives(jnp.array([0.0, 1.0, 3.0, 2.0]), positive, ~positive, 2, 0).tolist()
    [False, False, True, True]
    """
    count = jnp.maximum(positive.sum(dtype=jnp.int32).astype(jnp.float32) * ratio, float(floor))
    hardness = jnp.where(negative, jax.lax.stop_gradient(losses), -jnp.inf)
    return negative & (_ranks(hardness).astype(jnp.float32) < count)


def sample_proposals(
    positive: jax.Array, negative: jax.Array, draw: jax.Array, count: int, positive_share: float
) -> Sample:
    """Draw a sample of fixed size from the proposals of one image: some objects, the rest background.

    The random numbers are an argument, so that the function is pure and a module needs no random generator. Ren et al.
    2015, section 3.1.3.

    Args:
        positive: (A,) bool, proposals that are an object.
        negative: (A,) bool, proposals that are background; those that are neither are not sampled.
        draw: (A,) float in [0, 1).
        count: Size S of the sample.
        positive_share: Largest share of objects in the sample.

    Returns:
        The sample, objects first.

    >>> positive = jnp.array([True, True, False, False])
    >>> sample_proposals(positive, ~positive, jnp.array([0.5, 0.25, 0.75, 0.5]), 2, 0.5).indices.tolist()
    [0, 2]
    """
    size = min(count, len(draw))
    drawn = jnp.clip(draw, 0.0, 0.999999)
    limit = int(count * positive_share)
    capped = positive & (_ranks(jnp.where(positive, drawn, -1.0)) < limit)
    order = jnp.where(capped, 2.0 + drawn, jnp.where(negative & ~positive, 1.0 + drawn, 0.0))
    values, indices = jax.lax.top_k(order, size)
    padding = (0, count - size)
    return Sample(
        jnp.pad(indices.astype(jnp.int32), padding),
        jnp.pad(values >= 1.0, padding, constant_values=np.bool_(False)),
        jnp.pad(values >= 2.0, padding, constant_values=np.bool_(False)),
    )


def _ranks(values: jax.Array) -> jax.Array:
    """Return the rank int32 (A,) of each value, 0 for the largest; of equal values the first is ahead."""
    places = jnp.arange(len(values), dtype=jnp.int32)
    # The inverse of a permutation by a scatter: a second sort takes several times as long to compile on a CPU.
    return jnp.zeros_like(places).at[jnp.argsort(-values, stable=True)].set(places, unique_indices=True)
