"""The schedule of a study as a pure function of its plan and of the finished runs.

plan -> tuning (a grid, extended while an arm is best at an edge; then more rounds) -> pilot runs -> number of seeds ->
runs. Nothing else is stored, so a study resumes after any interruption.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np

from jaxcnn.spec import RunConfig
from jaxcnn.study.arm import Arm
from jaxcnn.study.plan import Plan
from jaxcnn.study.statistics.seeds import ENDLESS_SEEDS, seeds_needed
from jaxcnn.study.tuning import (
    ArmTuning,
    Setting,
    Trial,
    TuningResult,
    better_half,
    choose,
    grid,
    growth,
    own_seed,
    retuning,
    shared_setting,
)

Metrics = Mapping[str, Any]
"""Last metrics of a run; of a trial of method smooth also validation_images and validation_hash (its own split), of a
reported run test_images."""
ONE_SIDED = 1.645
"""Quantile of a one-sided test at 5 %."""
EVEN_SHARE = 0.05
"""Variance over images of the difference of two arms' expected errors, in units of p (1 - p), p their error rate: what
many seeds leave. It is 0.04 to 0.4 in the contrasts of docs/results; the smaller, the more a test set can show."""


class StudyRun(NamedTuple):
    """One run of a study."""

    stage: str  #: tuning (validation only) or runs (reads the test split at its end).
    arm: Arm  #: The network.
    setting: Setting  #: Learning rate and weight decay.
    seed: int  #: Seed of initialisation, order, dropout and augmentation together.
    fold: int | None = None  #: Number of the fold that is its test split; None without cross-validation.

    @property
    def path(self) -> str:
        """Its folder within the study."""
        part = "" if self.fold is None else f"fold{self.fold}/"
        return f"{self.stage}/{self.arm.label}/{part}{self.setting.label}/seed{self.seed}"


class Pilot(NamedTuple):
    """How the number of runs was chosen."""

    #: Standard deviation of validation error over pilot seeds, pooled over arms; None with one pilot run, or folds.
    spread: float | None
    #: Runs per arm that find a difference as large as the margin; None: more than a thousand, or unknown.
    needed: int | None
    seeds: tuple[int, ...]  #: Seeds of every arm's runs; with folds, those of each repeat in turn, a fold each.
    #: Standard error of a difference that no number of seeds reduces, of test images (at best) and tuning; 0: not
    #: counted (method grid).
    floor: float = 0.0


class Schedule(NamedTuple):
    """State of a study."""

    stage: str  #: tuning, pilot, runs or done.
    runs: tuple[StudyRun, ...]  #: All runs of the stages so far, in order.
    pending: tuple[StudyRun, ...]  #: Those of the current stage that are not finished.
    tuning: TuningResult | None = None  #: Known after tuning.
    pilot: Pilot | None = None  #: Known after the pilot runs.


def has_diverged(metrics: Metrics) -> bool:
    """Return whether a run's loss was not finite at its end."""
    return not (math.isfinite(metrics["train_loss"]) and math.isfinite(metrics["validation_loss"]))


def run_config(plan: Plan, study_run: StudyRun) -> RunConfig:
    """Return the config of one run. A tuning run never opens the test split, and its model is not kept."""
    rate, decay = study_run.setting
    own = study_run.stage == "tuning" and plan.tuning.method == "smooth"
    data = replace(plan.images(study_run.fold), split_seed=study_run.seed if own else None)
    if plan.resample_train:  # Those of two arms are chosen independently, as the verdict takes their seeds to be.
        arm, setting = study_run.arm.label, study_run.setting
        data = replace(data, train_seed=own_seed(study_run.seed, f"{arm} training images", setting, 0))
    return replace(
        plan.base,
        data=data,
        model=study_run.arm.spec or plan.base.model,
        optimizer=replace(plan.base.optimizer, learning_rate=rate, weight_decay=decay),
        seed=study_run.seed,
        evaluate_test=study_run.stage == "runs",
        keep=plan.base.keep if study_run.stage == "runs" else 0,
    )


