"""Style of all figures, of runs and of studies: panels, series, axes, files. No pyplot.

Colours are those of Okabe and Ito, which colour-blind readers can tell apart. Every difference is also a marker, a line
style or a hatch, so that figures work in black and white. Figures are narrow enough for a phone.
"""

import io
import math
import textwrap
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import numpy as np
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, MaxNLocator, NullLocator

from jaxcnn.pictures.document import Block
from jaxcnn.runtime.files import atomic_write, write_text

T = TypeVar("T")

BLACK, BLUE, VERMILION, GREEN, GREY = "#000000", "#0072b2", "#d55e00", "#009e73", "#6b6b6b"
WIDTH = 4.9
MOST_PANELS = 8
# The salt fixes the ids inside an SVG, so that an unchanged study gives an unchanged file.
SETTINGS: dict[Any, Any] = {"svg.hashsalt": "jaxcnn", "svg.fonttype": "path", "font.size": 10, "axes.labelsize": 10}
SETTINGS |= {"axes.spines.top": False, "axes.spines.right": False, "axes.grid": True, "grid.color": "#e3e3e3"}
SETTINGS |= {"axes.axisbelow": True, "axes.titlesize": 10, "axes.titlelocation": "left", "hatch.linewidth": 0.6}
SETTINGS |= {"xtick.labelsize": 9, "ytick.labelsize": 9, "legend.fontsize": 9, "legend.frameon": False}

LOOKS = (
    (BLUE, "o", "-"),
    (VERMILION, "s", "--"),
    (BLACK, "^", "-."),
    (GREEN, "D", ":"),
    ("#e69f00", "v", (0, (7, 2))),
    ("#cc79a7", "P", (0, (5, 1, 1, 1, 1, 1))),
    ("#56b4e9", "X", (0, (1, 3))),
    (GREY, "<", (0, (9, 3, 2, 3))),
)
"""Colour, marker and line style of each series."""


def look(number: int) -> dict[str, Any]:
    """Return the style of the n-th series for matplotlib's plot; after eight the markers are hollow."""
    color, marker, line = LOOKS[number % len(LOOKS)]
    fill = "white" if number // len(LOOKS) % 2 else color
    return {"color": color, "marker": marker, "linestyle": line, "markerfacecolor": fill}


@contextmanager
def panels(
    titles: Sequence[str], x: str, y: str, *, height: float = 2.15, single: float = 3.3, share: bool = False,
    columns: int = 2,
) -> Iterator[tuple[Figure, list[Axes]]]:  # fmt: skip
    """Make a figure with one panel per title, two in a row; on exit, add one legend for all.

    Args:
        titles: Titles of the panels, 1 to about 8.
        x, y: Labels below and beside all panels; empty if each has its own, or none.
        height, single: Inches per row of panels, and of a figure with one panel.
        share: Give all panels the same scales.
        columns: Columns of the legend, which names the series of the panel with most of them.
    """
    across = min(2, len(titles))
    rows = math.ceil(len(titles) / across)
    with rc_context(SETTINGS):
        size = (WIDTH, single if len(titles) == 1 else height * rows + 0.5)
        figure = Figure(figsize=size, layout="constrained")
        every = list(figure.subplots(rows, across, sharex=share, sharey=share, squeeze=False).ravel())
        axes = every[: len(titles)]
        for spare in every[len(titles) :]:
            spare.set_visible(False)
        for each, title in zip(axes, titles, strict=True):
            each.tick_params(labelbottom=True, labelleft=True)
            each.set_title(textwrap.fill(title, 26))
        if x:
            figure.supxlabel(x, fontsize=10)
        if y:
            figure.supylabel(y, fontsize=10)
        yield figure, axes
        handles, labels = max((each.get_legend_handles_labels() for each in axes), key=lambda each: len(each[0]))
        first = dict(zip(labels[::-1], handles[::-1], strict=True))  # the first handle of each label
        if names := list(dict.fromkeys(labels)):
            figure.legend([first[name] for name in names], names, loc="outside upper center", ncols=columns)


