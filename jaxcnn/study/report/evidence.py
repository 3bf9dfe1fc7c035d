"""What a report says last: classes, statistics of the contrasts, protocol, limits, how to do it again."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from typing import Any

from jaxcnn.spec import OptimizerConfig
from jaxcnn.study.report.contrast_figures import (
    LEVEL,
    MOST_CLASSES,
    Branch,
    class_figure,
    contrast_figure,
    outcome,
    shown_classes,
)
from jaxcnn.study.report.document import Bullets, Checks, Code, Facts, Heading, Paragraph, Table
from jaxcnn.study.report.numbers import (
    UNKNOWN,
    decimals,
    effect,
    finding_of,
    percent,
    plural,
    probability,
    setting,
    short,
    signed_span,
    text,
)
from jaxcnn.study.report.sections import Part, Picture
from jaxcnn.study.result import StudyResult
from jaxcnn.study.verdict.findings import ContrastFinding, Findings

MARKS = {"yes": "✓ yes", "partly": "◐ partly", "no": "✗ no"}
TOP_CLASSES = 5


def class_section(findings: Findings) -> list[Part]:
    """The contrasts class by class, exploratory."""
    pictures: list[Part] = []
    tables: list[Part] = []
    for number, contrast in enumerate(findings.contrasts, start=1):
        if not contrast.classes:
            continue
        found = sum(each.q < LEVEL for each in contrast.classes)
        caption = f"{contrast.budget}: {found} of {len(contrast.classes):,} classes differ after correction."
        if len(contrast.classes) > MOST_CLASSES:
            caption += f" The {MOST_CLASSES} with the smallest p-values are shown."
        pictures.append(Picture(f"classes_{number}", class_figure(contrast.classes), caption))
        rows = [
            (
                each.name, f"{each.images:,}", effect(each.difference), probability(each.p), probability(each.q),
                "differs" if each.q < LEVEL else "open",
            )
            for each in shown_classes(contrast.classes)[:TOP_CLASSES]
        ]  # fmt: skip
        header = ("class", "test images", "deeper minus wider (points)", "p", "q", "after correction")
        tables.append(Table(header, rows, f"{contrast.budget}: smallest p-values"))
    text = (
        "Each contrast on the test images of one class, with its 95 % interval over new seeds and new images of that "
        "class. q is the p-value after Benjamini and Hochberg over the classes; below 0.05 a class is said to differ."
    )
    return [Heading("By class (exploratory)"), Paragraph(text), *pictures, *tables]


def statistics_section(result: StudyResult, findings: Findings) -> list[Part]:
    """Everything computed of the primary contrasts: a row a statistic, a column a budget."""
    branches = [Branch(contrast.budget, contrast) for contrast in findings.contrasts]
    rows = [(name, *(cell(each) for each in findings.contrasts)) for name, cell in _statistics(findings, result)]
    return [
        Heading("Statistics of the contrasts"),
        Picture(
            "contrasts",
            contrast_figure(branches, result.plan.margin),
            "Deeper minus wider with 95 % intervals: thick for new seeds and new images, thin for new seeds on this "
            "test set. Equivalent is a contrast whose 90 % interval lies within the margin.",
        ),
        Table(("deeper minus wider, points", *(each.budget for each in findings.contrasts)), rows),
        Paragraph(f"The rule, declared before the first run: {result.plan.rule}"),
    ]


def _statistics(findings: Findings, result: StudyResult) -> list[tuple[str, Callable[[ContrastFinding], str]]]:
    def agreement(contrast: ContrastFinding) -> str:
        own = [finding_of(findings.arms, arm).seed_consistency for arm in (contrast.deeper, contrast.wider)]
        return f"{decimals(own[0])} and {decimals(own[1])}"

    margin = percent(result.plan.margin)
    return [
        ("decision (holds for)", outcome),
        ("deeper arm", lambda each: short(each.deeper)),
        ("its setting", lambda each: setting(each.settings[0])),
        ("wider arm", lambda each: short(each.wider)),
        ("its setting", lambda each: setting(each.settings[1])),
        ("seeds per arm", lambda each: f"{each.seeds:,}"),
        ("population: difference (95 % interval)", lambda each: effect(each.population)),
        ("population: 90 % interval", lambda each: signed_span(each.population90)),
        ("population: p; after Holm", lambda each: _pair(each.population_p, each.population_holm)),
        ("crossed bootstrap: 95 % interval", lambda each: signed_span(each.bootstrap) if each.bootstrap else UNKNOWN),
        ("share of variance from test images", lambda each: _share(each.parts.get("examples", math.nan))),
        ("this test set: Welch (95 % interval)", lambda each: effect(each.fixed)),
        ("this test set: p; after Holm", lambda each: _pair(each.fixed_p, each.fixed_holm)),
        (f"equivalence within ±{margin}: TOST p", lambda each: probability(each.tost)),
        ("P(a deeper run errs less) (95 % interval)", lambda each: _superiority(each)),
        ("κ between the arms", lambda each: decimals(each.consistency)),
        ("κ between seeds, deeper and wider", agreement),
        ("least difference these seeds find (80 %)", lambda each: percent(each.detectable)),
        ("seeds per arm for the difference seen", _needed),
    ]


def _pair(p: float, holm: float) -> str:
    return f"{probability(p)}; {probability(holm)}"


def _share(value: float) -> str:
    return f"{100 * value:.0f} %" if math.isfinite(value) else UNKNOWN


def _superiority(contrast: ContrastFinding) -> str:
    chance = contrast.superiority
    return f"{decimals(chance.estimate)} ({decimals(chance.low)} to {decimals(chance.high)})"


def _needed(contrast: ContrastFinding) -> str:
    if contrast.needed is None:
        return "more than 1,000" if contrast.seeds > 1 else UNKNOWN
    return f"{contrast.needed:,}"


def protocol_section(findings: Findings) -> list[Part]:
    """The checklist, filled in."""
    met = sum(point.met == "yes" for point in findings.protocol)
    return [
        Heading("The protocol, point by point"),
        Paragraph(f"{met} of {len(findings.protocol)} points are met in full, judged from the study's own records."),
        Checks([(MARKS[point.met], point.asks, point.evidence) for point in findings.protocol]),
    ]


def limit_section(result: StudyResult, findings: Findings) -> list[Part]:
    """What this study does not say."""
    plan = result.plan
    kinds = {"params": "parameters", "macs": "MACs", "activations": "activations", "seconds": "time per step"}
    matched = " and ".join(kinds.get(kind, kind) for kind in dict.fromkeys(arm.kind for arm in plan.arms))
    families = " and ".join(dict.fromkeys(arm.family for arm in plan.arms))
    limits = [
        f"It speaks of these arms of {families}, of {result.data['name']} and of this training recipe with its tuning "
        "grid and length; another recipe may answer differently.",
        f"The arms were matched in {matched}; in what else they cost they differ, as the ledgers show.",
        "New images means images drawn like these test images, not images of another kind or from elsewhere.",
        "Only the primary contrast of each budget is a test. Curves, best depths, fronts, training errors and classes "
        "describe; they were not corrected for how many there are, classes excepted.",
        "Time and memory are those of the machine and versions below.",
    ]
    if any(finding.edge for finding in findings.arms):
        limits.append("Arms best at the edge of the grid may have been tuned less well than the others.")
    if not any(result.tuned.trials.values()):
        limits.append("No arm was tuned: one may lose because the shared setting suits it less.")
    if any(contrast.seeds < 2 for contrast in findings.contrasts):
        limits.append("One seed per arm shows no spread: no interval and no test can be had from it.")
    if any(finding.diverged for finding in findings.arms):
        limits.append("Some runs diverged: their errors count, and they say more about the recipe than about the arm.")
    return [Heading("What this does not say"), Bullets(limits)]


def repeat_section(result: StudyResult) -> list[Part]:
    """Command, recipe, versions, hardware, seeds, data hash, time, and what predictions.npz holds."""
    return [
        Heading("How to do it again"),
        Paragraph("The first line repeats the study (finished runs are kept); the second rebuilds this page in DIR."),
        Code(f"{result.plan.command}\njaxcnn report DIR"),
        Facts(_facts(result)),
        Paragraph(
            "predictions.npz holds labels (N,), the class of every test image, and predictions (runs, N), what every "
            "run said of it, in the order of the runs in runs.json. Every test error, interval and p-value of this "
            "page follows from it:"
        ),
        Code(
            "import numpy as np\n"
            'stored = np.load("predictions.npz")\n'
            'errors = (stored["predictions"] != stored["labels"]).mean(axis=1)  # test error of every run'
        ),
    ]


def _facts(result: StudyResult) -> list[tuple[str, str]]:
    plan, base, data, tuning = result.plan, result.plan.base, result.data, result.plan.tuning
    sizes = ", ".join(f"{count:,} {split}" for split, count in data["sizes"].items())
    total = sum(run.seconds["total"] for run in result.runs)
    trials = [trial for found in result.tuned.trials.values() for trial in found]
    rates = sorted({trial.setting.learning_rate for trial in trials} or tuning.learning_rates)
    spec = plan.arms[0].spec
    solved = ("depth", "width", "stage_widths")
    fixed = {k: v for k, v in asdict(spec).items() if v is not None and k not in solved} if spec else {}
    facts = [
        ("Family", f"{text(fixed) if spec else plan.arms[0].family}; only depth and width differ between arms"),
        ("Data", f"{data['name']}: {sizes}; {len(data['class_names'])} classes; image shape {_shape(data)}"),
        ("Validation split", f"hash {data.get('validation_hash', 'not recorded')}"),
        ("Training", f"{plural(base.epochs, 'epoch')}, batch size {base.batch_size}, label smoothing "
                     f"{base.label_smoothing:g}, augmentation {text(base.data.augment) or 'none'}"),
        ("Optimiser", _optimizer(base.optimizer)),
        ("Rates tried", text(rates)),
        ("Weight decays tried", text(tuning.weight_decays)),
        ("Seeds", f"{_seeds(result.pilot.seeds)}; tuning {_seeds(tuning.seeds) if trials else 'none'}"),
        ("Runs", f"{len(result.runs):,} reported, {len(trials):,} tuning trials"),
        ("Wall time", f"{total:,.0f} s ({total / 3600:.1f} h) for the reported runs together, compilation included"),
        ("Margin", f"{percent(plan.margin)} points"),
    ]  # fmt: skip
    for environment in result.environments:
        known = {key: value for key, value in environment.items() if value}
        facts += [("Ran on", text({k: v for k, v in known.items() if k != "versions"}))]
        facts += [("Versions", text(known.get("versions", {})))]
    return facts


def _seeds(values: Sequence[int]) -> str:
    return ", ".join(map(str, values))


def _shape(data: Mapping[str, Any]) -> str:
    return " × ".join(map(str, data["image_shape"]))


def _optimizer(config: OptimizerConfig) -> str:
    unused = ("learning_rate", "weight_decay") + (() if config.schedule == "step" else ("milestones", "factor"))
    unused += () if config.name == "sgd" else ("momentum", "nesterov")
    shown: dict[str, Any] = {key: value for key, value in asdict(config).items() if key not in unused}
    return text(shown)
