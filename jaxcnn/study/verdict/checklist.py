"""The twelve points of a trustworthy comparison, as a checklist that each study fills in from its own records."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from jaxcnn.study.result import StudyResult
from jaxcnn.study.verdict.findings import ArmFinding, ContrastFinding, ProtocolPoint

Met = Literal["yes", "partly", "no"]
KINDS = {"params": "parameters", "macs": "MACs", "activations": "activations", "seconds": "time per step"}
MOST_MISMATCH = 0.01


def protocol(
    result: StudyResult, arms: Sequence[ArmFinding], contrasts: Sequence[ContrastFinding]
) -> tuple[ProtocolPoint, ...]:
    """Fill in the checklist.

    Args:
        result: The study.
        arms: Its arms' findings.
        contrasts: Its contrasts' findings.

    Returns:
        Twelve points, each with what the study did; a point is met only by what its records show.
    """
    checks: tuple[tuple[str, tuple[Met, str]], ...] = (
        ("Hypothesis, margin, arms, budgets and tests stated before the first run", _declared(result)),
        ("One family; only depth and width vary; with and without skips", _family(result)),
        ("Budgets matched within 1 %, and repeated under MACs, memory and time", _matched(result, arms)),
        ("A curve: four depth/width points or more per budget, three budgets or more", _curve(result)),
        ("Validation frozen by index and hash; the test set read once, at the last epoch", _splits(result)),
        (
            "The same tuning effort for every arm, with seeds of its own; edges extended or flagged",
            _tuning(result, arms),
        ),
        ("Validation error against learning rate per arm, and the verdict at one shared rate", _sensitivity(result)),
        ("Pilot seeds give the spread, the power table the number of seeds", _seeds(result)),
        ("Population interval, fixed-test Welch, P(better), Holm and Benjamini-Hochberg", _tests(contrasts)),
        ("Training error beside test error", _training(arms)),
        ("Positive and negative controls", ("partly", CONTROLS)),
        ("Per-example predictions, versions, hardware, wall time, ranges and run count stored", _stored(result)),
    )
    return tuple(ProtocolPoint(number, asks, *check) for number, (asks, check) in enumerate(checks, start=1))


CONTROLS = (
    "not part of one study: the A-vs-A and planted-handicap controls are the project's tests, the plain against "
    "residual reversal is experiments/degradation.py, the published pairs are experiments/wide_resnet_pairs.py"
)


def _declared(result: StudyResult) -> tuple[Met, str]:
    plan = result.plan
    return "yes", f"plan.json, sealed before the first run; margin {100 * plan.margin:g} points; {plan.hypothesis}"


def _family(result: StudyResult) -> tuple[Met, str]:
    families = sorted({arm.family for arm in result.plan.arms})
    specs = [arm.spec for arm in result.plan.arms if arm.spec is not None]
    skip = {spec.skip for spec in specs if spec.skip is not None}
    words = {True: "with skips only", False: "without skips only"}
    shown = words.get(next(iter(skip)), "") if len(skip) == 1 else "the family's default connections only"
    met: Met = "partly" if len(families) == 1 else "no"
    return met, f"{', '.join(families)}; {shown}: the other half is a study of its own (report both with jaxcnn report)"


def _matched(result: StudyResult, arms: Sequence[ArmFinding]) -> tuple[Met, str]:
    worst = max(abs(arm.mismatch) for arm in result.plan.arms)
    kinds = sorted({arm.kind for arm in result.plan.arms})
    measured = all(arm.cost is not None for arm in arms)
    shown = "all four ledgers are shown" if measured else "memory and time were not measured"
    text = f"matched in {' and '.join(KINDS[kind] for kind in kinds)}, largest mismatch {100 * worst:.2f} %; {shown}"
    if worst > MOST_MISMATCH:
        return "no", text
    return ("yes" if len(kinds) > 1 and measured else "partly"), text


def _curve(result: StudyResult) -> tuple[Met, str]:
    counts = [len({arm.depth for arm in result.plan.of(budget)}) for budget in result.plan.budgets]
    text = f"{len(counts)} budget{'s' * (len(counts) > 1)} with {', '.join(map(str, counts))} depths"
    if min(counts) >= 4:
        return ("yes" if len(counts) >= 3 else "partly"), text
    return "no", text


def _splits(result: StudyResult) -> tuple[Met, str]:
    sizes = result.data["sizes"]
    digest = str(result.data.get("validation_hash", ""))
    return "yes", (
        f"{sizes['validation']:,} validation images, hash {digest[:16]}; {sizes['test']:,} test images, opened after "
        "the last epoch of each reported run and never by a tuning run"
    )


def _tuning(result: StudyResult, arms: Sequence[ArmFinding]) -> tuple[Met, str]:
    trials = [len(found) for found in result.tuned.trials.values()]
    if not max(trials):
        return "no", "one setting for all arms, tuned for none of them"
    rates = sorted({trial.setting.learning_rate for found in result.tuned.trials.values() for trial in found})
    decays = sorted({trial.setting.weight_decay for found in result.tuned.trials.values() for trial in found})
    flagged = [f"depth {arm.arm.depth} at {arm.arm.budget_label}" for arm in arms if arm.edge]
    text = (
        f"{trials[0]} trials per arm: {len(rates)} learning rates {rates[0]:g} to {rates[-1]:g}, weight decays "
        f"{', '.join(f'{decay:g}' for decay in decays)}, seeds {', '.join(map(str, result.plan.tuning.seeds))}"
    )
    enough = len(rates) >= 5 and len(decays) >= 2 and not flagged
    return ("yes" if enough else "partly"), text + (f"; best at an edge: {', '.join(flagged)}" if flagged else "")


def _sensitivity(result: StudyResult) -> tuple[Met, str]:
    if not any(result.tuned.trials.values()):
        return "no", "nothing was tuned"
    rate, decay = result.tuned.shared
    text = f"the shared setting is learning rate {rate:g}, weight decay {decay:g}"
    if not result.plan.tuning.shared:
        return "partly", f"{text}; the contrasts were not run at it"
    return "yes", text


def _seeds(result: StudyResult) -> tuple[Met, str]:
    pilot, plan = result.pilot, result.plan.seeds
    used = f"{len(pilot.seeds)} seeds per arm"
    if pilot.spread is None:
        return "no", f"{used}, without a pilot"
    asked = f"{pilot.needed:,}" if pilot.needed else "more than 1,000"
    text = (
        f"{plan.pilot} pilot runs per arm: validation error varies by {100 * pilot.spread:.2f} points (sd); a "
        f"difference of {100 * result.plan.margin:g} points needs {asked} seeds; {used} (cap {plan.cap})"
    )
    return ("yes" if pilot.needed is not None and len(pilot.seeds) >= pilot.needed else "partly"), text


def _tests(contrasts: Sequence[ContrastFinding]) -> tuple[Met, str]:
    if any(contrast.seeds < 2 for contrast in contrasts):
        return "no", "a single seed per arm has no spread to test with"
    count = len(contrasts)
    return "yes", f"{count} primary contrast{'s' * (count > 1)}, Holm over them; classes are exploratory"


def _training(arms: Sequence[ArmFinding]) -> tuple[Met, str]:
    worst = max(arms, key=lambda arm: arm.train_error)
    return "yes", f"highest training error {100 * worst.train_error:.2f} % (depth {worst.arm.depth})"


def _stored(result: StudyResult) -> tuple[Met, str]:
    trials = sum(len(found) for found in result.tuned.trials.values())
    seconds = sum(run.seconds["total"] for run in result.runs)
    return "yes", (
        f"predictions.npz, runs.json, tuning.json: {len(result.runs)} reported runs ({seconds:,.0f} s, compilation "
        f"included) and {trials} tuning trials"
    )
