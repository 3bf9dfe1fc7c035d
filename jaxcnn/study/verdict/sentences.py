"""The verdict in words: decision, effect, interval, what it generalises to, and what would change it."""

from collections.abc import Sequence

from jaxcnn.study.arm import Arm
from jaxcnn.study.rule import Decision, Scope
from jaxcnn.study.verdict.findings import ContrastFinding, TrendFinding
from jaxcnn.study.verdict.formatting import detected, percent, signed, signed_span


def _name(arm: Arm) -> str:
    size = f"depth {arm.depth} (width {arm.widths})"
    return f"{arm.name} of {size}" if arm.name else size


def describe(contrast: ContrastFinding, margin: float, images: int) -> str:
    """Describe the decision on one contrast and `images` test images; a clause without capital and full stop."""
    deeper, wider = _name(contrast.deeper), _name(contrast.wider)
    effect = (
        f"{' minus '.join(contrast.sides)} is {signed(contrast.population.estimate)} percentage points of test error"
    )
    start = f"{contrast.decision} at {contrast.budget}"
    if contrast.decision == "inconclusive" and not contrast.population.bounded:
        why = "one seed each, which shows no spread"
        if contrast.seeds > 1:
            why = f"{contrast.seeds} seeds each, which differ too much for an interval"
        return f"{start}: {deeper} and {wider} cannot be told apart with {why}; {effect}"
    if contrast.decision == "equivalent":
        return (
            f"{start}: {deeper} and {wider} differ by less than the margin of {percent(margin)} points; {effect} "
            f"(90 % interval {signed_span(contrast.population90)} for new seeds and new images)"
        )
    everywhere = f"95 % interval {signed_span(contrast.population)}" if contrast.population.bounded else "no interval"
    everywhere += " for new seeds and new images"
    here = f"{signed_span(contrast.fixed)} over {contrast.seeds} seeds on these {images:,} test images"
    if contrast.decision == "inconclusive":
        return f"{start}: {deeper} and {wider} cannot be told apart; {effect} ({everywhere}; {here})"
    better, worse = (deeper, wider) if contrast.decision == contrast.sides[0] else (wider, deeper)
    start = f"{start}: {better} makes fewer errors than {worse}"
    if contrast.scope == "population":
        return f"{start}; {effect} ({everywhere}; {here})"
    return f"{start} on this test set only; {effect} ({here}); for new images the question is open ({everywhere})"


def summarise(
    decision: Decision, scope: Scope, contrasts: Sequence[ContrastFinding], trends: Sequence[TrendFinding]
) -> str:
    """State the verdict over all budgets, and which depth fits best if it lies between the two ends."""
    families = bool(contrasts[0].deeper.name)
    lead = contrasts[0].sentence if len(contrasts) == 1 else f"{decision} at every budget"
    if not families or decision not in contrasts[0].sides:  # the name of a family stays as it is
        lead = f"{lead[0].upper()}{lead[1:]}"
    if len(contrasts) == 1:
        return f"{lead}.{_best_depths(trends)}"
    if decision == "inconclusive":
        disagree = len({contrast.decision for contrast in contrasts}) > 1
        lead = "Inconclusive over all budgets" + (", which disagree" if disagree else "")
    lead += ", on this test set only" if scope == "test set" else ""
    first, second = contrasts[0].sides if families else ("the deeper", "the wider arm")
    return (
        f"{lead}. Test error of {first} minus that of {second} in points, with its 95 % interval for new seeds "
        f"and new images: {'; '.join(map(_one_of_several, contrasts))}.{_best_depths(trends)}"
    )


def _one_of_several(contrast: ContrastFinding) -> str:
    where = " on this test set" if contrast.scope == "test set" else ""
    interval = f" ({signed_span(contrast.population)})" if contrast.population.bounded else ""
    ends = f"depth {contrast.deeper.depth} minus {contrast.wider.depth}"
    if contrast.deeper.name:
        ends = " minus ".join(contrast.sides)
    return f"{contrast.decision}{where} at {contrast.budget}, {ends}: {signed(contrast.population.estimate)}{interval}"


def _best_depths(trends: Sequence[TrendFinding]) -> str:
    best = [
        f"depth {trend.fit.optimum:.0f} (95 % interval {trend.fit.low:.0f} to {trend.fit.high:.0f}) at {trend.budget}"
        for trend in trends
        if trend.fit is not None and not trend.fit.edge and not trend.fit.interpolates
    ]
    return f" The fitted error (exploratory) is lowest between the two ends: at {'; '.join(best)}." if best else ""


def outlook(contrasts: Sequence[ContrastFinding], data: str) -> str:
    """State for each contrast what would change its decision, or resolve it."""
    if len(contrasts) == 1:
        return _outlook(contrasts[0], data)
    return " ".join(
        f"At {contrast.budget}: {_outlook(contrast, data, brief=contrast.decision == 'inconclusive')}"
        for contrast in contrasts
    )


def _outlook(contrast: ContrastFinding, data: str, *, brief: bool = False) -> str:
    if contrast.seeds < 2:
        return "Two or more seeds per arm are needed for any conclusion: a single seed shows no spread."
    if contrast.decision == "equivalent":
        limit = max(abs(contrast.population90.low), abs(contrast.population90.high))
        return f"With a margin below {percent(limit)} points the arms would no longer count as equivalent."
    if contrast.scope == "population":
        limit = min(abs(contrast.population.low), abs(contrast.population.high))
        return (
            f"The decision holds for images drawn like those of {data} and for this recipe with its tuning grid. A "
            f"different recipe or grid that moves the difference by {percent(limit)} points would overturn it."
        )
    detectable = detected(contrast.detectable)
    needed = f"about {contrast.needed:,}" if contrast.needed else "more than 1,000"
    if brief:
        return (
            f"{contrast.seeds} seeds per arm detect {detectable} on this test set in four studies of five; "
            f"detecting the observed difference takes {needed} seeds per arm."
        )
    share = contrast.parts.get("examples", 0.0)
    true = f"a true difference of {detectable} or more" if contrast.detectable <= 1 else detectable
    text = f"With this spread {contrast.seeds} seeds per arm detect {true} on this test set in four studies of five"
    if contrast.decision == "inconclusive":
        text += f"; detecting the observed difference takes {needed} seeds per arm"
    return (
        f"{text}. {'Most' if share > 0.5 else 'A smaller part'} of the uncertainty about new images ({100 * share:.0f} "
        "% of the variance) comes from the number of test images, which more seeds do not change."
    )
