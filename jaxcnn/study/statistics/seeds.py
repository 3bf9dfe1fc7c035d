"""Intervals and tests over seeds: Student's t per arm, Welch's t for a contrast, equivalence, and the seeds they need.

Everything here speaks about the one fixed test set that was used. `population` says how far a difference
carries to new images.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from scipy import special  # scipy.stats takes half a second to import, and every process at a study would pay


class Interval(NamedTuple):
    """An estimate with its confidence limits; infinite limits say that one seed shows no spread.

    Args:
        estimate: Mean, or difference of means, in the unit of the values.
        low: Lower limit.
        high: Upper limit.
    """

    estimate: float
    low: float
    high: float

    @property
    def half_width(self) -> float:
        """Half the distance between the limits, in the unit of the values."""
        return (self.high - self.low) / 2


def _mean_and_variance(values: Sequence[float], resolution: float) -> tuple[float, float, int]:
    array = np.asarray(values, np.float64)
    if array.ndim != 1 or array.size == 0 or not np.isfinite(array).all():
        raise ValueError(f"values={list(values)!r} must be one or more finite numbers, one a seed")
    if array.size == 1:
        return float(array[0]), math.inf, 1
    # An error rate is a count over n images, so seeds that agree exactly agree only to within a rounding to 1/n. The
    # variance of such a rounding (Sheppard: 1/12 of a squared step) is the least spread that can honestly be claimed.
    return float(array.mean()), max(float(array.var(ddof=1)), resolution**2 / 12), int(array.size)


def _interval(estimate: float, squared_error: float, freedom: float, confidence: float) -> Interval:
    if not math.isfinite(squared_error):
        return Interval(estimate, -math.inf, math.inf)
    margin = float(special.stdtrit(freedom, (1 + confidence) / 2)) * math.sqrt(squared_error) if squared_error else 0.0
    return Interval(estimate, estimate - margin, estimate + margin)


def _welch(first: Sequence[float], second: Sequence[float], resolution: float) -> tuple[float, float, float]:
    """The difference, its squared standard error and Welch's degrees of freedom."""
    mean_a, variance_a, count_a = _mean_and_variance(first, resolution)
    mean_b, variance_b, count_b = _mean_and_variance(second, resolution)
    part_a, part_b = variance_a / count_a, variance_b / count_b
    total = part_a + part_b
    if not math.isfinite(total) or total == 0:
        return mean_a - mean_b, total, 1
    freedom = total**2 / (part_a**2 / (count_a - 1) + part_b**2 / (count_b - 1))
    return mean_a - mean_b, total, freedom


def mean_interval(values: Sequence[float], *, confidence: float = 0.95, resolution: float = 0.0) -> Interval:
    """Mean of one arm's seeds with Student's t interval.

    Args:
        values: One number a seed.
        confidence: Coverage aimed at, between 0 and 1.
        resolution: Step of the measurement (1 / test images for an error rate): the spread is never taken to be less
            than that of rounding to it, resolution / sqrt(12).

    Returns:
        The interval, with infinite limits for a single seed.

    Raises:
        ValueError: No values, or one that is not finite.
    """
    mean, variance, count = _mean_and_variance(values, resolution)
    return _interval(mean, variance / count, count - 1, confidence)


def welch_interval(
    first: Sequence[float], second: Sequence[float], *, confidence: float = 0.95, resolution: float = 0.0
) -> Interval:
    """Difference of two arms' means, first minus second, with Welch's interval (variances may differ).

    Args:
        first: One number a seed.
        second: One number a seed; the counts may differ.
        confidence: Coverage aimed at, between 0 and 1.
        resolution: As for `mean_interval`.

    Returns:
        The interval; infinite limits where an arm has a single seed.

    Raises:
        ValueError: No values, or one that is not finite.

    Reference:
        Welch 1947, "The generalization of Student's problem when several different population variances are involved".
    """
    return _interval(*_welch(first, second, resolution), confidence)


