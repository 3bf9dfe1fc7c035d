"""Crossed comparison of two arms over new seeds and new test examples (Owen 2007, "The pigeonhole bootstrap").

Model of one arm: error of seed s on example i = mean + example_i + seed_s + interaction_si. Both arms see the same
examples; each has its own seeds. The variance of the difference of the means is

    V = var_i(d_i) / N + sum over arms of (MS_seed - MS_residual) / (S N) + sum over arms of V_tuning

with d_i the difference of the per-example means over seeds. var_i(d_i) / N already contains the interaction, so the
seeds add only what exceeds it. A plain bootstrap over both margins would count the interaction three times. V_tuning is
the variance of the error of the setting that tuning chooses (`smoothing.retune`).

Where examples come in groups (writers, patients), groups are the sample, and their sums replace the d_i. In a
cross-validated study a row of errors is a repeat of S: its runs, one per fold, test different examples.
"""

import math
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike
from scipy import optimize, special

from jaxcnn.study.statistics.seeds import Interval, finite
from jaxcnn.study.statistics.smoothing import FREEDOM

BLOCK = 4_000_000
"""Numbers in one block of bootstrap draws (32 MB)."""
ROUNDING = 1e-9
"""Error below 0 or above 1 that is taken for one of rounding."""


class Contrast(NamedTuple):
    """Difference of two arms' population errors, first minus second, over new seeds and new test examples."""

    interval: Interval  #: Difference of the mean errors with its limits, from t with `freedom` degrees of freedom.
    interval90: Interval  #: The same at 90 %, for two one-sided 5 % tests.
    p: float  #: Two-sided p-value of no difference; below 1 - confidence exactly if the interval excludes zero.
    standard_error: float  #: Square root of V; infinite with a single example or a single seed in an arm.
    freedom: float  #: Satterthwaite degrees of freedom; 0 if the standard error is infinite.
    #: Shares of V: "seeds" (variation of the population error rate between seeds), "examples" (the finite test set,
    #: with the interaction), and "tuning" where its variance was given. They sum to 1.
    parts: Mapping[str, float]
    bootstrap: Interval | None  #: Corrected crossed bootstrap at the same confidence; None without draws.


class _Arm(NamedTuple):
    """Means and two-way mean squares of one arm's (S, N) errors."""

    errors: np.ndarray  # (S,) error rate of each seed
    examples: np.ndarray  # (N,) mean over seeds
    folds: int  # runs per row
    share: float  # what (seed_square - residual_square) / (S N) is to be multiplied with; 1 without folds
    seed_square: float  # N times the variance of the seeds' error rates; with folds, of the runs' on their examples
    residual_square: float


def _arm(values: ArrayLike, name: str, folds: ArrayLike | None) -> _Arm:
    array = np.asarray(values, np.float64)
    if array.ndim != 2 or 0 in array.shape:
        raise ValueError(f"{name} has shape {array.shape}: give errors as (seeds, examples), one row per run")
    seeds, count = array.shape
    rows, columns = array.mean(1), array.mean(0)
    if not (rows.min() >= -ROUNDING and rows.max() <= 1 + ROUNDING and np.isfinite(array).all()):
        raise ValueError(f"{name} has errors from {rows.min()} to {rows.max()}: give runs with errors from 0 to 1")
    number = np.zeros(array.shape, int) if folds is None else np.asarray(folds)
    if number.shape != array.shape:
        raise ValueError(f"folds has shape {number.shape}: give a fold number for each of the {array.shape} errors")
    runs = int(number.max()) + 1
    if seeds < 2 or count < 2:
        return _Arm(rows, columns, runs, 1.0, math.nan, math.nan)
    rest = array - columns
    place = (number + runs * np.arange(seeds)[:, None]).ravel()
    sums, sizes = np.bincount(place, rest.ravel(), seeds * runs), np.bincount(place, minlength=seeds * runs)
    within = float(np.vdot(rest, rest) - np.sum(sums**2 / sizes)) / ((seeds - 1) * (count - runs))
    square, share = float(np.sum(sums**2)) / (count * (seeds - 1)), 1.0
    if runs > 1:
        # Rows whose folds differ mix the effects of several runs into the means per example: of the variance between
        # runs less is left in these sums than of a two-way table.
        shared = [np.bincount(first + runs * second, minlength=runs**2) for first in number for second in number]
        kept = np.sum(sizes**2) * (1 - 2 / seeds) + np.sum(np.square(shared)) / seeds**2
        share = np.sum(sizes**2) / count / (kept / (count * (seeds - 1)) - (1 - 1 / runs) / seeds) / seeds
    return _Arm(rows, columns, runs, float(share), square, max(0.0, within))


