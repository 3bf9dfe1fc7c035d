"""How large gradients or updates are in each layer, and how large beside the weights they change."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np


class Norms(NamedTuple):
    """Euclidean norm of a layer's gradient (or update), and its ratio to the norm of the layer's weights."""

    norm: float
    relative: float


def norms_by_layer(gradients: Any, params: Any) -> dict[str, Norms]:
    """Compute the norms of every layer that has a kernel; biases and the parameters of norms are left out.

    Args:
        gradients: Tree like `params`: gradients, or the updates of a step.
        params: The module's parameters.

    Returns:
        Norms by the path of the layer, sorted by name as JAX sorts trees; `relative` is NaN where all weights are zero.

    >>> params = {"conv1": {"kernel": jnp.ones((2, 2)), "bias": jnp.ones(2)}}
    >>> norms_by_layer({"conv1": {"kernel": jnp.full((2, 2), 3.0), "bias": jnp.ones(2)}}, params)
    {'conv1': Norms(norm=6.0, relative=3.0)}
    """
    norms: dict[str, Norms] = {}
    leaves = jax.tree_util.tree_leaves_with_path(gradients)
    for (path, gradient), weights in zip(leaves, jax.tree.leaves(params), strict=True):
        *layer, name = jax.tree_util.keystr(path, simple=True, separator="/").split("/")
        if name == "kernel":
            size, weight = (
                float(jnp.linalg.norm(np.asarray(each, np.float32).ravel())) for each in (gradient, weights)
            )
            norms["/".join(layer)] = Norms(size, size / weight if weight else math.nan)
    return norms
