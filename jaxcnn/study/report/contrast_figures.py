"""Forest plots: the primary contrasts with both of their intervals, and one contrast class by class."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from jaxcnn.study.report.style import BLACK, BLUE, GREY, SETTINGS, VERMILION, WIDTH, bounded
from jaxcnn.study.statistics.seeds import Interval
from jaxcnn.study.verdict.findings import ClassFinding, ContrastFinding

DIFFERENCE = "test error, deeper minus wider (percentage points)\n← deeper errs less        wider errs less →"
MOST_CLASSES = 20
LEVEL = 0.05


class Branch(NamedTuple):
    """One line of a forest plot: a contrast and the name it goes by."""

    label: str
    contrast: ContrastFinding


def contrast_figure(branches: Sequence[Branch], margin: float | None) -> Figure:
    """Difference of every contrast: population interval (thick) above Welch's (thin), the margin hatched.

    Args:
        branches: The contrasts in order, the first on top.
        margin: Smallest difference that matters, a share; None: not the same for all, not drawn.

    Returns:
        A matplotlib figure.
    """
    with rc_context(SETTINGS):
        figure = Figure(figsize=(WIDTH, 1.6 + 0.55 * len(branches)), layout="constrained")
        axes = figure.add_subplot()
        if margin is not None:
            look = {"facecolor": "#f3f3f3", "edgecolor": "#b5b5b5", "hatch": "....", "linewidth": 0.0, "zorder": 0}
            axes.axvspan(-100 * margin, 100 * margin, label="within the margin", **look)
        for row, branch in enumerate(branches):
            first = row == 0
            contrast = branch.contrast
            name = "population: new seeds, new images", "this test set: new seeds (Welch)"
            _bar(axes, row - 0.12, contrast.population, BLUE, "s", 3.2, name[0] if first else None)
            _bar(axes, row + 0.2, contrast.fixed, VERMILION, "o", 1.2, name[1] if first else None)
        _rows(axes, [f"{branch.label}\n{outcome(branch.contrast)}" for branch in branches])
        _hold(axes, [each for branch in branches for each in (branch.contrast.population, branch.contrast.fixed)])
        handles, labels = axes.get_legend_handles_labels()
        figure.legend(handles, labels, loc="outside upper center", ncols=1)
        figure.supxlabel(DIFFERENCE, fontsize=9)
    return figure


def outcome(contrast: ContrastFinding) -> str:
    """A decision and what it holds for, in a few words."""
    return contrast.decision if contrast.scope == "none" else f"{contrast.decision} ({contrast.scope})"


def class_figure(classes: Sequence[ClassFinding]) -> Figure:
    """Difference by class with its interval, sorted; classes found after Benjamini and Hochberg are filled squares.

    Args:
        classes: Of one contrast; of more than 20 those with the smallest p-values are shown.

    Returns:
        A matplotlib figure.
    """
    shown = sorted(shown_classes(classes), key=lambda each: each.difference.estimate)
    with rc_context(SETTINGS):
        figure = Figure(figsize=(WIDTH, 1.2 + 0.23 * len(shown)), layout="constrained")
        axes = figure.add_subplot()
        named: set[bool] = set()
        for row, each in enumerate(shown):
            found = each.q < LEVEL
            label = None if found in named else ("differs (q < 0.05)" if found else "open")
            named.add(found)
            _bar(axes, row, each.difference, BLUE if found else GREY, "s" if found else "o", 1.4, label, filled=found)
        _rows(axes, [each.name if len(each.name) <= 18 else f"{each.name[:17]}…" for each in shown])
        _hold(axes, [each.difference for each in shown])
        handles, labels = axes.get_legend_handles_labels()
        figure.legend(handles, labels, loc="outside upper center", ncols=2)
        figure.supxlabel(DIFFERENCE, fontsize=9)
    return figure


def shown_classes(classes: Sequence[ClassFinding]) -> list[ClassFinding]:
    """The classes that say most: smallest p-value first, then largest difference."""
    ranked = sorted(classes, key=lambda each: (each.p, -abs(each.difference.estimate), each.name))
    return ranked[:MOST_CLASSES]


def _bar(
    axes: Axes, row: float, interval: Interval, color: str, marker: str, thick: float, label: str | None, *,
    filled: bool = True,
) -> None:  # fmt: skip
    style = {"color": color, "linewidth": thick, "marker": marker, "markersize": 5, "label": label, "zorder": 3}
    style["markerfacecolor"] = color if filled and bounded(interval) else "white"
    if bounded(interval):
        axes.plot([100 * interval.low, 100 * interval.high], [row, row], color=color, linewidth=thick)
    axes.plot([100 * interval.estimate], [row], **style)


def _rows(axes: Axes, labels: Sequence[str]) -> None:
    axes.axvline(0, color=BLACK, linewidth=1)
    # Names are the user's: a dollar sign is no formula.
    axes.set_yticks(range(len(labels)), labels, parse_math=False)
    axes.set_ylim(len(labels) - 0.4, -0.6)
    axes.grid(visible=False, axis="y")


def _hold(axes: Axes, intervals: Sequence[Interval]) -> None:
    """Zero in view, and no interval so wide that it hides the estimates: two seeds can give hundreds of points."""
    reach = max((abs(100 * each.estimate) for each in intervals), default=0.0)
    ends = [abs(100 * end) for each in intervals for end in (each.low, each.high) if math.isfinite(end)]
    side = min(max([reach, *ends, 0.1]), max(6 * reach, 2.0, sorted([0.1, *ends])[len(ends) // 2] * 2)) * 1.08
    lowest = min((100 * each.low for each in intervals if bounded(each)), default=-side)
    highest = max((100 * each.high for each in intervals if bounded(each)), default=side)
    points = [100 * each.estimate for each in intervals]
    room = 0.06 * side
    axes.set_xlim(max(min(lowest, *points, 0.0) - room, -side), min(max(highest, *points, 0.0) + room, side))
