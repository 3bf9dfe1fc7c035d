"""Bilinear resizing of maps: two products with constant matrices, no gather, so that its gradient is fast, too."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np

from jaxcnn.errors import require

SCOPE = "jaxcnn_resize"
"""Name of the scope of these products: `jaxcnn.analysis.complexity` counts none of them, as published tables do."""


def resize_bilinear(x: jax.Array, size: tuple[int, int]) -> jax.Array:
    """Resize maps (N, H, W, C) to (N, *size, C), each value a mean of the four around its place.

    Centres of pixels lie at half-integers, and the outermost pixels are continued beyond the edge:
    `torch.nn.functional.interpolate(mode="bilinear", align_corners=False)`.

    Raises:
        InputError: x is not a batch of maps, or a side of `size` is below 1.

    >>> resize_bilinear(jnp.array([0.0, 1.0]).reshape(1, 1, 2, 1), (1, 4))[0, 0, :, 0].tolist()
    [0.0, 0.25, 0.75, 1.0]
    """
    require(x.ndim == 4, "x", f"array of shape {x.shape}", "must be maps (N, H, W, C)")
    require(min(size) >= 1, "size", size, "must be at least 1 x 1")
    if x.shape[1:3] == tuple(size):
        return x
    down, across = (jnp.asarray(_weights(old, new), x.dtype) for old, new in zip(x.shape[1:3], size, strict=True))
    with jax.named_scope(SCOPE):
        rows = jnp.einsum("nhwc,yh->nywc", x, down, precision="highest")
        return jnp.einsum("nywc,xw->nyxc", rows, across, precision="highest")


def _weights(old: int, new: int) -> np.ndarray:
    """Return the matrix (new, old) of an axis: two weights a row, which add up to one."""
    places = np.clip((np.arange(new) + 0.5) * old / new - 0.5, 0, old - 1)
    before = np.floor(places).astype(int)
    share, rows = places - before, np.arange(new)
    weights = np.zeros((new, old))
    weights[rows, before] = 1 - share
    weights[rows, np.minimum(before + 1, old - 1)] += share
    return weights
