"""Check every contrast of two arms, the trend over depth, and the verdict."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from jaxcnn.study.verify.arms import kappa_of
from jaxcnn.study.verify.checks import (
    Check,
    close_check,
    drawn_check,
    equal_check,
    limits_of,
    possible_limits,
    split_pairs,
)
from jaxcnn.study.verify.formulas import (
    DRAWS,
    benjamini_hochberg,
    bootstrap,
    cross,
    decide,
    decide_retuned,
    holm,
    holm_both,
    lowest,
    power,
    welch,
    wins,
)  # fmt: skip
from jaxcnn.study.verify.stored import ArmErrors, Errors


def contrast_checks(
    reported: list[dict[str, Any]], pairs: list[tuple[ArmErrors, ArmErrors]], errors: Errors, margin: float,
    prefix: str, tunings: list[list[float]], sizes: list[int], *, retuned: bool,
) -> tuple[list[Check], list[tuple[str, str]]]:  # fmt: skip
    """Check contrasts, `sizes` of them at each budget, and return the decisions of the budgets."""
    from scipy import stats

    rows: dict[str, list[tuple[Any, Any]]] = {}
    drawn: list[tuple[float, float, float]] = []
    outcomes, crossings, welches = [], [], []
    for (deeper, wider), tuning in zip(pairs, tunings, strict=True):
        several, where = min(len(deeper.wrong), len(wider.wrong)) > 1, (errors.folds, errors.groups)
        crossings.append(cross(deeper.wrong, wider.wrong, tuning, errors.step, *where) if several else None)
        welches.append(welch(deeper.wrong.mean(1), wider.wrong.mean(1), errors.step))
    p = [1.0 if c is None else float(2 * stats.t.sf(abs(c.estimate) / c.error, c.freedom)) for c in crossings]
    equal = [
        1.0 if c is None else float(stats.t.sf((margin - abs(c.estimate)) / c.error, c.freedom)) for c in crossings
    ]
    different, equivalent = holm_both(p, equal) if retuned else (holm(p), equal)
    corrected = different, holm([each[3] for each in welches])
    for place, (found, (deeper, wider)) in enumerate(zip(reported, pairs, strict=True)):
        crossing, fixed = crossings[place], welches[place]
        wide = narrow = [fixed[0], -math.inf, math.inf]
        if crossing is not None:
            wide, narrow = (
                [crossing.estimate, *stats.t.interval(level, crossing.freedom, crossing.estimate, crossing.error)]
                for level in (0.95, 0.9)
            )
        first, second = deeper.wrong.mean(1), wider.wrong.mean(1)
        pooled = np.mean([max(each.var(ddof=1), errors.step**2 / 12) for each in (first, second)])
        values = [
            ("difference for new seeds and images, 95 and 90 %",
             [*limits_of(found["population"]), *limits_of(found["population90"])],
             [*possible_limits(wide), *possible_limits(narrow)]),
            ("p-values, after Holm too",
             [found[n] for n in ("population_p", "population_holm", "fixed_p", "fixed_holm")],
             [p[place], corrected[0][place], fixed[3], corrected[1][place]]),
            ("difference on this test set (Welch)", limits_of(found["fixed"]), possible_limits(fixed[:3])),
            ("consistency of errors between arms", [found["consistency"]],
             [kappa_of(errors, deeper.wrong, wider.wrong)]),
            ("chance that the deeper run errs less", [found["superiority"]["estimate"]], [wins(first, second)]),
        ]  # fmt: skip
        if crossing is not None:
            parts = {name: getattr(crossing, name) / crossing.error**2 for name in found["parts"]}
            values.append(("p-value of equivalence", [found["tost"]], [equal[place]]))
            values.append(("shares of variance", found["parts"].values(), parts.values()))
            spread, floor = math.sqrt(pooled), 0.0
            if retuned:
                values.append(("p-value of equivalence, after Holm", [found["tost_holm"]], [equivalent[place]]))
                floor = math.sqrt(crossing.examples + crossing.tuning)
                values.append(("smallest difference that any number of seeds detects", [found["endless"]],
                               [floor * (stats.norm.ppf(0.975) + stats.norm.ppf(0.8))]))  # fmt: skip
                spread = math.sqrt(crossing.seeds * found["seeds"] / 2)
            if spread > 1e-6 * floor:
                reached = power(found["detectable"] / spread, found["seeds"], floor / spread)
                values.append(("power at the detectable difference", [0.8], [reached]))
            if found["bootstrap"] and found["bootstrap"]["low"] is not None:
                again = bootstrap(deeper.wrong, wider.wrong, crossing, errors.groups)
                _, *limits = possible_limits([crossing.estimate, *again])
                width = limits[1] - limits[0]
                drawn += [(found["bootstrap"][n], new, width) for n, new in zip(("low", "high"), limits, strict=True)]
            step = errors.step if errors.labels is None else None
            classes = enumerate(zip(deeper.classes, wider.classes, strict=True))
            by_class = [c for c in (_of_class(*each, step, errors.images_of(n)) for n, each in classes) if c]
            q = benjamini_hochberg([each[3] for each in by_class])
            values.append(("differences by class, p and q",
                           [[*limits_of(c["difference"]), c["p"], c["q"]] for c in found["classes"]],
                           [[*possible_limits(each), one] for each, one in zip(by_class, q, strict=True)]))  # fmt: skip
        for name, old, new in values:
            rows.setdefault(name, []).append((old, new))
        judged = decide(wide, narrow, different[place], fixed, corrected[1][place], margin)
        outcomes.append(decide_retuned(wide[0], different[place], equivalent[place]) if retuned else judged)
    budgets, first = [], 0
    for size in sizes:
        if [decision for decision, _ in outcomes[first + 1 : first + size]] == ["deeper", "wider"]:
            outcomes[first] = "between", "population"
        budgets.append(outcomes[first])
        first += size
    checks = [close_check(prefix + name, *split_pairs(each)) for name, each in rows.items()]
    decisions = [(each["decision"], each["scope"]) for each in reported]
    checks.append(equal_check(f"{prefix}decision of every budget", decisions, outcomes))
    if drawn:
        checks.append(drawn_check(f"{prefix}crossed bootstrap, drawn anew", drawn))
    return checks, budgets


def _of_class(
    deeper: np.ndarray, wider: np.ndarray, step: float | None,
    where: tuple[np.ndarray | None, np.ndarray | None],
) -> list[Any] | None:  # fmt: skip
    """Return the contrast of one class; `where` has the folds and groups of its images."""
    from scipy import stats

    if deeper.shape[1] < 2 or not (np.isfinite(deeper).all() and np.isfinite(wider).all()):
        return None
    folds, groups = where
    if (folds is not None and np.bincount(folds).min() < 2) or (groups is not None and len(np.unique(groups)) < 2):
        return None
    each = cross(deeper, wider, (), step, folds, groups)
    low, high = stats.t.interval(0.95, each.freedom, each.estimate, each.error)
    return [each.estimate, low, high, 2 * stats.t.sf(abs(each.estimate) / each.error, each.freedom)]


def trend_checks(analysis: dict[str, Any], arms: dict[str, ArmErrors]) -> list[Check]:
    """Check the trend over depth, its best depth, and the interval of that."""
    fits, limits = [], []
    for trend in analysis["trends"]:
        if (fit := trend["fit"]) is None:
            continue
        own = [each["arm"] for each in analysis["arms"] if each["arm"]["budget_label"] == trend["budget"]]
        logs = np.log([arm["depth"] for arm in own])
        rates = [arms[arm["label"]].wrong.mean(1) for arm in own]
        weights = np.sqrt([len(each) for each in rates])
        means = np.array([each.mean() for each in rates])
        fits.append((fit["coefficients"], np.polyfit(logs, means, 2, w=weights)[::-1]))
        steps = np.linspace(logs.min(), logs.max(), 4001)
        fits.append(([fit["optimum"]], [lowest(np.polyfit(logs, means, 2, w=weights), steps)]))
        if min(map(len, rates)) > 1:
            limits += _trend_limits(fit, logs, rates, weights, steps)
    checks = [close_check("trend over depth and its best depth", *split_pairs(fits), tolerance=2e-3)] if fits else []
    return [*checks, drawn_check("interval of the best depth, drawn anew", limits)] if limits else checks


def _trend_limits(
    fit: dict[str, Any], logs: np.ndarray, rates: list[np.ndarray], weights: np.ndarray, steps: np.ndarray
) -> list[tuple[float, float, float]]:
    """Draw the seeds of every depth anew; as wide as t is against the normal (Satterthwaite's degrees of freedom)."""
    from scipy import stats

    rng, means = np.random.default_rng(20_261), np.array([each.mean() for each in rates])
    curve, slope, _ = np.polyfit(logs, means, 2, w=weights)
    sizes = np.array([len(each) for each in rates])
    freedom = float(sizes.min() - 1)
    if curve > 1e-12:  # by the delta method: how the vertex moves with the mean of each depth
        moves = np.polyfit(logs, np.eye(len(logs)), 2, w=weights)
        gradient = -moves[1] / (2 * curve) + slope * moves[0] / (2 * curve**2)
        shares = gradient**2 * np.array([each.var(ddof=1) for each in rates]) / sizes
        if total := float(np.sum(shares**2 / (sizes - 1))):
            freedom = float(shares.sum() ** 2 / total)
    stretch = stats.t.ppf(0.975, freedom) / stats.norm.ppf(0.975)
    drawn = np.empty((DRAWS, len(rates)))
    for place, each in enumerate(rates):
        moved = each[rng.integers(len(each), size=(DRAWS, len(each)))].mean(1) - means[place]
        drawn[:, place] = means[place] + stretch * math.sqrt(len(each) / (len(each) - 1)) * moved
    best = np.log([lowest(each, steps) for each in np.polyfit(logs, drawn.T, 2, w=weights).T])
    low, high = np.quantile(best, [0.025, 0.975])
    width = max(high - low, float(np.ptp(logs)) / 4)
    return [(math.log(fit["low"]), low, width), (math.log(fit["high"]), high, width)]
