"""Units behind a ReLU that are zero for all images, so that no gradient passes through them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import jax
import numpy as np
from flax import linen as nn

from jaxcnn.analysis.network.layer_outputs import in_order, traced_relus


def dead_units(module: nn.Module, variables: Mapping[str, Any], batches: Iterable[jax.Array]) -> dict[str, np.ndarray]:
    """Find the units of every ReLU whose largest value over all images and positions is 0.

    Args:
        module: Any Flax module; it is called in inference.
        variables: Its `params` and `batch_stats`.
        batches: One or more arrays of images (N, H, W, C).

    Returns:
        bool (units,) by the name of the ReLU (see `relu_outputs`), True where dead: a unit is a channel of a map, or an
        element of a vector. The mean is the share of dead units.

    Raises:
        ValueError: There is no batch.

    >>> class Net(nn.Module):
    ...     @nn.compact
    ...     def __call__(self, x):
    ...         return nn.relu(nn.Dense(2, name="dense1")(x))
    >>> variables = {"params": {"dense1": {"kernel": np.ones((1, 2), "f"), "bias": np.array([0, -9], "f")}}}
    >>> dead_units(Net(), variables, [np.ones((4, 1), "f")])["dense1"].tolist()
    [False, True]
    """

    def largest(variables: Any, images: jax.Array) -> dict[str, jax.Array]:
        outputs = traced_relus(module, variables, images)
        return {name: out.max(axis=tuple(range(out.ndim - 1))) for name, out in outputs.items()}

    step, highest = in_order(largest), {}
    empty = True
    for images in batches:
        empty = False
        for name, value in step(variables, images).items():
            highest[name] = np.maximum(highest.get(name, 0), np.asarray(value))
    if empty:
        raise ValueError("batches is empty; give at least one array of images")
    return {name: value <= 0 for name, value in highest.items()}
