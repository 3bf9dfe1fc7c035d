"""Reliability of a study: the protocol as a checklist, the limits of its verdict, and how to repeat it."""

from collections.abc import Iterator, Sequence
from dataclasses import asdict
from typing import Any

from jaxcnn.pictures.document import Bullets, Checks, Code, Facts, Heading, Paragraph
from jaxcnn.pictures.style import Part
from jaxcnn.records import as_record
from jaxcnn.spec import OptimizerConfig
from jaxcnn.study.arm import Arm
from jaxcnn.study.result import StudyResult
from jaxcnn.study.verdict.findings import Findings
from jaxcnn.study.verdict.formatting import RESOURCES, percent, plural, text

MARKS = {"yes": "✓ yes", "partly": "◐ partly", "no": "✗ no"}


def protocol_section(result: StudyResult, findings: Findings) -> Iterator[Part]:
    """Yield the checklist."""
    met = sum(point.met == "yes" for point in findings.protocol)
    yield Heading("Protocol checklist")
    yield Paragraph(f"{met} of {len(findings.protocol)} points are met in full, judged from the study's own records.")
    yield Checks([(MARKS[point.met], point.asks, point.evidence) for point in findings.protocol])


def limit_section(result: StudyResult, findings: Findings) -> Iterator[Part]:
    """Yield what the study does not show."""
    arms = result.plan.arms
    matched = " and ".join(RESOURCES[kind] for kind in dict.fromkeys(arm.kind for arm in arms))
    families = " and ".join(dict.fromkeys(arm.family for arm in arms))
    tests = "Only the primary contrast of each budget is a test."
    if findings.between:
        tests = "Only the three contrasts of each budget are tests."
    limits = [
        f"The verdict is about these arms of {families}, about {result.data['name']} and about this training recipe "
        "with its tuning grid and length; another recipe may give another answer.",
        f"The arms were matched in {matched}; their other costs differ, as the ledgers show.",
        "New images means images drawn like these test images, not other kinds of images or images from elsewhere.",
        f"{tests} Curves, best depths, fronts, training errors and classes "
        "are descriptions; only the classes are corrected for their number.",
        "Time and memory are those of the machine and versions below.",
    ]
    if any(finding.edge for finding in findings.arms):
        limits.append("Arms best at the edge of the grid may have been tuned less well than the others.")
    if not any(arm.trials for arm in result.tuning.arms.values()):
        limits.append("No arm was tuned: an arm may lose because the shared setting suits it less.")
    if result.plan.folds:
        limits.append(
            "An error is the mean over folds of runs that were trained on the other folds and tuned on them alone, "
            "each fold for itself; means over seeds are means over repeats."
        )
    if any(contrast.seeds < 2 for contrast in findings.contrasts):
        limits.append("One seed per arm shows no spread, so there is no interval and no test.")
    if any(finding.diverged for finding in findings.arms):
        limits.append("Some runs diverged: their errors count, but they reflect the recipe more than the arm.")
    yield Heading("Limits")
    yield Bullets(limits)


def repeat_section(result: StudyResult, findings: Findings) -> Iterator[Part]:
    """Yield how to repeat the study and what its files hold."""
    yield Heading("How to repeat this study")
    yield Paragraph("The first line repeats the study, keeping finished runs; the second rebuilds this page in DIR.")
    yield Code(f"{result.plan.command}\njaxcnn report DIR")
    yield Facts(_facts(result))
    if (measure := result.plan.measure).text:
        yield Paragraph(
            f"predictions.npz holds what {measure.text} needs of every test image and run, in the order of the runs in "
            f"runs.json: {', '.join((*measure.truth, *measure.runs))}. `jaxcnn verify` computes every test error, "
            "interval and p-value of this page from it."
        )
        return
    retuned = any(each.retuned for each in findings.contrasts)
    follows = "Every test error, interval and p-value of this page follows from it:"
    if retuned:
        follows = (
            "Every test error of this page follows from it, every interval and p-value from it and the variance of "
            "tuning, for which tuning.json holds the trials:"
        )
    yield Paragraph(
        "predictions.npz holds labels (N,), the class of every test image, and predictions (runs, N), the class "
        f"predicted by every run, in the order of the runs in runs.json. {follows}"
        if not result.plan.folds
        else "predictions.npz holds labels (N,), the class of every image, folds (N,), the fold in which it is a test "
        "image, and predictions (repeats, N): a row joins the runs of a repeat, each on the images of its fold. "
        f"{follows}"
    )
    yield Code(
        "import numpy as np\n"
        'stored = np.load("predictions.npz")\n'
        'errors = (stored["predictions"] != stored["labels"]).mean(axis=1)  # '
        f"test error of every {'repeat' if result.plan.folds else 'run'}"
    )


