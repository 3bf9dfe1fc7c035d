"""Curves of a run, and how well its probabilities are calibrated."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from numpy.typing import ArrayLike

from jaxcnn.pictures.style import GREY, MOST_PANELS, look, panels

MARKED = 40
"""Number of epochs up to which each is marked."""


def curve_names(histories: Sequence[Sequence[Mapping[str, Any]]]) -> list[str]:
    """Return the metrics that runs record per epoch, and the learning rate if it changes, in their order."""
    names = [name.partition("_")[2] for records in histories for record in records for name in record
             if name.startswith(("train_", "validation_"))]  # fmt: skip
    rates = [record.get("learning_rate") for records in histories for record in records]
    return [*dict.fromkeys(names), *(["learning_rate"] if len(set(rates)) > 1 else [])]


def curve_figure(histories: Mapping[str, Sequence[Mapping[str, Any]]]) -> Figure:
    """Draw each metric of one or more runs by epoch, training beside validation; a panel per metric.

    Args:
        histories: Records of the epochs of each run, by its name; the name of a single run is not shown.

    >>> figure = curve_figure({"": [{"epoch": 1, "train_loss": 0.5, "validation_loss": 0.6}]})
    """
    names = curve_names(list(histories.values()))[:MOST_PANELS]
    with panels([name.replace("_", " ") for name in names], "epoch", "") as (figure, axes):
        for each, name in zip(axes, names, strict=True):
            number = 0
            for run, records in histories.items():
                for split in ("train", "validation") if name != "learning_rate" else ("",):
                    key = f"{split}_{name}".strip("_")
                    points = [(record["epoch"], record[key]) for record in records if key in record]
                    label = {"train": "training"}.get(split, split)
                    size: dict[str, Any] = {"marker": ""} if len(points) > MARKED else {"markersize": 3}
                    if points:
                        each.plot(*zip(*points, strict=True), label=f"{run} {label}".strip(), **(look(number) | size))
                    number += 1
            each.xaxis.set_major_locator(MaxNLocator(5, integer=True))
    return figure


def seed_curves(histories: Mapping[str, Sequence[Sequence[Mapping[str, Any]]]], metric: str) -> Figure:
    """Draw a metric by epoch for several seeds, training beside validation; a panel per setting, all of one scale.

    Args:
        histories: Records of the epochs of each seed, by the setting's name.
        metric: Such as accuracy.

    >>> figure = seed_curves({"none": [[{"epoch": 1, "train_loss": 0.5, "validation_loss": 0.6}]]}, "loss")
    """
    with panels(list(histories), "epoch", metric.replace("_", " "), share=True) as (figure, axes):
        for each, runs in zip(axes, histories.values(), strict=True):
            for number, split in enumerate(("train", "validation")):
                for records in runs:
                    points = [(record["epoch"], record[f"{split}_{metric}"]) for record in records]
                    style = look(number) | {"marker": "", "linewidth": 1, "label": split.replace("train", "training")}
                    each.plot(*zip(*points, strict=True), **style)
            each.xaxis.set_major_locator(MaxNLocator(5, integer=True))
    return figure


def reliability_figure(confidence: ArrayLike, accuracy: ArrayLike, counts: ArrayLike) -> Figure:
    """Draw accuracy against confidence, per bin; below it how many examples each bin holds.

    Args:
        confidence: Mean probability of the predicted class in each bin, NaN where it is empty; so is `accuracy`.
        counts: Examples of each bin.

    >>> figure = reliability_figure([0.55, 0.95], [0.5, 0.9], [10, 90])
    """
    confidence, accuracy, counts = (np.asarray(each, float) for each in (confidence, accuracy, counts))
    with panels(["accuracy by confidence", "examples by confidence"], "probability of the predicted class", "") as (
        figure, (left, right),
    ):  # fmt: skip
        left.plot([0, 1], [0, 1], color=GREY, linewidth=1, linestyle=":", label="perfectly calibrated")
        filled = counts > 0
        left.plot(confidence[filled], accuracy[filled], label="this run", **look(0))
        left.set(xlim=(0, 1), ylim=(0, 1.02))
        right.bar((np.arange(len(counts)) + 0.5) / len(counts), counts, width=0.9 / len(counts), color=look(0)["color"])
        right.set(xlim=(0, 1))
    return figure
