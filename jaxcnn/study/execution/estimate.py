"""How long a study would take: every arm's step is measured, its runs are counted, nothing is trained."""

from __future__ import annotations

from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace
from typing import NamedTuple

from jaxcnn.data import Dataset, steps_per_epoch
from jaxcnn.run.cost import Pair, Prepared, measure_costs, prepare
from jaxcnn.study.execution.worker import FamilyFunction, module_of, processes
from jaxcnn.study.plan import Plan
from jaxcnn.study.result import Cost
from jaxcnn.study.schedule import agenda, expected


class Estimate(NamedTuple):
    """What a study would take.

    Args:
        costs: Of each arm, in the plan's order.
        runs_per_arm: Tuning trials and reported runs, at most (the seeds' cap, the grid as planned).
        runs: All runs, those at the shared setting included.
        seconds: About how long, on this machine.
        sentence: The same in words.
    """

    costs: tuple[Cost, ...]
    runs_per_arm: int
    runs: int
    seconds: float
    sentence: str


def estimate(
    plan: Plan, dataset: Dataset, workers: int | None = None, *, family: FamilyFunction | None = None
) -> Estimate:
    """Measure a step of every arm and multiply.

    Args:
        plan: The study.
        dataset: Its images.
        workers: Processes side by side, as for `run_study`; several on one CPU are taken to share its cores fully.
        family: The user's own family, where the arms are of one.

    Returns:
        The estimate. It takes all seeds up to the cap and no extension of the grid; evaluation counts as a third of a
        training step per batch.
    """
    count = processes(workers)
    costs = arm_costs(plan, dataset, family)
    first = agenda(plan, lambda item: None)
    grid = len(first.items) if first.stage == "tuning" else 0
    per_arm = grid // len(plan.arms) + plan.seeds.cap
    runs = expected(plan, first)
    steps = steps_per_epoch(dataset.sizes["train"], plan.base.batch_size)
    checks = steps_per_epoch(dataset.sizes["validation"], plan.base.batch_size)
    mean = sum(cost.step for cost in costs) / len(costs)
    seconds = runs * plan.base.epochs * (steps + checks / 3) * mean + sum(cost.compile for cost in costs)
    text = (
        f"{len(plan.arms)} arms, at most {runs} runs of {plan.base.epochs} epochs ({steps} steps each): about "
        f"{_duration(seconds)} of this machine with {count} process{'es' * (count > 1)}, from a measured step"
    )
    return Estimate(costs, per_arm, runs, seconds, text)


def arm_costs(plan: Plan, dataset: Dataset, family: FamilyFunction | None = None) -> tuple[Cost, ...]:
    """Memory and step time of every arm, measured in alternating rounds.

    Args:
        plan: The study.
        dataset: Its images.
        family: The user's own family, where the arms are of one.

    Returns:
        One cost an arm, in the plan's order.
    """
    return tuple(Cost(*cost) for cost in measure_costs(_pairs(plan, family), dataset))


class Ahead:
    """Costs of a study's arms, which are compiled on a thread while other processes train the last runs.

    Measuring waits for the runs, or it would measure their company; compiling need not. Use as a context manager.

    Args:
        plan: The study.
        dataset: Its images.
        family: The user's own family, where the arms are of one.
    """

    def __init__(self, plan: Plan, dataset: Dataset, family: FamilyFunction | None) -> None:
        self._pairs, self._dataset = _pairs(plan, family), dataset
        self._pool, self._left = ThreadPoolExecutor(1), False
        self._begun: Future[list[Prepared]] | None = None

    def begin(self) -> None:
        """Compile; every call but the first does nothing."""
        if self._begun is None:
            self._begun = self._pool.submit(prepare, self._pairs, self._dataset, lambda: not self._left)

    def costs(self) -> tuple[Cost, ...]:
        """As `arm_costs`."""
        prepared = None if self._begun is None else self._begun.result()
        return tuple(Cost(*cost) for cost in measure_costs(self._pairs, self._dataset, prepared=prepared))

    def __enter__(self) -> Ahead:
        return self

    def __exit__(self, *_: object) -> None:
        self._left = True  # after the arm that it is at
        self._pool.shutdown()


def _pairs(plan: Plan, family: FamilyFunction | None) -> list[Pair]:
    return [(replace(plan.base, model=arm.spec or plan.base.model), module_of(arm, family)) for arm in plan.arms]


def _duration(seconds: float) -> str:
    if seconds < 90:
        return f"{seconds:.0f} seconds"
    return f"{seconds / 60:.0f} minutes" if seconds < 5400 else f"{seconds / 3600:.1f} hours"
