"""The formulas of a report, written a second time for `verify`, with scipy.stats where it has them.

Nothing here uses `jaxcnn.study.statistics` or `jaxcnn.study.verdict`: an error there must not repeat itself here.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

DRAWS = 4000


def missed_pixels(hits: np.ndarray, unions: np.ndarray) -> np.ndarray:
    """Return (N, K) contributions of images to 1 - IoU of each class, by the derivative of a quotient.

    Args:
        hits, unions: (N, K) pixels of each image and class.
    """
    inside, whole = hits.astype(float).sum(0), unions.astype(float).sum(0)
    with np.errstate(invalid="ignore", divide="ignore"):
        return 1 - inside / whole - len(hits) * (hits * whole - inside * unions) / whole**2


def missed_objects(labels: np.ndarray, scores: np.ndarray, hits: np.ndarray, objects: np.ndarray) -> np.ndarray:
    """Return (N, K) contributions of images to 1 - AP50 of each class, hit by hit.

    Args:
        labels, scores, hits: (N, D) of the detections, label -1 for none.
        objects: (N, K) numbers of objects.
    """
    images, classes = objects.shape
    result = np.full((images, classes), math.nan)
    for label in range(classes):
        total = int(objects[:, label].sum())
        if not total:
            continue
        found = [(-scores[n, d], n, d) for n, d in zip(*np.nonzero(labels == label), strict=True)]
        found.sort(key=lambda each: each[0])  # stable: in stored order where scores are equal
        image, hit = [n for _, n, _ in found], np.array([hits[n, d] for _, n, d in found], float)
        right, seen = hit.cumsum(), np.arange(1.0, len(found) + 1)
        precision, slope, area = right / seen, np.zeros(images), 0.0
        for rank in np.flatnonzero(hit):
            best = rank + int(precision[rank:].argmax())
            slope[image[rank]] += precision[best]
            own, own_right = (np.bincount(image[: best + 1], each, images) for each in (None, hit[: best + 1]))
            slope += (own_right * seen[best] - right[best] * own) / seen[best] ** 2
            area += precision[best] / total
        at = [np.flatnonzero(right / total >= recall) for recall in np.linspace(0, 1, 101)]
        value = np.mean([precision[each[0] :].max() if len(each) else 0.0 for each in at])
        result[:, label] = 1 - value - images * (slope - area * objects[:, label]) / total
    return result


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
    """The population contrast, deeper minus wider, and the parts of its variance."""

    estimate: float
    error: float
    freedom: float
    examples: float
    seeds: float
    tuning: float


def cross(
    first: np.ndarray, second: np.ndarray, tuning: Sequence[float] = (), step: float | None = None,
    folds: np.ndarray | None = None, groups: np.ndarray | None = None,
) -> Crossing:  # fmt: skip
    """Compute the variance over new seeds and new images from two-way mean squares, and add that of tuning.

    The variance from images is at least one step of the error, squared; by default one test example, 1 / N^2: with no
    disagreement in N images, the arms may still differ on up to 3 / N of all images (rule of three). With folds (N,),
    each fold is a two-way table of its own.
    """
    count = first.shape[1]
    units = sampled(first, second, groups)
    examples = max(units.var(ddof=1) / len(units), (step or 1 / count) ** 2)
    seeds, spread = 0.0, examples**2 / (len(units) - 1)
    parts = [np.full(count, True)] if folds is None else [folds == part for part in np.unique(folds)]
    sizes = np.array([part.sum() for part in parts])
    for wrong in (first, second):
        size, between, residual = len(wrong), 0.0, 0.0
        for part in parts:
            own = wrong[:, part]
            between += ((own.sum(1) - own.sum(1).mean()) ** 2).sum() / (count * (size - 1))
            rest = own - own.mean(1, keepdims=True) - own.mean(0, keepdims=True) + own.mean()
            residual += (rest**2).sum() / ((size - 1) * (count - len(parts)))
        images = (sizes**2).sum() / count
        share = images / (images - (1 - 1 / len(parts)) / size) / (size * count)
        seeds += share * (between - residual)
        squares = between**2 / ((size - 1) * len(parts)) + residual**2 / ((size - 1) * (count - len(parts)))
        spread += share**2 * squares
    seeds, again = max(seeds, 0.0), sum(tuning)
    spread += sum(each**2 for each in tuning) / 10
    total = examples + seeds + again
    return Crossing(first.mean() - second.mean(), math.sqrt(total), total**2 / spread, examples, seeds, again)


def sampled(first: np.ndarray, second: np.ndarray, groups: np.ndarray | None) -> np.ndarray:
    """Return the difference of the arms on each image, or what each group of images adds to it, times their number."""
    gap = first.mean(0) - second.mean(0)
    if groups is None:
        return gap
    names = np.unique(groups)
    return np.array([(gap[groups == name] - gap.mean()).sum() for name in names]) * len(names) / len(gap) + gap.mean()


class Curve(NamedTuple):
    """The curve through one arm's tuning trials, on the settings that it covers."""

    settings: list[tuple[float, ...]]
    counts: np.ndarray
    errors: np.ndarray
    noise: float  #: Variance of a trial.
    spare: bool  #: Whether there are more trials than parameters.


