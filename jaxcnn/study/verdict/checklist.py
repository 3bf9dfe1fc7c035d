"""The twelve points of a trustworthy comparison, checked against a study's own records."""

from collections.abc import Sequence
from typing import Literal

from jaxcnn.study.result import StudyResult
from jaxcnn.study.rule import rule_named
from jaxcnn.study.verdict.findings import ArmFinding, ContrastFinding, ProtocolPoint
from jaxcnn.study.verdict.formatting import RESOURCES, plural, short_name

Check = tuple[Literal["yes", "partly", "no"], str]
"""Whether a point is met, and the evidence."""
MOST_MISMATCH = 0.01
CONTROLS = (
    "not part of a single study: the A-vs-A and planted-handicap controls are tests of this project, the reversal of "
    "plain against residual networks is experiments/degradation.py, the published pairs are "
    "experiments/wide_resnet_pairs.py"
)


def protocol(
    result: StudyResult, arms: Sequence[ArmFinding], contrasts: Sequence[ContrastFinding]
) -> tuple[ProtocolPoint, ...]:
    """Check the twelve points; a point is met only if the study's records show it."""
    plan, sizes = result.plan, result.data["sizes"]
    trials = [trial for arm in result.tuning.arms.values() for trial in arm.trials]
    worst = max(arms, key=lambda arm: arm.train_error)
    tests: Check = "yes", f"{plural(len(contrasts), 'primary contrast')}, Holm over them; classes are exploratory"
    if rule_named(plan.rule).retuned:
        tests = "yes", f"{plural(len(contrasts), 'contrast')}, two tests each, Holm over all; classes are exploratory"
    if any(contrast.seeds < 2 for contrast in contrasts):
        tests = "no", "a single seed per arm has no spread to test with"
    checks: tuple[tuple[str, Check], ...] = (
        (
            "Hypothesis, margin, arms, budgets and tests stated before the first run",
            ("yes", f"plan.json, sealed before the first run; margin {100 * plan.margin:g} points; {plan.hypothesis}"),
        ),
        (
            "One family; only depth and width vary; with and without skip connections",
            ("no", f"two families are compared: {', '.join(plan.sides)}") if plan.families else _family(result),
        ),
        ("Budgets matched within 1 %, and the study repeated under MACs, memory and time", _matched(result, arms)),
        ("A curve: at least four depth/width points per budget and at least three budgets", _curve(result)),
        (
            "Validation split fixed by index and hash; test set read once, after the last epoch",
            ("yes", f"{sizes['validation']:,} validation images, hash {result.data.get('validation_hash', '')[:16]}; "
                    f"{sizes['test']:,} test images, opened after the last epoch of each reported run and never by a "
                    "tuning run"),
        ),
        ("The same tuning effort for every arm, with separate seeds; edges extended or flagged", _tuning(result, arms)),
        ("Validation error against learning rate per arm, and the verdict at one shared rate", _sensitivity(result)),
        ("Number of seeds chosen from the spread of pilot runs and a power table", _seeds(result)),
        ("Population interval, Welch on this test set, P(better), Holm and Benjamini-Hochberg", tests),
        (
            "Training error reported beside test error",
            ("yes", f"highest training error {100 * worst.train_error:.2f} % ({short_name(worst.arm)})")
            if "train" in plan.measure.splits
            else ("no", f"{plan.measure.text} is not measured on training images"),
        ),
        ("Positive and negative controls", ("partly", CONTROLS)),
        (
            "Per-example predictions, versions, hardware, wall time, ranges and run count stored",
            ("yes", f"predictions.npz, runs.json, tuning.json: {len(result.runs)} reported runs "
                    f"({sum(run.seconds['total'] for run in result.runs):,.0f} s, compilation included) and "
                    f"{len(trials)} tuning trials"),
        ),
    )  # fmt: skip
    return tuple(ProtocolPoint(number, asks, *check) for number, (asks, check) in enumerate(checks, start=1))


def _family(result: StudyResult) -> Check:
    families = sorted({arm.family for arm in result.plan.arms})
    skips = {arm.spec.options["skip"] for arm in result.plan.arms if arm.spec and "skip" in arm.spec.options}
    shown = "the family's default connections only"
    if len(skips) == 1:
        shown = "with skips only" if True in skips else "without skips only"
    text = f"{', '.join(families)}; {shown}: the other half is a separate study (report both with jaxcnn report)"
    return ("partly" if len(families) == 1 else "no"), text


def _matched(result: StudyResult, arms: Sequence[ArmFinding]) -> Check:
    worst = max(abs(arm.mismatch) for arm in result.plan.arms)
    kinds = sorted({arm.kind for arm in result.plan.arms})
    measured = all(arm.cost is not None for arm in arms)
    shown = "all four ledgers are shown" if measured else "memory and time were not measured"
    names = " and ".join(RESOURCES[kind] for kind in kinds)
    text = f"matched in {names}, largest mismatch {100 * worst:.2f} %; {shown}"
    if worst > MOST_MISMATCH:
        return "no", text
    return ("yes" if len(kinds) > 1 and measured else "partly"), text


def _curve(result: StudyResult) -> Check:
    counts = [len({arm.depth for arm in result.plan.of(budget)}) for budget in result.plan.budgets]
    text = f"{plural(len(counts), 'budget')} with {', '.join(map(str, counts))} depths"
    if min(counts) >= 4:
        return ("yes" if len(counts) >= 3 else "partly"), text
    return "no", text


def _tuning(result: StudyResult, arms: Sequence[ArmFinding]) -> Check:
    trials = next(iter(result.tuning.arms.values())).trials
    if not trials:
        return "no", "one setting for all arms, tuned for none of them"
    rates = sorted({trial.setting.learning_rate for trial in trials})
    decays = sorted({trial.setting.weight_decay for trial in trials})
    edges = [f"{short_name(arm.arm)} at {arm.arm.budget_label}" for arm in arms if arm.edge]
    text = (
        f"{len(trials)} trials per arm: {len(rates)} learning rates {rates[0]:g} to {rates[-1]:g}, weight "
        f"decays {', '.join(f'{decay:g}' for decay in decays)}, seeds {', '.join(map(str, result.plan.tuning.seeds))}"
    )
    text += ", each with a seed and a validation split of its own" * (result.plan.tuning.method == "smooth")
    enough = len(rates) >= 5 and len(decays) >= 2 and not edges
    return ("yes" if enough else "partly"), text + (f"; best at an edge: {', '.join(edges)}" if edges else "")


def _sensitivity(result: StudyResult) -> Check:
    if not any(arm.trials for arm in result.tuning.arms.values()):
        return "no", "nothing was tuned"
    rate, decay = result.tuning.shared
    text = f"the shared setting is learning rate {rate:g}, weight decay {decay:g}"
    if not result.plan.tuning.shared:
        return "partly", f"{text}; the contrasts were not run at it"
    return "yes", text


def _seeds(result: StudyResult) -> Check:
    pilot, plan = result.pilot, result.plan.seeds
    used = f"{plural(len(pilot.seeds), 'seed')} per arm"
    if pilot.spread is None:
        return "no", f"{used}, without a pilot"
    needed = f"{pilot.needed:,}" if pilot.needed else "more than 1,000"
    text = (
        f"{plan.pilot} pilot runs per arm: standard deviation of validation error {100 * pilot.spread:.2f} points; a "
        f"difference of {100 * result.plan.margin:g} points needs {needed} seeds; {used} (cap {plan.cap})"
    )
    return ("yes" if pilot.needed is not None and len(pilot.seeds) >= pilot.needed else "partly"), text