def welch_p(first: Sequence[float], second: Sequence[float], resolution: float = 0.0) -> float:
    """Two-sided p value of Welch's t test: below 0.05 exactly where the 95 % `welch_interval` leaves out zero.

    Args:
        first: One number a seed.
        second: One number a seed; the counts may differ.
        resolution: As for `mean_interval`.

    Returns:
        A probability; 1 where an arm has a single seed.

    Raises:
        ValueError: No values, or one that is not finite.
    """
    difference, squared_error, freedom = _welch(first, second, resolution)
    if not math.isfinite(squared_error):
        return 1.0
    if squared_error == 0:
        return float(difference == 0)
    return 2 * float(special.stdtr(freedom, -abs(difference) / math.sqrt(squared_error)))


def tost_p(estimate: float, standard_error: float, freedom: float, margin: float) -> float:
    """P value of equivalence: the larger of two one-sided t tests, against -margin and against +margin.

    Args:
        estimate: Difference of the means.
        standard_error: Of the estimate, in its unit; infinite where nothing is known of the spread.
        freedom: Degrees of freedom of the standard error.
        margin: Least difference that matters, above 0, in the unit of the estimate.

    Returns:
        A probability; below 0.05 exactly where the 90 % interval lies inside (-margin, margin).

    Raises:
        ValueError: margin is not above 0, or standard_error is negative.

    Reference:
        Schuirmann 1987, "A comparison of the two one-sided tests procedure and the power approach".
    """
    if not margin > 0:
        raise ValueError(f"margin={margin} must be above 0: give the least difference that matters")
    if not standard_error >= 0:
        raise ValueError(f"standard_error={standard_error} must be 0 or more, in the unit of the estimate")
    room = margin - abs(estimate)
    if standard_error == 0 or not math.isfinite(standard_error):
        return float(standard_error > 0 or room <= 0)
    return float(special.stdtr(freedom, -room / standard_error))


def power(effect: float, spread: float, seeds: int, *, confidence: float = 0.95) -> float:
    """Chance that a two-sided t test with `seeds` runs per arm finds a true difference.

    Args:
        effect: True difference of the means.
        spread: Standard deviation over seeds, the same in both arms and in the unit of effect.
        seeds: Runs per arm, 2 or more.
        confidence: One minus the size of the test.

    Returns:
        A probability.
    """
    freedom = 2 * seeds - 2
    shift = effect / spread * math.sqrt(seeds / 2)
    limit = float(special.stdtrit(freedom, (1 + confidence) / 2))
    if shift == 0:
        return 1 - confidence
    # The square of a noncentral t is a noncentral F; SciPy's noncentral t returns NaN far out in its tails.
    return 1 - float(special.ncfdtr(1, freedom, shift**2, limit**2))


def seeds_needed(effect: float, spread: float, *, target: float = 0.8, most: int = 1000) -> int | None:
    """Least number of seeds per arm that finds `effect` with the target power (two-sided, 5 %).

    Args:
        effect: Difference of the means to be found.
        spread: Standard deviation over seeds, in the unit of effect.
        target: Power aimed at.
        most: Where the search ends.

    Returns:
        2 or more, or None where `most` seeds are not enough.
    """
    if spread == 0:
        return 2 if effect else None
    low, high = 1, 2
    while power(effect, spread, high) < target:
        low, high = high, high * 2
        if low >= most:
            return None
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if power(effect, spread, middle) >= target else (middle, high)
    return high if high <= most else None


def detectable(spread: float, seeds: int, *, target: float = 0.8) -> float:
    """Least true difference that `seeds` runs per arm find with the target power (two-sided, 5 %).

    Args:
        spread: Standard deviation over seeds.
        seeds: Runs per arm; one run detects nothing: infinity.
        target: Power aimed at.

    Returns:
        A difference in the unit of spread.
    """
    if seeds < 2:
        return math.inf
    low, high = 0.0, 1.0
    while power(high, 1.0, seeds) < target:
        low, high = high, 2 * high
    for _ in range(50):
        middle = (low + high) / 2
        low, high = (low, middle) if power(middle, 1.0, seeds) >= target else (middle, high)
    return high * spread
