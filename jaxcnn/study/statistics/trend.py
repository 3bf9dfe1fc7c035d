"""Curves of a study: error against depth with its best depth, the Pareto front, and expected best validation error."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike
from scipy import special

from jaxcnn.study.statistics.seeds import finite

GRID = 41
FLAT = 1e-12
"""Curvature below which a curve is flat: errors are shares, so less is rounding."""


class DepthFit(NamedTuple):
    """Error as a quadratic in log depth, and the depth of its minimum within the studied range."""

    #: (c0, c1, c2) of error = c0 + c1 log(depth) + c2 log(depth)^2, natural logarithm.
    coefficients: tuple[float, float, float]
    optimum: float  #: Depth of the lowest fitted error, between the shallowest and the deepest arm.
    low: float  #: Lower limit of the optimum, from a bootstrap over seeds.
    high: float  #: Upper limit. Both limits are the ends of the range if a depth has a single seed.
    #: The optimum is an end of the range or the curve has no minimum: the best depth lies outside the studied range or
    #: does not exist, and `optimum` is only the better end.
    edge: bool
    interpolates: bool  #: With three depths the curve passes through every mean, so its shape is not tested.
    grid: tuple[tuple[float, float], ...]  #: 41 (depth, fitted error) pairs, evenly spaced in log depth, for a figure.


def _minimum(coefficients: np.ndarray, low: float, high: float) -> tuple[np.ndarray, np.ndarray]:
    """Return where each quadratic, (..., 3), is lowest in [low, high], and whether that is an end or no minimum."""
    _, slope, curve = np.moveaxis(coefficients, -1, 0)
    opens = curve > FLAT
    vertex = -slope / (2 * np.where(opens, curve, 1.0))
    # A curve that does not open upwards is lowest at an end: the lower one if it rises from low to high.
    rise = slope * (high - low) + curve * (high**2 - low**2)
    place = np.where(opens, np.clip(vertex, low, high), np.where(rise >= 0, low, high))
    return place, ~opens | (vertex <= low) | (vertex >= high)


def _freedom(groups: list[np.ndarray], solve: np.ndarray, coefficients: np.ndarray) -> float:
    """Return Satterthwaite degrees of freedom of the vertex, whose variance is a sum over depths (delta method)."""
    _, slope, curve = coefficients
    sizes = np.array([group.size for group in groups])
    if curve <= FLAT:
        return float(sizes.min() - 1)
    gradient = solve.T @ np.array([0.0, -1 / (2 * curve), slope / (2 * curve**2)])
    shares = gradient**2 * np.array([group.var(ddof=1) for group in groups]) / sizes
    total = float(np.sum(shares**2 / (sizes - 1)))
    return float(shares.sum() ** 2 / total) if total else float(sizes.min() - 1)


def _bootstrap(groups: list[np.ndarray], freedom: float, draws: int, seed: int) -> np.ndarray:
    """Draw (draws, depths) deviations of the arm means by resampling seeds within each depth."""
    rng = np.random.default_rng(seed)
    # Resampling S seeds keeps (S - 1) / S of their variance, and the variance of a few seeds is uncertain: without the
    # factor of t over normal the limits cover 84 % at two seeds and 92 % at five. Pooling over depths would assume
    # equal variances.
    stretch = special.stdtrit(freedom, 0.975) / special.ndtri(0.975)
    deviations = []
    for group in groups:
        means = group[rng.integers(group.size, size=(draws, group.size))].mean(1) - group.mean()
        deviations.append(means * stretch * np.sqrt(group.size / (group.size - 1)))
    return np.stack(deviations, 1)


def fit_depth(depths: Sequence[float], errors: Sequence[ArrayLike], *, seed: int = 0, draws: int = 2000) -> DepthFit:
    """Fit error against log depth by a quadratic, and estimate the depth of its minimum with an interval.

    Least squares over all runs, that is, of the arm means weighted by their numbers of seeds: a few seeds say too
    little about a depth's variance to weight by it. The interval allows for different variances.

    Args:
        depths: Three or more different depths, in any order.
        errors: For each depth the error of each seed; the counts may differ.
        seed: Seed of the bootstrap.
        draws: Bootstrap draws over seeds within each depth, corrected for small numbers of seeds.

    Returns:
        The fit. Its 95 % limits lie within the studied range, because the optimum is sought only there.

    Raises:
        ValueError: There are fewer than three depths, a depth occurs twice, or a depth has no finite errors.

    Reference:
        Efron & Tibshirani 1993, "An introduction to the bootstrap", ch. 8 (resampling within groups).
    """
    places = np.asarray(depths, np.float64)
    if places.ndim != 1 or np.unique(places).size != places.size or places.size < 3 or not (places > 0).all():
        raise ValueError(f"depths={list(depths)!r}: give three or more different depths above 0")
    if len(errors) != places.size:
        raise ValueError(f"errors has {len(errors)} groups for {places.size} depths: give one array of seeds per depth")
    groups = [finite(group, f"errors at depth {depth}", "seed") for depth, group in zip(depths, errors, strict=True)]
    logs = np.log(places)
    centre = logs.mean()
    # Centred, for a well-conditioned matrix. Row weights are square roots of the numbers of seeds.
    shifted, weights = logs - centre, np.sqrt([group.size for group in groups])
    solve = np.linalg.pinv(np.vander(shifted, 3, increasing=True) * weights[:, None]) * weights
    means = np.array([group.mean() for group in groups])
    coefficients = solve @ means
    ends = float(shifted.min()), float(shifted.max())
    best, edge = _minimum(coefficients, *ends)
    limits = np.array(ends)
    if min(group.size for group in groups) > 1:
        deviations = _bootstrap(groups, _freedom(groups, solve, coefficients), draws, seed)
        limits = np.quantile(_minimum((means + deviations) @ solve.T, *ends)[0], [0.025, 0.975])
    steps = np.linspace(*ends, GRID)
    fitted = np.vander(steps, 3, increasing=True) @ coefficients
    c0, c1, c2 = (float(value) for value in coefficients)
    optimum, low, high = (float(value) for value in np.exp(np.array([best, *limits]) + centre))
    uncentred = float(c0 - c1 * centre + c2 * centre**2), float(c1 - 2 * c2 * centre), c2
    grid = tuple(zip(np.exp(steps + centre).tolist(), fitted.tolist(), strict=True))
    return DepthFit(uncentred, optimum, low, high, bool(edge), places.size == 3, grid)


def pareto(cost: Sequence[float], error: Sequence[float]) -> tuple[bool, ...]:
    """Return which arms are on the Pareto front: no other arm is at least as good in both and better in one.

    Args:
        cost, error: One number per arm; costs in any unit.

    Returns:
        True for each arm on the front. Arms that are equal in both are kept together.

    Raises:
        ValueError: The lengths differ, or a number is not finite.
    """
    costs, wrong = np.asarray(cost, np.float64), np.asarray(error, np.float64)
    if costs.ndim != 1 or costs.shape != wrong.shape or not (np.isfinite(costs) & np.isfinite(wrong)).all():
        raise ValueError(f"cost={list(cost)!r}, error={list(error)!r}: give finite numbers, one of each per arm")
    no_worse = (costs[:, None] <= costs) & (wrong[:, None] <= wrong)
    better = (costs[:, None] < costs) | (wrong[:, None] < wrong)
    beaten = np.any(no_worse & better, axis=0)
    return tuple(not value for value in beaten)


def expected_best(values: Sequence[float], budgets: Sequence[int]) -> tuple[float, ...]:
    """Return the expected best score of n random trials, for each n: the result of a smaller or larger tuning budget.

    Args:
        values: Validation score of each trial, higher is better.
        budgets: Numbers of trials n, 1 or more.

    Returns:
        One expected maximum per budget, drawing with replacement from the N trials:
        sum of v_(i) [(i/N)^n - ((i-1)/N)^n].

    Raises:
        ValueError: There are no finite values, or a budget is below 1.

    Reference:
        Dodge et al. 2019, "Show your work: improved reporting of experimental results".
    """
    scores, trials = np.sort(finite(values, "values", "trial")), np.asarray(budgets)
    if trials.ndim != 1 or not (trials >= 1).all():
        raise ValueError(f"budgets={list(budgets)!r}: give numbers of trials, 1 or more")
    reached = np.linspace(0, 1, scores.size + 1) ** trials[:, None]
    return tuple((np.diff(reached, axis=1) @ scores).tolist())
