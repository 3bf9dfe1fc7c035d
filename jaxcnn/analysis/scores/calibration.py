"""Does a classifier's confidence say how often it is right? Guo et al. 2017, "On calibration of modern networks"."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike


class Reliability(NamedTuple):
    """A reliability curve: bins of equal width over the confidence.

    Args:
        edges: (bins + 1,) from 0 to 1; a bin holds its upper edge, the first also 0.
        counts: (bins,) examples.
        confidence: (bins,) mean confidence; NaN in an empty bin.
        accuracy: (bins,) share of right predictions; NaN in an empty bin.
    """

    edges: np.ndarray
    counts: np.ndarray
    confidence: np.ndarray
    accuracy: np.ndarray


def reliability(confidence: ArrayLike, correct: ArrayLike, bins: int = 15) -> Reliability:
    """Compute the accuracy of predictions by their confidence.

    Args:
        confidence: (N,) probability of the predicted class, in [0, 1].
        correct: (N,) whether the prediction is right.
        bins: Number of bins of equal width.

    Raises:
        ValueError: No examples, lengths differ, or a confidence lies outside [0, 1].

    >>> reliability([0.2, 0.9, 0.8], [False, True, False], bins=2).accuracy.tolist()
    [0.0, 0.5]
    """
    confidence, correct = np.asarray(confidence, np.float64), np.asarray(correct, np.float64)
    if confidence.shape != correct.shape or confidence.ndim != 1 or not len(confidence):
        raise ValueError(f"confidence has shape {confidence.shape} and correct {correct.shape}; give one per example")
    if not ((confidence >= 0) & (confidence <= 1)).all():
        raise ValueError(f"confidence holds {confidence.min()} to {confidence.max()}; give probabilities")
    edges = np.linspace(0, 1, bins + 1)
    places = np.searchsorted(edges[1:-1], confidence, side="left")
    counts = np.bincount(places, minlength=bins)
    sums = [np.bincount(places, weights=values, minlength=bins) for values in (confidence, correct)]
    means = [np.where(counts > 0, each / np.maximum(counts, 1), np.nan) for each in sums]
    return Reliability(edges, counts, *means)


def expected_calibration_error(confidence: ArrayLike, correct: ArrayLike, bins: int = 15) -> float:
    """Compute the mean distance of confidence and accuracy over the bins, weighted by their examples (ECE).

    The arguments and errors are those of `reliability`. 0 is perfect; the value depends on the number of bins.

    >>> round(expected_calibration_error([0.2, 0.9, 0.8], [False, True, False], bins=2), 4)
    0.3
    """
    curve = reliability(confidence, correct, bins)
    used = curve.counts > 0
    distance = np.abs(curve.accuracy - curve.confidence)[used]
    return float(np.average(distance, weights=curve.counts[used]))
