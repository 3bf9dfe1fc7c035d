"""What a study has to do next, as a pure function of its plan and of the runs that are finished.

plan -> tune (grid, grown while an arm is best at an edge) -> pilot runs -> number of seeds -> runs. Nothing else is
kept: whoever opens the folder, after any interruption, finds the same agenda.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np

from jaxcnn.spec import RunConfig
from jaxcnn.study.arm import Arm
from jaxcnn.study.plan import Plan
from jaxcnn.study.statistics.seeds import seeds_needed
from jaxcnn.study.tuning import Choice, Setting, Trial, choose, growth, rates, settings, shared_setting

Metrics = Mapping[str, float]


class Item(NamedTuple):
    """One run of a study.

    Args:
        stage: tuning (validation only) or runs (reads the test split at its end).
        arm: The network.
        setting: Learning rate and weight decay.
        seed: Of initialisation, order, dropout and augmentation together.
    """

    stage: str
    arm: Arm
    setting: Setting
    seed: int

    @property
    def path(self) -> str:
        """Its folder within the study."""
        return f"{self.stage}/{self.arm.label}/{self.setting.label}/seed{self.seed}"


class Tuned(NamedTuple):
    """What tuning gave.

    Args:
        trials: By arm, on the whole grid.
        choices: The setting of each arm.
        shared: The best setting on average over arms.
    """

    trials: dict[str, tuple[Trial, ...]]
    choices: dict[str, Choice]
    shared: Setting


class Pilot(NamedTuple):
    """How the number of runs was chosen.

    Args:
        spread: Standard deviation of validation error over pilot seeds, pooled over arms; None with a single pilot run.
        needed: Runs per arm that find a difference as large as the margin; None: more than a thousand, or unknown.
        seeds: The seeds of every arm's runs.
    """

    spread: float | None
    needed: int | None
    seeds: tuple[int, ...]


class Agenda(NamedTuple):
    """What is to be done.

    Args:
        stage: tuning, pilot, runs or done.
        items: All runs of the stages so far, in order.
        todo: Those of them that are not finished.
        tuned: Known once tuning is over.
        pilot: Known once the pilot runs are over.
    """

    stage: str
    items: tuple[Item, ...]
    todo: tuple[Item, ...]
    tuned: Tuned | None = None
    pilot: Pilot | None = None


def diverged(metrics: Metrics) -> bool:
    """Whether a run's loss was not finite at its end."""
    return not (math.isfinite(metrics["train_loss"]) and math.isfinite(metrics["validation_loss"]))


def config_of(plan: Plan, item: Item) -> RunConfig:
    """The run of one item. A tuning run never opens the test split, and nobody asks for its model."""
    rate, decay = item.setting
    return replace(
        plan.base,
        model=item.arm.spec or plan.base.model,
        optimizer=replace(plan.base.optimizer, learning_rate=rate, weight_decay=decay),
        seed=item.seed,
        evaluate_test=item.stage == "runs",
        keep=plan.base.keep if item.stage == "runs" else 0,
    )


def agenda(plan: Plan, read: Callable[[Item], Metrics | None]) -> Agenda:
    """The next runs.

    Args:
        plan: The study.
        read: The last epoch's metrics of a finished run, None where it is not finished.

    Returns:
        The stage that is under way and its runs.
    """
    done: dict[Item, Metrics | None] = {}

    def open_items(items: Sequence[Item]) -> tuple[Item, ...]:
        done.update((item, read(item)) for item in items if item not in done)
        return tuple(item for item in items if done[item] is None)

    below = above = 0
    while True:
        grid = _grid(plan, below, above)
        if todo := open_items(grid):
            return Agenda("tuning", grid, todo)
        trials = {arm.label: tuple(_trial(i, done[i]) for i in grid if i.arm == arm) for arm in plan.arms}
        if not grid:
            break
        wider = growth(plan.tuning, trials, below, above)
        if wider == (below, above):
            break
        below, above = wider
    tuned = _tuned(plan, trials)
    first = _runs(plan, tuned, range(plan.seeds.first, plan.seeds.first + plan.seeds.pilot))
    if todo := open_items(first):
        return Agenda("pilot", grid + first, todo, tuned)
    pilot = _pilot(plan, {item: done[item] or {} for item in first})
    items = _runs(plan, tuned, pilot.seeds) + _shared(plan, tuned, pilot.seeds)
    todo = open_items(items)
    return Agenda("runs" if todo else "done", grid + items, todo, tuned, pilot)


