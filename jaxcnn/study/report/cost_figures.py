"""Pictures of cost: every ledger against depth, and test error against each resource with its Pareto front."""

from __future__ import annotations

import math
from collections.abc import Sequence

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, LogLocator, NullFormatter, NullLocator

from jaxcnn.study.arm import Arm
from jaxcnn.study.report.error_figures import depth_labels
from jaxcnn.study.report.numbers import at, finding_of
from jaxcnn.study.report.style import BLACK, DepthAxis, legend, look, panels
from jaxcnn.study.verdict.findings import ArmFinding, ContrastFinding, Findings

# Names nearer than these shares of a panel's width and height would touch.
NEAR = (0.15, 0.06)
LEDGERS = ("parameters", "MACs", "activations", "memory", "time per step")
AXES = {
    "params": ("parameters (thousands)", 1e-3),
    "macs": ("MACs per image (millions)", 1e-6),
    "memory": ("memory of a step (MB)", 1e-6),
    "time": ("time per step (ms)", 1e3),
}


def ledger(finding: ArmFinding) -> dict[str, float]:
    """What an arm costs, by resource; what was not measured is left out."""
    costs: dict[str, float | None] = dict.fromkeys(LEDGERS)
    costs |= {"parameters": finding.arm.params, "MACs": finding.arm.macs, "activations": finding.arm.activations}
    if finding.cost:
        costs |= {"memory": finding.cost.memory, "time per step": finding.cost.step}
    return {name: float(cost) for name, cost in costs.items() if cost}


def ledger_figure(findings: Findings, contrasts: Sequence[ContrastFinding]) -> Figure:
    """Cost of every arm relative to the widest of its budget, a panel a budget, a line a resource.

    Args:
        findings: Of a study.
        contrasts: Those of the budgets to show.

    Returns:
        A matplotlib figure; a line at 1 is a resource that the arms of a budget share alike.
    """
    with panels(len(contrasts), height=2.4) as (figure, axes):
        for each, contrast in zip(axes, contrasts, strict=True):
            arms = at(findings.arms, contrast.budget)
            base = ledger(finding_of(findings.arms, contrast.wider))
            scale = DepthAxis([finding.arm.depth for finding in arms])
            for number, name in enumerate(name for name in LEDGERS if name in base):
                found = [(finding.arm.depth, ledger(finding).get(name, math.nan) / base[name]) for finding in arms]
                places, ratios = scale.at([depth for depth, _ in found]), [ratio for _, ratio in found]
                each.plot(places, ratios, label=name, markersize=4.5, linewidth=1.3, **look(number).style)
            scale.label(each, depth_labels(arms))
            _ratio_scale(each)
            each.set_title(contrast.budget)
        legend(figure, axes[0], columns=3)
        figure.supxlabel("depth (weighted layers); w: width", fontsize=10)
        figure.supylabel("cost relative to the widest", fontsize=10)
    return figure


def _ratio_scale(axes: Axes) -> None:
    axes.set_yscale("log", base=2)
    low, high = axes.get_ylim()
    axes.set_ylim(min(low, 0.9), max(high, 1.15))
    low, high = axes.get_ylim()
    nice = [value for value in (0.25, 0.5, 0.75, 1, 1.5, 2, 3, 4, 6, 8) if low <= value <= high]
    axes.yaxis.set_major_locator(FixedLocator(nice) if high < 10 and low > 0.2 else LogLocator(base=2))
    axes.yaxis.set_major_formatter("{x:g}×")
    axes.yaxis.set_minor_locator(NullLocator())


def pareto_figure(findings: Findings, arms: Sequence[Arm], budgets: Sequence[str]) -> Figure:
    """Test error against each resource, a panel a resource: all arms, and the front that no arm beats in both.

    Args:
        findings: Of a study.
        arms: In the plan's order.
        budgets: In words, one marker each.

    Returns:
        A matplotlib figure; arms on the front are filled and named by depth.
    """
    errors = [100 * finding_of(findings.arms, arm).test_error.estimate for arm in arms]
    with panels(len(findings.fronts), height=2.5) as (figure, axes):
        for each, front in zip(axes, findings.fronts, strict=True):
            name, unit = AXES[front.resource]
            points = [(unit * cost, error, arm) for cost, error, arm in zip(front.costs, errors, arms, strict=True)]
            on = sorted((cost, error) for cost, error, arm in points if arm.label in front.front)
            each.step(*zip(*on, strict=True), where="post", color=BLACK, linewidth=1, linestyle="--")
            for cost, error, arm in points:
                style = look(budgets.index(arm.budget_label))
                best = arm.label in front.front
                fill = style.color if best else "none"
                each.plot([cost], [error], style.marker, color=style.color, markerfacecolor=fill, markersize=6)
            _cost_scale(each, [cost for cost, _, _ in points])
            each.margins(x=0.2, y=0.12)
            _name_front(each, [(cost, error, arm.depth) for cost, error, arm in points if arm.label in front.front])
            each.set_xlabel(name, fontsize=9)
        for number, budget in enumerate(budgets):
            axes[0].plot([], [], look(number).marker, color=look(number).color, label=budget)
        axes[0].plot([], [], "--", color=BLACK, label="front (filled)")
        legend(figure, axes[0])
        figure.supylabel("test error (%)", fontsize=10)
    return figure


def _name_front(axes: Axes, points: Sequence[tuple[float, float, int]]) -> None:
    """Name the front's arms by depth; those too near each other for two names share one."""
    axes.autoscale_view()
    to_panel = axes.transScale + axes.transLimits
    groups: list[tuple[tuple[float, float], list[int]]] = []
    for cost, error, depth in sorted(points):
        x, y = to_panel.transform((cost, error))
        places = [to_panel.transform(place) for place, _ in groups]
        near = [n for n, at in enumerate(places) if abs(at[0] - x) < NEAR[0] and abs(at[1] - y) < NEAR[1]]
        if near:
            groups[near[0]][1].append(depth)
        else:
            groups.append(((cost, error), [depth]))
    for place, depths in groups:
        names = [f"d{depth}" for depth in sorted(set(depths))]
        name = ", ".join(names if len(names) < 3 else [names[0], "…"])
        # To the left, where the front's line is not, unless the axis is there.
        left = to_panel.transform(place)[0] > NEAR[0] + 0.05
        side = {"xytext": (-6, -2), "ha": "right"} if left else {"xytext": (5, 6), "ha": "left"}
        axes.annotate(name, place, textcoords="offset points", va="center", fontsize=8, **side).set_in_layout(False)


def _cost_scale(axes: Axes, costs: Sequence[float]) -> None:
    """Log where the costs spread over more than a factor of three: budgets usually do, arms of one budget do not."""
    if max(costs) < 3 * min(costs):
        return
    axes.set_xscale("log")
    axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5) if max(costs) < 60 * min(costs) else (1,)))
    axes.xaxis.set_major_formatter("{x:g}")
    axes.xaxis.set_minor_formatter(NullFormatter())
