"""Contrasts in detail: their statistics and intervals, and each contrast by class."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from jaxcnn.pictures.document import Heading, Paragraph, Table, table
from jaxcnn.pictures.style import BLACK, BLUE, GREY, VERMILION, Part, Picture, draw_interval, panels
from jaxcnn.study.result import StudyResult
from jaxcnn.study.rule import LEVEL, rule_named
from jaxcnn.study.statistics.seeds import Interval
from jaxcnn.study.verdict.findings import ClassFinding, ContrastFinding, Findings
from jaxcnn.study.verdict.formatting import (
    arm_name,
    decimals,
    detected,
    effect,
    minus,
    percent,
    probability,
    setting_name,
    signed_span,
)
from jaxcnn.study.verdict.sentences import scope_of

DIFFERENCE = "test error, {0} minus {1} (percentage points)\n← {0} errs less        {1} errs less →"
UNCLEAR = "no clear difference"
MOST_CLASSES = 20
TABLE_CLASSES = 5


def class_section(result: StudyResult, findings: Findings) -> Iterator[Part]:
    """Yield the contrasts by class."""
    sides = " minus ".join(result.plan.sides)
    columns = (
        ("class", lambda each: each.name),
        ("test images", lambda each: f"{each.images:,}"),
        (f"{sides} (points)", lambda each: effect(each.difference)),
        ("p", lambda each: probability(each.p)),
        ("q", lambda each: probability(each.q)),
        ("after correction", lambda each: "differs" if each.q < LEVEL else UNCLEAR),
    )
    yield Heading("By class (exploratory)")
    yield Paragraph(
        "Each contrast on the test images of one class, with its 95 % interval over new seeds and new images of that "
        "class. q is the p-value after Benjamini and Hochberg over the classes; a class differs if q is below 0.05. "
        "An arrow means that the interval goes on beyond the panel; a point without a bar has none."
    )
    with_classes = [(number, each) for number, each in enumerate(findings.contrasts, start=1) if each.classes]
    for number, contrast in with_classes:
        count, differ = len(contrast.classes), sum(each.q < LEVEL for each in contrast.classes)
        caption = f"{contrast.budget}: {differ} of {count:,} classes differ after correction."
        if count > MOST_CLASSES:
            caption += f" The {MOST_CLASSES} with the smallest p-values are shown."
        yield Picture(f"classes_{number}", class_figure(contrast.classes, contrast.sides), caption)
    for _, contrast in with_classes:
        yield table(columns, _ranked(contrast.classes)[:TABLE_CLASSES], f"{contrast.budget}: smallest p-values")


def statistics_section(result: StudyResult, findings: Findings) -> Iterator[Part]:
    """Yield all statistics of the primary contrasts: a row per statistic, a column per budget."""

    def between_seeds(contrast: ContrastFinding) -> str:
        arms = findings.of(contrast.deeper), findings.of(contrast.wider)
        return " and ".join(decimals(arm.seed_consistency) for arm in arms)

    def chance(contrast: ContrastFinding) -> str:
        estimate, low, high = map(decimals, contrast.superiority)
        return f"{estimate} ({low} to {high})"

    def p_values(p: float, corrected: float) -> str:
        return f"{probability(p)}; {probability(corrected)}"

    def needed(contrast: ContrastFinding) -> str:
        return decimals(contrast.needed, 0) if contrast.needed or contrast.seeds < 2 else "more than 1,000"

    margin, (first, second) = result.plan.margin, result.plan.sides
    retuned, unit = rule_named(result.plan.rule).retuned, "repeats" if result.plan.folds else "seeds"
    statistics: list[tuple[str, Callable[[ContrastFinding], str]]] = [
        ("decision (holds for)", lambda each: each.outcome),
        (f"{first} arm", lambda each: arm_name(each.deeper)),
        ("its setting", lambda each: setting_name(each.settings[0])),
        (f"{second} arm", lambda each: arm_name(each.wider)),
        ("its setting", lambda each: setting_name(each.settings[1])),
        (
            "runs per arm" if result.plan.folds else "seeds per arm",
            lambda each: each.runs if each.folds else f"{each.seeds:,}",
        ),
        ("population: difference (95 % interval)", lambda each: effect(each.population)),
        ("population: 90 % interval", lambda each: signed_span(each.population90)),
        ("population: p; after Holm", lambda each: p_values(each.population_p, each.population_holm)),
        ("crossed bootstrap: 95 % interval", lambda each: signed_span(each.bootstrap)),
        ("share of variance from test images", lambda each: f"{100 * each.parts['examples']:.0f} %"),
        ("this test set: Welch (95 % interval)", lambda each: effect(each.fixed)),
        ("this test set: p; after Holm", lambda each: p_values(each.fixed_p, each.fixed_holm)),
        (f"equivalence within ±{percent(margin)}: TOST p", lambda each: probability(each.tost)),
        (f"P(a {first} run errs less) (95 % interval)", chance),
        *(
            (
                ("κ between the arms", lambda each: decimals(each.consistency)),
                (f"κ between seeds, {first} and {second}", between_seeds),
            )
            if result.plan.measure.counts_images
            else ()
        ),
        (f"smallest difference these {unit} detect (80 % power)", lambda each: detected(each.detectable)),
        (f"{unit} per arm to detect the observed difference", needed),
    ]
    if retuned:
        place = [name for name, _ in statistics].index("share of variance from test images") + 1
        statistics[place:place] = [
            (f"share of variance from {name}", lambda each, name=name: f"{100 * each.parts.get(name, 0):.0f} %")
            for name in ("seeds", "tuning")
        ]
        statistics += [
            ("equivalence: TOST p after Holm", lambda each: probability(each.tost_holm)),
            (f"smallest difference any number of {unit} detects", lambda each: detected(each.endless)),
        ]
    rows = [(name, *map(cell, findings.contrasts)) for name, cell in statistics]
    equivalent = "its 90 % interval lies within the margin" + ", after Holm's correction, too" * retuned
    caption = (
        f"{minus(result.plan.sides)} with 95 % intervals: thick for {scope_of(findings.contrasts[0])}, thin "
        f"for new seeds on this test set. A contrast is equivalent if {equivalent}."
    )
    branches = [(contrast.budget, contrast) for contrast in findings.contrasts]
    yield Heading("Statistics of the contrasts")
    yield Picture("contrasts", contrast_figure(branches, margin), caption)
    yield Table((f"{first} minus {second}, points", *(each.budget for each in findings.contrasts)), rows)
    floors = (
        "Two floors widen intervals. The variance from test images is at least that of one image (1 / N², by the rule "
        "of three: arms that agree on all N images may still differ on others). The variance between seeds is at least "
        "that of rounding an error rate to one image (1 / 12 N²)."
    )
    if text := result.plan.measure.text:
        floors = (
            f"{text} is no mean over images. The variance from test images is that of each image's contribution to it: "
            "its derivative with respect to the image's weight (infinitesimal jackknife, Efron 1982)."
        )
    yield Paragraph(floors)
    widths = [(each.fixed, each.population) for each in findings.contrasts]
    if any(here.high - here.low > everywhere.high - everywhere.low for here, everywhere in widths):
        yield Paragraph(
            "An interval for this test set may be broader than one that covers more: Welch's knows the spread of few "
            f"{unit} only, with few degrees of freedom; the other one has more of "
            "them, from images and trials."
        )
    yield Paragraph(f"The rule, declared before the first run: {rule_named(result.plan.rule).text}")


def contrast_figure(branches: Sequence[tuple[str, ContrastFinding]], margin: float | None) -> Figure:
    """Draw named contrasts: population interval (thick) above Welch's (thin), the margin (a share) hatched."""
    rows = [f"{name}\n{contrast.outcome}" for name, contrast in branches]
    intervals = [each for _, contrast in branches for each in (contrast.population, contrast.fixed)]
    with _forest(rows, intervals, 1.6 + 0.55 * len(rows), branches[0][1].sides, columns=1) as (figure, axes):
        if margin is not None:
            look = {"facecolor": "#f3f3f3", "edgecolor": "#b5b5b5", "hatch": "....", "linewidth": 0.0, "zorder": 0}
            axes.axvspan(-100 * margin, 100 * margin, label="within the margin", **look)
        scope = scope_of(branches[0][1]).replace(" and ", ", ")
        labels = f"population: {scope}", "this test set: new seeds (Welch)"
        for row, (_, contrast) in enumerate(branches):
            _draw_row(axes, row - 0.12, contrast.population, BLUE, "s", 3.2, labels[0])
            _draw_row(axes, row + 0.2, contrast.fixed, VERMILION, "o", 1.2, labels[1])
    return figure