def next_runs(plan: Plan, read: Callable[[StudyRun], Metrics | None]) -> Schedule:
    """Compute the pending runs.

    Args:
        plan: The study.
        read: Returns the last epoch's metrics of a finished run, None for one that is not finished.

    Returns:
        The current stage and its runs.
    """
    done: dict[StudyRun, Metrics] = {}

    def unfinished(runs: Sequence[StudyRun]) -> tuple[StudyRun, ...]:
        for each in runs:
            if each not in done and (metrics := read(each)) is not None:
                done[each] = metrics
        return tuple(each for each in runs if each not in done)

    points = grid(plan.tuning)
    tuning = TuningResult(points[0], {arm.label: ArmTuning(points[0], edge=False) for arm in plan.arms})
    each_fold = [_tune(plan, fold, unfinished, done) for fold in plan.parts if len(points) > 1]
    trial_runs, pending = (tuple(run for fold in each_fold for run in fold[place]) for place in (0, 1))
    if pending:
        return Schedule("tuning", trial_runs, pending)
    trials = _by_arm(plan, trial_runs, done) if trial_runs else {}
    if trials:
        chosen = {label: choose(own, plan.tuning.method) for label, own in trials.items()}
        tuning = TuningResult(shared_setting(trials), chosen)
    pilot_runs = _runs(plan, tuning, range(plan.seeds.first, plan.seeds.first + plan.seeds.pilot))
    if pending := unfinished(pilot_runs):
        return Schedule("pilot", trial_runs + pilot_runs, pending, tuning)
    metric = f"validation_{plan.measure.metric}"
    errors = [[1 - done[e][metric] for e in pilot_runs if e.arm == arm] for arm in plan.arms]
    # How far images alone bring two arms apart is known beforehand for a share of images only.
    images = sum({each.fold: done[each].get("test_images", 0) for each in pilot_runs}.values())
    images *= plan.measure.counts_images
    pilot = _pilot(plan, errors, _floor(errors, images, trials) if plan.tuning.method == "smooth" else 0.0)
    runs = _runs(plan, tuning, pilot.seeds) + _shared_runs(plan, tuning, pilot.seeds)
    pending = unfinished(runs)
    return Schedule("runs" if pending else "done", trial_runs + runs, pending, tuning, pilot)


def _tune(
    plan: Plan,
    fold: int | None,
    unfinished: Callable[[Sequence[StudyRun]], tuple[StudyRun, ...]],
    done: Mapping[StudyRun, Metrics],
) -> tuple[tuple[StudyRun, ...], tuple[StudyRun, ...]]:
    """Return the trials of all arms so far, of one fold with cross-validation, and those that are not finished."""
    reach, searching, runs, trials = (0, 0, 0, 0), True, tuple[StudyRun, ...](), dict[str, tuple[Trial, ...]]()
    while searching:
        runs = _trials(plan, dict.fromkeys(plan.arms, grid(plan.tuning, *reach)), 0, fold)
        if pending := unfinished(runs):
            return runs, pending
        trials = _by_arm(plan, runs, done)
        extended = growth(plan.tuning, trials, *reach)
        searching, reach = extended != reach, extended
    for number in range(1, plan.tuning.rounds if plan.tuning.method == "smooth" else 1):
        runs += _trials(plan, {arm: better_half(trials[arm.label]) for arm in plan.arms}, number, fold)
        if pending := unfinished(runs):
            return runs, pending
        trials = _by_arm(plan, runs, done)
    return runs, ()


