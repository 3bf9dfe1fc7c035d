"""Corrections of p-values for several tests: Holm 1979, Shaffer 1986 and Benjamini & Hochberg 1995."""

import numpy as np
from numpy.typing import ArrayLike


def _checked(p_values: ArrayLike) -> np.ndarray:
    array = np.asarray(p_values, np.float64)
    if array.ndim != 1 or not ((array >= 0) & (array <= 1)).all():
        raise ValueError(f"p_values={array.tolist()!r}: give a sequence of numbers from 0 to 1, one per test")
    return array


def holm(p_values: ArrayLike) -> np.ndarray:
    """Adjust p-values to control the probability of any false rejection, for any dependence between the tests.

    Args:
        p_values: (tests,), in any order.

    Returns:
        (tests,) adjusted p-values in the same order: the k-th smallest times the number of tests not yet rejected,
        made monotone and at most 1. Reject what is below the level.

    Raises:
        ValueError: A p-value lies outside [0, 1].

    Reference:
        Holm 1979, "A simple sequentially rejective multiple test procedure".
    """
    array = _checked(p_values)
    order = np.argsort(array, kind="stable")
    adjusted = np.empty_like(array)
    adjusted[order] = np.minimum(np.maximum.accumulate(array[order] * np.arange(array.size, 0, -1)), 1)
    return adjusted


def holm_both_ways(different: ArrayLike, equivalent: ArrayLike) -> tuple[np.ndarray, np.ndarray]:
    """Adjust the two p-values of each contrast, of a difference and of equivalence, as one family by Holm's procedure.

    Of the two null hypotheses of a contrast, no difference and a difference as large as the margin, at most one is
    true. So no more hypotheses can be true at a time than there are contrasts with one that is not rejected yet, and
    that number is the factor of each step: the probability of any false statement stays below the level.

    Args:
        different: (contrasts,) p-values of the tests against no difference.
        equivalent: (contrasts,) p-values of the equivalence tests (TOST).

    Returns:
        Both adjusted, in the same order.

    Raises:
        ValueError: A p-value lies outside [0, 1], or the lengths differ.

    Reference:
        Shaffer 1986, "Modified sequentially rejective multiple test procedures", procedure S2.
    """
    array = np.stack([_checked(different), _checked(equivalent)])
    adjusted, left, highest = np.empty(array.size), np.full(array.shape[1], 2), 0.0
    for place in np.argsort(array.ravel(), kind="stable"):
        highest = max(highest, min(1.0, array.flat[place] * int((left > 0).sum())))
        adjusted[place] = highest
        left[place % array.shape[1]] -= 1
    first, second = adjusted.reshape(array.shape)
    return first, second


def benjamini_hochberg(p_values: ArrayLike) -> np.ndarray:
    """Adjust p-values to control the expected share of false rejections among all rejections.

    For exploratory tables such as errors per class; valid for independent or positively dependent tests. It equals
    `scipy.stats.false_discovery_control`, without the 0.7 s that importing scipy.stats takes.

    Args:
        p_values: (tests,), in any order.

    Returns:
        (tests,) adjusted p-values in the same order.

    Raises:
        ValueError: A p-value lies outside [0, 1].

    Reference:
        Benjamini & Hochberg 1995, "Controlling the false discovery rate".
    """
    array = _checked(p_values)
    order = np.argsort(array, kind="stable")[::-1]
    adjusted = np.empty_like(array)
    # From the largest down: p times tests over rank, at most the previous value.
    adjusted[order] = np.minimum.accumulate(array[order] * (array.size / np.arange(array.size, 0, -1)))
    return adjusted
