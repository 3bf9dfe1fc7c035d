"""Costs of the arms: a ledger per resource, and test error against each resource with its Pareto front."""

import math
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from jaxcnn.pictures.document import Heading, Paragraph, Table, table
from jaxcnn.pictures.style import BLACK, Part, Picture, label_log, look, panels, pictures
from jaxcnn.study.arm import Arm
from jaxcnn.study.report.depth import depth_axis, depth_label
from jaxcnn.study.result import StudyResult
from jaxcnn.study.verdict.findings import ArmFinding, ContrastFinding, Findings, FrontFinding
from jaxcnn.study.verdict.formatting import RESOURCES, UNKNOWN, decimals

NEAR = (0.15, 0.06)
"""Distance, as shares of a panel's width and height, below which two names would touch."""
LEDGERS = ("parameters", "MACs", "activations", "memory", "time per step")
AXES = {
    "params": ("parameters (thousands)", 1e-3),
    "macs": ("MACs per image (millions)", 1e-6),
    "memory": ("memory of a step (MB)", 1e-6),
    "time": ("time per step (ms)", 1e3),
}
"""Label of each resource's axis, and the factor from its unit."""


def cost_section(result: StudyResult, findings: Findings) -> Iterator[Part]:
    """Yield all costs of each arm: parameters, MACs, activations, memory, time."""
    first, second = result.plan.sides
    caption = (
        f"Cost of every arm relative to {_base(findings)} of its budget. The resource that the budget matches lies at "
        f"1; the others show what {'depth' if first == 'deeper' else first} costs in addition."
    )

    def measured(name: str, unit: float, places: int) -> Callable[[ArmFinding], str]:
        return lambda each: decimals(each.cost and (getattr(each.cost, name) or math.nan) * unit, places)

    columns = (
        *([("family", lambda each: each.arm.name)] if findings.arms[0].arm.name else []),
        ("depth", lambda each: str(each.arm.depth)),
        ("width", lambda each: each.arm.widths),
        ("parameters", lambda each: f"{each.arm.params:,}"),
        ("MACs per image", lambda each: f"{each.arm.macs:,}"),
        ("activation elements", lambda each: f"{each.arm.activations:,}"),
        ("memory of a step (MB)", measured("memory", 1e-6, 1)),
        ("time per step (ms)", measured("step", 1e3, 2)),
        ("its IQR (ms)", measured("spread", 1e3, 2)),
        ("off budget (%)", lambda each: f"{100 * each.arm.mismatch:+.2f}"),
    )
    yield Heading("Costs of the arms")
    yield from pictures("ledgers", findings.contrasts, lambda group: ledger_figure(findings, group), caption)
    for budget in result.plan.budgets:
        yield table(columns, findings.at(budget), budget)

    def ratio(contrast: ContrastFinding, name: str) -> str:
        deeper, wider = (_ledger(findings.of(arm)).get(name) for arm in (contrast.deeper, contrast.wider))
        return f"{deeper / wider:.2f}×" if deeper and wider else UNKNOWN

    rows = [(contrast.budget, *(ratio(contrast, name) for name in LEDGERS)) for contrast in findings.contrasts]
    yield Table((f"{first} / {second}", *LEDGERS), rows)
    text = (
        "One MAC is one multiply-add of a convolution or dense layer (2 FLOPs), for one image. Activations are the "
        "output elements of all convolutions for one image. "
    )
    if any(finding.cost for finding in findings.arms):
        text += (
            "Memory is that of the compiled training step (arguments, outputs and temporaries, minus shared buffers). "
            "Time is the median of a step over rounds in which the arms take turns, with its interquartile range (IQR)."
        )
    else:
        text += "Memory and time of a step were not measured in this study."
    yield Paragraph(text)


def _ledger(finding: ArmFinding) -> dict[str, float]:
    """Return the costs of an arm by resource, without those that were not measured."""
    arm, cost = finding.arm, finding.cost
    values = (arm.params, arm.macs, arm.activations, cost and cost.memory, cost and cost.step)
    return {name: float(value) for name, value in zip(LEDGERS, values, strict=True) if value}


def _base(findings: Findings) -> str:
    """Name the arms whose costs count as 1."""
    name = findings.contrasts[0].wider.name
    return f"the {name} arm" if name else "the widest"


