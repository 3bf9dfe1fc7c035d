"""Tuning as pure functions of the trials: the grid, when it grows, which setting an arm gets."""

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

from jaxcnn.spec import Tuning


class Setting(NamedTuple):
    """One point of the grid."""

    learning_rate: float
    weight_decay: float

    @property
    def label(self) -> str:
        """Name of its folder, such as lr0.05_wd0.0001."""
        return f"lr{self.learning_rate:.6g}_wd{self.weight_decay:.6g}"


class Trial(NamedTuple):
    """Result of one tuning run on validation data; values that were not finite are NaN."""

    setting: Setting
    seed: int
    validation_error: float
    validation_loss: float
    diverged: bool


class ArmTuning(NamedTuple):
    """Tuning of one arm."""

    setting: Setting  #: The best on validation error, ties broken by validation loss.
    edge: bool  #: Whether the best learning rate is the lowest or the highest tried: a better one may lie beyond.
    trials: tuple[Trial, ...] = ()  #: All trials, on the whole grid; empty where the grid has one point.


class TuningResult(NamedTuple):
    """Tuning of all arms."""

    shared: Setting  #: The setting that is best on average over the arms.
    arms: dict[str, ArmTuning]  #: By label.


def grid(tuning: Tuning, below: int = 0, above: int = 0) -> tuple[Setting, ...]:
    """Return all settings, with learning rates added at either end by the ratio of the two at that end."""
    rates = list(tuning.learning_rates)
    if len(rates) > 1:
        down, up = rates[0] / rates[1], rates[-1] / rates[-2]
        added = [rates[0] * down**n for n in range(below, 0, -1)], [rates[-1] * up**n for n in range(1, above + 1)]
        rates = [*added[0], *rates, *added[1]]
    return tuple(Setting(float(f"{rate:.6g}"), decay) for rate in rates for decay in tuning.weight_decays)


def scores(trials: Sequence[Trial]) -> dict[Setting, tuple[float, float]]:
    """Return mean validation error and loss of each setting over its seeds; a diverged trial makes it all wrong."""
    means = {}
    for setting in dict.fromkeys(trial.setting for trial in trials):
        own = [trial for trial in trials if trial.setting == setting]
        if any(trial.diverged for trial in own):
            means[setting] = 1.0, math.inf
        else:
            means[setting] = _mean(t.validation_error for t in own), _mean(t.validation_loss for t in own)
    return means


def choose(trials: Sequence[Trial]) -> ArmTuning:
    """Choose the setting of one arm from all of its trials; a single rate has no edge."""
    scored = scores(trials)
    best = min(scored, key=lambda setting: (*scored[setting], setting))
    tried = sorted({setting.learning_rate for setting in scored})
    return ArmTuning(best, len(tried) > 1 and best.learning_rate in (tried[0], tried[-1]), tuple(trials))


def growth(tuning: Tuning, arms: Mapping[str, Sequence[Trial]], below: int, above: int) -> tuple[int, int]:
    """Return how far the grid must reach: one rate further where some arm is best at an edge.

    All arms get the same grid, so that none is tuned with more effort than another. `arms` holds the trials by arm, on
    the whole grid, (below, above) how many rates were added at either end; the new pair is the old one where the grid
    is wide enough or must not grow further.
    """
    rates = [setting.learning_rate for setting in grid(tuning, below, above)]
    best = {arm.setting.learning_rate for arm in map(choose, arms.values()) if arm.edge}
    return (
        below + (rates[0] in best and below < tuning.extensions),
        above + (rates[-1] in best and above < tuning.extensions),
    )


def shared_setting(arms: Mapping[str, Sequence[Trial]]) -> Setting:
    """Return the setting with the lowest validation error on average over arms: the best if all had to share one."""
    scored = [scores(trials) for trials in arms.values()]
    common = set.intersection(*(set(each) for each in scored))
    return min(
        common, key=lambda setting: (*(_mean(each[setting][part] for each in scored) for part in (0, 1)), setting)
    )


def _mean(values: Iterable[float]) -> float:
    values = list(values)
    return sum(values) / len(values)
