"""What a report says first: the verdict, test error against depth, the arms, what they cost, error against cost."""

from __future__ import annotations

from typing import NamedTuple

from matplotlib.figure import Figure as Drawing

from jaxcnn.study.report.contrast_figures import outcome
from jaxcnn.study.report.cost_figures import LEDGERS, ledger, ledger_figure, pareto_figure
from jaxcnn.study.report.document import Block, Bullets, Contents, Heading, Paragraph, Table
from jaxcnn.study.report.error_figures import error_figure
from jaxcnn.study.report.numbers import (
    UNKNOWN,
    at,
    effect,
    finding_of,
    megabytes,
    milliseconds,
    percent,
    short,
    span,
    width,
)
from jaxcnn.study.report.style import chunks
from jaxcnn.study.result import StudyResult
from jaxcnn.study.verdict.findings import ContrastFinding, Findings, FrontFinding, TrendFinding


class Picture(NamedTuple):
    """A figure that is still to be written: file name without ending, drawing, caption."""

    name: str
    drawing: Drawing
    caption: str


Part = Block | Picture


def numbered(name: str, number: int) -> str:
    """File name of the n-th figure of a kind; the first has no number."""
    return name if number == 1 else f"{name}_{number}"


def verdict_section(result: StudyResult, findings: Findings) -> list[Part]:
    """The answer, what would change it, and both in one row per budget."""
    rows = [
        (
            contrast.budget,
            outcome(contrast),
            short(contrast.deeper),
            short(contrast.wider),
            effect(contrast.population),
            effect(contrast.fixed),
        )
        for contrast in findings.contrasts
    ]
    header = (
        "budget", "decision (holds for)", "deeper arm", "wider arm", "difference, new seeds and images (points)",
        "difference, new seeds, this test set (points)",
    )  # fmt: skip
    return [
        Paragraph(findings.sentence, lead=True),
        Paragraph(findings.change),
        Table(header, rows, "Deeper minus wider, by budget", words=True),
        Paragraph(
            f"Asked before the first run: {result.plan.hypothesis} Below zero the deeper arm errs less, above zero the "
            f"wider; in brackets the 95 % interval. Differences below the margin of {percent(result.plan.margin)} "
            "points do not matter here."
        ),
        Contents(),
    ]


def error_section(result: StudyResult, findings: Findings) -> list[Part]:
    """Error against depth, and where the fitted curve is least."""
    parts: list[Part] = [Heading("Test error against depth")]
    for number, budgets in enumerate(chunks(result.plan.budgets), start=1):
        caption = (
            "Test error of the last epoch: mean of each arm with Student's 95 % interval over seeds (square and bar) "
            "and every seed (open circles, set to the right)."
        )
        if any(trend.fit for trend in findings.trends if trend.budget in budgets):
            caption += (
                " Dashed: the trend; along the foot: the depth where it is least, with its 95 % interval (open: at an "
                "end of the range)."
            )
        caption += " Each panel has its own scale; an interval that leaves the panel goes on."
        parts.append(Picture(numbered("error_vs_depth", number), error_figure(findings, budgets), caption))
    parts.append(Bullets([_trend(trend) for trend in findings.trends]))
    return parts


def _trend(trend: TrendFinding) -> str:
    fit = trend.fit
    if fit is None:
        return f"{trend.budget}: no trend is fitted through fewer than three depths."
    where = f"{trend.budget}: the fitted error is least at depth {fit.optimum:.1f} (95 % interval {fit.low:.1f} to "
    where += f"{fit.high:.1f})"
    if fit.edge:
        where += ", an end of the studied range: the best depth lies there, beyond it, or nowhere"
    if fit.interpolates:
        where += "; with three depths the curve passes through every mean and its shape is not tested"
    return f"{where}."