def _ranked(classes: Sequence[ClassFinding]) -> list[ClassFinding]:
    """Sort classes by p-value, then by largest difference."""
    return sorted(classes, key=lambda each: (each.p, -abs(each.difference.estimate), each.name))


def class_figure(classes: Sequence[ClassFinding], sides: tuple[str, str] = ("deeper", "wider")) -> Figure:
    """Draw the difference by class, sorted, of at most 20 classes; those that differ are filled squares."""
    shown = sorted(_ranked(classes)[:MOST_CLASSES], key=lambda each: each.difference.estimate)
    rows = [each.name if len(each.name) <= 18 else f"{each.name[:17]}…" for each in shown]
    intervals = [each.difference for each in shown]
    with _forest(rows, intervals, 1.2 + 0.23 * len(rows), sides, columns=2) as (figure, axes):
        for row, each in enumerate(shown):
            look = (BLUE, "s", 1.4, "differs (q < 0.05)") if each.q < LEVEL else (GREY, "o", 1.4, UNCLEAR)
            _draw_row(axes, row, each.difference, *look, filled=each.q < LEVEL)
    return figure


@contextmanager
def _forest(
    rows: Sequence[str], intervals: Sequence[Interval], height: float, sides: tuple[str, str], *, columns: int
) -> Iterator[tuple[Figure, Axes]]:
    """Make a forest plot with one name per row whose limits fit the intervals."""
    with panels([""], "", "", single=height, columns=columns) as (figure, (axes,)):
        axes.set_xlim(*_difference_limits(intervals))
        yield figure, axes
        axes.axvline(0, color=BLACK, linewidth=1)
        # Names are the user's: a dollar sign is no formula.
        axes.set_yticks(range(len(rows)), rows, parse_math=False)
        axes.set_ylim(len(rows) - 0.4, -0.6)
        axes.grid(visible=False, axis="y")
        figure.supxlabel(DIFFERENCE.format(*sides), fontsize=9)


