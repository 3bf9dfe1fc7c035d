"""What the analysis of a study finds, as plain values: the report shows them, analysis.json stores them."""

from __future__ import annotations

from typing import Literal, NamedTuple

from jaxcnn.study.arm import Arm
from jaxcnn.study.result import Cost
from jaxcnn.study.statistics.seeds import Interval
from jaxcnn.study.statistics.trend import DepthFit
from jaxcnn.study.tuning import Setting

Decision = Literal["deeper", "wider", "equivalent", "inconclusive"]
Scope = Literal["population", "test set", "none"]


class ArmFinding(NamedTuple):
    """One arm over its seeds, at its own tuned setting; errors are shares between 0 and 1.

    Args:
        arm: The network, its budget and its counted costs.
        setting: Learning rate and weight decay that tuning gave it.
        edge: The rate lies at an edge of what was tried: a better one may lie beyond.
        test_error: Mean over seeds with Student's 95 % interval.
        test_errors: One a seed.
        validation_error: Mean over seeds.
        train_error: Mean over seeds, in the last epoch.
        train_loss: Mean over seeds, nats, in the last epoch.
        test_loss: Mean over seeds, nats.
        tuning_error: Validation error of the tuning trials at its setting; NaN where nothing was tuned.
        expected_best: Expected best validation error of 1, 2, ... trials drawn from its grid (Dodge et al. 2019).
        cost: Memory and time of a training step, None where they were not measured.
        step: Seconds a step, median over its runs, on the machine as busy as it was.
        diverged: Runs whose loss was not finite at the end.
        diverged_trials: Tuning trials likewise.
        seed_consistency: Error consistency (kappa) between seeds of this arm, mean over pairs; NaN with one seed.
    """

    arm: Arm
    setting: Setting
    edge: bool
    test_error: Interval
    test_errors: tuple[float, ...]
    validation_error: float
    train_error: float
    train_loss: float
    test_loss: float
    tuning_error: float
    expected_best: tuple[float, ...]
    cost: Cost | None
    step: float
    diverged: int
    diverged_trials: int
    seed_consistency: float


class ClassFinding(NamedTuple):
    """Deeper minus wider on the test images of one class (exploratory).

    Args:
        name: The class.
        images: Test images of it.
        difference: Population estimate with its 95 % interval, a share.
        p: Two-sided.
        q: The same after Benjamini and Hochberg over the classes.
    """

    name: str
    images: int
    difference: Interval
    p: float
    q: float


class ContrastFinding(NamedTuple):
    """The primary contrast of one budget: test error of the deeper arm minus that of the wider arm, a share.

    Args:
        budget: In words.
        deeper: The deepest arm.
        wider: The shallowest, widest arm.
        settings: Of the deeper and the wider arm in these runs.
        seeds: Runs per arm.
        population: Estimate and 95 % interval over new seeds and new images (crossed).
        population90: The 90 % interval that TOST reads.
        population_p: Two-sided, before correction.
        population_holm: After Holm over the budgets.
        bootstrap: Percentile interval of the crossed bootstrap, None with too few seeds for one.
        parts: Variance of the difference by source: seeds, examples.
        fixed: Welch's estimate and 95 % interval over seeds on this test set.
        fixed_p: Two-sided, before correction.
        fixed_holm: After Holm over the budgets.
        tost: p-value of equivalence within the margin.
        superiority: Probability that a run of the deeper arm beats one of the wider arm, with its 95 % interval.
        consistency: Error consistency (kappa) between the arms, mean over pairs of runs.
        detectable: Least true difference that this many seeds find in four studies of five, on this test set.
        needed: Seeds per arm that find the difference seen, None: over a thousand or unknown.
        classes: By class, exploratory.
        decision: By the plan's rule.
        scope: population, test set, or none where nothing is claimed.
        sentence: The decision in words.
    """

    budget: str
    deeper: Arm
    wider: Arm
    settings: tuple[Setting, Setting]
    seeds: int
    population: Interval
    population90: Interval
    population_p: float
    population_holm: float
    bootstrap: Interval | None
    parts: dict[str, float]
    fixed: Interval
    fixed_p: float
    fixed_holm: float
    tost: float
    superiority: Interval
    consistency: float
    detectable: float
    needed: int | None
    classes: tuple[ClassFinding, ...]
    decision: Decision
    scope: Scope
    sentence: str


class TrendFinding(NamedTuple):
    """Test error (a share) against depth at one budget; fit is None below three depths."""

    budget: str
    fit: DepthFit | None


class FrontFinding(NamedTuple):
    """The Pareto front of test error against one resource.

    Args:
        resource: params, macs, memory (bytes) or time (seconds a step).
        costs: By arm, in the plan's order.
        front: Labels of the arms that no other arm beats in both.
    """

    resource: str
    costs: tuple[float, ...]
    front: tuple[str, ...]


class ProtocolPoint(NamedTuple):
    """One point of the protocol: what it asks, whether this study did it, and by what.

    Args:
        number: 1 to 12.
        asks: The point, in a line.
        met: yes, partly or no.
        evidence: What the study did, in numbers where it can be.
    """

    number: int
    asks: str
    met: Literal["yes", "partly", "no"]
    evidence: str


class Findings(NamedTuple):
    """All that a study found.

    Args:
        decision: Over all budgets.
        scope: Over all budgets: the narrowest of the contrasts'.
        sentence: The verdict: decision, effect, interval, what it generalises to.
        change: What would change it, or resolve it.
        arms: In the plan's order.
        contrasts: One a budget, each arm at its own setting.
        shared: The same with both arms at the one shared setting; empty where that was not run.
        trends: One a budget.
        fronts: One a resource.
        protocol: The twelve points.
    """

    decision: Decision
    scope: Scope
    sentence: str
    change: str
    arms: tuple[ArmFinding, ...]
    contrasts: tuple[ContrastFinding, ...]
    shared: tuple[ContrastFinding, ...]
    trends: tuple[TrendFinding, ...]
    fronts: tuple[FrontFinding, ...]
    protocol: tuple[ProtocolPoint, ...]
