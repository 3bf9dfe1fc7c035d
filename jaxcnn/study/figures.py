"""Pictures of a study: test error against depth, and learning curves per arm. No pyplot, no global state kept.

Colours are those of Okabe and Ito, which the colour-blind tell apart; every difference is drawn a second time as a
marker or a line style, so that the pictures also work in black and white.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, MaxNLocator, NullFormatter

from jaxcnn.study.results import RunRecord, StudyResult
from jaxcnn.study.verdict import ArmSummary, summarise

BLUE, VERMILION, BLACK, GREY = "#0072b2", "#d55e00", "#000000", "#6b6b6b"
# The salt makes the ids inside an SVG the same every time, so that an unchanged study gives an unchanged file.
SETTINGS: dict[Any, Any] = {"svg.hashsalt": "jaxcnn", "svg.fonttype": "path", "font.size": 11, "axes.spines.top": False}
SETTINGS |= {"axes.spines.right": False, "axes.grid": True, "grid.color": "#e3e3e3", "axes.axisbelow": True}


def error_figure(result: StudyResult) -> Figure:
    """Test error against depth: each arm's mean with its 95 % interval, its seeds as points, its width in words.

    Args:
        result: A finished study.

    Returns:
        A matplotlib figure of 6.4 by 4.4 inches.
    """
    rows = sorted(summarise(result), key=lambda row: (row.arm.depth, -row.arm.width))
    with rc_context(SETTINGS):
        figure = Figure(figsize=(6.4, 4.4), layout="constrained")
        axes = figure.add_subplot()
        _draw_errors(axes, rows)
        axes.set_xlabel("depth (weighted layers)")
        axes.set_ylabel("test error (%)")
        axes.set_title(f"{rows[0].arm.budget:,} parameters each, {result.data['name']}", fontsize=11, loc="left")
    return figure


def curves_figure(result: StudyResult) -> Figure:
    """Training and validation loss by epoch, one panel an arm: mean over seeds (thick) and each seed (thin).

    An arm whose training loss stays high cannot optimise; one whose validation loss stays far above it does not
    generalise.

    Args:
        result: A finished study.

    Returns:
        A matplotlib figure, two panels wide.
    """
    arms = result.plan.arms
    with rc_context(SETTINGS):
        columns, lines = min(2, len(arms)), math.ceil(len(arms) / 2)
        figure = Figure(figsize=(3.4 * columns, 2.5 * lines + 0.4), layout="constrained")
        panels = figure.subplots(lines, columns, sharex=True, sharey=True, squeeze=False).ravel()
        for axes, arm in zip(panels, arms, strict=False):
            _draw_curves(axes, result.of(arm))
            axes.set_title(f"depth {arm.depth}, width {arm.width}", fontsize=10, loc="left")
            axes.tick_params(labelbottom=True)
        # Over a few decades only powers of ten have room for a label; within one or two they would be too few.
        low, high = panels[0].get_ylim()
        panels[0].yaxis.set_major_locator(LogLocator(subs=(1,) if high > 100 * low else (1, 2, 5)))
        for axes in panels[len(arms) :]:
            axes.set_visible(False)
        handles, labels = figure.axes[0].get_legend_handles_labels()
        figure.legend(handles, labels, loc="outside upper center", ncols=2, frameon=False)
        figure.supxlabel("epoch", fontsize=11)
        figure.supylabel("loss (nats, log scale)", fontsize=11)
    return figure


def write_figure(figure: Figure, directory: Path, name: str) -> str:
    """Write `name`.svg and `name`.png, the same bytes every time.

    Args:
        figure: From this module.
        directory: Existing folder.
        name: File name without its ending.

    Returns:
        The SVG's text.
    """
    with rc_context(SETTINGS):
        path = directory / f"{name}.svg"
        figure.savefig(path, format="svg", metadata={"Date": None, "Creator": None})
        FigureCanvasAgg(figure)
        figure.savefig(directory / f"{name}.png", format="png", dpi=160, metadata={"Software": None})
    return path.read_text(encoding="utf-8")


def _draw_errors(axes: Axes, rows: Sequence[ArmSummary]) -> None:
    positions = np.arange(len(rows))
    means = [100 * row.test_error.estimate for row in rows]
    margins = [100 * row.test_error.half_width if math.isfinite(row.test_error.half_width) else 0.0 for row in rows]
    for position, row in zip(positions, rows, strict=True):
        # Seeds stand a little to the right and spread out in order, so that equal errors stay countable.
        shift = 0.1 + 0.32 * np.arange(len(row.test_errors)) / max(len(row.test_errors) - 1, 1)
        axes.plot(
            position + shift,
            [100 * error for error in row.test_errors],
            linestyle="none",
            marker="o",
            markersize=4,
            markerfacecolor="none",
            markeredgecolor=GREY,
            label="one seed" if position == 0 else None,
        )
    axes.errorbar(
        positions,
        means,
        yerr=margins,
        color=BLUE,
        marker="s",
        markersize=6,
        linewidth=1.4,
        linestyle="--",
        capsize=5,
        label="mean over seeds, 95 % interval",
    )
    axes.set_xticks(positions, [f"{row.arm.depth}\nwidth {row.arm.width}" for row in rows])
    axes.set_xlim(-0.4, len(rows) - 0.45)
    axes.margins(y=0.12)
    axes.grid(visible=False, axis="x")
    axes.figure.legend(loc="outside lower center", ncols=2, frameon=False, fontsize=10)


def _draw_curves(axes: Axes, runs: Sequence[RunRecord]) -> None:
    kinds = (("train_loss", "training", VERMILION, "--", "^"), ("validation_loss", "validation", BLUE, "-", "o"))
    for key, name, color, style, marker in kinds:
        curves = np.array([[epoch.get(key, math.nan) for epoch in run.history] for run in runs])
        epochs = np.arange(1, curves.shape[1] + 1)
        axes.plot(epochs, curves.T, color=color, linestyle=style, linewidth=0.6, alpha=0.35)
        every = max(1, len(epochs) // 6)
        look = {"color": color, "linestyle": style, "marker": marker, "markevery": every, "markersize": 4}
        axes.plot(epochs, curves.mean(axis=0), label=name, **look)
    axes.set_yscale("log")
    axes.yaxis.set_major_formatter("{x:g}")
    axes.yaxis.set_minor_formatter(NullFormatter())
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
