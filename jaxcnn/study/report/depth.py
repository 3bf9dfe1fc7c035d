"""Axes with the depths of a study's arms."""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import NullLocator

from jaxcnn.study.verdict.findings import ArmFinding, Findings

MOST_LABELS = 6
DEPTH = "depth (weighted layers); w: width, or that of each stage"
LEAST_GAP = 0.13
"""Smallest gap between depths on a log axis, as a share of its length, at which their labels do not touch."""


def depth_label(findings: Findings) -> str:
    """Return the label of an axis with the arms of a study."""
    return "family; d: depth, w: width" if findings.arms[0].arm.name else DEPTH


class DepthAxis:
    """Positions of depths from 0 to 1: on a log scale if their labels have room there, otherwise evenly spaced."""

    def __init__(self, depths: Sequence[int]) -> None:
        self.depths = sorted(set(depths))
        self.logs = np.log(self.depths)
        span = self.logs[-1] - self.logs[0] or 1.0
        roomy = len(self.logs) < 2 or float(np.diff(self.logs).min()) / span >= LEAST_GAP
        self.places = (self.logs - self.logs[0]) / span if roomy else np.linspace(0, 1, len(self.logs))

    def at(self, depth: Any) -> np.ndarray:
        """Return the position of any depth within the range."""
        return np.interp(np.log(depth), self.logs, self.places)

    def label(self, axes: Axes, labels: Sequence[str]) -> None:
        """Label the depths on the x axis, as many as have room."""
        every = math.ceil(len(labels) / MOST_LABELS)
        axes.xaxis.set_minor_locator(NullLocator())
        axes.set_xticks(self.places, [label if n % every == 0 else "" for n, label in enumerate(labels)])
        axes.set_xlim(-0.09, 1.16)
        axes.grid(visible=False, axis="x")


def depth_axis(axes: Axes, arms: Sequence[ArmFinding]) -> tuple[DepthAxis, np.ndarray]:
    """Label the x axis with the depths and widths of the arms; return the axis and the position of each arm.

    Arms of two families stand side by side under their names.
    """
    if arms[0].arm.name:
        scale = DepthAxis([1, 2])
        scale.label(axes, [f"{each.arm.name}\nd {each.arm.depth}, w {each.arm.widths}" for each in arms])
        return scale, scale.places
    widths: dict[int, list[str]] = {}
    for finding in arms:
        widths.setdefault(finding.arm.depth, []).append(finding.arm.widths)
    scale = DepthAxis(list(widths))
    stacked = {depth: ", ".join(each).replace("-", "-\n") for depth, each in sorted(widths.items())}
    scale.label(axes, [f"{depth}\nw {each}" for depth, each in stacked.items()])
    return scale, scale.at([finding.arm.depth for finding in arms])
