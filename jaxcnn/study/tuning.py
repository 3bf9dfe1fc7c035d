"""Tuning as pure functions of the trials: the grid, when it grows, which setting an arm gets."""

import math
import zlib
from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache
from typing import NamedTuple

from jaxcnn.spec import Tuning
from jaxcnn.study.statistics.smoothing import DRAWS, Retuning, Surface, retune, smooth

SEEDS_EACH = 1_000_000
"""Own seeds of trials that one seed of `Tuning.seeds` gives."""

UNKNOWN_IMAGES = 1000
"""Validation images of a trial where it recorded none (method grid, and errors that are no share of images)."""

Reach = tuple[int, int, int, int]
"""Numbers of values added to the grid: rates below and above, decays below and above."""


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
    seed: int  #: Its seed; method smooth: also that of its division into training and validation images.
    validation_error: float
    validation_loss: float
    diverged: bool
    #: Number of its validation images; 0: not recorded (method grid), or the error is no share of them.
    images: int = 0
    split: str = ""  #: Hash of its validation split; empty: that of the study (method grid).
    fold: int | None = None  #: Fold outside which it was trained and validated; None without cross-validation.


class ArmTuning(NamedTuple):
    """Tuning of one arm."""

    setting: Setting  #: Method smooth: the lowest fitted error. Grid: the lowest mean error, ties broken by the loss.
    #: Whether its learning rate is the lowest or the highest tried (smooth: or its decay): a better one may lie beyond.
    edge: bool
    trials: tuple[Trial, ...] = ()  #: All trials; empty where the grid has one point.
    #: Setting of each fold by its own trials; `setting` is the choice by those of all folds then, and no run has it.
    folds: tuple[Setting, ...] = ()

    def at(self, fold: int | None) -> Setting:
        """Return the setting of the reported runs, of one fold with cross-validation."""
        return self.folds[fold] if fold is not None and self.folds else self.setting


class TuningResult(NamedTuple):
    """Tuning of all arms."""

    shared: Setting  #: The setting that is best on average over the arms.
    arms: dict[str, ArmTuning]  #: By label.


def grid(tuning: Tuning, below: int = 0, above: int = 0, less: int = 0, more: int = 0) -> tuple[Setting, ...]:
    """Return all settings, with values added at the ends of rates and of decays by the ratio of the two at that end."""
    rates = _extended(tuning.learning_rates, below, above)
    decays = _extended(tuning.weight_decays, less, more)
    return tuple(Setting(float(f"{rate:.6g}"), decay) for rate in rates for decay in decays)


def _extended(values: Sequence[float], below: int, above: int) -> list[float]:
    values = list(values)
    if len(values) > 1:
        down, up = values[0] / values[1], values[-1] / (values[-2] or math.inf)
        added = [values[0] * down**n for n in range(below, 0, -1)], [values[-1] * up**n for n in range(1, above + 1)]
        first, last = ([float(f"{value:.6g}") for value in each] for each in added)
        values = [*first, *values, *last]
    return values


def own_seed(seed: int, arm: str, setting: Setting, number: int) -> int:
    """Return the seed of one trial of method smooth: an arm's `number`-th trial of a setting that `seed` gives.

    With cross-validation `arm` also names the fold.
    """
    return seed * SEEDS_EACH + zlib.crc32(f"{arm} {setting.label} {number}".encode(errors="surrogatepass")) % SEEDS_EACH


def scores(trials: Sequence[Trial]) -> dict[Setting, tuple[float, float]]:
    """Return mean validation error and loss of each setting over its trials; a diverged trial makes it all wrong."""
    means = {}
    for setting in dict.fromkeys(trial.setting for trial in trials):
        own = [trial for trial in trials if trial.setting == setting]
        if any(trial.diverged for trial in own):
            means[setting] = 1.0, math.inf
        else:
            means[setting] = _mean(t.validation_error for t in own), _mean(t.validation_loss for t in own)
    return means


def surface(trials: Sequence[Trial]) -> Surface:
    """Fit the curve through the trials of one arm; a diverged trial counts as all wrong."""
    return _surface(tuple(trials))


@lru_cache(maxsize=256)  # a schedule is computed anew for every run
def _surface(trials: tuple[Trial, ...]) -> Surface:
    rates, decays = zip(*(trial.setting for trial in trials), strict=True)
    errors = [1.0 if trial.diverged else trial.validation_error for trial in trials]
    return smooth(rates, decays, errors, images=trials[0].images or UNKNOWN_IMAGES)


