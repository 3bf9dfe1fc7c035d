"""The loss along lines and planes through the parameters. Li et al. 2018, "Visualizing the loss landscape"."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np


def filter_normalised(params: Any, key: jax.Array) -> Any:
    """Draw a random direction whose filters are as long as those of the parameters.

    delta_f <- delta_f |w_f| / |delta_f| for every filter f, the weights of one output channel or unit; biases and the
    parameters of norms do not move. Networks whose weights differ in scale become comparable.

    Args:
        params: Tree of arrays; kernels have their outputs on the last axis.
        key: PRNG key.

    Returns:
        A tree like `params`.

    >>> direction = filter_normalised({"kernel": jnp.full((4, 2), 3.0), "bias": jnp.ones(2)}, jax.random.key(0))
    >>> [round(float(length), 4) for length in jnp.linalg.norm(direction["kernel"], axis=0)], direction["bias"].tolist()
    ([6.0, 6.0], [0.0, 0.0])
    """
    leaves, form = jax.tree.flatten(params)

    def draw(weights: jax.Array, key: jax.Array) -> jax.Array:
        if weights.ndim < 2:
            return jnp.zeros_like(weights)
        noise = jax.random.normal(key, weights.shape, weights.dtype)
        axes = tuple(range(weights.ndim - 1))
        lengths = [jnp.sqrt(jnp.sum(each**2, axis=axes, keepdims=True)) for each in (weights, noise)]
        return noise * lengths[0] / lengths[1]

    return jax.tree.unflatten(form, map(draw, leaves, jax.random.split(key, len(leaves))))


def landscape(
    loss: Callable[[Any], jax.Array], params: Any, directions: Sequence[Any], steps: Sequence[float] | np.ndarray
) -> np.ndarray:
    """Compute the loss at params + sum_i a_i direction_i, each a_i through all steps.

    Args:
        loss: params -> scalar, such as `mean_loss` makes.
        params: Tree of arrays.
        directions: One tree like `params` for a line, two for a plane, such as `filter_normalised` draws.
        steps: Multiples of the directions; 0 is the network itself.

    Returns:
        float (len(steps),) for one direction, (len(steps), len(steps)) for two, [of the first][of the second].

    >>> landscape(lambda p: p["a"] ** 2, {"a": jnp.float32(1)}, [{"a": jnp.float32(2)}], [-1, 0, 1]).tolist()
    [1.0, 1.0, 9.0]
    """
    count = len(directions)
    grid = np.stack(np.meshgrid(*[np.asarray(steps)] * count, indexing="ij"), axis=-1).reshape(-1, count)

    @jax.jit
    def losses(params: Any, directions: Sequence[Any], grid: jax.Array) -> jax.Array:
        def at(point: jax.Array) -> jax.Array:
            moved = params
            for share, direction in zip(point, directions, strict=True):
                moved = jax.tree.map(
                    lambda weights, step, a=share: weights + a.astype(step.dtype) * step, moved, direction
                )
            return loss(moved)

        return jax.lax.map(at, grid)

    values = losses(params, tuple(directions), jnp.asarray(grid, jnp.float32))
    return np.asarray(values).reshape((len(steps),) * count)
