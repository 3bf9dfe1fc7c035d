"""Error and learning curves: test error against depth, training beside test error, loss by epoch."""

import math
from collections.abc import Iterator, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from jaxcnn.study.report.document import Bullets, Heading, table
from jaxcnn.study.report.style import (
    BLACK,
    BLUE,
    GREY,
    VERMILION,
    Part,
    depth_axis,
    depth_label,
    draw_interval,
    label_log,
    limits,
    panels,
    pictures,
)
from jaxcnn.study.result import RunRecord, StudyResult
from jaxcnn.study.statistics.trend import DepthFit
from jaxcnn.study.verdict.findings import ArmFinding, ContrastFinding, Findings, TrendFinding
from jaxcnn.study.verdict.formatting import arm_name, decimals, percent, plural, signed


def error_section(result: StudyResult, findings: Findings) -> Iterator[Part]:
    """Yield test error against depth and the depth of the lowest fitted error."""
    caption = (
        "Test error of the last epoch: mean of each arm with Student's 95 % interval over seeds (square and bar), and "
        "every seed (open circles, shifted to the right)."
    )
    if any(trend.fit for trend in findings.trends):
        caption += (
            " Dashed: the trend. At the bottom: the depth of the lowest fitted error with its 95 % interval (hollow: "
            "at an end of the range)."
        )
    caption += " Each panel has its own scale; an arrow: the interval extends beyond the panel."
    families = bool(findings.arms[0].arm.name)
    yield Heading("Test error by family" if families else "Test error against depth")
    yield from pictures("error_vs_depth", result.plan.budgets, lambda group: error_figure(findings, group), caption)
    if not families:
        yield Bullets([_trend(trend) for trend in findings.trends])


def _trend(trend: TrendFinding) -> str:
    fit = trend.fit
    if fit is None:
        return f"{trend.budget}: no trend is fitted to fewer than three depths."
    text = f"{trend.budget}: the fitted error is lowest at depth {fit.optimum:.1f} "
    text += f"(95 % interval {fit.low:.1f} to {fit.high:.1f})"
    if fit.edge:
        text += ", an end of the studied range: the best depth lies there, beyond it, or does not exist"
    if fit.interpolates:
        text += "; with three depths the curve passes through every mean, so its shape is not tested"
    return f"{text}."


def error_figure(findings: Findings, budgets: Sequence[str]) -> Figure:
    """Draw test error against depth: means with 95 % intervals, every seed, the fitted trend; a panel per budget."""
    trends = {trend.budget: trend for trend in findings.trends}
    with panels(budgets, depth_label(findings), "test error (%)", height=2.7, single=3.7) as (figure, axes):
        for each, budget in zip(axes, budgets, strict=True):
            _draw_errors(each, findings.at(budget), trends[budget].fit)
    return figure


def _draw_errors(axes: Axes, arms: Sequence[ArmFinding], fit: DepthFit | None) -> None:
    scale, places = depth_axis(axes, arms)
    bounded = [(place, each.test_error) for place, each in zip(places, arms, strict=True) if each.test_error.bounded]
    ends = [100 * end for _, error in bounded for end in (error.low, error.high)]
    axes.set_ylim(*limits([100 * error for finding in arms for error in finding.test_errors], ends))
    for place, error in bounded:
        style = {"color": BLUE, "marker": "_", "markersize": 7, "linewidth": 1.6}
        draw_interval(axes, place, 100 * error.low, 100 * error.high, upright=True, **style)
    for place, finding in zip(places, arms, strict=True):
        # Seeds stand a little to the right and spread out, so that equal errors can be counted.
        count = len(finding.test_errors)
        shift = 0.035 + 0.09 * np.arange(count) / max(count - 1, 1)
        seeds = [100 * error for error in finding.test_errors]
        look = {"marker": "o", "markersize": 3.2, "markerfacecolor": "none", "markeredgecolor": GREY}
        axes.plot(place + shift, seeds, linestyle="none", label="one seed" if place == places[0] else None, **look)
    means = [100 * finding.test_error.estimate for finding in arms]
    axes.plot(places, means, "s", color=BLUE, markersize=5.5, label="mean, 95 % interval")
    if fit:
        depths, errors = (np.array(column) for column in zip(*fit.grid, strict=True))
        axes.plot(scale.at(depths), 100 * errors, "--", color=BLACK, linewidth=1, label="trend, quadratic in log depth")
        # The interval of the optimum lies along the bottom of the panel, where no error is.
        bottom = axes.get_xaxis_transform()
        low, high = scale.at([fit.low, fit.high])
        axes.plot([low, high], [0.035, 0.035], color=VERMILION, marker="|", markersize=8, linewidth=2, transform=bottom)
        style = {"markersize": 6.5, "markerfacecolor": "none" if fit.edge else VERMILION, "color": VERMILION}
        style |= {"linestyle": "none", "clip_on": False, "zorder": 5, "label": "best depth, 95 % interval"}
        axes.plot([float(scale.at(fit.optimum))], [0.035], "D", transform=bottom, **style)