def ledger_figure(findings: Findings, contrasts: Sequence[ContrastFinding]) -> Figure:
    """Draw the cost of every arm relative to the widest of its budget: a panel per budget, a line per resource."""
    budgets = [contrast.budget for contrast in contrasts]
    label = f"cost relative to {_base(findings)}"
    with panels(budgets, depth_label(findings), label, height=2.4, columns=3) as (figure, axes):
        for each, contrast in zip(axes, contrasts, strict=True):
            arms, base = findings.at(contrast.budget), _ledger(findings.of(contrast.wider))
            _, places = depth_axis(each, arms)
            for number, name in enumerate(base):
                ratios = [_ledger(finding).get(name, math.nan) / base[name] for finding in arms]
                each.plot(places, ratios, label=name, markersize=4.5, linewidth=1.3, **look(number))
            each.set_yscale("log", base=2)
            low, high = each.get_ylim()
            each.set_ylim(min(low, 0.9), max(high, 1.15))
            label_log(each.yaxis, unit="×")
    return figure


def front_section(result: StudyResult, findings: Findings) -> Iterator[Part]:
    """Yield test error against each resource, over all budgets."""
    plan = result.plan
    by = "family" if findings.arms[0].arm.name else "depth (d)"
    caption = (
        f"Test error against cost over all budgets. Filled and named by {by}: arms on the Pareto front, which no "
        "other arm beats in both; the line joins them. Means over seeds without intervals: a description, not a test."
    )

    def depths(front: FrontFinding, budget: str) -> str:
        arms = plan.of(budget)
        several = len({arm.depth for arm in arms}) < len(arms) and not arms[0].name
        on_front = [arm for arm in arms if arm.label in front.front]
        return ", ".join(
            f"{arm.depth} (width {arm.widths})" if several else arm.name or str(arm.depth) for arm in on_front
        )

    yield Heading("Error against cost")
    yield Picture("pareto", pareto_figure(findings, plan.arms, plan.budgets), caption)
    rows = [
        (RESOURCES[front.resource], *(depths(front, budget) or UNKNOWN for budget in plan.budgets))
        for front in findings.fronts
    ]
    yield Table(
        (f"{'families' if findings.arms[0].arm.name else 'depths'} on the front", *plan.budgets), rows, words=True
    )


def pareto_figure(findings: Findings, arms: Sequence[Arm], budgets: Sequence[str]) -> Figure:
    """Draw test error against each resource: all arms (in the plan's order), those on the front filled and named."""
    errors = [100 * findings.of(arm).test_error.estimate for arm in arms]
    with panels([""] * len(findings.fronts), "", "test error (%)", height=2.5) as (figure, axes):
        for each, front in zip(axes, findings.fronts, strict=True):
            name, unit = AXES[front.resource]
            points = [(unit * cost, error, arm) for cost, error, arm in zip(front.costs, errors, arms, strict=True)]
            best = sorted(
                (cost, error, arm.name or arm.depth) for cost, error, arm in points if arm.label in front.front
            )
            costs, lowest, _ = zip(*best, strict=True)
            each.step(costs, lowest, where="post", color=BLACK, linewidth=1, linestyle="--")
            for cost, error, arm in points:
                style = dict(look(budgets.index(arm.budget_label)), linestyle="none", markersize=6)
                if arm.label not in front.front:
                    style["markerfacecolor"] = "none"
                each.plot([cost], [error], **style)
            # A log scale if costs spread over more than a factor of three, as they do over several budgets.
            spread = max(front.costs) >= 3 * min(front.costs)
            each.set_xscale("log" if spread else "linear")
            each.margins(x=0.2, y=0.12)
            if spread:
                label_log(each.xaxis, least=3)
            _name_front(each, best)
            each.set_xlabel(name, fontsize=9)
        for number, budget in enumerate(budgets):
            axes[0].plot([], [], **dict(look(number), linestyle="none", label=budget))
        axes[0].plot([], [], "--", color=BLACK, label="front (filled)")
    return figure


def _name_front(axes: Axes, points: Sequence[tuple[float, float, Any]]) -> None:
    """Name (cost, error, depth or family) points by the last, those close together with one name."""
    axes.autoscale_view()
    to_panel = axes.transScale + axes.transLimits
    groups: list[tuple[tuple[float, float], list[Any]]] = []
    for cost, error, depth in points:
        x, y = to_panel.transform((cost, error))
        places = [to_panel.transform(place) for place, _ in groups]
        near = [n for n, at in enumerate(places) if abs(at[0] - x) < NEAR[0] and abs(at[1] - y) < NEAR[1]]
        if near:
            groups[near[0]][1].append(depth)
        else:
            groups.append(((cost, error), [depth]))
    for place, depths in groups:
        names = [depth if isinstance(depth, str) else f"d{depth}" for depth in sorted(set(depths))]
        name = ", ".join(names if len(names) < 3 else [names[0], "…"])
        # On the left, away from the line of the front, unless the axis is there.
        left = to_panel.transform(place)[0] > NEAR[0] + 0.05
        side = {"xytext": (-6, -2), "ha": "right"} if left else {"xytext": (5, 6), "ha": "left"}
        axes.annotate(name, place, textcoords="offset points", va="center", fontsize=8, **side).set_in_layout(False)