def expected(plan: Plan, now: Agenda) -> int:
    """How many runs the study will have had in the end, as far as one can tell: seeds up to the cap until the pilot."""
    per_arm = len(now.pilot.seeds) if now.pilot else plan.seeds.cap
    tuning = sum(item.stage == "tuning" for item in now.items)
    if now.pilot:
        return len(now.items)
    shared = 2 * len(plan.budgets) * per_arm if plan.tuning.shared and _tunes(plan) else 0
    if now.tuned:
        shared = len(_shared(plan, now.tuned, range(per_arm)))
    return tuning + len(plan.arms) * per_arm + shared


def _tunes(plan: Plan) -> bool:
    return len(plan.tuning.learning_rates) * len(plan.tuning.weight_decays) > 1


def _grid(plan: Plan, below: int, above: int) -> tuple[Item, ...]:
    if not _tunes(plan):  # One point is no search: nothing is trained for it.
        return ()
    points = settings(plan.tuning, rates(plan.tuning, below, above))
    return tuple(
        Item("tuning", arm, setting, seed) for arm in plan.arms for setting in points for seed in plan.tuning.seeds
    )


def _tuned(plan: Plan, trials: dict[str, tuple[Trial, ...]]) -> Tuned:
    if not _tunes(plan):
        (only,) = settings(plan.tuning, plan.tuning.learning_rates)
        return Tuned(trials, {label: Choice(only, edge=False) for label in trials}, only)
    return Tuned(trials, {label: choose(found) for label, found in trials.items()}, shared_setting(trials))


def _trial(item: Item, metrics: Metrics | None) -> Trial:
    assert metrics is not None
    error, loss = 1 - metrics["validation_accuracy"], metrics["validation_loss"]
    return Trial(item.setting, item.seed, error, loss, diverged(metrics))


def _runs(plan: Plan, tuned: Tuned, seeds: Sequence[int]) -> tuple[Item, ...]:
    return tuple(Item("runs", arm, tuned.choices[arm.label].setting, seed) for arm in plan.arms for seed in seeds)


def _shared(plan: Plan, tuned: Tuned, seeds: Sequence[int]) -> tuple[Item, ...]:
    """The contrasts' arms at the shared setting, where that is not their own already."""
    if not plan.tuning.shared:
        return ()
    arms = dict.fromkeys(arm for budget in plan.budgets for arm in plan.contrast(budget))
    other = [arm for arm in arms if tuned.choices[arm.label].setting != tuned.shared]
    return tuple(Item("runs", arm, tuned.shared, seed) for arm in other for seed in seeds)


def _pilot(plan: Plan, results: Mapping[Item, Mapping[str, Any]]) -> Pilot:
    """From the spread of validation errors (the test split says nothing here) to the number of seeds."""
    first, cap = plan.seeds.first, plan.seeds.cap
    if plan.seeds.pilot < 2:
        return Pilot(None, None, tuple(range(first, first + cap)))
    errors = [
        [1 - metrics["validation_accuracy"] for item, metrics in results.items() if item.arm == arm]
        for arm in plan.arms
    ]
    spread = math.sqrt(float(np.mean([np.var(each, ddof=1) for each in errors])))
    needed = seeds_needed(plan.margin, spread, target=plan.seeds.power)
    count = cap if needed is None else min(max(needed, plan.seeds.pilot), cap)
    return Pilot(spread, needed, tuple(range(first, first + count)))
