"""The verdict in words: decision, effect, interval, what it generalises to, and what would change it."""

import math
from collections.abc import Sequence

from jaxcnn.study.arm import Arm
from jaxcnn.study.rule import LEVEL, Decision, Scope
from jaxcnn.study.verdict.findings import ArmFinding, ContrastFinding, TrendFinding
from jaxcnn.study.verdict.formatting import detected, percent, probability, short_name, signed, signed_span

PARTS = {"examples": "test images", "seeds": "seeds", "tuning": "tuning"}
"""Parts of a contrast's variance in words."""
CONDITIONAL = (
    " All of this is conditional on tuning: it holds for the settings that tuning picked, and does not say what "
    "another tuning of the same arms would give."
)
"""Ends what a study says whose rule does not count the variance of tuning."""


def _name(arm: Arm) -> str:
    size = f"depth {arm.depth} (width {arm.widths})"
    return f"{arm.name} of {size}" if arm.name else size


def scope_of(contrast: ContrastFinding) -> str:
    """Name what the interval of a contrast covers."""
    names = ["new seeds", "images of new groups" if contrast.groups else "new images"]
    if contrast.resampled:
        names[1:] = ["new choices of training images", names[1].replace("new images", "new test images")]
    names += ["new tuning"] * contrast.retuned
    return f"{', '.join(names[:-1])} and {names[-1]}"


def describe(contrast: ContrastFinding, margin: float, images: int, between: Sequence[ContrastFinding] = ()) -> str:
    """Describe the decision on one contrast and `images` test images; a clause without capital and full stop.

    `between` holds the contrasts of the interior arm against the widest and of the deepest against it.
    """
    deeper, wider = _name(contrast.deeper), _name(contrast.wider)
    if contrast.decision == "between":
        interior = between[0].deeper
        ends = (
            f"{signed(sign * each.population.estimate)} points against {short_name(end)} (95 % interval "
            f"{signed_span(each.population if sign > 0 else each.population.negated)})"
            for each, end, sign in ((between[0], contrast.wider, 1), (between[1], contrast.deeper, -1))
        )
        return (
            f"between at {contrast.budget}: {_name(interior)} makes fewer errors than both ends, {' and '.join(ends)} "
            f"for {scope_of(contrast)}; {' minus '.join(contrast.sides)} is {signed(contrast.population.estimate)} "
            f"({signed_span(contrast.population)})"
        )
    effect = (
        f"{' minus '.join(contrast.sides)} is {signed(contrast.population.estimate)} percentage points of test error"
    )
    start = f"{contrast.decision} at {contrast.budget}"
    if contrast.decision == "inconclusive" and not contrast.population.bounded:
        why = f"{contrast.runs.replace('1 ', 'one ', 1)} each, which shows no spread"
        if contrast.seeds > 1:
            why = f"{contrast.runs} each, which differ too much for an interval"
        return f"{start}: {deeper} and {wider} cannot be told apart with {why}; {effect}"
    if contrast.decision == "equivalent":
        return (
            f"{start}: {deeper} and {wider} differ by less than the margin of {percent(margin)} points; {effect} "
            f"(90 % interval {signed_span(contrast.population90)} for {scope_of(contrast)})"
        )
    everywhere = f"95 % interval {signed_span(contrast.population)}" if contrast.population.bounded else "no interval"
    everywhere += f" for {scope_of(contrast)}"
    here = f"{signed_span(contrast.fixed)} over {contrast.seeds} seeds on these {images:,} test images"
    if contrast.retuned:
        here = _shares(contrast)
    if contrast.decision == "inconclusive":
        text = f"{start}: {deeper} and {wider} cannot be told apart; {effect} ({everywhere}; {here})"
        if _lost_to_holm(contrast):
            alone, corrected = map(probability, (contrast.population_p, contrast.population_holm))
            text += f"; the interval excludes zero, but its p of {alone} is {corrected} after Holm's correction"
        return text
    better, worse = (deeper, wider) if contrast.decision == contrast.sides[0] else (wider, deeper)
    start = f"{start}: {better} makes fewer errors than {worse}"
    if contrast.scope == "population":
        return f"{start}; {effect} ({everywhere}; {here})"
    return f"{start} on this test set only; {effect} ({here}); for new images the question is open ({everywhere})"


def _lost_to_holm(contrast: ContrastFinding) -> bool:
    """Return whether a difference would be called one if it had been the only question."""
    return contrast.population.bounded and contrast.population_p < LEVEL <= contrast.population_holm


def _shares(contrast: ContrastFinding) -> str:
    words = PARTS | {"seeds": "seeds with training images"} if contrast.resampled else PARTS
    parts = [f"{100 * contrast.parts[name]:.0f} % {what}" for name, what in words.items()]
    return f"its variance: {', '.join(parts)}"


def another_tuning(arms: Sequence[ArmFinding]) -> str:
    """State how often another tuning would pick another setting for each of some arms; empty without tuning."""
    shown = [f"{short_name(each.arm)} {100 * each.retuning.others:.0f} %" for each in arms if each.retuning]
    return f" Another tuning would pick another setting in so many cases: {', '.join(shown)}." if shown else ""


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
        f"{lead}. Test error of {first} minus that of {second} in points, with its 95 % interval for "
        f"{scope_of(contrasts[0])}: {'; '.join(map(_one_of_several, contrasts))}.{_best_depths(trends)}"
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
        name = "repeat" if contrast.folds else "seed"
        return f"Two or more {name}s per arm are needed for any conclusion: a single {name} shows no spread."
    if contrast.decision == "between":
        return f"The decision holds for images drawn like those of {data} and for this recipe."
    if contrast.decision == "equivalent":
        limit = max(abs(contrast.population90.low), abs(contrast.population90.high))
        return f"With a margin below {percent(limit)} points the arms would no longer count as equivalent."
    if contrast.scope == "population":
        limit = min(abs(contrast.population.low), abs(contrast.population.high))
        return (
            f"The decision holds for images drawn like those of {data} and for this recipe with its tuning grid. A "
            f"different recipe or grid that moves the difference by {percent(limit)} points would overturn it."
        )
    if not math.isnan(contrast.endless):
        return _outlook_of_any_number(contrast)
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


def _outlook_of_any_number(contrast: ContrastFinding) -> str:
    """State what these and any number of seeds detect, where images and tuning are not exchanged for more seeds."""
    observed = abs(contrast.population.estimate)
    name = "repeats" if contrast.folds else "seeds"
    needed = f"about {contrast.needed:,} {name} per arm" if contrast.needed else f"more than 1,000 {name} per arm"
    others = "test images and tuning" if contrast.retuned else "test images"
    if observed <= contrast.endless:
        needed = f"more {others.replace('tuning', 'trials')}, not more {name}"
    alone = " These numbers are for one question alone; Holm's correction asks for more." * _lost_to_holm(contrast)
    return (
        f"{contrast.runs} per arm detect a true difference of {detected(contrast.detectable)} or more in four "
        f"studies of five, any number of {name} one of {detected(contrast.endless)}, because {others} vary, too. "
        f"Detecting the observed difference takes {needed}.{alone}"
    )
