"""How every picture of a study looks: panels, styles told apart without colour, depth axes, files. No pyplot.

Colours are those of Okabe and Ito, which the colour-blind tell apart; every difference is drawn a second time as a
marker, a line style or a hatch, so that the pictures also work in black and white. They are narrow, because a phone is.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import numpy as np
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, NullFormatter, NullLocator

from jaxcnn.study.statistics.seeds import Interval

T = TypeVar("T")

BLACK, BLUE, VERMILION, GREEN, GREY = "#000000", "#0072b2", "#d55e00", "#009e73", "#6b6b6b"
WIDTH = 4.9
MOST_PANELS = 8
MOST_LABELS = 6
# Labels nearer than this share of the axis would touch.
ROOM = 0.13
# The salt makes the ids inside an SVG the same every time, so that an unchanged study gives an unchanged file.
SETTINGS: dict[Any, Any] = {"svg.hashsalt": "jaxcnn", "svg.fonttype": "path", "font.size": 10, "axes.labelsize": 10}
SETTINGS |= {"axes.spines.top": False, "axes.spines.right": False, "axes.grid": True, "grid.color": "#e3e3e3"}
SETTINGS |= {"axes.axisbelow": True, "axes.titlesize": 10, "axes.titlelocation": "left", "hatch.linewidth": 0.6}
SETTINGS |= {"xtick.labelsize": 9, "ytick.labelsize": 9, "legend.fontsize": 9, "legend.frameon": False}


class Look(NamedTuple):
    """One series: told apart by marker and line style as well as by colour."""

    color: str
    marker: str
    line: Any
    hollow: bool = False

    @property
    def style(self) -> dict[str, Any]:
        """As matplotlib's plot takes it."""
        fill = "white" if self.hollow else self.color
        return {"color": self.color, "marker": self.marker, "linestyle": self.line, "markerfacecolor": fill}


LOOKS = (
    Look(BLUE, "o", "-"),
    Look(VERMILION, "s", "--"),
    Look(BLACK, "^", "-."),
    Look(GREEN, "D", ":"),
    Look("#e69f00", "v", (0, (7, 2))),
    Look("#cc79a7", "P", (0, (5, 1, 1, 1, 1, 1))),
    Look("#56b4e9", "X", (0, (1, 3))),
    Look(GREY, "<", (0, (9, 3, 2, 3))),
)


def look(number: int) -> Look:
    """The style of the series of that number; after eight the markers are hollow, after sixteen the styles return."""
    return LOOKS[number % len(LOOKS)]._replace(hollow=number // len(LOOKS) % 2 == 1)


@contextmanager
def panels(
    count: int, *, height: float = 2.15, single: float = 3.3, share: bool = False
) -> Iterator[tuple[Figure, list[Axes]]]:
    """A figure of that many panels, two beside each other, one alone over the whole width.

    Args:
        count: Panels, 1 to about 8.
        height: Inches of a row of panels.
        single: Inches, where there is one panel.
        share: Whether all have the same scales.
    """
    columns = min(2, count)
    rows = math.ceil(count / columns)
    size = (WIDTH, single if count == 1 else height * rows + 0.5)
    with rc_context(SETTINGS):
        figure = Figure(figsize=size, layout="constrained")
        axes = list(figure.subplots(rows, columns, sharex=share, sharey=share, squeeze=False).ravel())
        for spare in axes[count:]:
            spare.set_visible(False)
        for each in axes[:count]:
            each.tick_params(labelbottom=True, labelleft=True)
        yield figure, axes[:count]


def legend(figure: Figure, source: Axes, columns: int = 2) -> None:
    """One legend over all panels, of what is labelled in one of them."""
    handles, labels = source.get_legend_handles_labels()
    if handles:
        figure.legend(handles, labels, loc="outside upper center", ncols=columns)


def chunks(items: Sequence[T], size: int = MOST_PANELS) -> list[Sequence[T]]:
    """Items in groups that fit one figure."""
    return [items[start : start + size] for start in range(0, len(items), size)]


class DepthAxis:
    """Places of depths: on a log scale where their labels have room, else evenly spaced in order."""

    def __init__(self, depths: Sequence[int]) -> None:
        self.depths = sorted(set(depths))
        logs = np.log(self.depths)
        span = logs[-1] - logs[0] or 1.0
        roomy = len(logs) < 2 or float(np.diff(logs).min()) / span >= ROOM
        self.places = (logs - logs[0]) / span if roomy else np.linspace(0, 1, len(logs))
        self.logs = logs

    def at(self, depth: Any) -> np.ndarray:
        """Place of any depth within the range, 0 the shallowest and 1 the deepest."""
        return np.interp(np.log(depth), self.logs, self.places)

    def label(self, axes: Axes, labels: Sequence[str]) -> None:
        """Name every depth on the axis, or as many as have room."""
        every = math.ceil(len(labels) / MOST_LABELS)
        axes.xaxis.set_minor_locator(NullLocator())
        axes.set_xticks(self.places, [label if n % every == 0 else "" for n, label in enumerate(labels)])
        axes.set_xlim(-0.09, 1.16)
        axes.grid(visible=False, axis="x")


def log_scale(axes: Axes, direction: str = "y") -> None:
    """A log axis with plain numbers, as many as have room: 1, 2, 5 over two decades, powers of ten beyond."""
    axis = axes.yaxis if direction == "y" else axes.xaxis
    (axes.set_yscale if direction == "y" else axes.set_xscale)("log")
    low, high = axes.get_ylim() if direction == "y" else axes.get_xlim()
    axis.set_major_locator(LogLocator(subs=(1,) if high > 100 * low else (1, 2, 5)))
    axis.set_major_formatter("{x:g}")
    axis.set_minor_formatter(NullFormatter())


def bounded(interval: Interval) -> bool:
    """Whether both limits are known: a single seed shows no spread."""
    return math.isfinite(interval.low) and math.isfinite(interval.high)


def limits(points: Sequence[float], ends: Sequence[float]) -> tuple[float, float]:
    """Limits of an error axis: all points and the ends of intervals, but no interval so wide that it hides the points.

    Args:
        points: What must be seen.
        ends: Ends of intervals; one far from the points is left to run out of the picture.
    """
    low, high = min(points), max(points)
    room = max(high - low, 0.02 * abs(high), 0.02)
    low, high = (max(min([low, *ends]), low - room), min(max([high, *ends]), high + room))
    pad = 0.1 * max(high - low, room)
    return low - pad, high + pad


def write_figure(figure: Figure, directory: Path, name: str) -> str:
    """Write `name`.svg and `name`.png, the same bytes every time.

    Args:
        figure: From this package.
        directory: Existing folder.
        name: File name without its ending.

    Returns:
        The SVG's text.
    """
    with rc_context(SETTINGS), warnings.catch_warnings():
        # A class may be named in a script that the font lacks: the picture shows boxes, the tables show the name.
        warnings.filterwarnings("ignore", message=r"Glyph .* missing from")
        path = directory / f"{name}.svg"
        FigureCanvasAgg(figure)
        figure.savefig(directory / f"{name}.png", format="png", dpi=160, metadata={"Software": None})
        figure.set_layout_engine("none")  # Laying out takes as long as drawing: both files have the same layout.
        figure.savefig(path, format="svg", metadata={"Date": None, "Creator": None})
    return path.read_text(encoding="utf-8")
