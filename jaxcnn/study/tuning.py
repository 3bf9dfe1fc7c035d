"""Tuning as pure functions of what the trials gave: the grid, when it grows, which setting an arm gets."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from jaxcnn.study.plan import Tuning


class Setting(NamedTuple):
    """One point of the grid."""

    learning_rate: float
    weight_decay: float

    @property
    def label(self) -> str:
        """Name of its folder, such as lr0.05_wd0.0001."""
        return f"lr{self.learning_rate:.6g}_wd{self.weight_decay:.6g}"


class Trial(NamedTuple):
    """What one tuning run gave, on validation data; values that were not finite are NaN."""

    setting: Setting
    seed: int
    validation_error: float
    validation_loss: float
    diverged: bool


class Choice(NamedTuple):
    """The setting of an arm.

    Args:
        setting: The best on validation error, ties broken by validation loss.
        edge: The best learning rate is the lowest or the highest tried: a better one may lie beyond.
    """

    setting: Setting
    edge: bool


def rates(tuning: Tuning, below: int, above: int) -> tuple[float, ...]:
    """The grid's learning rates with some added at either end, by the ratio of the two at that end."""
    grid = list(tuning.learning_rates)
    if len(grid) > 1:
        down, up = grid[0] / grid[1], grid[-1] / grid[-2]
        grid = [grid[0] * down**n for n in range(below, 0, -1)] + grid + [grid[-1] * up**n for n in range(1, above + 1)]
    return tuple(float(f"{rate:.6g}") for rate in grid)


def settings(tuning: Tuning, learning_rates: Sequence[float]) -> tuple[Setting, ...]:
    """Every point of the grid."""
    return tuple(Setting(rate, decay) for rate in learning_rates for decay in tuning.weight_decays)


def scores(trials: Sequence[Trial]) -> dict[Setting, tuple[float, float]]:
    """Mean validation error and loss of each setting over its seeds; a trial that diverged counts as all wrong."""
    by_setting: dict[Setting, list[Trial]] = {}
    for trial in trials:
        by_setting.setdefault(trial.setting, []).append(trial)
    return {setting: _score(found) for setting, found in by_setting.items()}


def _score(trials: Sequence[Trial]) -> tuple[float, float]:
    if any(trial.diverged for trial in trials):
        return 1.0, math.inf
    count = len(trials)
    return sum(t.validation_error for t in trials) / count, sum(t.validation_loss for t in trials) / count


def choose(trials: Sequence[Trial]) -> Choice:
    """The best setting of one arm.

    Args:
        trials: All of that arm's.

    Returns:
        The setting, and whether its rate is at an edge of what was tried (never where only one rate was).
    """
    scored = scores(trials)
    best = min(scored, key=lambda setting: (*scored[setting], setting))
    tried = sorted({setting.learning_rate for setting in scored})
    return Choice(best, len(tried) > 1 and best.learning_rate in (tried[0], tried[-1]))


def growth(tuning: Tuning, arms: Mapping[str, Sequence[Trial]], below: int, above: int) -> tuple[int, int]:
    """How far the grid must reach, given the trials on all of it: one rate further where some arm is best at an edge.

    All arms get the same grid, so that none is tuned with more effort than another.

    Args:
        tuning: The plan's.
        arms: Trials by arm, complete for the present grid.
        below: Rates added below so far.
        above: Rates added above so far.

    Returns:
        The new (below, above), equal to the old where the grid is wide enough or may not grow further.
    """
    grid = rates(tuning, below, above)
    if len(grid) < 2:
        return below, above
    best = {choose(trials).setting.learning_rate for trials in arms.values()}
    return (
        below + (grid[0] in best and below < tuning.extensions),
        above + (grid[-1] in best and above < tuning.extensions),
    )


def shared_setting(arms: Mapping[str, Sequence[Trial]]) -> Setting:
    """The setting with the lowest validation error on average over arms: what one would use if all had to share."""
    scored = [scores(trials) for trials in arms.values()]
    common = set.intersection(*(set(each) for each in scored))

    def mean(setting: Setting) -> tuple[float, float]:
        return (
            sum(each[setting][0] for each in scored) / len(scored),
            sum(each[setting][1] for each in scored) / len(scored),
        )

    return min(common, key=lambda setting: (*mean(setting), setting))
