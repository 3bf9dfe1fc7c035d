"""How sharply the loss bends: the largest eigenvalue of its Hessian, without the Hessian."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.flatten_util import ravel_pytree
from scipy.sparse.linalg import LinearOperator, eigsh


def top_eigenvalue(loss: Callable[[Any], jax.Array], params: Any, key: jax.Array, *, tolerance: float = 1e-3) -> float:
    """Compute the largest eigenvalue of the Hessian at `params`, the sharpness.

    SciPy's Lanczos iteration over products H v = jvp(grad). Gradient descent at rate r is stable in the direction of an
    eigenvalue below 2 / r, and full-batch training hovers there (Cohen et al. 2021, "Edge of stability").

    Args:
        loss: params -> scalar, such as `mean_loss` makes.
        params: Tree of arrays, two numbers or more.
        key: PRNG key of the first vector.
        tolerance: Relative accuracy; products are computed in the params' dtype.

    Returns:
        The largest eigenvalue; negative at a maximum of the loss.

    >>> round(top_eigenvalue(lambda p: p["a"] ** 2 + 3 * p["b"] ** 2, {"a": 1.0, "b": 1.0}, jax.random.key(0)), 4)
    6.0
    """
    place, unravel = ravel_pytree(params)

    @jax.jit
    def product(place: jax.Array, vector: jax.Array) -> jax.Array:
        return jax.jvp(jax.grad(lambda flat: loss(unravel(flat))), (place,), (vector,))[1]

    def multiply(vector: np.ndarray) -> np.ndarray:
        return np.asarray(product(place, jnp.asarray(vector.ravel(), place.dtype)), np.float64)

    operator = LinearOperator((place.size, place.size), matvec=multiply, dtype=np.float64)  # type: ignore[call-arg]
    start = np.asarray(jax.random.normal(key, place.shape), np.float64)
    values = eigsh(operator, k=1, which="LA", v0=start, tol=tolerance, return_eigenvectors=False)  # type: ignore[arg-type]
    return float(np.asarray(values)[0])
