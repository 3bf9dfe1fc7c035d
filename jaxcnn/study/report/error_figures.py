"""Pictures of errors and losses: against depth, training beside test, and by epoch."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from jaxcnn.study.report.numbers import at, plural, short
from jaxcnn.study.report.style import (
    BLACK,
    BLUE,
    GREY,
    VERMILION,
    DepthAxis,
    Look,
    bounded,
    legend,
    limits,
    log_scale,
    panels,
)
from jaxcnn.study.result import RunRecord
from jaxcnn.study.statistics.trend import DepthFit
from jaxcnn.study.verdict.findings import ArmFinding, Findings, TrendFinding


def error_figure(findings: Findings, budgets: Sequence[str]) -> Figure:
    """Test error against depth, a panel a budget: means with 95 % intervals, seeds as points, the fitted trend.

    Args:
        findings: Of a study.
        budgets: Those to show.

    Returns:
        A matplotlib figure.
    """
    trends = {trend.budget: trend for trend in findings.trends}
    with panels(len(budgets), height=2.7, single=3.7) as (figure, axes):
        for each, budget in zip(axes, budgets, strict=True):
            _draw_errors(each, at(findings.arms, budget), trends.get(budget))
            each.set_title(budget)
        # The legend is that of the panel with most to name: a trend may be missing in others.
        legend(figure, max(axes, key=lambda each: len(each.get_legend_handles_labels()[0])))
        figure.supxlabel("depth (weighted layers); w: width", fontsize=10)
        figure.supylabel("test error (%)", fontsize=10)
    return figure


def _draw_errors(axes: Axes, arms: Sequence[ArmFinding], trend: TrendFinding | None) -> None:
    scale = DepthAxis([finding.arm.depth for finding in arms])
    places = scale.at([finding.arm.depth for finding in arms])
    ends: list[float] = []
    for place, finding in zip(places, arms, strict=True):
        # Seeds stand a little to the right and spread out in order, so that equal errors stay countable.
        count = len(finding.test_errors)
        shift = 0.035 + 0.09 * np.arange(count) / max(count - 1, 1)
        seeds = [100 * error for error in finding.test_errors]
        look = {"marker": "o", "markersize": 3.2, "markerfacecolor": "none", "markeredgecolor": GREY}
        axes.plot(place + shift, seeds, linestyle="none", label="one seed" if place == places[0] else None, **look)
        if bounded(finding.test_error):
            ends += [100 * max(finding.test_error.low, 0), 100 * finding.test_error.high]
            axes.plot([place, place], ends[-2:], color=BLUE, marker="_", markersize=7, linewidth=1.6)
    means = [100 * finding.test_error.estimate for finding in arms]
    axes.plot(places, means, "s", color=BLUE, markersize=5.5, label="mean, 95 % interval")
    if trend and trend.fit:
        _draw_trend(axes, scale, trend.fit)
    scale.label(axes, depth_labels(arms))
    seeds = [100 * error for finding in arms for error in finding.test_errors]
    axes.set_ylim(*limits(seeds, ends))


def depth_labels(arms: Sequence[ArmFinding]) -> list[str]:
    """One label a depth, its widths below it."""
    widths: dict[int, list[str]] = {}
    for finding in arms:
        widths.setdefault(finding.arm.depth, []).append(str(finding.arm.width))
    return [f"{depth}\nw {', '.join(found)}" for depth, found in sorted(widths.items())]


def draw_study(axes: Axes, scale: DepthAxis, arms: Sequence[ArmFinding], style: Look, *, shift: float = 0.0) -> None:
    """The means of one study's arms as a line with their intervals, a little to the side of the others'."""
    places = scale.at([finding.arm.depth for finding in arms]) + shift
    axes.plot(places, [100 * finding.test_error.estimate for finding in arms], markersize=4.5, **style.style)
    for place, finding in zip(places, arms, strict=True):
        if bounded(finding.test_error):
            ends = [100 * max(finding.test_error.low, 0), 100 * finding.test_error.high]
            axes.plot([place, place], ends, color=style.color, marker="_", markersize=5, linewidth=1.1)


def _draw_trend(axes: Axes, scale: DepthAxis, fit: DepthFit) -> None:
    depths, errors = (np.array(column) for column in zip(*fit.grid, strict=True))
    axes.plot(scale.at(depths), 100 * errors, "--", color=BLACK, linewidth=1, label="trend, quadratic in log depth")
    # The interval of the optimum lies along the foot of the panel, where no error is.
    foot = axes.get_xaxis_transform()
    low, high = scale.at([fit.low, fit.high])
    axes.plot([low, high], [0.035, 0.035], color=VERMILION, marker="|", markersize=8, linewidth=2, transform=foot)
    filled = "none" if fit.edge else VERMILION
    name = "best depth, 95 % interval"
    place = float(scale.at(fit.optimum))
    look = {"markersize": 6.5, "markerfacecolor": filled, "color": VERMILION, "clip_on": False, "zorder": 5}
    axes.plot([place], [0.035], "D", linestyle="none", transform=foot, label=name, **look)


def fitting_figure(findings: Findings, budgets: Sequence[str]) -> Figure:
    """Training beside test error against depth, a panel a budget; the gap between them is hatched.

    An arm whose training error is high cannot optimise; one whose training error is low and whose test error is high
    does not generalise.

    Args:
        findings: Of a study.
        budgets: Those to show.

    Returns:
        A matplotlib figure.
    """
    with panels(len(budgets), height=2.5) as (figure, axes):
        for each, budget in zip(axes, budgets, strict=True):
            arms = at(findings.arms, budget)
            scale = DepthAxis([finding.arm.depth for finding in arms])
            places = scale.at([finding.arm.depth for finding in arms])
            train = np.array([100 * finding.train_error for finding in arms])
            test = np.array([100 * finding.test_error.estimate for finding in arms])
            look = {"facecolor": "none", "edgecolor": "#b0b0b0", "linewidth": 0.0, "hatch": "////", "label": "gap"}
            each.fill_between(places, train, test, **look)
            each.plot(places, test, "o-", color=BLUE, label="test error")
            each.plot(places, train, "^--", color=VERMILION, label="training error")
            scale.label(each, depth_labels(arms))
            each.set_ylim(bottom=0)
            each.set_title(budget)
        legend(figure, axes[0], columns=3)
        figure.supxlabel("depth (weighted layers); w: width", fontsize=10)
        figure.supylabel("error (%)", fontsize=10)
    return figure


def learning_figure(arms: Sequence[ArmFinding], runs: Sequence[Sequence[RunRecord]]) -> Figure:
    """Training and validation loss by epoch, a panel an arm: mean over seeds (thick) and each seed (thin).

    Args:
        arms: Those to show.
        runs: Of each of them.

    Returns:
        A matplotlib figure; the panels share their scales.
    """
    with panels(len(arms), share=True) as (figure, axes):
        for each, finding, found in zip(axes, arms, runs, strict=True):
            _draw_learning(each, found)
            each.set_title(short(finding.arm))
            if finding.diverged:
                note = plural(finding.diverged, "run") + " diverged"
                each.text(0.97, 0.94, note, transform=each.transAxes, ha="right", va="top", fontsize=9)
        log_scale(axes[0])
        axes[0].xaxis.set_major_locator(MaxNLocator(nbins=6, integer=True))
        legend(figure, axes[0])
        figure.supxlabel("epoch", fontsize=10)
        figure.supylabel("loss (nats, log scale)", fontsize=10)
    return figure


def _draw_learning(axes: Axes, runs: Sequence[RunRecord]) -> None:
    kinds = (("train_loss", "training", VERMILION, "--", "^"), ("validation_loss", "validation", BLUE, "-", "o"))
    length = max(len(run.history) for run in runs)
    for key, name, color, line, marker in kinds:
        curves = np.full((len(runs), length), math.nan)
        for row, run in enumerate(runs):
            curves[row, : len(run.history)] = [epoch.get(key, math.nan) for epoch in run.history]
        curves[~(curves > 0)] = math.nan  # A log scale shows no zero, and no infinity either.
        curves[np.isinf(curves)] = math.nan
        epochs = np.arange(1, length + 1)
        if len(runs) > 1:
            axes.plot(epochs, curves.T, color=color, linestyle=line, linewidth=0.6, alpha=0.45)
        # The mean ends where the first run diverged: a mean of the others would look like a recovery.
        look = {"color": color, "linestyle": line, "marker": marker, "markersize": 4}
        axes.plot(epochs, curves.mean(axis=0), label=name, markevery=max(1, length // 6), **look)
