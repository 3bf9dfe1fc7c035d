"""Intervals and tests over seeds: Student's t per arm, Welch's t for a contrast, equivalence, power.

All of them hold for the one test set that was used; `population` extends them to new images.
"""

import math
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike
from scipy import special  # scipy.stats takes 0.7 s to import, which every worker of a study would pay

ENDLESS = (-math.inf, math.inf)
"""Limits that say nothing."""
ENDLESS_SEEDS = float(special.ndtri(0.975) + special.ndtri(0.8))
"""Smallest difference that any number of seeds detects with a power of 80 % (two-sided, 5 %), in floors of `power`."""

ROUNDING = 1e-6
"""Share of the floor of `power` below which a spread over seeds is none."""


class Interval(NamedTuple):
    """An estimate with its confidence limits, in the unit of the values."""

    estimate: float  #: Mean, or difference of means.
    low: float  #: Lower limit; minus infinity with a single seed, whose spread is unknown.
    high: float  #: Upper limit; infinity with a single seed.

    @property
    def bounded(self) -> bool:
        """Whether both limits are finite."""
        return math.isfinite(self.low) and math.isfinite(self.high)

    @property
    def negated(self) -> "Interval":
        """The interval of the difference the other way round."""
        return Interval(-self.estimate, -self.high, -self.low)

    def within(self, lowest: float, highest: float) -> "Interval":
        """Return the interval cut to the possible values; without limits if it is wider than all of them.

        The cut keeps the coverage, because the true value is a possible one.
        """
        low, high = max(self.low, lowest), min(self.high, highest)
        return Interval(self.estimate, *((low, high) if self.high - self.low <= highest - lowest else ENDLESS))


def finite(values: ArrayLike, name: str, each: str) -> np.ndarray:
    """Return values as a float64 vector; refuse an empty one, and numbers that are not finite, with a ValueError."""
    array = np.asarray(values, np.float64)
    if array.ndim != 1 or array.size == 0 or not np.isfinite(array).all():
        raise ValueError(f"{name}={array.tolist()!r}: give one or more finite numbers, one per {each}")
    return array


def _mean_and_variance(values: ArrayLike, resolution: float) -> tuple[float, float, int]:
    array = finite(values, "values", "seed")
    if array.size == 1:
        return float(array[0]), math.inf, 1
    # An error rate is a count over n images, so equal rates are equal only up to rounding to 1/n. The variance of that
    # rounding (Sheppard: 1/12 of a squared step) is the smallest spread that the data support.
    return float(array.mean()), max(float(array.var(ddof=1)), resolution**2 / 12), int(array.size)


def _interval(estimate: float, squared_error: float, freedom: float, confidence: float) -> Interval:
    if not math.isfinite(squared_error):
        return Interval(estimate, -math.inf, math.inf)
    half = float(special.stdtrit(freedom, (1 + confidence) / 2)) * math.sqrt(squared_error)
    return Interval(estimate, estimate - half, estimate + half)


def mean_interval(values: ArrayLike, *, resolution: float = 0.0) -> Interval:
    """Return the mean of one arm's seeds with Student's 95 % t interval.

    Args:
        values: One number per seed.
        resolution: Step of the measurement (1 / test images for an error rate). The standard deviation is at least
            that of rounding to this step, resolution / sqrt(12).

    Returns:
        The interval; infinite limits with a single seed.

    Raises:
        ValueError: There are no values, or one is not finite.
    """
    mean, variance, count = _mean_and_variance(values, resolution)
    return _interval(mean, variance / count, count - 1, 0.95)


def welch(
    first: ArrayLike, second: ArrayLike, *, confidence: float = 0.95, resolution: float = 0.0
) -> tuple[Interval, float]:
    """Compare two arms' means, first minus second, by Welch's t test (variances may differ).

    Args:
        first, second: One number per seed; the counts may differ.
        confidence: Nominal coverage, between 0 and 1.
        resolution: As for `mean_interval`.

    Returns:
        The difference with its interval, and the two-sided p-value of no difference, which is below 1 - confidence
        exactly if the interval excludes zero. Infinite limits and p = 1 if an arm has a single seed.

    Raises:
        ValueError: There are no values, or one is not finite.

    Reference:
        Welch 1947, "The generalization of Student's problem when several different population variances are involved".
    """
    mean_a, variance_a, count_a = _mean_and_variance(first, resolution)
    mean_b, variance_b, count_b = _mean_and_variance(second, resolution)
    difference, part_a, part_b = mean_a - mean_b, variance_a / count_a, variance_b / count_b
    total = part_a + part_b
    if total == 0 or not math.isfinite(total):
        return _interval(difference, total, 1, confidence), float(total > 0 or difference == 0)
    freedom = total**2 / (part_a**2 / (count_a - 1) + part_b**2 / (count_b - 1))
    p = 2 * float(special.stdtr(freedom, -abs(difference) / math.sqrt(total)))
    return _interval(difference, total, freedom, confidence), p