def label_log(axis: Axis, *, least: int = 4, unit: str = "") -> None:
    """Label a log axis with round numbers: the coarsest of several scales that puts `least` labels on it."""
    low, high = sorted(axis.get_view_interval())
    decades = 10.0 ** np.arange(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    ticks = [tick for tick in MaxNLocator(5).tick_values(low, high) if low <= tick <= high]
    for steps in ((1, 1.2, 1.4, 1.6, 1.8, 2, 2.5, 3, 4, 5, 6, 7, 8, 9), (1, 1.5, 2, 3, 5, 7), (1, 2, 5), (1,)):
        coarser = [tick for decade in decades for step in steps if low <= (tick := decade * step) <= high]
        ticks = coarser if len(coarser) >= least else ticks
    axis.set_major_locator(FixedLocator(ticks))
    axis.set_major_formatter(f"{{x:g}}{unit}")
    axis.set_minor_locator(NullLocator())


def draw_interval(
    axes: Axes, place: float, low: float, high: float, *, upright: bool = False, **style: Any
) -> None:  # fmt: skip
    """Draw a bar at a place of the other axis; an arrow says that it goes beyond the panel, whose limits are set."""

    def draw(ends: Sequence[float], **style: Any) -> None:
        places = [place] * len(ends)
        axes.plot(*((places, ends) if upright else (ends, places)), **style)

    first, last = axes.get_ylim() if upright else axes.get_xlim()
    draw([low, high], **style)
    arrows = ((first, "v" if upright else "<", low < first), (last, "^" if upright else ">", high > last))
    for end, arrow in [(end, arrow) for end, arrow, beyond in arrows if beyond]:
        draw([end], color=style["color"], marker=arrow, markersize=6, clip_on=False)


def limits(points: Sequence[float], ends: Sequence[float]) -> tuple[float, float]:
    """Return limits of an error axis that show all points, and ends of intervals unless they would hide the points."""
    low, high = min(points), max(points)
    room = max(high - low, 0.02 * abs(high), 0.02)
    low, high = (max(min([low, *ends]), low - room), min(max([high, *ends]), high + room))
    pad = 0.1 * max(high - low, room)
    return low - pad, high + pad


class Picture(NamedTuple):
    """A figure that is not yet written: file name without ending, drawing, caption."""

    name: str
    drawing: Figure
    caption: str


Part = Block | Picture


def pictures(
    name: str, items: Sequence[T], draw: Callable[[Sequence[T]], Figure], caption: str, size: int = MOST_PANELS
) -> Iterator[Picture]:
    """Draw items as one figure or, if they do not fit, as several: name, name_2, name_3."""
    for number, start in enumerate(range(0, len(items), size), start=1):
        file = name if number == 1 else f"{name}_{number}"
        yield Picture(file, draw(items[start : start + size]), caption)


def write_figure(figure: Figure, directory: Path, name: str) -> str:
    """Write `name`.svg and `name`.png into an existing folder, the same bytes every time; return the SVG's text."""
    write_png(figure, directory / f"{name}.png")
    text = to_svg(figure)
    write_text(directory / f"{name}.svg", text)
    return text


def write_png(figure: Figure, path: Path) -> None:
    """Write a figure as PNG, the same bytes every time."""
    with _drawing(figure), atomic_write(path) as partial:
        figure.savefig(partial, format="png", dpi=160, metadata={"Software": None})
    figure.set_layout_engine("none")  # Layout takes as long as drawing; a second file reuses it.


def to_svg(figure: Figure) -> str:
    """Return a figure as SVG, its words as shapes, the same text every time."""
    with _drawing(figure), io.StringIO() as text:
        figure.savefig(text, format="svg", metadata={"Date": None, "Creator": None})
        return text.getvalue()


def to_pixels(figure: Figure, dpi: int = 100) -> np.ndarray:
    """Return a figure as an image, uint8 (H, W, 3)."""
    with _drawing(figure):
        figure.set_dpi(dpi)
        canvas = FigureCanvasAgg(figure)
        canvas.draw()
        return np.asarray(canvas.buffer_rgba())[..., :3].copy()


@contextmanager
def _drawing(figure: Figure) -> Iterator[None]:
    with rc_context(SETTINGS), warnings.catch_warnings():
        # The font may lack the script of a class name: the figure then shows boxes, the tables show the name.
        warnings.filterwarnings("ignore", message=r"Glyph .* missing from")
        FigureCanvasAgg(figure)
        yield
