"""Verification: are two images of one class? Decided by their distance and a threshold."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from jaxcnn.errors import InputError

MOST_EXAMPLES = 2000  # of which all pairs are formed: two million


class Roc(NamedTuple):
    """A ROC curve: what a threshold on distances accepts, from the smallest threshold to the largest.

    Args:
        thresholds: (T,) rising; a pair is accepted if its distance is at most the threshold. The first accepts none.
        false_accept: (T,) share of the pairs of different classes that are accepted.
        true_accept: (T,) share of the pairs of one class that are accepted.
    """

    thresholds: np.ndarray
    false_accept: np.ndarray
    true_accept: np.ndarray

    @property
    def area(self) -> float:
        """Area under the curve."""
        return float(np.trapezoid(self.true_accept, self.false_accept))


def pair_distances(vectors: np.ndarray, labels: np.ndarray, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Return the Euclidean distance of all pairs of examples, and whether they are of one class.

    Args:
        vectors: float (N, D).
        labels: int (N,).
        seed: Seed of the choice of 2,000 examples, where there are more.

    >>> distances, same = pair_distances(np.array([[0.0], [3.0], [4.0]]), np.array([0, 1, 1]))
    >>> distances.tolist(), same.tolist()
    ([3.0, 4.0, 1.0], [False, False, True])
    """
    vectors, labels = np.asarray(vectors, np.float64), np.asarray(labels)
    if len(labels) > MOST_EXAMPLES:
        rows = np.sort(np.random.default_rng(seed).permutation(len(labels))[:MOST_EXAMPLES])
        vectors, labels = vectors[rows], labels[rows]
    squares = np.square(vectors).sum(axis=1)
    all_pairs = squares[:, None] + squares[None] - 2 * vectors @ vectors.T
    i, j = np.triu_indices(len(labels), k=1)
    return np.sqrt(np.maximum(all_pairs[i, j], 0.0)), labels[i] == labels[j]


def roc_curve(distances: np.ndarray, same: np.ndarray) -> Roc:
    """Compute the ROC curve of pairs.

    Args:
        distances: float (P,).
        same: bool (P,), whether a pair is of one class.

    Raises:
        InputError: All pairs are of one kind.

    >>> roc_curve(np.array([1.0, 2.0, 3.0]), np.array([True, False, True])).true_accept.tolist()
    [0.0, 0.5, 0.5, 1.0]
    """
    same = np.asarray(same, bool)
    if same.all() or not same.any():
        raise InputError("same: pairs of one class and pairs of different classes are needed; give more examples")
    order = np.argsort(distances, kind="stable")
    ordered, same = np.asarray(distances, np.float64)[order], same[order]
    ends = np.append(np.flatnonzero(np.diff(ordered) > 0), len(ordered) - 1)  # the last of equal distances
    right, wrong = np.cumsum(same)[ends], np.cumsum(~same)[ends]
    return Roc(np.append(-np.inf, ordered[ends]), np.append(0, wrong / (~same).sum()), np.append(0, right / same.sum()))


def equal_error(roc: Roc) -> tuple[float, float]:
    """Return the equal error rate and its threshold: as many of one class refused as of different classes accepted.

    Between two thresholds the rates are interpolated; the threshold is the nearer one.

    >>> equal_error(roc_curve(np.array([1.0, 2.0, 3.0, 4.0]), np.array([True, False, True, False])))
    (0.5, 2.0)
    """
    gap = roc.false_accept - (1 - roc.true_accept)  # rises from -1 to 1
    after = int(np.argmax(gap >= 0))
    before = after - 1
    share = gap[before] / (gap[before] - gap[after])
    rate = roc.false_accept[before] + share * (roc.false_accept[after] - roc.false_accept[before])
    nearest = after if share >= 0.5 or before == 0 else before
    return float(rate), float(roc.thresholds[nearest])
