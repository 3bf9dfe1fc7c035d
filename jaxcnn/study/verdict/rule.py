"""The plan's rule applied, and said in words: effect, interval, what it generalises to, what would change it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

from jaxcnn.study.arm import Arm
from jaxcnn.study.statistics.seeds import Interval
from jaxcnn.study.verdict.findings import ContrastFinding, Decision, Scope, TrendFinding

LEVEL = 0.05


class Verdict(NamedTuple):
    """The answer of a study over all its budgets."""

    decision: Decision
    scope: Scope
    sentence: str
    change: str


def decide(
    population: Interval,
    population90: Interval,
    population_holm: float,
    fixed: Interval,
    fixed_holm: float,
    margin: float,
) -> tuple[Decision, Scope]:
    """The plan's rule on one contrast, deeper minus wider.

    Args:
        population: Estimate over new seeds and new images.
        population90: Its 90 % interval.
        population_holm: Its p-value, corrected.
        fixed: Estimate over new seeds on this test set.
        fixed_holm: Its p-value, corrected.
        margin: Smallest difference that matters.

    Returns:
        The decision and what it holds for.

    >>> near, wide = Interval(0.02, 0.01, 0.03), Interval(0.02, -0.01, 0.05)
    >>> decide(near, near, 0.001, near, 0.001, margin=0.005)
    ('wider', 'population')
    >>> decide(wide, wide, 0.2, near, 0.01, margin=0.005)
    ('wider', 'test set')
    """
    if -margin < population90.low and population90.high < margin:
        return "equivalent", "population"
    if population_holm < LEVEL:
        return ("wider" if population.estimate > 0 else "deeper"), "population"
    if fixed_holm < LEVEL:
        return ("wider" if fixed.estimate > 0 else "deeper"), "test set"
    return "inconclusive", "none"


def points(share: float) -> str:
    """A share of test images in percentage points or percent, two decimals."""
    return "unknown" if not math.isfinite(share) else f"{100 * share:.2f}".replace("-0.00", "0.00")


def between(interval: Interval) -> str:
    """An interval in points, signed, such as "+0.67 to +2.04"."""
    if not math.isfinite(interval.half_width):
        return "unknown: one seed shows no spread"
    return f"{signed(interval.low)} to {signed(interval.high)}"


def signed(share: float) -> str:
    """A difference in percentage points with its sign; what rounds to nothing has none."""
    shown = f"{100 * share:+.2f}"
    return shown[1:] if shown in ("+0.00", "-0.00") else shown


def name(arm: Arm) -> str:
    """An arm in a sentence."""
    return f"depth {arm.depth} (width {arm.width})"


def describe(
    decision: Decision, scope: Scope, budget: str, deeper: Arm, wider: Arm, seeds: int,
    population: Interval, population90: Interval, fixed: Interval, margin: float, images: int,
) -> str:  # fmt: skip
    """One contrast's decision as a sentence."""
    pair = f"{name(deeper)} and {name(wider)}"
    effect = f"deeper minus wider is {signed(population.estimate)} percentage points of test error"
    everywhere = f"95 % interval {between(population)} for new seeds and new images"
    here = f"{between(fixed)} over {seeds} seeds on these {images:,} test images"
    if not math.isfinite(population.half_width):
        return (
            f"inconclusive at {budget}: {pair} cannot be told apart by one seed each, which shows no spread; {effect}"
        )
    if decision == "equivalent":
        return (
            f"equivalent at {budget}: {pair} differ by less than the margin of {points(margin)} points; {effect} "
            f"(90 % interval {between(population90)} for new seeds and new images)"
        )
    if decision == "inconclusive":
        return f"inconclusive at {budget}: {pair} cannot be told apart; {effect} ({everywhere}; {here})"
    better, worse = (deeper, wider) if decision == "deeper" else (wider, deeper)
    lead = f"{decision} at {budget}: {name(better)} makes fewer errors than {name(worse)}"
    if scope == "population":
        return f"{lead}; {effect} ({everywhere}; {here})"
    return f"{lead} on this test set only; {effect} ({here}); for new images it is open ({everywhere})"