def _facts(result: StudyResult) -> list[tuple[str, str]]:
    plan, base, data, tuning = result.plan, result.plan.base, result.data, result.plan.tuning
    sizes = ", ".join(f"{count:,} {split}" for split, count in data["sizes"].items())
    shape = " × ".join(map(str, data["image_shape"]))
    total = sum(run.seconds["total"] for run in result.runs)
    trials = [trial for arm in result.tuning.arms.values() for trial in arm.trials]
    rates = sorted({trial.setting.learning_rate for trial in trials} or tuning.learning_rates)
    named = {each.partition("=")[0] for each in plan.own}
    facts = [
        ("Family", "; ".join(f"{arm.name}: {text(model_settings(arm))}" for arm in plan.of(plan.budgets[0]))
         if plan.arms[0].name
         else f"{text(model_settings(plan.arms[0]))}; only depth and width differ between arms"),
        ("Data", f"{data['name']}: {sizes}; {len(data['class_names'])} classes; image shape {shape}"),
        ("Validation split", "one for each fold; by hash: "
                             + ", ".join(str(each["validation_hash"])[:16] for each in data["folds"])
         if plan.folds else f"hash {data.get('validation_hash', 'not recorded')}"),
        *([("Cross-validation", f"{plural(plan.repeats, 'repeat')} of {plan.folds} folds, divided by seed "
                                f"{plan.seeds.first}; test splits, by hash: "
                                f"{', '.join(str(each['test_hash'])[:16] for each in data['folds'])}")]
          if plan.folds else []),
        *([("Training images", f"{base.data.train_size:,}, chosen anew for every run")] if plan.resample_train else []),
        ("Task", "user-defined" if "task" in named else text(as_record(base.task))),
        ("Training", f"{plural(base.epochs, 'epoch')}, batch size {base.batch_size}"
                     f"{', even batches' if base.batches == 'even' else ''}, augmentation {text(base.data.augment)}"),
        ("Optimiser", "user-defined" if "tx" in named else _optimizer(base.optimizer)),
        ("Rates tried", text(rates)),
        ("Weight decays tried", text(tuning.weight_decays)),
        ("Seeds", f"{_seeds(result.pilot.seeds)}; tuning {_seeds(tuning.seeds) if trials else 'none'}"),
        ("Runs", f"{len(result.runs):,} reported, {len(trials):,} tuning trials"),
        ("Wall time", f"{total:,.0f} s ({total / 3600:.1f} h) for the reported runs together, compilation included"),
        ("Margin", f"{percent(plan.margin)} points"),
        *([("User-defined parts", ", ".join(plan.own))] if plan.own else []),
    ]  # fmt: skip
    for environment in result.environments:
        known = {key: value for key, value in environment.items() if value and key != "versions"}
        facts += [("Ran on", text(known)), ("Versions", text(environment.get("versions", {})))]
    return facts


def model_settings(arm: Arm) -> dict[str, Any]:
    """Return the settings of a model that all arms share: its family, and fields and options that are set."""
    if arm.spec is None:
        return {"family": arm.family}
    shared = {"family": arm.family, "stage sizes": arm.spec.stage_sizes, **arm.spec.options}
    return {name: value for name, value in shared.items() if value is not None}


def _seeds(values: Sequence[int]) -> str:
    return ", ".join(map(str, values))


def _optimizer(config: OptimizerConfig) -> str:
    unused = ["learning_rate", "weight_decay"]
    unused += ["milestones", "factor"] if config.schedule != "step" else []
    unused += ["momentum", "nesterov"] if config.name == "adam" else []
    return text({key: value for key, value in asdict(config).items() if key not in unused})
