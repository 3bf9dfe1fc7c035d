"""What a study will do, written and sealed before its first run: arms, contrasts, tuning, seeds, the verdict's rule."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from itertools import pairwise

from jaxcnn.errors import InputError
from jaxcnn.records import shortened
from jaxcnn.spec import RunConfig
from jaxcnn.study.arm import KINDS, MOST_BUDGET, Arm

RULE = (
    "The primary contrast of each budget is the test error of its deepest arm minus that of its shallowest and widest "
    "arm. (1) Equivalent, where the 90 % population interval (new seeds, new images) lies within the margin on both "
    "sides of zero (TOST at 5 %). (2) Else deeper or wider for the population, where its p-value, corrected by Holm "
    "over the budgets, is below 5 %. (3) Else deeper or wider on this test set only, where Welch's p-value over seeds, "
    "corrected by Holm, is below 5 %. (4) Else inconclusive. Several budgets share a verdict where all of them agree, "
    "and are inconclusive together where they do not."
)

MOST_RUNS, MOST_EXTENSIONS = 10_000, 100
"""Most runs of an arm and most rates added at an end of the grid: more is a slip of the hand."""


@dataclass(frozen=True)
class Tuning:
    """How every arm is tuned, all alike: a grid, on validation error, with seeds that no reported run has.

    Args:
        learning_rates: Rising, evenly spaced on a log scale; one value means no tuning of the rate.
        weight_decays: Rising; one value means no tuning of the decay.
        seeds: One trial per point of the grid and seed.
        extensions: How many rates may be added below and above, for all arms, while some arm is best at an edge.
        shared: Also run the contrasts at the one setting that is best on average, to show what tuning changed.
    """

    learning_rates: tuple[float, ...] = (0.02, 0.05, 0.125, 0.3125, 0.78125)
    weight_decays: tuple[float, ...] = (1e-4, 1e-3)
    seeds: tuple[int, ...] = (1000,)
    extensions: int = 2
    shared: bool = True


@dataclass(frozen=True)
class Seeds:
    """How many runs an arm has: pilot runs give the spread, the power table the number, the cap an end.

    Args:
        pilot: Runs per arm before the number is chosen; they count.
        cap: Most runs per arm.
        first: The seeds are first, first + 1, ...
        power: Chance aimed at of finding a difference as large as the margin.
    """

    pilot: int = 3
    cap: int = 5
    first: int = 0
    power: float = 0.8


@dataclass(frozen=True)
class Plan:
    """A study as it was declared; equal plans are equal studies.

    Args:
        base: The run every arm shares; its model, seed, learning rate and weight decay are replaced.
        arms: The networks compared, budget by budget.
        hypothesis: What is asked, in words.
        margin: Smallest difference in test error that matters, a share.
        tuning: How every arm is tuned.
        seeds: How the number of runs is chosen.
        rule: How contrasts become the verdict.
        command: What was typed to start the study; not part of its identity.
    """

    base: RunConfig
    arms: tuple[Arm, ...]
    hypothesis: str
    margin: float = 0.005
    tuning: Tuning = field(default_factory=Tuning)
    seeds: Seeds = field(default_factory=Seeds)
    rule: str = RULE
    command: str = ""

    @property
    def budgets(self) -> tuple[str, ...]:
        """Budgets in words, in the order of the arms."""
        return tuple(dict.fromkeys(arm.budget_label for arm in self.arms))

    def of(self, budget: str) -> tuple[Arm, ...]:
        """The arms of one budget, the shallowest first."""
        return tuple(sorted((a for a in self.arms if a.budget_label == budget), key=lambda a: (a.depth, -a.width)))

    def contrast(self, budget: str) -> tuple[Arm, Arm]:
        """(deeper, wider): the arms that the verdict compares, chosen by depth and width alone."""
        arms = self.of(budget)
        deepest = max(arm.depth for arm in arms)
        return min((a for a in arms if a.depth == deepest), key=lambda a: a.width), arms[0]


def make_plan(
    base: RunConfig,
    arms: Sequence[Arm],
    *,
    hypothesis: str = "",
    margin: float = 0.005,
    tuning: Tuning | None = None,
    seeds: Seeds | None = None,
    command: str = "",
) -> Plan:
    """Declare a study.

    Args:
        base: The run every arm shares.
        arms: Two depths or more at every budget, every arm named once.
        hypothesis: What is asked; empty: the project's question in the arms' own numbers.
        margin: Smallest difference in test error that matters, a share such as 0.005.
        tuning: How every arm is tuned; None: the default grid.
        seeds: How the number of runs is chosen; None: 3 pilot runs, 5 at most.
        command: What the user typed, for the report.

    Returns:
        The plan; its contrasts follow from depth and width alone.

    Raises:
        InputError: Something that no study can have, by name.
    """
    tuning, seeds = tuning or Tuning(), seeds or Seeds()
    arms = tuple(arms)
    plan = Plan(base, arms, hypothesis, margin, tuning, seeds, command=command)
    check_plan(plan)
    return plan if hypothesis else replace(plan, hypothesis=_hypothesis(base, arms))


def check_plan(plan: Plan) -> None:
    """Refuse what no study can have.

    Raises:
        InputError: There is something, by name.
    """
    _check_arms(plan)
    _check_numbers(plan.margin, plan.tuning, plan.seeds)
    tuning, seeds = plan.tuning, plan.seeds
    own = range(seeds.first, seeds.first + seeds.cap)
    if shared := [seed for seed in tuning.seeds if seed in own]:
        raise InputError(
            f"tuning.seeds={tuning.seeds}: {shared[0]} is the seed of a reported run too; "
            "tune with seeds of their own, such as 1000"
        )


def _hypothesis(base: RunConfig, arms: Sequence[Arm]) -> str:
    budgets = " and ".join(dict.fromkeys(arm.budget_label for arm in arms))
    return (
        f"On {base.data.name}, {arms[0].family} networks of {budgets}: the deepest and the widest differ in test error."
    )


def _check_arms(plan: Plan) -> None:
    for arm in plan.arms:
        if arm.kind not in KINDS or not 0 < arm.budget < MOST_BUDGET:
            given = f"{shortened(arm.budget)} {shortened(arm.kind)}"
            raise InputError(f"arms holds a budget of {given}: give a positive number of {', '.join(KINDS)}")
    twice = [name for name, count in Counter(arm.label for arm in plan.arms).items() if count > 1]
    if twice:
        raise InputError(f"arms holds {twice[0]} more than once: give each arm a depth and width of its own")
    for budget in plan.budgets:
        depths = sorted({arm.depth for arm in plan.of(budget)})
        if len(depths) < 2:
            raise InputError(f"arms of {budget} have the depths {depths}: deeper against wider needs two or more")
    if not plan.arms:
        raise InputError("arms=(): give two or more, of different depths (match_width solves them)")
    for arm in plan.arms:
        if min(arm.depth, arm.width) < 1 or min(arm.params, arm.macs, arm.activations) < 0:
            raise InputError(f"arms holds {arm.label}: depth and width must be positive, and no count negative")


def _check_numbers(margin: float, tuning: Tuning, seeds: Seeds) -> None:
    if not 0 < margin < 1:
        raise InputError(f"margin={margin}: give a share of the test images between 0 and 1, such as 0.005")
    for name in ("learning_rates", "weight_decays", "seeds"):
        values = getattr(tuning, name)
        rising = all(low < high for low, high in pairwise(values))
        # Six digits name a run's folder, and no two settings may share one.
        apart = name == "seeds" or len({f"{value:.6g}" for value in values}) == len(values)
        if not values or not rising or not apart or not all(0 <= value < math.inf for value in values):
            raise InputError(
                f"tuning.{name}={tuple(values)}: give one or more different numbers, rising, finite, none negative"
            )
    if min(tuning.learning_rates) <= 0:
        raise InputError(f"tuning.learning_rates={tuning.learning_rates}: learning rates must be positive")
    if not 0 <= tuning.extensions <= MOST_EXTENSIONS:
        raise InputError(
            f"tuning.extensions={tuning.extensions}: must lie in 0..{MOST_EXTENSIONS}; 0 keeps the grid as it is"
        )
    if not (1 <= seeds.pilot <= seeds.cap <= MOST_RUNS and seeds.first >= 0):
        raise InputError(f"seeds={seeds}: needs 1 <= pilot <= cap <= {MOST_RUNS} and first >= 0")
    if max(seeds.first + seeds.cap, *tuning.seeds) >= 2**63:
        raise InputError(f"seeds={seeds}, tuning.seeds={tuning.seeds}: seeds must be below 2^63; choose smaller ones")
    if not 0 < seeds.power < 1:
        raise InputError(f"seeds.power={seeds.power}: give a probability between 0 and 1, such as 0.8")
