"""Two arms over new seeds and new test examples: a crossed analysis (Owen 2007, "The pigeonhole bootstrap").

Model of one arm: error of seed s on example i = mean + example_i + seed_s + interaction_si. Both arms meet the same
examples, with seeds of their own. The difference of the means then varies by

    V = var_i(d_i) / N + sum over arms of (MS_seed - MS_residual) / (S N)

with d_i the difference of the per-example means over seeds. var_i(d_i) / N already holds the interaction, so the seeds
bring only what exceeds it. A plain bootstrap of both margins would count the interaction three times.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike
from scipy import optimize, special

from jaxcnn.study.statistics.seeds import Interval

# The draws of one block of the bootstrap, in numbers held at once (32 MB).
BLOCK = 4_000_000


class Contrast(NamedTuple):
    """Difference of two arms' population errors, first minus second, over new seeds and new test examples.

    Args:
        estimate: Difference of the mean errors.
        low: Lower limit at the confidence asked for: t with `freedom` degrees, and so in step with `p`.
        high: Upper limit.
        p: Two-sided p value of no difference; below 1 - confidence exactly where the interval leaves out zero.
        low90: Lower limit at 90 %, for two one-sided 5 % tests.
        high90: Upper limit at 90 %.
        standard_error: Root of V; infinite where an arm has a single seed or there is a single example.
        freedom: Satterthwaite degrees of freedom; 0 where the standard error is infinite.
        parts: Shares of V: "seeds" (what new seeds change in the error rate of the population) and "examples" (the
            finite test set, with the interaction). They sum to 1.
        bootstrap: Interval of the corrected crossed bootstrap at the same confidence; None without draws.
    """

    estimate: float
    low: float
    high: float
    p: float
    low90: float
    high90: float
    standard_error: float
    freedom: float
    parts: Mapping[str, float]
    bootstrap: Interval | None


class _Arm(NamedTuple):
    """Means and two-way mean squares of one arm, (S, N) errors."""

    errors: np.ndarray  # (S,) error rate of each seed
    examples: np.ndarray  # (N,) mean over seeds
    seed_square: float  # N times the variance of the seeds' error rates
    residual_square: float


class _Variance(NamedTuple):
    """V in its two parts, and Satterthwaite's degrees of freedom of their sum (0 where V is infinite)."""

    examples: float
    seeds: float
    freedom: float


def _arm(values: ArrayLike, name: str) -> _Arm:
    array = np.asarray(values, np.float64)
    if array.ndim != 2 or 0 in array.shape:
        raise ValueError(f"{name} has shape {array.shape}; give errors as (seeds, examples), one row a run")
    if not (array.min() >= 0 and array.max() <= 1):
        raise ValueError(f"{name} goes from {array.min()} to {array.max()}; give errors from 0 (right) to 1 (wrong)")
    seeds, count = array.shape
    rows, columns, mean = array.mean(1), array.mean(0), array.mean()
    if seeds < 2 or count < 2:
        return _Arm(rows, columns, math.nan, math.nan)
    row_sum, column_sum = count * np.sum((rows - mean) ** 2), seeds * np.sum((columns - mean) ** 2)
    residual = max(0.0, float(np.vdot(array, array) - array.size * mean**2 - row_sum - column_sum))
    return _Arm(rows, columns, float(row_sum / (seeds - 1)), residual / ((seeds - 1) * (count - 1)))


def _variance(first: _Arm, second: _Arm) -> _Variance:
    count = first.examples.size
    if count < 2 or min(first.errors.size, second.errors.size) < 2:
        return _Variance(math.inf, math.inf, 0.0)
    # Never less than one test example. Without this floor no disagreement in N examples would read as certainty, while
    # the arms may still differ on up to 3 / N of the population (the rule of three).
    examples = max(float(np.var(first.examples - second.examples, ddof=1)) / count, 1 / count**2)
    seeds, spread = 0.0, examples**2 / (count - 1)
    for arm in (first, second):
        size = arm.errors.size
        seeds += (arm.seed_square - arm.residual_square) / (size * count)
        squares = arm.seed_square**2 / (size - 1) + arm.residual_square**2 / ((size - 1) * (count - 1))
        spread += squares / (size * count) ** 2
    # Only the sum over both arms is held at zero: cutting each arm's excess by itself would bias V upwards twice.
    seeds = max(0.0, seeds)
    return _Variance(examples, seeds, (examples + seeds) ** 2 / spread)


