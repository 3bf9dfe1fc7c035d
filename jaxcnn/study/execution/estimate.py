"""How long a study would take: every arm's step is measured, its runs are counted, nothing is trained."""

from dataclasses import replace
from typing import NamedTuple

from jaxcnn.data import Dataset, load, steps_per_epoch
from jaxcnn.run.cost import measure_costs
from jaxcnn.spec import StepCost
from jaxcnn.study.execution.given import NOTHING, Given
from jaxcnn.study.execution.worker import processes
from jaxcnn.study.plan import Plan
from jaxcnn.study.schedule import next_runs, total_runs


class Estimate(NamedTuple):
    """What a study would take."""

    costs: tuple[StepCost, ...]  #: Cost of a step of each arm, in the plan's order.
    runs_per_arm: int  #: Largest number of tuning trials and reported runs per arm.
    runs: int  #: Number of all runs, those at the shared setting included.
    seconds: float  #: Estimated time on this machine.
    sentence: str  #: The same in words.


def estimate(plan: Plan, dataset: Dataset, given: Given = NOTHING) -> Estimate:
    """Estimate the time of a study from a measured step of every arm.

    It counts all seeds up to the cap, no extension of the grid, and evaluation as a third of a training step per batch.
    Several workers on one CPU are taken to share its cores fully.
    """
    count, costs = processes(plan.workers), arm_costs(plan, dataset, given)
    now = next_runs(plan, lambda study_run: None)
    trials, runs = sum(each.stage == "tuning" for each in now.runs), total_runs(plan, now)
    steps, checks = (steps_per_epoch(dataset.sizes[split], plan.base.batch_size) for split in ("train", "validation"))
    mean = sum(cost.step for cost in costs) / len(costs)
    seconds = runs * plan.base.epochs * (steps + checks / 3) * mean + sum(cost.compile for cost in costs)
    sentence = (
        f"{len(plan.arms)} arms, at most {runs} runs of {plan.base.epochs} epochs ({steps} steps each): about "
        f"{duration(seconds)} on this machine with {count} process{'es' * (count > 1)}, from a measured step"
    )
    return Estimate(costs, trials // len(plan.arms) + plan.seeds.cap, runs, seconds, sentence)


def arm_costs(plan: Plan, dataset: Dataset | None = None, given: Given = NOTHING) -> tuple[StepCost, ...]:
    """Measure memory and step time of every arm, in the plan's order, in alternating rounds."""
    pairs = [(replace(plan.base, model=arm.spec or plan.base.model), given.of(arm)) for arm in plan.arms]
    return measure_costs(pairs, load(plan.base.data) if dataset is None else dataset)


def duration(seconds: float) -> str:
    """Return a number of seconds in words."""
    if seconds < 90:
        return f"{seconds:.0f} seconds"
    return f"{seconds / 60:.0f} minutes" if seconds < 5400 else f"{seconds / 3600:.1f} hours"