def _units(first: _Arm, second: _Arm, groups: ArrayLike | None) -> np.ndarray:
    """Return the differences of the arms on what was sampled, examples or groups, with the mean over examples."""
    gap = first.examples - second.examples
    if groups is None:
        return gap
    names = np.asarray(groups)
    if names.shape != gap.shape:
        raise ValueError(f"groups has shape {names.shape}: give one group for each of the {gap.size} examples")
    sums = np.bincount(np.unique(names, return_inverse=True)[1].reshape(-1), gap - gap.mean())
    return gap.mean() + sums * sums.size / gap.size


def _variance(
    first: _Arm, second: _Arm, units: np.ndarray, tuning: Sequence[float], resolution: float
) -> tuple[float, float, float]:
    """Return the parts of V from examples and from seeds, and Satterthwaite's degrees of freedom of all of V."""
    count = first.examples.size
    # At least one test example: without this floor, no disagreement in N examples would mean certainty, while the arms
    # may still differ on up to 3 / N of the population (the rule of three).
    examples = max(float(np.var(units, ddof=1)) / units.size, resolution**2)
    seeds, spread = 0.0, examples**2 / (units.size - 1)
    for arm in (first, second):
        size, runs = arm.errors.size, arm.folds
        seeds += arm.share * (arm.seed_square - arm.residual_square) / (size * count)
        squares = arm.seed_square**2 / ((size - 1) * runs) + arm.residual_square**2 / ((size - 1) * (count - runs))
        spread += squares * (arm.share / (size * count)) ** 2
    spread += sum(each**2 for each in tuning) / FREEDOM
    # Only the sum over both arms is cut at zero: cutting each arm's excess would bias V upwards twice.
    seeds = max(0.0, seeds)
    return examples, seeds, (examples + seeds + sum(tuning)) ** 2 / spread


