"""What a study found: one row an arm, and the verdict of the contrast that was declared before the first run."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from jaxcnn.study.arm import Arm
from jaxcnn.study.results import RunRecord, StudyResult
from jaxcnn.study.statistics import Decision, Interval, decide, detectable, mean_interval, seeds_needed, welch_interval


class ArmSummary(NamedTuple):
    """One arm over its seeds; errors are shares between 0 and 1.

    Args:
        arm: The network and its cost.
        test_error: Mean with its 95 % interval.
        test_errors: One a seed.
        validation_error: Mean over seeds.
        train_error: Mean over seeds, in the last epoch.
        step: Seconds per training step, median over runs.
        diverged: Runs whose training loss was not finite at the end.
    """

    arm: Arm
    test_error: Interval
    test_errors: tuple[float, ...]
    validation_error: float
    train_error: float
    step: float
    diverged: int


@dataclass(frozen=True)
class Verdict:
    """The answer, and how far it carries.

    Args:
        decision: deeper, wider or not resolved.
        contrast: Test error of the deeper arm minus that of the wider arm, a share, with Welch's 95 % interval.
        seeds: Runs per arm.
        sentence: The verdict in words: effect, interval, seeds, and what it concerns.
        scope: What it would take to say more.
    """

    decision: Decision
    contrast: Interval
    seeds: int
    sentence: str
    scope: str


def summarise(result: StudyResult) -> tuple[ArmSummary, ...]:
    """One row per arm, in the plan's order."""
    return tuple(_summary(arm, result.of(arm), 1 / test_size(result)) for arm in result.plan.arms)


def test_size(result: StudyResult) -> int:
    """Images in the test split."""
    return int(result.data["sizes"]["test"])


def judge(result: StudyResult) -> Verdict:
    """Apply the plan's rule to its declared contrast.

    Args:
        result: A finished study.

    Returns:
        The verdict with its sentences.
    """
    rows = {row.arm.label: row for row in summarise(result)}
    deeper, wider = rows[result.plan.deeper], rows[result.plan.wider]
    images = test_size(result)
    contrast = welch_interval(deeper.test_errors, wider.test_errors, resolution=1 / images)
    decision = decide(contrast)
    seeds = len(result.plan.seeds)
    sentence = (
        f"{_lead(decision, contrast, deeper.arm, wider.arm)}; {_measured(contrast, seeds)}, on this fixed test set of "
        f"{images:,} {result.data['name']} images and with one set of hyper-parameters shared by all arms, tuned for "
        "none of them."
    )
    return Verdict(decision, contrast, seeds, sentence, _scope(decision, contrast, deeper, wider, images))


def points(share: float) -> str:
    """A share of test images in percentage points or percent, two decimals."""
    return "unknown" if not math.isfinite(share) else f"{100 * share:.2f}".replace("-0.00", "0.00")


def _summary(arm: Arm, runs: tuple[RunRecord, ...], resolution: float) -> ArmSummary:
    errors = tuple(1 - run.metrics["test_accuracy"] for run in runs)
    return ArmSummary(
        arm=arm,
        test_error=mean_interval(errors, resolution=resolution),
        test_errors=errors,
        validation_error=sum(1 - run.metrics["validation_accuracy"] for run in runs) / len(runs),
        train_error=sum(1 - run.metrics["train_accuracy"] for run in runs) / len(runs),
        step=float(np.median([run.seconds["step"] for run in runs])),
        diverged=sum(not math.isfinite(run.metrics["train_loss"]) for run in runs),
    )


def _name(arm: Arm) -> str:
    return f"depth {arm.depth} (width {arm.width})"


def _lead(decision: Decision, contrast: Interval, deeper: Arm, wider: Arm) -> str:
    budget = f"at {deeper.budget:,} parameters"
    pair = f"{_name(deeper)} and {_name(wider)}"
    if decision == "not resolved":
        if not math.isfinite(contrast.half_width):
            return f"Not resolved: {budget} one seed per arm cannot tell {pair} apart"
        return f"Not resolved: {budget} the test errors of {pair} cannot be told apart"
    first, second = (deeper, wider) if decision == "deeper" else (wider, deeper)
    return f"{decision.capitalize()}: {budget} {_name(first)} has a lower test error than {_name(second)}"


def _measured(contrast: Interval, seeds: int) -> str:
    effect = f"deeper minus wider is {100 * contrast.estimate:+.2f} percentage points"
    if not math.isfinite(contrast.half_width):
        return f"{effect} without an interval ({seeds} seed per arm)"
    low, high = 100 * contrast.low, 100 * contrast.high
    return f"{effect} (95 % interval {low:+.2f} to {high:+.2f}, Welch over {seeds} seeds per arm)"


def _scope(decision: Decision, contrast: Interval, deeper: ArmSummary, wider: ArmSummary, images: int) -> str:
    seeds = len(deeper.test_errors)
    tuning = "learning rates tuned for each arm on validation data"
    if seeds < 2:
        return f"To resolve it: two or more seeds per arm, since one shows no spread, and {tuning}."
    spread = _spread(deeper, wider, 1 / images)
    least = points(detectable(spread, seeds))
    beyond = f"an interval over test images as well as seeds ({images:,} images are one sample), and {tuning}"
    if decision != "not resolved":
        return f"To say more than that, for other images or for tuned nets, would take {beyond}."
    needed = seeds_needed(contrast.estimate, spread)
    more = f"about {needed:,} seeds per arm" if needed else "more than 1,000 seeds per arm"
    return (
        f"With this spread, {seeds} seeds per arm find a true difference of {least} points or more in four studies of "
        f"five; if the difference seen here is the true one, finding it takes {more}. "
        f"A claim beyond this test set would take {beyond}."
    )


def _spread(deeper: ArmSummary, wider: ArmSummary, resolution: float) -> float:
    """Standard deviation over seeds, pooled over two arms and no less than that of a rounding to one image."""
    variances = [np.var(row.test_errors, ddof=1) for row in (deeper, wider)]
    return math.sqrt(float(np.mean(np.maximum(variances, resolution**2 / 12))))