def arm_section(result: StudyResult, findings: Findings) -> list[Part]:
    """All arms in numbers, a table a budget."""
    header = (
        "depth", "width (stages)", "learning rate", "weight decay", "test error (%)", "95 % interval",
        "validation error (%)", "training error (%)", "runs",
    )  # fmt: skip
    parts: list[Part] = [Heading("The arms")]
    for budget in result.plan.budgets:
        rows = [
            (
                str(finding.arm.depth),
                width(finding.arm),
                f"{finding.setting.learning_rate:g}{' (edge)' if finding.edge else ''}",
                f"{finding.setting.weight_decay:g}",
                percent(finding.test_error.estimate),
                span(finding.test_error, lowest=0.0),
                percent(finding.validation_error),
                percent(finding.train_error),
                f"{len(finding.test_errors)}{f' ({finding.diverged} diverged)' if finding.diverged else ''}",
            )
            for finding in at(findings.arms, budget)
        ]
        parts.append(Table(header, rows, budget))
    text = (
        "Errors are those of the last epoch, means over seeds, each arm at the setting that its own tuning gave. "
        "Widths are channels of the first stage; in brackets the channels of each stage where the budget needed them "
        "solved one by one."
    )
    if any(finding.edge for finding in findings.arms):
        text += " (edge): the best learning rate was the lowest or highest tried."
    parts.append(Paragraph(text))
    if any(finding.diverged for finding in findings.arms):
        parts.append(Paragraph("Runs that diverged have no finite loss at the end; their errors are included."))
    return parts


def ledger_section(result: StudyResult, findings: Findings) -> list[Part]:
    """The four ledgers: parameters, MACs, activations and memory, time."""
    header = (
        "depth", "width", "parameters", "MACs per image", "activation elements", "memory of a step (MB)",
        "time per step (ms)", "its IQR (ms)", "off budget (%)",
    )  # fmt: skip
    parts: list[Part] = [Heading("What the arms cost")]
    for number, group in enumerate(chunks(findings.contrasts), start=1):
        caption = (
            "Cost of every arm relative to the widest of its budget. A resource that the budget matches lies at 1; the "
            "others show what depth costs beside it."
        )
        parts.append(Picture(numbered("ledgers", number), ledger_figure(findings, group), caption))
    for budget in result.plan.budgets:
        rows = []
        for finding in at(findings.arms, budget):
            arm, cost = finding.arm, finding.cost
            rows.append(
                (
                    str(arm.depth), str(arm.width), f"{arm.params:,}", f"{arm.macs:,}", f"{arm.activations:,}",
                    megabytes(cost.memory if cost else None), milliseconds(cost.step if cost else None),
                    milliseconds(cost.spread if cost else None), f"{100 * arm.mismatch:+.2f}",
                )
            )  # fmt: skip
        parts.append(Table(header, rows, budget))
    parts.append(Table(("deeper / wider", *LEDGERS), [_ratios(findings, each) for each in findings.contrasts]))
    measured = (
        "Memory is that of the compiled training step (arguments, outputs and temporaries, less what they share); time "
        "is the median of a step over rounds in which the arms take turns, with its interquartile range (IQR)."
        if any(finding.cost for finding in findings.arms)
        else "Memory and time of a step were not measured in this study."
    )
    counted = "1 MAC is one multiply-add of a convolution or dense layer (2 FLOPs), for one image."
    parts.append(Paragraph(f"{counted} Activations are what convolutions put out for one image. {measured}"))
    return parts


def _ratios(findings: Findings, contrast: ContrastFinding) -> tuple[str, ...]:
    deeper, wider = (ledger(finding_of(findings.arms, arm)) for arm in (contrast.deeper, contrast.wider))
    both = [f"{deeper[name] / wider[name]:.2f}×" if name in deeper and name in wider else UNKNOWN for name in LEDGERS]
    return (contrast.budget, *both)


def front_section(result: StudyResult, findings: Findings) -> list[Part]:
    """Error against each resource, over all budgets."""
    names = {"params": "parameters", "macs": "MACs", "memory": "memory", "time": "time per step"}
    caption = (
        "Test error against cost over all budgets. Filled and named by depth (d): arms that no other arm beats in "
        "both; the line joins them. Means over seeds without their intervals: a description, not a test."
    )

    def depths(front: FrontFinding, budget: str) -> str:
        """The front's arms of one budget, by depth; by width too where two share their depth."""
        found = [arm for arm in result.plan.of(budget) if arm.label in front.front]
        twice = len({arm.depth for arm in result.plan.of(budget)}) < len(result.plan.of(budget))
        shown = [f"{arm.depth} (width {arm.width})" if twice else str(arm.depth) for arm in found]
        return ", ".join(shown) or UNKNOWN

    budgets = result.plan.budgets
    rows = [(names[front.resource], *(depths(front, budget) for budget in budgets)) for front in findings.fronts]
    return [
        Heading("Error against cost"),
        Picture("pareto", pareto_figure(findings, result.plan.arms, result.plan.budgets), caption),
        Table(("depths on the front", *budgets), rows, words=True),
    ]