def _bootstrap(first: _Arm, second: _Arm, variance: _Variance, draws: int, seed: int) -> np.ndarray:
    """Draws of the estimate's deviation: examples resampled jointly, each arm's seeds by themselves."""
    rng, count = np.random.default_rng(seed), first.examples.size
    # Errors of a few seeds take few distinct values: how often each is drawn is one multinomial. Rounding joins means
    # that differ by a last bit.
    values, counts = np.unique(np.round(first.examples - second.examples, 12), return_counts=True)
    block = max(1, BLOCK // values.size)
    sizes = [min(block, draws - start) for start in range(0, draws, block)]
    totals = [rng.multinomial(count, counts / count, size) @ values for size in sizes]
    found = float(np.average((values - np.average(values, weights=counts)) ** 2, weights=counts)) / count
    result = (np.concatenate(totals) / count - np.average(values, weights=counts)) * math.sqrt(count / (count - 1))
    # What the floor of one example adds has no shape of its own.
    missing = max(0.0, variance.examples - found * count / (count - 1))
    result += math.sqrt(missing) * rng.standard_normal(draws)
    raw = sum(arm.seed_square / (arm.errors.size * count) for arm in (first, second))
    if variance.seeds:
        # Purged of the interaction, which the examples have brought; resampling S seeds keeps (S - 1) / S of the rest.
        for sign, arm in ((1, first), (-1, second)):
            size = arm.errors.size
            means = rng.multinomial(size, np.full(size, 1 / size), draws) @ (arm.errors - arm.errors.mean()) / size
            result += sign * means * math.sqrt(variance.seeds / raw * size / (size - 1))
    return result


def crossed(
    first: ArrayLike, second: ArrayLike, *, draws: int = 4000, seed: int = 0, confidence: float = 0.95
) -> Contrast:
    """Compare two arms on the population: new seeds and new test examples, not the one test set that was used.

    The decision interval and p use Student's t with Satterthwaite's degrees of freedom, so that they never contradict
    each other and no verdict hangs on a resampling seed. The bootstrap beside them shows what the shape of the data
    changes; where the two differ by much, the test examples or the seeds are too few for either.

    Args:
        first: (seeds of A, N) errors of each run on each test example, from 0 (right) to 1 (wrong).
        second: (seeds of B, N) errors on the same examples in the same order; the number of seeds may differ.
        draws: Bootstrap draws; 0 leaves the bootstrap out.
        seed: Of the bootstrap.
        confidence: Coverage aimed at, between 0 and 1.

    Returns:
        The contrast, first minus second. Infinite limits and p = 1 where an arm has a single seed (its seed-to-seed
        spread cannot be known) or where there is a single example. The standard error is never less than one example,
        1 / N.

    Raises:
        ValueError: An array is not two-dimensional, goes beyond [0, 1], or the examples are not the same number.

    Reference:
        Owen 2007, "The pigeonhole bootstrap"; Satterthwaite 1946, "An approximate distribution of estimates of variance
        components".
    """
    a, b = _arm(first, "first"), _arm(second, "second")
    if a.examples.size != b.examples.size:
        sizes = f"first has {a.examples.size} examples and second {b.examples.size}"
        raise ValueError(f"{sizes}; give both arms' errors on the same test examples")
    if draws < 0 or not 0 < confidence < 1:
        raise ValueError(f"draws={draws} must be 0 or more and confidence={confidence} between 0 and 1")
    estimate = float(a.errors.mean() - b.errors.mean())
    variance = _variance(a, b)
    if not variance.freedom:
        nothing = Interval(estimate, -math.inf, math.inf) if draws else None
        parts = {"seeds": 1.0, "examples": 0.0} if a.examples.size > 1 else {"seeds": 0.0, "examples": 1.0}
        return Contrast(estimate, -math.inf, math.inf, 1.0, -math.inf, math.inf, math.inf, 0.0, parts, nothing)
    total = variance.examples + variance.seeds
    error, quantile = math.sqrt(total), float(special.stdtrit(variance.freedom, (1 + confidence) / 2))
    wide, narrow = quantile * error, float(special.stdtrit(variance.freedom, 0.95)) * error
    limits = None
    if draws:
        # Few seeds know their own spread badly: t against the normal quantile is what that costs.
        stretch = quantile / float(special.ndtri((1 + confidence) / 2))
        deviations = stretch * _bootstrap(a, b, variance, draws, seed)
        low, high = np.quantile(deviations, [(1 - confidence) / 2, (1 + confidence) / 2])
        limits = Interval(estimate, estimate + float(low), estimate + float(high))
    return Contrast(
        estimate,
        estimate - wide,
        estimate + wide,
        2 * float(special.stdtr(variance.freedom, -abs(estimate) / error)),
        estimate - narrow,
        estimate + narrow,
        error,
        variance.freedom,
        {"seeds": variance.seeds / total, "examples": variance.examples / total},
        limits,
    )


def superiority(first: Sequence[float], second: Sequence[float], *, confidence: float = 0.95) -> Interval:
    """Chance that a random run of the first arm errs less than a random run of the second; ties count half.

    Args:
        first: Error of each run of arm A.
        second: Error of each run of arm B; the counts may differ.
        confidence: Coverage aimed at, between 0 and 1.

    Returns:
        P(A better) with Newcombe's score interval, which has a width at 0 and at 1 too.

    Raises:
        ValueError: An arm without runs, or an error that is not finite.

    Reference:
        Newcombe 2006, "Confidence intervals for an effect size measure based on the Mann-Whitney statistic. Part 2",
        method 5; Bouthillier et al. 2021, "Accounting for variance in machine learning benchmarks".
    """
    a, b = np.asarray(first, np.float64), np.asarray(second, np.float64)
    for name, values in (("first", a), ("second", b)):
        if values.ndim != 1 or values.size == 0 or not np.isfinite(values).all():
            raise ValueError(f"{name}={values.tolist()!r} must be one or more finite numbers, one a run")
    chance = float(np.mean(a[:, None] < b[None, :]) + np.mean(a[:, None] == b[None, :]) / 2)
    others, squared = (a.size + b.size) / 2 - 1, float(special.ndtri((1 + confidence) / 2)) ** 2

    def excess(value: float) -> float:
        # Hanley & McNeil's variance at the limit itself, not at the estimate; that is what makes it a score interval.
        runs = 1 + others * ((1 - value) / (2 - value) + value / (1 + value))
        return (value - chance) ** 2 - squared * value * (1 - value) * runs / (a.size * b.size)

    # At 0 and 1 the variance vanishes with the distance, so that the estimate itself would be a root there.
    low = optimize.root_scalar(excess, bracket=(0.0, min(chance, 1 - 1e-12))).root if chance > 0 else 0.0
    high = optimize.root_scalar(excess, bracket=(max(chance, 1e-12), 1.0)).root if chance < 1 else 1.0
    return Interval(chance, float(low), float(high))