def tost_p(estimate: float, standard_error: float, freedom: float, margin: float) -> float:
    """Return the p-value of equivalence: the larger of two one-sided t tests, against -margin and against +margin.

    Args:
        estimate: Difference of the means.
        standard_error: Standard error of the estimate, in its unit; infinite if the spread is unknown.
        freedom: Degrees of freedom of the standard error.
        margin: Smallest difference that matters, above 0, in the unit of the estimate.

    Returns:
        A probability; below 0.05 exactly if the 90 % interval lies inside (-margin, margin).

    Raises:
        ValueError: The margin is not positive, or the standard error is negative.

    Reference:
        Schuirmann 1987, "A comparison of the two one-sided tests procedure and the power approach".
    """
    if not (margin > 0 and standard_error >= 0):
        raise ValueError(f"margin={margin}, standard_error={standard_error}: must be above 0, and 0 or more")
    room = margin - abs(estimate)
    if standard_error == 0 or not math.isfinite(standard_error):
        return float(standard_error > 0 or room <= 0)
    return float(special.stdtr(freedom, -room / standard_error))


def power(effect: float, spread: float, seeds: Any, floor: float = 0.0) -> Any:
    """Return the power of a two-sided t test at 5 % with `seeds` runs per arm.

    Args:
        effect: True difference of the means.
        spread: Standard deviation over seeds, the same in both arms and in the unit of effect.
        seeds: Runs per arm, 2 or more; a number or an array of numbers.
        floor: Standard error of the difference that more seeds do not reduce: of images and tuning, well known.

    Returns:
        The probability of detecting the difference, in the shape of `seeds`.
    """
    from_seeds = 2 * spread**2 / seeds
    freedom = np.minimum((2 * seeds - 2) * (1 + floor**2 / from_seeds) ** 2, 1e9)  # Satterthwaite
    limit = special.stdtrit(freedom, 0.975)
    # The square of a noncentral t is a noncentral F. SciPy's noncentral t returns NaN far out in its tails, and its
    # noncentral F above 1e16, where the power is 1 as it is at 1e9.
    noncentrality = np.minimum(effect**2 / (from_seeds + floor**2), 1e9)
    # SciPy 1.17 returns NaN for some effects far beyond detection, too.
    return 1 - np.nan_to_num(special.ncfdtr(1, freedom, noncentrality, limit**2), nan=0.0)


def seeds_needed(effect: float, spread: float, *, target: float = 0.8, floor: float = 0.0) -> int | None:
    """Return the smallest number of seeds per arm that detects `effect` with the target power (two-sided, 5 %).

    Args:
        effect: Difference of the means to be detected.
        spread: Standard deviation over seeds, in the unit of effect.
        target: Required power.
        floor: As for `power`.

    Returns:
        2 to 1000, or None if a thousand are not enough.
    """
    if spread <= ROUNDING * floor or spread == 0:
        return 2 if abs(effect) > ENDLESS_SEEDS * floor else None
    counts = np.arange(2, 1001)
    enough = counts[power(effect, spread, counts, floor) >= target]
    return int(enough[0]) if enough.size else None


def detectable(spread: float, seeds: int, floor: float = 0.0) -> float:
    """Return the smallest true difference that `seeds` runs per arm detect with a power of 80 % (two-sided, 5 %).

    Args:
        spread: Standard deviation over seeds.
        seeds: Runs per arm.
        floor: As for `power`.

    Returns:
        A difference in the unit of spread; infinity with a single run.
    """
    from scipy import optimize  # only an analysis needs it, not every worker

    if seeds < 2:
        return math.inf
    if spread <= ROUNDING * floor:
        return ENDLESS_SEEDS * floor
    ratio = floor / spread
    high = 100.0 + 10 * ratio
    solution = optimize.root_scalar(lambda effect: power(effect, 1.0, seeds, ratio) - 0.8, bracket=(0.0, high))
    return spread * float(solution.root)
