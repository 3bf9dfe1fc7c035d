"""How long a study would take: parts of some runs are timed, its workers are simulated; epochs and seeds that fit."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace
from typing import NamedTuple

from jaxcnn.data import Dataset, load, steps_per_epoch
from jaxcnn.errors import InputError
from jaxcnn.run.cost import measure_costs
from jaxcnn.spec import StepCost
from jaxcnn.study.arm import Arm
from jaxcnn.study.execution.given import NOTHING, Given, importable
from jaxcnn.study.execution.probe import Probe, RunTimes, probe
from jaxcnn.study.execution.worker import by_arm, processes
from jaxcnn.study.plan import Plan
from jaxcnn.study.schedule import StudyRun, next_runs, total_runs, trials_each
from jaxcnn.study.tuning import grid

REPORT_SECONDS, COST_SECONDS, COST_SHARE = 3.0, 0.7, 0.45
"""Writing the report; measuring the cost of an arm's step in turns; the share of its compiling time that this needs."""
MARGIN = 1.2
"""A study is fitted into a time that is longer than its estimate by this factor."""


class Estimate(NamedTuple):
    """What a study would take."""

    arms: dict[str, RunTimes]  #: Times of each arm's runs by label.
    runs_per_arm: int  #: Tuning trials and reported runs per arm.
    runs: int  #: Number of all runs, those at the shared setting included.
    seconds: float  #: Estimated time on this machine.
    sentence: str  #: The same in words.


def estimate(
    plan: Plan, dataset: Dataset, given: Given = NOTHING, *, before: tuple[float, float] = (0.0, 0.0)
) -> Estimate:
    """Estimate the time of a study from parts of runs that are timed here.

    It counts all seeds up to the cap, the runs at the shared setting and every process's compiling. The grid of a
    smooth tuning grows as it mostly does: by one decay at either end, because with two or three decays some arm's
    choice is an end. The sentence also says how many runs there are if it grows as far as it may. A plan for a Ray
    cluster is estimated as if its workers were processes of this machine.

    Args:
        plan: The study.
        dataset: Its images.
        given: Its user-defined functions.
        before: Seconds of importing, and of all that this process has done so far, which the study does again.
    """
    count = _count(plan, given)
    return _estimate(plan, dataset, probe(plan, dataset, given, count, before), count, before)


def fit_into_time(
    plan: Plan,
    dataset: Dataset,
    seconds: float,
    given: Given = NOTHING,
    *,
    before: tuple[float, float] = (0.0, 0.0),
) -> tuple[Plan, Estimate]:
    """Choose epochs and seeds with which a study takes no longer than a time, never more of them than it has.

    The cap on seeds is lowered first, down to the number of pilot runs, then the epochs. The estimate is to be a sixth
    below the time.

    Args:
        plan, dataset, given, before: As for `estimate`.
        seconds: The time.

    Returns:
        The plan with these epochs and seeds, and its estimate.

    Raises:
        InputError: The shortest such study takes longer.
    """
    count = _count(plan, given)
    measured = probe(plan, dataset, given, count, before)

    def guess(epochs: int, cap: int) -> tuple[Plan, Estimate]:
        base, seeds = replace(plan.base, epochs=epochs), replace(plan.seeds, cap=cap)
        changed = replace(plan, base=base, seeds=seeds)
        return changed, _estimate(changed, dataset, measured, count, before)

    least = min(plan.base.epochs, int(plan.base.optimizer.warmup_epochs) + 1)
    caps, epochs = range(plan.seeds.cap, plan.seeds.pilot - 1, -1), range(plan.base.epochs - 1, least - 1, -1)
    for choice in [*((plan.base.epochs, cap) for cap in caps), *((each, plan.seeds.pilot) for each in epochs)]:
        found = guess(*choice)
        if MARGIN * found[1].seconds <= seconds:
            return found
    _, shortest = guess(least, plan.seeds.pilot)
    raise InputError(
        f"fit_into={duration(seconds)!r}: {shortest.runs} runs of {least} epoch{'s' * (least > 1)} need about "
        f"{duration(MARGIN * shortest.seconds)}; give more "
        "time, fewer depths or budgets, or a smaller grid (tuning)"
    )


def _count(plan: Plan, given: Given) -> int:
    count = processes(plan.workers)
    return count if plan.workers is not None or all(importable(each) for _, each in given.functions) else 1


def _estimate(plan: Plan, dataset: Dataset, measured: Probe, count: int, before: tuple[float, float]) -> Estimate:
    trials, most = _trials(plan), _trials(plan, whole=True)
    untuned = total_runs(plan, next_runs(plan, lambda study_run: None)) - len(plan.arms) * _trials(plan, grown=False)
    runs, at_most = (untuned + len(plan.arms) * each for each in (trials, most))
    steps = steps_per_epoch(dataset.sizes["train"], plan.base.batch_size)
    seconds = before[1] + _seconds(plan, dataset, measured, count)
    timed = sum(each.measured for each in measured.arms.values())
    some = "all arms" if timed == len(plan.arms) else f"{timed} of the arms"
    further = f" ({at_most} if its grid grows as far as it may)" if at_most > runs else ""
    sentence = (
        f"{len(plan.arms)} arms, about {runs} runs{further} of {plan.base.epochs} epochs ({steps} steps each): about "
        f"{duration(seconds)} on this machine with {count} process{'es' * (count > 1)}, from short runs of {some}"
    )
    return Estimate(measured.arms, trials + plan.seeds.cap, runs, seconds, sentence)