def by_fold(trials: Sequence[Trial]) -> list[tuple[Trial, ...]]:
    """Return the trials of each fold; without cross-validation all of them at once."""
    folds = sorted({-1 if trial.fold is None else trial.fold for trial in trials})
    return [tuple(each for each in trials if each.fold in (fold, None)) for fold in folds]


@lru_cache(maxsize=256)
def retuning(trials: tuple[Trial, ...], draws: int = DRAWS) -> Retuning:
    """Return what another tuning of an arm would do, by a bootstrap of its trials.

    With cross-validation each fold is tuned by itself, and the error of the arm is the mean over folds. The few trials
    of one fold say little of how its choice varies: the curve and the noise are those of the trials of all folds.
    """
    folds = len(by_fold(trials))
    whole = surface([trial._replace(fold=None) for trial in trials])
    one = retune(whole._replace(counts=whole.counts / folds), draws=draws)
    return one._replace(variance=one.variance / folds)


def fitted(trials: Sequence[Trial]) -> dict[Setting, float]:
    """Return the error of each setting by the curve through the trials of one arm; infinite outside of it."""
    found = surface(trials)
    return {
        Setting(*setting): error for setting, error in zip(found.settings.tolist(), found.fitted.tolist(), strict=True)
    }


def lowest(trials: Sequence[Trial]) -> float:
    """Return the lowest error by the curve through the trials of one arm; the mean over folds where there are some."""
    return _mean(min(fitted(own).values()) for own in by_fold(trials))


def choose(trials: Sequence[Trial], method: str = "grid") -> ArmTuning:
    """Choose the setting of one arm from all of its trials; a single rate has no edge, nor has a decay of zero."""
    if len(folds := by_fold(trials)) > 1:
        each = [choose(own, method) for own in folds]
        pooled = choose([trial._replace(fold=None) for trial in trials], method)
        return ArmTuning(pooled.setting, any(one.edge for one in each), tuple(trials), tuple(o.setting for o in each))
    if method == "smooth":
        errors = fitted(trials)
        best = min(errors, key=lambda setting: (errors[setting], setting))
        edges = [_edges(errors, place) - ({0.0} if place else set()) for place in (0, 1)]
        return ArmTuning(best, any(value in ends for value, ends in zip(best, edges, strict=True)), tuple(trials))
    scored = scores(trials)
    best = min(scored, key=lambda setting: (*scored[setting], setting))
    return ArmTuning(best, best.learning_rate in _edges(scored, 0), tuple(trials))


def _edges(settings: Iterable[Setting], place: int) -> set[float]:
    """Return the lowest and the highest rate (place 0) or decay (place 1) tried; nothing where there is one only."""
    tried = sorted({setting[place] for setting in settings})
    return {tried[0], tried[-1]} if len(tried) > 1 else set()


def better_half(trials: Sequence[Trial]) -> tuple[Setting, ...]:
    """Return the half of an arm's settings with the lowest fitted errors, in the order of the grid."""
    errors = fitted(trials)
    ranked = sorted(errors, key=lambda setting: (errors[setting], setting))
    return tuple(sorted(ranked[: -(-len(ranked) // 2)]))


def growth(
    tuning: Tuning, arms: Mapping[str, Sequence[Trial]], below: int, above: int, less: int = 0, more: int = 0
) -> Reach:
    """Return how far the grid must reach: one value further at each end where the choice of some arm lies.

    All arms get the same grid, so that none is tuned with more effort than another. Method grid has rates grow only;
    decays grow once at either end, and never from or to zero.

    Args:
        tuning: How arms are tuned.
        arms: The trials by arm, on the whole grid.
        below, above, less, more: How many rates and decays were added at either end.

    Returns:
        The new numbers: the old ones where the grid is wide enough or must not grow further.
    """
    settings = grid(tuning, below, above, less, more)
    chosen = [choose(trials, tuning.method).setting for trials in arms.values()]
    rates, decays = (sorted({setting[place] for setting in settings}) for place in (0, 1))
    best, best_decays = ({setting[place] for setting in chosen} for place in (0, 1))
    most = tuning.extensions if len(rates) > 1 else 0
    once = min(1, tuning.extensions) if tuning.method == "smooth" and len(decays) > 1 and min(decays) > 0 else 0
    return (
        below + (rates[0] in best and below < most),
        above + (rates[-1] in best and above < most),
        less + (decays[0] in best_decays and less < once),
        more + (decays[-1] in best_decays and more < once),
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
