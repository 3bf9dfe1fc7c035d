"""What can be read off a layer by a line: a linear classifier on frozen features (Alain and Bengio 2016)."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler


def linear_probe(
    train_features: ArrayLike,
    train_labels: ArrayLike,
    test_features: ArrayLike,
    test_labels: ArrayLike,
    *,
    most_steps: int = 1000,
) -> float:
    """Compute the test accuracy of a logistic regression on one layer's features.

    Features are averaged over the positions of a map, then standardised by the training examples. scikit-learn solves
    it with its default L2 penalty (C = 1).

    Args:
        train_features: (N, ..., C) outputs of a frozen layer.
        train_labels: (N,) classes.
        test_features: (M, ..., C) of the same layer for other examples.
        test_labels: (M,) classes.
        most_steps: Most iterations of the solver, L-BFGS.

    Returns:
        The share of test examples that are classified correctly.

    Raises:
        ValueError: Lengths differ, or there is one class only.

    >>> linear_probe([[0.0], [1.0], [2.0], [3.0]], [0, 0, 1, 1], [[-1.0], [9.0]], [0, 1])
    1.0
    """
    probe = make_pipeline(StandardScaler(), LogisticRegression(max_iter=most_steps))
    probe.fit(_averaged(train_features), np.asarray(train_labels))
    return float(probe.score(_averaged(test_features), np.asarray(test_labels)))


def _averaged(features: ArrayLike) -> np.ndarray:
    features = np.asarray(features, np.float64)
    return features.mean(axis=tuple(range(1, features.ndim - 1)))
