"""Tuning of the arms: sensitivity to the learning rate, effect of the number of trials, and the shared setting."""

import math
from collections.abc import Iterator, Sequence
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, NullLocator

from jaxcnn.pictures.document import Heading, Paragraph, table
from jaxcnn.pictures.style import BLACK, VERMILION, Part, label_log, look, panels, pictures
from jaxcnn.study.result import StudyResult
from jaxcnn.study.tuning import Setting, fitted, scores
from jaxcnn.study.verdict.findings import ArmFinding, Findings
from jaxcnn.study.verdict.formatting import arm_name, effect, percent, plural, setting_name, short_name

MOST_RATES = 5
LEAST = 0.05
"""Lowest error that the log scale shows, in percent."""


def tuning_section(result: StudyResult, findings: Findings) -> Iterator[Part]:
    """Yield the results of tuning and the verdict at the shared setting."""
    trials, shared = next(iter(result.tuning.arms.values())).trials, result.tuning.shared
    yield Heading("Tuning")
    if not trials:
        yield Paragraph(f"Nothing was tuned: all arms share one setting ({setting_name(shared)}), chosen beforehand.")
        return
    yield Paragraph(
        f"Every arm had the same {plural(len(trials), 'trial')}, judged on validation images, "
        "with seeds that no reported run has. The test images were not opened."
    )
    if result.plan.tuning.method == "smooth":
        columns = (
            ("arm", lambda each: f"{arm_name(each.arm)}, {each.arm.budget_label}"),
            ("setting", lambda each: setting_name(each.setting)),
            ("validation error by the curve (%)", lambda each: percent(each.tuning_error)),
            ("lower than the truth (points)", lambda each: percent(each.retuning.optimism)),
            ("that of its runs (%)", lambda each: percent(each.validation_error)),
            ("spread of another tuning (points)", lambda each: percent(each.retuning.variance**0.5)),
            ("it would pick another setting", lambda each: f"{100 * each.retuning.others:.0f} %"),
        )
        yield Paragraph(
            "Every trial had a seed and a division into training and validation images of its own. The setting is the "
            "lowest point of a curve through all trials, and a bootstrap of the trials gives what another tuning "
            "would pick; the variance of its error is part of the verdict. The lowest point of a noisy curve lies "
            "lower than the error there: a bootstrap of the trials' residuals says by how much."
        )
        if result.plan.folds:
            yield Paragraph(
                "Each fold was tuned by its own trials, which never saw its test images. The setting in this table, "
                "and the ring in the figures, is the choice by the trials of all folds; the spread is that of the mean."
            )
            folds = lambda each: ", ".join(f"{s.learning_rate:g}" for s in result.tuning.arms[each.arm.label].folds)  # noqa: E731
            columns = (*columns, ("learning rate of each fold", folds))
        yield table(columns, findings.arms, "What tuning chose, and what another tuning would")
    known = [each.retuning.optimism for each in findings.arms if each.retuning]
    if findings.curse:
        mean = percent(sum(known) / len(known)) if known else ""
        promise = f"; {mean} points for the lowest point of a curve are part of what they promised" if known else ""
        yield Paragraph(
            "Winner's curse: validation error of the runs at the chosen settings minus what the trials had promised: "
            f"{effect(findings.curse)} points (mean over the arms, 95 % interval){promise}."
        )
    curved = ", the lowest point of the dotted curve through its trials" if known else ""
    for number, budget in enumerate(result.plan.budgets, start=1):
        caption = (
            f"{budget}: validation error against learning rate, the mean of the trials at each setting. The ring marks "
            f"the setting chosen for the arm{curved}. The dashed upright marks the shared rate, a cross at the upper "
            "edge a setting that diverged."
        )
        arms = findings.at(budget)
        yield from pictures(f"learning_rate_{number}", arms, lambda group: sensitivity_figure(result, group), caption)
    caption = (
        "Expected best validation error after n trials drawn from the grid (Dodge et al. 2019). A curve that still "
        "falls means that more tuning would have found a better setting. Curves that cross mean that the order of the "
        "arms depends on the tuning effort."
    )
    yield from pictures("expected_best", result.plan.budgets, lambda group: expected_figure(findings, group), caption)
    if edges := [f"{arm_name(each.arm)} at {each.arm.budget_label}" for each in findings.arms if each.edge]:
        text = "Best at the lowest or highest rate tried, so that a better one may lie beyond"
        text = text.replace("rate", "rate or decay") if result.plan.tuning.method == "smooth" else text
        yield Paragraph(f"{text}: {'; '.join(edges)}.")
    if diverged := sum(each.diverged_trials for each in findings.arms):
        yield Paragraph(f"{plural(diverged, 'trial')} diverged; a setting that diverged counts as all wrong.")
    yield Heading("The verdict at one shared setting", 3)
    if findings.shared:
        columns = (
            ("budget", lambda pair: pair[0].budget),
            ("difference, each arm tuned (points)", lambda pair: effect(pair[0].population)),
            ("decision", lambda pair: pair[0].outcome),
            ("difference, shared setting (points)", lambda pair: effect(pair[1].population)),
            ("decision", lambda pair: pair[1].outcome),
            ("does tuning change it?", lambda pair: "yes" if pair[0].decision != pair[1].decision else "no"),
        )
        yield table(columns, zip(findings.contrasts, findings.shared, strict=True), words=True)
        yield Paragraph(
            f"The shared setting is the best on average over all arms: {setting_name(shared)}. Differences are "
            f"{' minus '.join(result.plan.sides)} with 95 % population intervals."
        )
    elif result.plan.tuning.shared:
        yield Paragraph(
            f"Tuning gave both arms of every contrast the shared setting ({setting_name(shared)}): there is nothing to "
            "compare."
        )
    else:
        yield Paragraph("By the plan, no contrast was run at one shared setting.")


