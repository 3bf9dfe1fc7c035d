"""Retrieval: is an image of the same class among the nearest ones?"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

CHUNK = 512  # examples whose distances to all others are in memory together


def recall_at(vectors: np.ndarray, labels: np.ndarray, ranks: Sequence[int] = (1, 5)) -> list[float]:
    """Compute recall@k: the share of examples with an example of their class among the k nearest others.

    Examples that are alone in their class are left out.

    Args:
        vectors: float (N, D).
        labels: int (N,).
        ranks: Values of k.

    Returns:
        One share for each rank; NaN where no class has two examples.

    >>> recall_at(np.array([[0.0], [1.0], [3.0], [7.0]]), np.array([0, 0, 1, 1]), ranks=(1, 3))
    [0.75, 1.0]
    """
    vectors, labels = np.asarray(vectors, np.float64), np.asarray(labels)
    squares, most = np.square(vectors).sum(axis=1), min(max(ranks), len(labels) - 1)
    _, which, counts = np.unique(labels, return_inverse=True, return_counts=True)
    first = np.full(len(labels), np.inf)  # rank of the nearest example of the same class, from 1
    for start in range(0, len(labels), CHUNK):
        rows = np.arange(start, min(start + CHUNK, len(labels)))
        distances = squares[rows][:, None] + squares[None] - 2 * vectors[rows] @ vectors.T
        distances[np.arange(len(rows)), rows] = np.inf
        near = np.argsort(distances, axis=1, kind="stable")[:, :most]
        hits = labels[near] == labels[rows][:, None]
        first[rows] = np.where(hits.any(axis=1), hits.argmax(axis=1) + 1, np.inf)
    counted = counts[which] > 1
    return [float((first[counted] <= rank).mean()) if counted.any() else float("nan") for rank in ranks]
