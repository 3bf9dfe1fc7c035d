"""Masks as run lengths, in COCO's uncompressed form: column by column, the counts of zeros and ones in turn."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import ArrayLike


def encode(mask: ArrayLike) -> dict[str, Any]:
    """Return a mask (H, W), true inside, as {"size": [H, W], "counts": [zeros, ones, zeros, ...]}.

    >>> encode([[0, 1], [1, 1]])
    {'size': [2, 2], 'counts': [1, 3]}
    """
    mask = np.asarray(mask).astype(bool)
    if mask.ndim != 2:
        raise ValueError(f"mask has shape {mask.shape}; give (height, width)")
    flat = np.concatenate([[False], mask.ravel(order="F")])  # the first run is one of zeros, maybe empty
    starts = np.flatnonzero(flat[1:] != flat[:-1])
    counts = np.diff(np.concatenate([[0], starts, [mask.size]]))
    return {"size": list(mask.shape), "counts": counts.tolist()}


def decode(rle: Mapping[str, Any]) -> np.ndarray:
    """Return the mask (H, W) bool of run lengths; the inverse of `encode`.

    Raises:
        ValueError: The counts do not add up to the size.
    """
    (height, width), counts = rle["size"], np.asarray(rle["counts"], np.int64)
    if (counts.size and counts.min() < 0) or counts.sum() != height * width:
        raise ValueError(f"counts add up to {counts.sum()} pixels of {height} x {width}; the mask is damaged")
    values = np.arange(len(counts)) % 2 == 1
    return np.repeat(values, counts).reshape(height, width, order="F")
