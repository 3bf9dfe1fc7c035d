"""Curves of a study: the best depth of a budget, who is beaten on cost and error, what more tuning would have found."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike
from scipy import special

GRID = 41
# Errors are shares, so a curvature below this is the rounding of a flat or straight line.
FLAT = 1e-12


class DepthFit(NamedTuple):
    """Error as a quadratic of log depth, and the depth of its minimum within the studied range.

    Args:
        coefficients: (c0, c1, c2) of error = c0 + c1 log(depth) + c2 log(depth)^2, natural logarithm.
        optimum: Depth of least fitted error, between the shallowest and the deepest arm.
        low: Lower limit of the optimum, bootstrap over seeds.
        high: Upper limit; low and high are the ends of the range where a depth has a single seed.
        edge: True where the optimum is an end of the range or the curve does not open upwards: then the best depth lies
            outside what was studied, or nowhere, and `optimum` only names the better end.
        interpolates: True with three depths: the curve goes through every mean and its shape is not tested by any.
        grid: 41 (depth, fitted error) pairs, evenly spaced in log depth, for a figure.
    """

    coefficients: tuple[float, float, float]
    optimum: float
    low: float
    high: float
    edge: bool
    interpolates: bool
    grid: tuple[tuple[float, float], ...]


def _checked(depths: Sequence[float], errors: Sequence[ArrayLike]) -> tuple[np.ndarray, list[np.ndarray]]:
    places, groups = np.asarray(depths, np.float64), [np.asarray(group, np.float64) for group in errors]
    if places.ndim != 1 or np.unique(places).size != places.size or places.size < 3 or not (places > 0).all():
        raise ValueError(f"depths={list(depths)!r} must be three or more different depths above 0")
    if len(groups) != places.size:
        raise ValueError(f"errors has {len(groups)} groups for {places.size} depths; give one array of seeds per depth")
    for depth, group in zip(depths, groups, strict=True):
        if group.ndim != 1 or group.size == 0 or not np.isfinite(group).all():
            raise ValueError(
                f"errors at depth {depth} are {group.tolist()!r}; give one or more finite numbers, one a seed"
            )
    return places, groups


def _minimum(coefficients: np.ndarray, low: float, high: float) -> tuple[np.ndarray, np.ndarray]:
    """Place of the least value of each quadratic, (..., 3), in [low, high], and whether it is an end or no minimum."""
    _, slope, curve = np.moveaxis(coefficients, -1, 0)
    opens = curve > FLAT
    vertex = -slope / (2 * np.where(opens, curve, 1.0))
    # Of a curve that does not open upwards the better end; its rise from low to high is this.
    rise = slope * (high - low) + curve * (high**2 - low**2)
    place = np.where(opens, np.clip(vertex, low, high), np.where(rise >= 0, low, high))
    return place, ~opens | (vertex <= low) | (vertex >= high)


def _freedom(groups: list[np.ndarray], solve: np.ndarray, coefficients: np.ndarray) -> float:
    """Satterthwaite degrees of freedom of the vertex, whose variance is a sum over depths (delta method)."""
    _, slope, curve = coefficients
    sizes = np.array([group.size for group in groups])
    if curve <= FLAT:
        return float(sizes.min() - 1)
    gradient = solve.T @ np.array([0.0, -1 / (2 * curve), slope / (2 * curve**2)])
    shares = gradient**2 * np.array([group.var(ddof=1) for group in groups]) / sizes
    total = float(np.sum(shares**2 / (sizes - 1)))
    return float(shares.sum() ** 2 / total) if total else float(sizes.min() - 1)


def _bootstrap(groups: list[np.ndarray], freedom: float, draws: int, seed: int) -> np.ndarray:
    """(draws, depths) deviations of the arm means: seeds drawn anew within each depth."""
    rng = np.random.default_rng(seed)
    # Resampling S seeds keeps (S - 1) / S of their variance, and a few know it badly: without the stretch by t against
    # normal the limits cover 84 % at two seeds and 92 % at five. Pooling would help only where all are as stable.
    stretch = special.stdtrit(freedom, 0.975) / special.ndtri(0.975)
    deviations = []
    for group in groups:
        means = group[rng.integers(group.size, size=(draws, group.size))].mean(1) - group.mean()
        deviations.append(means * stretch * np.sqrt(group.size / (group.size - 1)))
    return np.stack(deviations, 1)


def fit_depth(depths: Sequence[float], errors: Sequence[ArrayLike], *, seed: int = 0, draws: int = 2000) -> DepthFit:
    """Fit error against log depth by a quadratic, and say where it is least and how well the seeds know that.

    Least squares over all runs, which is the arm means weighted by their seeds: a few seeds say too little of a depth's
    spread to weight by it. The limits of the optimum do let the spreads differ.

    Args:
        depths: Three or more different depths, in any order.
        errors: For each depth the error of each seed; the counts may differ.
        seed: Of the bootstrap.
        draws: Bootstrap draws: seeds are drawn anew within each depth, stretched for being few.

    Returns:
        The fit. Its 95 % limits stay within the studied range, because the optimum is sought there only.

    Raises:
        ValueError: Fewer than three depths, the same depth twice, or a depth without finite errors.

    Reference:
        Efron & Tibshirani 1993, "An introduction to the bootstrap", ch. 8 (resampling within groups).
    """
    places, groups = _checked(depths, errors)
    logs = np.log(places)
    centre = logs.mean()
    # Centred, so that the three columns are far from parallel; row weights are roots of the seed counts.
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
    return DepthFit(
        (float(c0 - c1 * centre + c2 * centre**2), float(c1 - 2 * c2 * centre), c2),
        optimum,
        low,
        high,
        bool(edge),
        places.size == 3,
        tuple(zip(np.exp(steps + centre).tolist(), fitted.tolist(), strict=True)),
    )


def pareto(cost: Sequence[float], error: Sequence[float]) -> tuple[bool, ...]:
    """Which arms no other arm beats: none costs no more and errs no more, with one of the two strictly less.

    Args:
        cost: One number an arm, in any unit.
        error: One number an arm.

    Returns:
        True where the arm is on the front. Arms equal in both are kept together.

    Raises:
        ValueError: The lengths differ, or a number is not finite.
    """
    costs, wrong = np.asarray(cost, np.float64), np.asarray(error, np.float64)
    if costs.ndim != 1 or costs.shape != wrong.shape or not (np.isfinite(costs) & np.isfinite(wrong)).all():
        raise ValueError(f"cost={list(cost)!r} and error={list(error)!r} must be finite numbers, one of each per arm")
    no_worse = (costs[:, None] <= costs) & (wrong[:, None] <= wrong)
    better = (costs[:, None] < costs) | (wrong[:, None] < wrong)
    beaten = np.any(no_worse & better, axis=0)
    return tuple(not value for value in beaten)


def expected_best(values: Sequence[float], budgets: Sequence[int]) -> tuple[float, ...]:
    """Expected best score of n random trials, for each n: what a smaller or larger tuning budget would have found.

    Args:
        values: Validation score of each trial that was run, higher is better.
        budgets: Numbers of trials n, 1 or more.

    Returns:
        One expected maximum per budget, drawing with replacement from the N trials:
        sum of v_(i) [(i/N)^n - ((i-1)/N)^n].

    Raises:
        ValueError: No finite values, or a budget below 1.

    Reference:
        Dodge et al. 2019, "Show your work: improved reporting of experimental results".
    """
    scores, trials = np.sort(np.asarray(values, np.float64)), np.asarray(budgets)
    if scores.ndim != 1 or scores.size == 0 or not np.isfinite(scores).all():
        raise ValueError(f"values={list(values)!r} must be one or more finite numbers, one a trial")
    if trials.ndim != 1 or not (trials >= 1).all():
        raise ValueError(f"budgets={list(budgets)!r} must be numbers of trials, 1 or more")
    reached = np.linspace(0, 1, scores.size + 1) ** trials[:, None]
    return tuple((np.diff(reached, axis=1) @ scores).tolist())