def _seconds(plan: Plan, dataset: Dataset, measured: Probe, count: int) -> float:
    """Simulate the workers of a study, stage by stage: each takes the next run, and compiles an arm it has not met."""
    setting = next_runs(plan, lambda study_run: None).runs[0].setting
    free, compiled = [measured.start] * count, [list[Arm]() for _ in range(count)]
    for stage, runs in _stages(plan):
        pending = dict(runs)
        while pending:
            worker = free.index(min(free))
            order = [StudyRun(stage, arm, setting, 0) for arm in pending]
            arm = by_arm(order, compiled[worker], worker / count)[0].arm
            pending = {each: left - (each == arm) for each, left in pending.items() if left > (each == arm)}
            times = measured.arms[arm.label]
            once = 0.0 if arm in compiled[worker] else times.compile
            free[worker] += once + run_seconds(plan, dataset, times, tested=stage == "runs")
            compiled[worker] = [arm, *(each for each in compiled[worker] if each != arm)]
        free = [max(free)] * count
    costs = sum(COST_SECONDS + COST_SHARE * times.compile * (count > 1) for times in measured.arms.values())
    return max(free) + costs + REPORT_SECONDS


def run_seconds(plan: Plan, dataset: Dataset, times: RunTimes, *, tested: bool) -> float:
    """Return the seconds of one run in a process that has compiled its arm."""
    batches = {split: steps_per_epoch(count, plan.base.batch_size) for split, count in dataset.sizes.items()}
    epoch = batches["train"] * times.step + batches["validation"] * times.check
    epoch += times.epoch / plan.base.checkpoint_every
    return times.run + plan.base.epochs * epoch + (batches["test"] * times.check if tested else 0.0)


def _trials(plan: Plan, *, grown: bool = True, whole: bool = False) -> int:
    """Return the trials of an arm on the declared grid, on one grown as it mostly does, or on the whole one."""
    tuning = plan.tuning
    ends = min(1, tuning.extensions) if tuning.method == "smooth" and min(tuning.weight_decays) > 0 else 0
    rates = tuning.extensions if whole else 0
    return trials_each(plan, len(grid(tuning, rates, rates, ends, ends) if grown else grid(tuning)))


def _stages(plan: Plan) -> list[tuple[str, Mapping[Arm, int]]]:
    """Return the number of runs of each arm in each stage, at most."""
    trials, cap, pilot = _trials(plan), plan.seeds.cap, min(plan.seeds.pilot, plan.seeds.cap)
    shared = [arm for budget in plan.budgets for arm in plan.contrast(budget)] if trials and plan.tuning.shared else []
    stages = [
        ("tuning", dict.fromkeys(plan.arms, trials)),
        ("runs", dict.fromkeys(plan.arms, pilot)),
        ("runs", {arm: cap - pilot + cap * (arm in shared) for arm in plan.arms}),
    ]
    return [(stage, {arm: count for arm, count in runs.items() if count}) for stage, runs in stages]


def arm_costs(plan: Plan, dataset: Dataset | None = None, given: Given = NOTHING) -> tuple[StepCost, ...]:
    """Measure memory and step time of every arm, in the plan's order, in alternating rounds."""
    # A budget in seconds is one of single steps: the search for it has none of the study's images.
    base = replace(plan.base, scan=False) if any(arm.kind == "seconds" for arm in plan.arms) else plan.base
    pairs = [(replace(base, model=arm.spec or base.model), given.of(arm)) for arm in plan.arms]
    return measure_costs(pairs, load(plan.images(plan.parts[0])) if dataset is None else dataset)


def duration(seconds: float) -> str:
    """Return a number of seconds in words."""
    if seconds < 90:
        return f"{seconds:.0f} seconds"
    if seconds < 5400:
        return f"{seconds / 60:.{int(seconds < 570)}f} minutes"
    return f"{seconds / 3600:.1f} hours"


def parse_duration(text: str) -> float:
    """Return the seconds of a time such as 90s, 30m, 2h or 1h30m.

    Raises:
        InputError: It is no such time.

    >>> parse_duration("1h30m")
    5400.0
    """
    match = re.fullmatch(r"(?:(\d+(?:\.\d+)?)h)?(?:(\d+(?:\.\d+)?)m)?(?:(\d+(?:\.\d+)?)s)?", text)
    parts = [float(part or 0) for part in match.groups()] if match else []
    if not any(parts):
        raise InputError(f"fit_into={text!r}: give a time such as 90s, 30m, 2h or 1h30m")
    return sum(part * unit for part, unit in zip(parts, (3600, 60, 1), strict=True))
