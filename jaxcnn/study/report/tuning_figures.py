"""Pictures of tuning: validation error against learning rate, and what fewer trials would have found."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, MaxNLocator, NullLocator

from jaxcnn.study.report.numbers import at, short
from jaxcnn.study.report.style import BLACK, VERMILION, legend, limits, look, panels
from jaxcnn.study.tuning import Setting, Trial, scores
from jaxcnn.study.verdict.findings import ArmFinding, Findings

MOST_RATES = 5
LEAST = 0.05  # percent: the lowest error that a log scale shows


def sensitivity_figure(arms: Sequence[ArmFinding], trials: Sequence[Sequence[Trial]], shared: Setting) -> Figure:
    """Validation error against learning rate, a panel an arm, a line a weight decay; the chosen point is ringed.

    Args:
        arms: Those to show.
        trials: Of each of them.
        shared: The setting that is best on average over arms.

    Returns:
        A matplotlib figure; the panels share their scales. A setting that diverged is a cross at the upper edge.
    """
    scored = [scores(found) for found in trials]
    finite = [100 * error for each in scored for error, loss in each.values() if loss < float("inf")]
    lowest, highest = max(min(finite, default=1.0), LEAST), max(finite, default=100.0)
    with panels(len(arms), height=2.3, share=True) as (figure, axes):
        axes[0].set_xscale("log")
        # Rates at which nothing is learnt lie far above the rest, which they would press into one line.
        axes[0].set_yscale("log")
        axes[0].set_ylim(0.9 * lowest, min(1.3 * max(highest, lowest), 4 * lowest))
        for each, finding, points in zip(axes, arms, scored, strict=True):
            _draw_sensitivity(each, finding, points, shared)
            each.set_title(short(finding.arm) + (" (edge)" if finding.edge else ""))
            each.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
            each.yaxis.set_major_formatter("{x:g}")
            each.yaxis.set_minor_locator(NullLocator())
        legend(figure, max(axes, key=lambda each: len(each.get_legend_handles_labels()[0])))
        figure.supxlabel("learning rate (log scale)", fontsize=10)
        figure.supylabel("validation error (%, log scale)", fontsize=10)
    return figure


def _draw_sensitivity(
    axes: Axes, finding: ArmFinding, points: dict[Setting, tuple[float, float]], shared: Setting
) -> None:
    rates = sorted({setting.learning_rate for setting in points})
    for number, decay in enumerate(sorted({setting.weight_decay for setting in points})):
        line = {s.learning_rate: points[s] for s in sorted(points) if s.weight_decay == decay}
        kept = [(rate, max(100 * error, LEAST)) for rate, (error, loss) in line.items() if loss < float("inf")]
        lost = [rate for rate, (_, loss) in line.items() if not loss < float("inf")]
        style: dict[str, Any] = look(number).style | {"markersize": 4.5, "linewidth": 1.3}
        axes.plot([rate for rate, _ in kept], [error for _, error in kept], label=f"weight decay {decay:g}", **style)
        # Just inside the upper edge: its error of 100 % would press all other points together.
        axes.plot(lost, [0.95] * len(lost), "x", color=style["color"], transform=axes.get_xaxis_transform())
    chosen = points.get(finding.setting)
    if chosen and chosen[1] < float("inf"):
        ring = {"markersize": 11, "markerfacecolor": "none", "markeredgecolor": BLACK, "linestyle": "none"}
        axes.plot([finding.setting.learning_rate], [max(100 * chosen[0], LEAST)], "o", label="chosen", **ring)
    if shared in points and len(rates) > 1:
        axes.axvline(shared.learning_rate, color=VERMILION, linewidth=1, linestyle=(0, (2, 2)), label="shared rate")
    # No more labels than have room: every second rate, or every third.
    every = 1 + (len(rates) - 1) // MOST_RATES
    axes.set_xticks(rates[::every], [f"{rate:.3g}".removeprefix("0") for rate in rates[::every]])
    axes.xaxis.set_minor_locator(NullLocator())


def expected_figure(findings: Findings, budgets: Sequence[str]) -> Figure:
    """Best validation error to be expected after so many trials drawn from the grid, a panel a budget, a line an arm.

    Args:
        findings: Of a study that tuned.
        budgets: Those to show.

    Returns:
        A matplotlib figure.
    """
    depths = sorted({finding.arm.depth for finding in findings.arms})
    with panels(len(budgets), height=2.4) as (figure, axes):
        for each, budget in zip(axes, budgets, strict=True):
            arms = at(findings.arms, budget)
            for finding in arms:
                values = [100 * error for error in finding.expected_best]
                style = look(depths.index(finding.arm.depth)).style
                every = max(1, len(values) // 5)
                label = f"depth {finding.arm.depth}"
                each.plot(range(1, len(values) + 1), values, markersize=4, markevery=every, label=label, **style)
            # One trial may have diverged and count as all wrong: its share would press the rest of the curve flat.
            told = [100 * error for finding in arms for error in finding.expected_best[2:] or finding.expected_best]
            each.set_ylim(*limits(told, []))
            each.set_title(budget)
            each.xaxis.set_major_locator(MaxNLocator(nbins=6, integer=True))
        legend(figure, axes[0], columns=4)
        figure.supxlabel("tuning trials per arm", fontsize=10)
        figure.supylabel("expected best validation error (%)", fontsize=10)
    return figure