def _draw_row(
    axes: Axes, row: float, interval: Interval, color: str, marker: str, thick: float, label: str, *,
    filled: bool = True,
) -> None:  # fmt: skip
    if interval.bounded:
        draw_interval(axes, row, 100 * interval.low, 100 * interval.high, color=color, linewidth=thick)
    fill = color if filled and interval.bounded else "white"
    style = {"color": color, "linewidth": thick, "marker": marker, "markersize": 5, "markerfacecolor": fill}
    axes.plot([100 * interval.estimate], [row], label=label, zorder=3, **style)


def _difference_limits(intervals: Sequence[Interval]) -> tuple[float, float]:
    """Show zero, all estimates, and no interval so wide that it hides them: two seeds can give hundreds of points."""
    points = [100 * each.estimate for each in intervals]
    bounded = [(100 * each.low, 100 * each.high) for each in intervals if each.bounded]
    reach = max(map(abs, points), default=0.0)
    ends = sorted([0.1, *(abs(end) for pair in bounded for end in pair)])
    side = min(max(reach, ends[-1]), max(6 * reach, 2.0, 2 * ends[(len(ends) - 1) // 2])) * 1.08
    lowest = min((low for low, _ in bounded), default=-side)
    highest = max((high for _, high in bounded), default=side)
    room = 0.06 * side
    return max(min(lowest, *points, 0.0) - room, -side), min(max(highest, *points, 0.0) + room, side)