def _bootstrap(
    first: _Arm, second: _Arm, units: np.ndarray, parts: tuple[float, float, float], draws: int, seed: int
) -> np.ndarray:
    """Draw deviations of the estimate: examples are resampled for both arms together, seeds for each arm."""
    rng, count, (from_examples, from_seeds, from_tuning) = np.random.default_rng(seed), units.size, parts
    # Errors of a few seeds take few distinct values, so one multinomial draws how often each value occurs. Rounding
    # merges means that differ in the last bit.
    values, counts = np.unique(np.round(units, 12), return_counts=True)
    block = max(1, BLOCK // values.size)
    sizes = [min(block, draws - start) for start in range(0, draws, block)]
    totals = [rng.multinomial(count, counts / count, size) @ values for size in sizes]
    variance = float(np.average((values - np.average(values, weights=counts)) ** 2, weights=counts)) / count
    result = (np.concatenate(totals) / count - np.average(values, weights=counts)) * math.sqrt(count / (count - 1))
    # Normal noise for what tuning and the floor of one example add.
    missing = from_tuning + max(0.0, from_examples - variance * count / (count - 1))
    result += math.sqrt(missing) * rng.standard_normal(draws)
    if from_seeds:
        raw = sum(arm.errors.var(ddof=1) / arm.errors.size for arm in (first, second))
        # Scaled to exclude the interaction, which the examples contain. Resampling S seeds keeps (S - 1) / S of the
        # variance.
        for sign, arm in ((1, first), (-1, second)):
            size = arm.errors.size
            means = rng.multinomial(size, np.full(size, 1 / size), draws) @ (arm.errors - arm.errors.mean()) / size
            result += sign * means * math.sqrt(from_seeds / raw * size / (size - 1))
    return result


def crossed(
    first: ArrayLike,
    second: ArrayLike,
    *,
    tuning: Sequence[float] = (),
    groups: ArrayLike | None = None,
    folds: ArrayLike | None = None,
    resolution: float | None = None,
    draws: int = 4000,
    seed: int = 0,
    confidence: float = 0.95,
) -> Contrast:
    """Compare two arms on the population: new seeds and new test examples, not only the test set that was used.

    Interval and p-value use Student's t with Satterthwaite's degrees of freedom. They never contradict each other, and
    no verdict depends on a resampling seed. The bootstrap shows the effect of the data's shape; a large difference
    from t means that there are too few test examples or seeds for either.

    Args:
        first: (seeds of A, N) errors of each run on each test example, from 0 (right) to 1 (wrong); or contributions of
            the examples to an error from 0 to 1 that is their mean (`jaxcnn.study.measure`).
        second: (seeds of B, N) errors on the same examples in the same order; the number of seeds may differ.
        tuning: Variance of each arm's error over new tunings; then the contrast holds for new tuning, too. Empty: for
            the settings that the arms have.
        groups: (N,) group of each example; groups are the sample then. None: each example is one of its own.
        folds: (seeds, N) number of the run within its row, for cross-validated errors; the same for both arms. None:
            one run per row.
        resolution: Step of the error, the smallest standard error from examples. None: one example, 1 / N.
        draws: Bootstrap draws; 0 disables the bootstrap.
        seed: Seed of the bootstrap.
        confidence: Nominal coverage, between 0 and 1.

    Returns:
        The contrast, first minus second. Limits are infinite and p = 1 with a single example, or a single seed in an
        arm (its spread between seeds is unknown). The standard error is at least the resolution.

    Raises:
        ValueError: An array is not two-dimensional, an error exceeds [0, 1], or the numbers of examples differ.

    Reference:
        Owen 2007, "The pigeonhole bootstrap"; Satterthwaite 1946, "An approximate distribution of estimates of variance
        components".
    """
    a, b = _arm(first, "first", folds), _arm(second, "second", folds)
    count = a.examples.size
    if count != b.examples.size:
        sizes = f"first has {count} examples and second {b.examples.size}"
        raise ValueError(f"{sizes}: give both arms' errors on the same test examples")
    if draws < 0 or not 0 < confidence < 1:
        raise ValueError(f"draws={draws}, confidence={confidence}: give draws of 0 or more and confidence in (0, 1)")
    estimate, units = float(a.errors.mean() - b.errors.mean()), _units(a, b, groups)
    if min(units.size, a.errors.size, b.errors.size) < 2:
        unbounded = Interval(estimate, -math.inf, math.inf)
        parts = {"seeds": float(units.size > 1), "examples": float(units.size < 2)}
        return Contrast(unbounded, unbounded, 1.0, math.inf, 0.0, parts, unbounded if draws else None)
    step = 1 / count if resolution is None else resolution
    from_examples, from_seeds, freedom = _variance(a, b, units, tuning, step)
    total = from_examples + from_seeds + sum(tuning)
    error, quantile = math.sqrt(total), float(special.stdtrit(freedom, (1 + confidence) / 2))
    wide, narrow = quantile * error, float(special.stdtrit(freedom, 0.95)) * error
    limits = None
    if draws:
        # The spread of a few seeds is uncertain; t against the normal quantile accounts for that.
        stretch = quantile / float(special.ndtri((1 + confidence) / 2))
        deviations = stretch * _bootstrap(a, b, units, (from_examples, from_seeds, sum(tuning)), draws, seed)
        low, high = np.quantile(deviations, [(1 - confidence) / 2, (1 + confidence) / 2])
        limits = Interval(estimate, estimate + float(low), estimate + float(high))
    interval, interval90 = (Interval(estimate, estimate - half, estimate + half) for half in (wide, narrow))
    p = 2 * float(special.stdtr(freedom, -abs(estimate) / error))
    parts = {"seeds": from_seeds / total, "examples": from_examples / total}
    parts |= {"tuning": sum(tuning) / total} if tuning else {}
    return Contrast(interval, interval90, p, error, freedom, parts, limits)


def superiority(first: ArrayLike, second: ArrayLike) -> Interval:
    """Estimate the probability that a random run of the first arm has a lower error than one of the second.

    Args:
        first, second: Error of each run of arm A and of arm B; the counts may differ.

    Returns:
        P(A better) with Newcombe's 95 % score interval, which has a width at 0 and 1 too. Ties count half.

    Raises:
        ValueError: An arm has no runs, or an error is not finite.

    Reference:
        Newcombe 2006, "Confidence intervals for an effect size measure based on the Mann-Whitney statistic. Part 2",
        method 5; Bouthillier et al. 2021, "Accounting for variance in machine learning benchmarks".
    """
    a, b = finite(first, "first", "run"), finite(second, "second", "run")
    chance = float(np.mean(a[:, None] < b[None, :]) + np.mean(a[:, None] == b[None, :]) / 2)
    others, squared = (a.size + b.size) / 2 - 1, float(special.ndtri(0.975)) ** 2

    def excess(value: float) -> float:
        # Hanley & McNeil's variance at the limit, not at the estimate, makes it a score interval.
        runs = 1 + others * ((1 - value) / (2 - value) + value / (1 + value))
        return (value - chance) ** 2 - squared * value * (1 - value) * runs / (a.size * b.size)

    # At 0 and 1 the variance vanishes with the distance, so the estimate itself would be a root.
    low = optimize.root_scalar(excess, bracket=(0.0, min(chance, 1 - 1e-12))).root if chance > 0 else 0.0
    high = optimize.root_scalar(excess, bracket=(max(chance, 1e-12), 1.0)).root if chance < 1 else 1.0
    return Interval(chance, float(low), float(high))