def overall(
    contrasts: Sequence[ContrastFinding], margin: float, data: str, trends: Sequence[TrendFinding] = ()
) -> Verdict:
    """All budgets together: their common decision, or inconclusive where they differ.

    Args:
        contrasts: One a budget.
        margin: The plan's.
        data: Name of the data set.
        trends: Error against depth, one a budget: where a network between the two ends does better, it is said.

    Returns:
        The verdict with its sentences.
    """
    decisions: set[Decision] = {contrast.decision for contrast in contrasts}
    scopes = [contrast.scope for contrast in contrasts]
    between_ends = _optimum(trends)
    if len(contrasts) == 1:
        (only,) = contrasts
        sentence = f"{only.sentence[0].upper()}{only.sentence[1:]}.{between_ends}"
        return Verdict(only.decision, only.scope, sentence, _change(only, margin, data))
    agreed = decisions.pop() if len(decisions) == 1 else None
    decision: Decision = agreed or "inconclusive"
    scope: Scope = "none"
    if decision != "inconclusive":
        scope = "test set" if "test set" in scopes else "population"
    lead = {
        "inconclusive": "Inconclusive over all budgets" + (", which disagree" if decisions else ""),
        "equivalent": "Equivalent at every budget",
    }.get(decision, f"{decision.capitalize()} at every budget")
    lead += ", on this test set only" if scope == "test set" else ""
    listed = "; ".join(_short(contrast) for contrast in contrasts)
    sentence = (
        f"{lead}. Test error of the deeper minus that of the wider arm in points, with its 95 % interval for new seeds "
        f"and new images: {listed}.{between_ends}"
    )
    return Verdict(decision, scope, sentence, " ".join(_change(each, margin, data, named=True) for each in contrasts))


def _short(contrast: ContrastFinding) -> str:
    """One of several budgets in the verdict's sentence."""
    where = " on this test set" if contrast.scope == "test set" else ""
    interval = f" ({between(contrast.population)})" if math.isfinite(contrast.population.half_width) else ""
    return (
        f"{contrast.decision}{where} at {contrast.budget}, depth {contrast.deeper.depth} minus {contrast.wider.depth}: "
        f"{signed(contrast.population.estimate)}{interval}"
    )


def _optimum(trends: Sequence[TrendFinding]) -> str:
    """Where the fitted error is least, if that is between the ends; empty if it is at one of them everywhere."""
    found = [
        f"depth {trend.fit.optimum:.0f} (95 % interval {trend.fit.low:.0f} to {trend.fit.high:.0f}) at {trend.budget}"
        for trend in trends
        if trend.fit is not None and not trend.fit.edge and not trend.fit.interpolates
    ]
    if not found:
        return ""
    return f" The fitted error (exploratory) is least between the two ends: at {'; '.join(found)}."


def _change(contrast: ContrastFinding, margin: float, data: str, *, named: bool = False) -> str:
    """What would change one contrast's decision, or resolve it."""
    start = f"At {contrast.budget}: " if named else ""
    if contrast.seeds < 2:
        return f"{start}Two or more seeds per arm are needed before anything can be said: one shows no spread."
    if contrast.decision == "equivalent":
        return f"{start}A margin below {_largest(contrast.population90)} points would leave the question open again."
    if contrast.decision != "inconclusive" and contrast.scope == "population":
        limit = min(abs(contrast.population.low), abs(contrast.population.high))
        return (
            f"{start}It holds for images drawn like those of {data}, for this recipe and its tuning grid; a change of "
            f"either that moves the difference by {points(limit)} points would undo it."
        )
    if named and contrast.decision == "inconclusive":
        needed = f"about {contrast.needed:,}" if contrast.needed else "more than 1,000"
        return (
            f"{start}{contrast.seeds} seeds per arm find {points(contrast.detectable)} points on this test set in four "
            f"studies of five; the difference seen takes {needed}."
        )
    share = contrast.parts.get("examples", 0.0)
    images = "most" if share > 0.5 else "a smaller part"
    text = (
        f"{start}With this spread {contrast.seeds} seeds per arm find a true difference of "
        f"{points(contrast.detectable)} points or more on this test set in four studies of five; "
    )
    if contrast.decision == "inconclusive":
        needed = f"about {contrast.needed:,}" if contrast.needed else "more than 1,000"
        text += f"finding the difference seen here takes {needed} seeds per arm; "
    return text + (
        f"of what is uncertain about new images, {images} ({100 * share:.0f} % of the variance) comes from the number "
        "of test images, which more seeds do not change."
    )


def _largest(interval: Interval) -> str:
    return points(max(abs(interval.low), abs(interval.high)))
