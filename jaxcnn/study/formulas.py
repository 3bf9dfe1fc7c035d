"""The formulas of a report, written a second time for `verify`, with scipy.stats where it has them.

Nothing here uses `jaxcnn.study.statistics` or `jaxcnn.study.verdict`: an error there must not repeat itself here.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np

DRAWS = 4000


def kappa(first: np.ndarray, second: np.ndarray) -> float:
    """Return the mean of Cohen's kappa of right and wrong over pairs of runs; of one arm, over its pairs of seeds."""
    values = []
    for i, one in enumerate(first):
        for j, two in enumerate(second):
            if first is second and j <= i:
                continue
            a, b = 1 - one.mean(), 1 - two.mean()
            chance = a * b + (1 - a) * (1 - b)
            values.append(1.0 if 1 - chance < 1e-12 else (np.mean(one == two) - chance) / (1 - chance))
    return float(np.mean(values)) if values else math.nan


class Crossing(NamedTuple):
    """The population contrast, deeper minus wider."""

    estimate: float
    error: float
    freedom: float
    examples: float
    seeds: float


def cross(first: np.ndarray, second: np.ndarray) -> Crossing:
    """Compute the variance over new seeds and new images from two-way mean squares.

    The variance from images is at least one test example, 1 / N^2: with no disagreement in N images, the arms may still
    differ on up to 3 / N of all images (rule of three).
    """
    count = first.shape[1]
    gap = first.mean(0) - second.mean(0)
    examples = max(gap.var(ddof=1) / count, 1 / count**2)
    seeds, spread = 0.0, examples**2 / (count - 1)
    for wrong in (first, second):
        size = len(wrong)
        between = count * wrong.mean(1).var(ddof=1)
        rest = wrong - wrong.mean(1, keepdims=True) - wrong.mean(0, keepdims=True) + wrong.mean()
        residual = (rest**2).sum() / ((size - 1) * (count - 1))
        seeds += (between - residual) / (size * count)
        spread += (between**2 / (size - 1) + residual**2 / ((size - 1) * (count - 1))) / (size * count) ** 2
    seeds = max(seeds, 0.0)
    return Crossing(gap.mean(), math.sqrt(examples + seeds), (examples + seeds) ** 2 / spread, examples, seeds)


def welch(first: np.ndarray, second: np.ndarray, step: float) -> list[Any]:
    """Return Welch's difference, its 95 % limits and p-value; a variance is at least that of rounding to one image."""
    from scipy import stats

    gap = first.mean() - second.mean()
    if min(len(first), len(second)) < 2:
        return [gap, -math.inf, math.inf, 1.0]
    parts = [max(each.var(ddof=1), step**2 / 12) / len(each) for each in (first, second)]
    error = math.sqrt(sum(parts))
    freedom = sum(parts) ** 2 / sum(p**2 / (len(e) - 1) for p, e in zip(parts, (first, second), strict=True))
    return [gap, *stats.t.interval(0.95, freedom, gap, error), 2 * stats.t.sf(abs(gap) / error, freedom)]


def holm(p: list[float]) -> list[float]:
    """Return p-values adjusted step by step (Holm 1979)."""
    order, largest, adjusted = sorted(range(len(p)), key=p.__getitem__), 0.0, [0.0] * len(p)
    for rank, place in enumerate(order):
        largest = adjusted[place] = max(largest, min(1.0, p[place] * (len(p) - rank)))
    return adjusted


def benjamini_hochberg(p: list[float]) -> list[float]:
    """Return p-values adjusted for the false discovery rate (Benjamini and Hochberg 1995)."""
    from scipy import stats

    return stats.false_discovery_control(p).tolist() if p else []


def wins(first: np.ndarray, second: np.ndarray) -> float:
    """Return the share of pairs of runs of which the first errs less; ties count half (Mann and Whitney)."""
    from scipy import stats

    larger: Any = stats.mannwhitneyu(first, second)[0]
    return 1 - float(larger) / (len(first) * len(second))


def power(effect: float, seeds: int) -> float:
    """Return the power of a two-sided t test at 5 %, effect in standard deviations."""
    from scipy import stats

    freedom, shift = 2 * seeds - 2, effect * math.sqrt(seeds / 2)
    limit = stats.t.ppf(0.975, freedom)
    return float(stats.nct.sf(limit, freedom, shift) + stats.nct.cdf(-limit, freedom, shift))


def bootstrap(first: np.ndarray, second: np.ndarray, crossing: Crossing) -> tuple[float, float]:
    """Draw images for both arms together and seeds for each, and add what the floors add."""
    from scipy import stats

    rng, (count,) = np.random.default_rng(20_260), first.shape[1:]
    gap = first.mean(0) - second.mean(0)
    draws = np.array([gap[rng.integers(count, size=count)].mean() for _ in range(DRAWS)]) - gap.mean()
    draws *= math.sqrt(count / (count - 1))
    draws += math.sqrt(max(0.0, crossing.examples - gap.var(ddof=1) / count)) * rng.standard_normal(DRAWS)
    spread = sum(wrong.mean(1).var(ddof=1) / len(wrong) for wrong in (first, second))
    if crossing.seeds:
        for sign, rates in ((1, first.mean(1)), (-1, second.mean(1))):
            size = len(rates)
            means = rates[rng.integers(size, size=(DRAWS, size))].mean(1) - rates.mean()
            draws += sign * means * math.sqrt(crossing.seeds / spread * size / (size - 1))
    draws *= stats.t.ppf(0.975, crossing.freedom) / stats.norm.ppf(0.975)
    low, high = np.quantile(draws, [0.025, 0.975]) + crossing.estimate
    return float(low), float(high)


def decide(
    wide: list[float], narrow: list[float], p: float, fixed: list[float], fixed_p: float, margin: float
) -> tuple[str, str]:
    """Apply the rule "ends-holm-1"."""
    if -margin < narrow[1] and narrow[2] < margin:
        return "equivalent", "population"
    for estimate, corrected, scope in ((wide[0], p, "population"), (fixed[0], fixed_p, "test set")):
        if corrected < 0.05:
            return ("wider" if estimate > 0 else "deeper"), scope
    return "inconclusive", "none"


def combine(outcomes: list[tuple[str, str]]) -> tuple[str, str]:
    """Return the decision that all budgets share, with the narrowest scope, or inconclusive if they differ."""
    decisions = {decision for decision, _ in outcomes}
    if len(decisions) > 1 or "inconclusive" in decisions:
        return "inconclusive", "none"
    return outcomes[0][0], "test set" if any(scope == "test set" for _, scope in outcomes) else "population"


def lowest(fit: np.ndarray, steps: np.ndarray) -> float:
    """Return the depth at which a polynomial is lowest on a grid of log depths."""
    return float(np.exp(steps[np.argmin(np.polyval(fit, steps))]))
