"""Results of a study's analysis as plain values: the report shows them, analysis.json stores them."""

import math
from typing import Literal, NamedTuple

from jaxcnn.spec import StepCost
from jaxcnn.study.arm import Arm
from jaxcnn.study.rule import Decision, Scope
from jaxcnn.study.statistics.seeds import Interval
from jaxcnn.study.statistics.smoothing import Retuning
from jaxcnn.study.statistics.trend import DepthFit
from jaxcnn.study.tuning import Setting


class ArmFinding(NamedTuple):
    """One arm at its own tuned setting: means over seeds, errors as shares between 0 and 1, losses in nats."""

    arm: Arm  #: The network, its budget and its counted costs.
    setting: Setting  #: Tuned learning rate and weight decay.
    #: The learning rate (method smooth: or the decay) is the lowest or highest tried: a better one may lie beyond.
    edge: bool
    test_error: Interval  #: Mean with Student's 95 % interval.
    test_errors: tuple[float, ...]  #: Test error of each seed.
    validation_error: float  #: Last epoch.
    train_error: float  #: Last epoch.
    train_loss: float  #: Last epoch.
    test_loss: float  #: Last epoch.
    #: Validation error of the tuning trials at this setting (method smooth: by the curve); NaN without tuning.
    tuning_error: float
    expected_best: tuple[float, ...]  #: Expected best validation error of 1, 2, ... trials (Dodge et al. 2019).
    cost: StepCost | None  #: Memory and time of a training step; None if not measured.
    step: float  #: Seconds per step, median over the runs, on a machine that may have been busy.
    diverged: int  #: Number of runs whose loss was not finite at the end.
    diverged_trials: int  #: Number of such tuning trials.
    seed_consistency: float  #: Error consistency (kappa) between seeds, mean over pairs; NaN with one seed.
    #: What another tuning would do; None without tuning, and where the verdict is conditional on it.
    retuning: Retuning | None = None


class ClassFinding(NamedTuple):
    """Deeper minus wider on the test images of one class (exploratory)."""

    name: str  #: The class.
    images: int  #: Number of its test images.
    difference: Interval  #: Population estimate with its 95 % interval, a share.
    p: float  #: Two-sided p-value.
    q: float  #: The p-value after Benjamini and Hochberg over the classes.


class ContrastFinding(NamedTuple):
    """A contrast of one budget, such as its ends: test error of the deeper arm minus that of the wider arm, a share.

    Where two families are compared, the first family has the place of the deeper arm, the second that of the wider.
    """

    budget: str  #: The budget in words.
    deeper: Arm  #: The deepest arm, or the interior one.
    wider: Arm  #: The shallowest, widest arm, or the interior one.
    settings: tuple[Setting, Setting]  #: Settings of the deeper and the wider arm in these runs.
    seeds: int  #: Runs per arm; with folds, repeats.
    #: Estimate and 95 % interval over new seeds, new images (crossed) and, where the rule has it, new tuning.
    population: Interval
    population90: Interval  #: The same with its 90 % interval, for TOST.
    population_p: float  #: Two-sided p-value, not corrected.
    population_holm: float  #: The p-value after Holm over the contrasts.
    bootstrap: Interval | None  #: 95 % interval of the crossed bootstrap; None with a single seed.
    parts: dict[str, float]  #: Shares of the variance of the difference: seeds, examples, tuning (where it counts).
    fixed: Interval  #: Welch's estimate and 95 % interval over seeds on this test set.
    fixed_p: float  #: Two-sided p-value, not corrected.
    fixed_holm: float  #: The p-value after Holm over the budgets.
    tost: float  #: P-value of equivalence within the margin.
    tost_holm: float  #: The same as the rule uses it: corrected by Holm, or not at all.
    superiority: Interval  #: Probability that a deeper run beats a wider one, with its 95 % interval.
    consistency: float  #: Error consistency (kappa) between the arms, mean over pairs of runs.
    #: Smallest true difference that these seeds detect with 80 % power: for new images and new tuning, too, where the
    #: verdict includes tuning, else on this test set.
    detectable: float
    needed: int | None  #: Seeds per arm that detect the observed difference; None if more than 1,000 or unknown.
    classes: tuple[ClassFinding, ...]  #: The contrast by class, exploratory.
    decision: Decision  #: Decision by the plan's rule; for the first contrast of a budget, that of the budget.
    scope: Scope  #: What the decision holds for.
    sentence: str = ""  #: The decision in words.
    #: Smallest true difference that any number of seeds detects, as images and tuning vary, too; NaN: not computed.
    endless: float = math.nan
    groups: int = 0  #: Number of groups of test images, which are the sample then; 0: each image stands for itself.
    folds: int = 0  #: Number of folds of a cross-validated study, whose seeds are repeats; 0: not cross-validated.
    resampled: bool = False  #: Whether every run has training images of its own, so that seeds stand for them, too.

    @property
    def retuned(self) -> bool:
        """Whether interval and p-value hold for new tuning, too."""
        return "tuning" in self.parts

    @property
    def sides(self) -> tuple[str, str]:
        """What is compared: deeper and wider, or the names of two families."""
        return self.deeper.name or "deeper", self.wider.name or "wider"

    @property
    def runs(self) -> str:
        """Runs per arm in words: 5 seeds, or 3 repeats of 5 folds."""
        name = "repeat" if self.folds else "seed"
        return f"{self.seeds:,} {name}{'s' * (self.seeds != 1)}" + (f" of {self.folds} folds" if self.folds else "")

    @property
    def outcome(self) -> str:
        """Decision and scope in a few words: wider (test set)."""
        return self.decision if self.scope == "none" else f"{self.decision} ({self.scope})"