def curve(settings: list[tuple[float, ...]], errors: list[float], images: int) -> Curve:
    """Fit errors by a plane in log rate and rank of the decay, with squares that open upwards, trial by trial."""
    means = {each: np.mean([e for s, e in zip(settings, errors, strict=True) if s == each]) for each in set(settings)}
    least = min(means.values())
    chance = (least * images + 0.5) / (images + 1)
    sd = math.sqrt(0.6 * chance * (1 - chance) / images)
    rates = {each[0] for each, mean in means.items() if mean <= least + max(5 * sd, least / 2)}
    kept = sorted(s for s, mean in means.items() if s[0] in rates and mean <= least + max(8 * sd, least))
    trials = [(kept.index(s), e) for s, e in zip(settings, errors, strict=True) if s in kept]
    rows, values = [row for row, _ in trials], np.array([error for _, error in trials])
    counts = np.bincount(rows, minlength=len(kept))
    fitted, parameters = refit(np.array([[means[each] for each in kept]]), kept, counts)
    freedom = len(values) - parameters
    noise = float(np.sum((values - fitted[0][rows]) ** 2)) / freedom if freedom > 0 else sd**2
    return Curve(kept, counts, fitted[0], noise, freedom > 0)


def refit(draws: np.ndarray, settings: list[tuple[float, ...]], counts: np.ndarray) -> tuple[np.ndarray, int]:
    """Return the curves through means (draws, settings), and the number of parameters of the first one."""
    rates, decays = zip(*settings, strict=True)
    lines, squares = [np.ones(len(settings))], []
    for places in (np.log(rates), np.array([sorted(set(decays)).index(each) for each in decays])):
        lines += [places - places.mean()] if len(set(places)) > 1 else []
        squares += [(places - places.mean()) ** 2] if len(set(places)) > 2 else []
    todo, result, parameters = np.ones(len(draws), bool), np.empty(draws.shape), 0
    # All squares first, then each alone (that of the rate before that of the decay), then none.
    for bent in [squares, *([each] for each in squares), []]:
        if bent and len(lines) + len(bent) >= len(settings):
            continue
        columns, weights = np.stack(lines + bent, 1), np.sqrt(counts)[:, None]
        found = np.linalg.lstsq(columns * weights, draws.T * weights, rcond=None)[0]
        fits = todo & (found[len(lines) :] > 0).all(0)
        result[fits], todo = (columns @ found).T[fits], todo & ~fits
        parameters = int(np.linalg.matrix_rank(columns)) if fits[0] else parameters
    return result, parameters


def another_tuning(found: Curve) -> tuple[float, float, float]:
    """Draw trials anew: the variance of the error of the setting that they choose, and how often it is another one.

    Returns:
        The two, and the variance of a squared deviation in squares of their mean: over the number of draws, the
        squared relative standard error of the first.
    """
    noise = np.random.default_rng(20_262).standard_normal((5 * DRAWS, len(found.settings)))
    errors = found.errors + np.sqrt(found.noise / found.counts) * noise
    chosen = refit(errors, found.settings, found.counts)[0].argmin(1)
    squares = (found.errors[chosen] - found.errors[chosen].mean()) ** 2
    heavy = squares.var() / squares.mean() ** 2 if squares.any() else 0.0
    return float(squares.mean()), float(np.mean(chosen != found.errors.argmin())), float(heavy)