def total_runs(plan: Plan, now: Schedule) -> int:
    """Return the number of runs at the end, as far as it is known: before the pilot, seeds count up to the cap."""
    if now.pilot:
        return len(now.runs)
    trials = sum(each.stage == "tuning" for each in now.runs)
    if trials and not now.tuning:
        grids = {(each.fold, each.setting) for each in now.runs}
        trials = len(plan.arms) * trials_each(plan, -(-len(grids) // len(plan.parts)))
    shared = 2 * len(plan.budgets) * plan.seeds.cap if plan.tuning.shared and trials else 0
    if now.tuning:
        shared = len(_shared_runs(plan, now.tuning, range(plan.seeds.cap)))
    return trials + len(plan.arms) * plan.seeds.cap + shared


def trials_each(plan: Plan, settings: int) -> int:
    """Return the number of trials of an arm on a grid of so many settings; 0 where there is nothing to tune."""
    later = (plan.tuning.rounds - 1) * -(-settings // 2) if plan.tuning.method == "smooth" else 0
    return (settings + later) * len(plan.tuning.seeds) * len(plan.parts) if settings > 1 else 0


def _trials(
    plan: Plan, settings: Mapping[Arm, Sequence[Setting]], number: int, fold: int | None
) -> tuple[StudyRun, ...]:
    """Return the trials of one round."""
    own, where = plan.tuning.method == "smooth", "" if fold is None else f" fold {fold}"
    return tuple(
        StudyRun("tuning", arm, setting, own_seed(seed, arm.label + where, setting, number) if own else seed, fold)
        for arm, chosen in settings.items()
        for setting in chosen
        for seed in plan.tuning.seeds
    )


def _by_arm(plan: Plan, runs: Sequence[StudyRun], done: Mapping[StudyRun, Metrics]) -> dict[str, tuple[Trial, ...]]:
    return {arm.label: tuple(_trial(plan, each, done[each]) for each in runs if each.arm == arm) for arm in plan.arms}


def _trial(plan: Plan, study_run: StudyRun, metrics: Metrics) -> Trial:
    error, loss = 1 - metrics[f"validation_{plan.measure.metric}"], metrics["validation_loss"]
    # The noise that so many images give is that of a share of images.
    images = int(metrics.get("validation_images", 0)) * plan.measure.counts_images
    split = images, str(metrics.get("validation_hash", ""))
    return Trial(study_run.setting, study_run.seed, error, loss, has_diverged(metrics), *split, study_run.fold)


def _runs(plan: Plan, tuning: TuningResult, seeds: Sequence[int]) -> tuple[StudyRun, ...]:
    return tuple(
        StudyRun("runs", arm, tuning.arms[arm.label].at(fold := plan.fold_of(seed)), seed, fold)
        for arm in plan.arms
        for seed in seeds
    )


def _shared_runs(plan: Plan, tuning: TuningResult, seeds: Sequence[int]) -> tuple[StudyRun, ...]:
    """Return the runs of the contrasts' arms at the shared setting, for arms whose own setting is another."""
    if not plan.tuning.shared:
        return ()
    arms = dict.fromkeys(arm for budget in plan.budgets for arm in plan.contrast(budget))
    other = [arm for arm in arms if tuning.arms[arm.label].setting != tuning.shared]
    return tuple(StudyRun("runs", arm, tuning.shared, seed) for arm in other for seed in seeds)


def image_error(images: int, error: float) -> float:
    """Return the standard error of a difference that so many test images leave at best, with any number of seeds.

    Args:
        images: Number of test images.
        error: Error rate of the arms, a share.

    Returns:
        A share, at least one image: the smallest standard error that `population.crossed` gives.
    """
    return max(1 / images, math.sqrt(EVEN_SHARE * error * (1 - error) / images))


def resolution(plan: Plan, images: int) -> dict[str, Any]:
    """Return what a test set can show, however many seeds a study has: what plan.json declares before the first run.

    Args:
        plan: The study; its margin is compared.
        images: Number of test images.
    """
    found = {f"{100 * rate:g} %": ENDLESS_SEEDS * image_error(images, rate) for rate in (0.01, 0.03, 0.1, 0.3)}
    least = ONE_SIDED * image_error(images, 0.0)
    text = f"no study with {images:,} test images can call arms equivalent within {100 * plan.margin:g} points"
    if plan.margin > least:
        rates = [rate / 1000 for rate in range(1, 501) if ONE_SIDED * image_error(images, rate / 1000) < plan.margin]
        text = (
            f"{images:,} test images can call arms equivalent within {100 * plan.margin:g} points at error rates up to "
            f"{100 * max(rates):g} %, at best"
        )
    if plan.base.data.groups is not None:
        text += "; images of one group are alike, so that it can show less than that"
    return {"test_images": images, "detectable_by_error_rate": found, "equivalence": text}


def _floor(errors: Sequence[Sequence[float]], images: int, trials: Mapping[str, tuple[Trial, ...]]) -> float:
    """Return the standard error of a difference of two arms that more seeds do not reduce, from validation data."""
    tuning = [retuning(own).variance for own in trials.values()]
    of_images = image_error(images, float(np.mean(errors))) if images else 0.0
    return math.sqrt(of_images**2 + 2 * float(np.mean(tuning or [0.0])))


def _pilot(plan: Plan, errors: Sequence[Sequence[float]], floor: float) -> Pilot:
    """Choose the number of seeds from the spread of each arm's validation errors; the test split plays no part."""
    first, cap = plan.seeds.first, plan.seeds.cap
    if plan.seeds.pilot < 2 or plan.folds:
        return Pilot(None, None, tuple(range(first, first + cap)), floor)
    spread = math.sqrt(float(np.mean([np.var(each, ddof=1) for each in errors])))
    needed = seeds_needed(plan.margin, spread, target=plan.seeds.power, floor=floor)
    count = cap if needed is None else min(max(needed, plan.seeds.pilot), cap)
    return Pilot(spread, needed, tuple(range(first, first + count)), floor)