class TrendFinding(NamedTuple):
    """Test error (a share) against depth at one budget; fit is None below three depths."""

    budget: str  #: The budget in words.
    fit: DepthFit | None  #: Quadratic in log depth.


class FrontFinding(NamedTuple):
    """The Pareto front of test error against one resource."""

    resource: str  #: params, macs, memory (bytes) or time (seconds per step).
    costs: tuple[float, ...]  #: Cost of each arm, in the plan's order.
    front: tuple[str, ...]  #: Labels of the arms on the front.


class ProtocolPoint(NamedTuple):
    """One point of the protocol and whether this study meets it."""

    number: int  #: 1 to 12.
    asks: str  #: The requirement, in a line.
    met: Literal["yes", "partly", "no"]  #: Whether the study meets it.
    evidence: str  #: What the study did, in numbers where possible.


class Findings(NamedTuple):
    """All results of a study."""

    decision: Decision  #: Decision over all budgets.
    scope: Scope  #: What it holds for: the narrowest scope of the contrasts.
    sentence: str  #: The verdict: decision, effect, interval, what it generalises to.
    change: str  #: What would change the verdict, or resolve it.
    arms: tuple[ArmFinding, ...]  #: Results by arm, in the plan's order.
    contrasts: tuple[ContrastFinding, ...]  #: The two ends, one per budget, each arm at its own setting.
    shared: tuple[ContrastFinding, ...]  #: The same with both arms at the shared setting; empty if no runs differ.
    trends: tuple[TrendFinding, ...]  #: One per budget.
    fronts: tuple[FrontFinding, ...]  #: One per resource.
    protocol: tuple[ProtocolPoint, ...]  #: The twelve points.
    #: The best interior depth against the widest arm and the deepest arm against it, two per budget with three depths.
    between: tuple[ContrastFinding, ...] = ()
    #: Winner's curse: validation error of an arm's runs minus that which its tuning promised, a share; mean over the
    #: arms with Student's 95 % interval. The promise is `tuning_error`, plus `retuning.optimism`. None without tuning.
    curse: Interval | None = None

    def at(self, budget: str) -> list[ArmFinding]:
        """Return the arms of one budget: the shallowest first, of those the widest; or in the order of the families."""
        arms = (finding for finding in self.arms if finding.arm.budget_label == budget)
        return sorted(arms, key=lambda each: (0, 0) if each.arm.name else (each.arm.depth, -each.arm.width))

    def of(self, arm: Arm) -> ArmFinding:
        """Return the finding of one arm."""
        return next(finding for finding in self.arms if finding.arm.label == arm.label)