def flattery(settings: list[tuple[float, ...]], errors: list[float], images: int, folds: int) -> tuple[float, float]:
    """Draw trials anew, with the residuals of the real ones, and fit them: how far below the truth the lowest point is.

    Args:
        settings, errors, images: The trials, as for `curve`.
        folds: Every fold has such a share of them.

    Returns:
        Mean over draws, and its standard error.
    """
    real, rng = curve(settings, errors, images), np.random.default_rng(20_263)
    means = {each: np.mean([e for s, e in zip(settings, errors, strict=True) if s == each]) for each in set(settings)}
    truth = means | dict(zip(real.settings, real.errors, strict=True))
    gaps = np.array([e - truth[s] for s, e in zip(settings, errors, strict=True) if s in real.settings])
    # As many trials as settings and slopes leave no residuals: then plus or minus one standard deviation.
    gaps = gaps - gaps.mean() if real.spare and gaps.std() > 0 else np.array([-1.0, 1.0])
    gaps *= math.sqrt(real.noise) / gaps.std()
    share = [each for each in sorted(means) for _ in range(max(1, round(settings.count(each) / folds)))]
    found = np.empty(DRAWS // 4)
    for draw in range(len(found)):
        means = {each: [] for each in means}
        for each in share:
            means[each].append(truth[each] + rng.choice(gaps))
        values = {each: min(1.0, max(0.0, float(np.mean(its)))) for each, its in means.items()}
        again = curve(share, [values[each] for each in share], images)
        found[draw] = truth[again.settings[int(again.errors.argmin())]] - again.errors.min()
    return float(found.mean()), float(found.std()) / math.sqrt(len(found))


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


def power(effect: float, seeds: int, floor: float = 0.0) -> float:
    """Return the power of a two-sided t test at 5 %; effect, and an error beside that of seeds, in their deviations."""
    from scipy import stats

    error = 2 / seeds + floor**2
    freedom, shift = (2 * seeds - 2) * (error * seeds / 2) ** 2, effect / math.sqrt(error)
    limit = stats.t.ppf(0.975, freedom)
    if freedom > 1e6:  # where SciPy's noncentral t fails, it is the normal distribution
        return float(stats.norm.sf(limit, shift) + stats.norm.cdf(-limit, shift))
    return float(stats.nct.sf(limit, freedom, shift) + stats.nct.cdf(-limit, freedom, shift))


def bootstrap(
    first: np.ndarray, second: np.ndarray, crossing: Crossing, groups: np.ndarray | None = None
) -> tuple[float, float]:
    """Draw images (or groups) for both arms together and seeds for each, and add what the floors add."""
    from scipy import stats

    gap = sampled(first, second, groups)
    rng, count = np.random.default_rng(20_260), len(gap)
    draws = np.array([gap[rng.integers(count, size=count)].mean() for _ in range(DRAWS)]) - gap.mean()
    draws *= math.sqrt(count / (count - 1))
    missing = crossing.tuning + max(0.0, crossing.examples - gap.var(ddof=1) / count)
    draws += math.sqrt(missing) * rng.standard_normal(DRAWS)
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


def decide_retuned(estimate: float, p: float, equivalent: float) -> tuple[str, str]:
    """Apply the rule "retuned-1" to one contrast."""
    if min(p, equivalent) >= 0.05:
        return "inconclusive", "none"
    return "equivalent" if equivalent < 0.05 else "wider" if estimate > 0 else "deeper", "population"


def holm_both(different: list[float], equivalent: list[float]) -> tuple[list[float], list[float]]:
    """Return p-values adjusted step by step; the factor counts contrasts with a hypothesis left (Shaffer 1986)."""
    left = {(kind, place): p for kind, each in enumerate((different, equivalent)) for place, p in enumerate(each)}
    adjusted, largest = [[0.0] * len(different) for _ in range(2)], 0.0
    while left:
        kind, place = min(left, key=lambda each: (left[each], each))
        largest = max(largest, min(1.0, left[kind, place] * len({one for _, one in left})))
        adjusted[kind][place] = largest
        del left[kind, place]
    return adjusted[0], adjusted[1]


def combine(outcomes: list[tuple[str, str]]) -> tuple[str, str]:
    """Return the decision that all budgets share, with the narrowest scope, or inconclusive if they differ."""
    decisions = {decision for decision, _ in outcomes}
    if len(decisions) > 1 or "inconclusive" in decisions:
        return "inconclusive", "none"
    return outcomes[0][0], "test set" if any(scope == "test set" for _, scope in outcomes) else "population"


def lowest(fit: np.ndarray, steps: np.ndarray) -> float:
    """Return the depth at which a polynomial is lowest on a grid of log depths."""
    return float(np.exp(steps[np.argmin(np.polyval(fit, steps))]))