def sensitivity_figure(result: StudyResult, arms: Sequence[ArmFinding]) -> Figure:
    """Draw validation error against learning rate: a panel per arm, a line per weight decay, the choice ringed."""
    scored = [scores(result.tuning.arms[finding.arm.label].trials) for finding in arms]
    finite = [100 * error for each in scored for error, loss in each.values() if loss < math.inf]
    lowest, highest = max(min(finite, default=1.0), LEAST), max(*finite, LEAST)
    titles = [arm_name(finding.arm) + (" (edge)" if finding.edge else "") for finding in arms]
    labels = "learning rate (log scale)", "validation error (%, log scale)"
    with panels(titles, *labels, height=2.3, share=True) as (figure, axes):
        axes[0].set_xscale("log")
        axes[0].set_yscale("log")
        axes[0].set_ylim(0.8 * lowest, 1.6 * highest)  # above the highest: crosses of settings that diverged
        for each, finding, points in zip(axes, arms, scored, strict=True):
            trials = result.tuning.arms[finding.arm.label].trials if finding.retuning else ()
            pooled = fitted([trial._replace(fold=None) for trial in trials]) if trials else {}
            _draw_sensitivity(each, finding, points, pooled, result.tuning.shared)
            label_log(each.yaxis)
    return figure


def _draw_sensitivity(
    axes: Axes,
    finding: ArmFinding,
    points: dict[Setting, tuple[float, float]],
    curve: dict[Setting, float],
    shared: Setting,
) -> None:
    rates = sorted({setting.learning_rate for setting in points})
    for number, decay in enumerate(sorted({setting.weight_decay for setting in points})):
        line = {s.learning_rate: points[s] for s in sorted(points) if s.weight_decay == decay}
        finite = {rate: max(100 * error, LEAST) for rate, (error, loss) in line.items() if loss < math.inf}
        diverged = [rate for rate, (_, loss) in line.items() if not loss < math.inf]
        style: dict[str, Any] = look(number) | {"markersize": 4.5, "linewidth": 1.3}
        axes.plot(list(finite), list(finite.values()), label=f"weight decay {decay:g}", **style)
        along = {
            s.learning_rate: max(100 * curve[s], LEAST)
            for s in sorted(curve)
            if s.weight_decay == decay and curve[s] < math.inf
        }
        label = "curve" if number == 0 else "_"
        axes.plot(list(along), list(along.values()), color=style["color"], linestyle=":", linewidth=2, label=label)
        # At the upper edge, because an error of 100 % would squeeze all other points together.
        axes.plot(diverged, [0.95] * len(diverged), "x", color=style["color"], transform=axes.get_xaxis_transform())
    chosen = points.get(finding.setting)
    if chosen and chosen[1] < math.inf:
        ring = {"markersize": 11, "markerfacecolor": "none", "markeredgecolor": BLACK, "linestyle": "none"}
        axes.plot([finding.setting.learning_rate], [max(100 * chosen[0], LEAST)], "o", label="chosen", **ring)
    if shared in points and len(rates) > 1:
        axes.axvline(shared.learning_rate, color=VERMILION, linewidth=1, linestyle=(0, (2, 2)), label="shared rate")
    every = 1 + (len(rates) - 1) // MOST_RATES  # labels that have room
    axes.set_xticks(rates[::every], [f"{rate:.3g}".removeprefix("0") for rate in rates[::every]])
    axes.xaxis.set_minor_locator(NullLocator())


def expected_figure(findings: Findings, budgets: Sequence[str]) -> Figure:
    """Draw the expected best validation error against the number of trials: a panel per budget, a line per arm."""
    names = list(dict.fromkeys(short_name(each.arm) for each in sorted(findings.arms, key=lambda each: each.arm.depth)))
    labels = "tuning trials per arm", "expected best validation error (%, log scale)"
    with panels(budgets, *labels, height=2.4, columns=4) as (figure, axes):
        for each, budget in zip(axes, budgets, strict=True):
            arms = findings.at(budget)
            for finding in arms:
                values = [max(100 * error, LEAST) for error in finding.expected_best]
                style = dict(look(names.index(short_name(finding.arm))), label=short_name(finding.arm))
                every = max(1, len(values) // 5)
                each.plot(range(1, len(values) + 1), values, markersize=4, markevery=every, **style)
            each.set_yscale("log")
            label_log(each.yaxis)
            each.xaxis.set_major_locator(MaxNLocator(nbins=6, integer=True))
    return figure