def training_section(result: StudyResult, findings: Findings) -> Iterator[Part]:
    """Yield training beside test error, and how each arm learned."""
    budgets = result.plan.budgets
    caption = (
        "Training and test error of the last epoch, means over seeds. "
        + "Training error that rises with depth means that deeper arms are harder to optimise; a gap that widens means "
        "that they generalise less well. "
        * (not findings.arms[0].arm.name)
        + "Training error is measured during training, with its augmentation and dropout."
    )
    columns = (
        ("arm", lambda each: arm_name(each.arm)),
        ("training loss", lambda each: decimals(each.train_loss, 4)),
        ("test loss", lambda each: decimals(each.test_loss, 4)),
        ("training error (%)", lambda each: percent(each.train_error)),
        ("test error (%)", lambda each: percent(each.test_error.estimate)),
        ("gap (points)", lambda each: signed(each.test_error.estimate - each.train_error)),
    )
    yield Heading("Training and test error: optimisation or generalisation?")
    if "train" in result.plan.measure.splits:
        yield from pictures("training_vs_test", budgets, lambda group: fitting_figure(findings, group), caption)
        yield Bullets([_explanation(findings, contrast) for contrast in findings.contrasts])
    for budget in budgets:
        yield table(columns, findings.at(budget), budget)
    yield Heading("Learning curves", 3)
    for number, budget in enumerate(budgets, start=1):
        arms = findings.at(budget)
        caption = f"{budget}: loss by epoch, mean over seeds (thick, with markers) and every seed (thin)."
        if any(finding.diverged for finding in arms):
            caption += " A mean ends where the first of its runs diverged."
        yield from pictures(f"learning_curves_{number}", arms, lambda group: learning_figure(result, group), caption)


def _explanation(findings: Findings, contrast: ContrastFinding) -> str:
    """Describe whether the arm with more test errors also has more training errors; not a test."""
    deeper, wider = findings.of(contrast.deeper), findings.of(contrast.wider)
    first, second = contrast.sides
    start = f"{contrast.budget}: training error {percent(deeper.train_error)} % {first}, "
    start += f"{percent(wider.train_error)} % {second}"
    if contrast.decision not in contrast.sides:
        return f"{start}; no difference in test error is claimed that this could explain."
    name, worse, better = (second, wider, deeper) if contrast.decision == first else (first, deeper, wider)
    if worse.train_error > better.train_error:
        return f"{start}; the {name} arm, which makes more test errors, also fits its training images less well."
    return f"{start}; the {name} arm makes more test errors although it fits its training images no worse."


def fitting_figure(findings: Findings, budgets: Sequence[str]) -> Figure:
    """Draw training and test error against depth with the gap between them hatched; a panel per budget."""
    with panels(budgets, depth_label(findings), "error (%)", height=2.5, columns=3) as (figure, axes):
        for each, budget in zip(axes, budgets, strict=True):
            arms = findings.at(budget)
            _, places = depth_axis(each, arms)
            train = np.array([100 * finding.train_error for finding in arms])
            test = np.array([100 * finding.test_error.estimate for finding in arms])
            look = {"facecolor": "none", "edgecolor": "#b0b0b0", "linewidth": 0.0, "hatch": "////", "label": "gap"}
            each.fill_between(places, train, test, **look)
            each.plot(places, test, "o-", color=BLUE, label="test error", clip_on=False)
            each.plot(places, train, "^--", color=VERMILION, label="training error", clip_on=False)
            each.set_ylim(bottom=0)
    return figure


def learning_figure(result: StudyResult, arms: Sequence[ArmFinding]) -> Figure:
    """Draw training and validation loss by epoch, mean over the runs of an arm and each run; a panel per arm."""
    titles = [arm_name(finding.arm) for finding in arms]
    with panels(titles, "epoch", "loss (nats, log scale)", share=True) as (figure, axes):
        for each, finding in zip(axes, arms, strict=True):
            _draw_learning(each, result.of(finding.arm))
            if finding.diverged:
                note = f"{plural(finding.diverged, 'run')} diverged"
                each.text(0.97, 0.94, note, transform=each.transAxes, ha="right", va="top", fontsize=9)
        axes[0].set_yscale("log")
        label_log(axes[0].yaxis)
        axes[0].xaxis.set_major_locator(MaxNLocator(nbins=6, integer=True))
    return figure


def _draw_learning(axes: Axes, runs: Sequence[RunRecord]) -> None:
    kinds = (("train_loss", "training", VERMILION, "--", "^"), ("validation_loss", "validation", BLUE, "-", "o"))
    length = max(len(run.history) for run in runs)
    for key, name, color, line, marker in kinds:
        curves = np.full((len(runs), length), math.nan)
        for row, run in enumerate(runs):
            curves[row, : len(run.history)] = [epoch.get(key, math.nan) for epoch in run.history]
        curves[~(curves > 0) | np.isinf(curves)] = math.nan  # a log scale shows neither
        epochs = np.arange(1, length + 1)
        if len(runs) > 1:
            axes.plot(epochs, curves.T, color=color, linestyle=line, linewidth=0.6, alpha=0.45)
        # The mean ends where the first run diverged: the mean of the others would look like a recovery.
        look = {"color": color, "linestyle": line, "marker": marker, "markersize": 4}
        axes.plot(epochs, curves.mean(axis=0), label=name, markevery=max(1, length // 6), **look)
