"""The loss around trained weights: along a line, and over a plane."""

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import ArrayLike

from jaxcnn.pictures.style import BLACK, VERMILION, look, panels

LEVELS = 12
"""Number of contour lines, on a log scale."""


def landscape_figure(losses: ArrayLike, steps: ArrayLike) -> Figure:
    """Draw the loss over a plane as contours, with the network at its centre, and its cuts along the two directions.

    Args:
        losses: (steps, steps), [of the first direction][of the second]; what is not finite stays empty.
        steps: (steps,) multiples of the directions, 0 among them.

    >>> steps = np.linspace(-1, 1, 5)
    >>> figure = landscape_figure(1 + steps[:, None] ** 2 + steps[None, :] ** 2, steps)
    """
    losses, places = np.asarray(losses, float), np.asarray(steps, float)
    losses = np.where(np.isfinite(losses) & (losses > 0), losses, np.nan)
    middle = int(np.abs(places).argmin())
    with panels(["along two directions", "plane of both (contours)"], "multiple of the weights' length", "") as (
        figure, (left, right),
    ):  # fmt: skip
        for number, cut in enumerate((losses[:, middle], losses[middle])):
            left.plot(places, cut, label=f"{('first', 'second')[number]} direction", markersize=3, **look(number))
        left.set(yscale="log", ylabel="loss (nats)")
        low, high = np.nanmin(losses), np.nanmax(losses)
        if high > low:
            lines = right.contour(
                places, places, losses.T, np.geomspace(low, high, LEVELS + 2)[1:-1], colors=BLACK, linewidths=0.7
            )
            right.clabel(lines, list(lines.levels)[::3], fontsize=7, fmt="%.2g")
        right.plot([0], [0], "*", color=VERMILION, markersize=9, label="the network")
        right.grid(visible=False)
    return figure
