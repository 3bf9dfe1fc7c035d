"""Several studies on one page: their verdicts, curves and contrasts, and the settings in which they differ."""

import os
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from matplotlib.figure import Figure

from jaxcnn.errors import InputError
from jaxcnn.pictures.document import Bullets, Heading, Paragraph, Table, table
from jaxcnn.pictures.style import Part, look, panels, pictures
from jaxcnn.records import as_record
from jaxcnn.study.plan import study_identity
from jaxcnn.study.report.contrasts import contrast_figure
from jaxcnn.study.report.depth import DepthAxis
from jaxcnn.study.report.page import write_page
from jaxcnn.study.report.protocol import model_settings
from jaxcnn.study.report.summary import TITLE
from jaxcnn.study.result import StudyResult
from jaxcnn.study.verdict.analyse import analyse
from jaxcnn.study.verdict.findings import ContrastFinding, Findings
from jaxcnn.study.verdict.formatting import UNKNOWN, effect, percent, plural, text
from jaxcnn.study.verdict.record import contrast_record
from jaxcnn.study.verdict.sentences import scope_of

FORMAT = "jaxcnn joined studies 2"
MOST_BRANCHES = 12
MOST_DIFFERENCES = 3
"""Most differences that the name of a study shows."""
LIMITS = (
    "Each verdict was declared, tested and corrected within its own study; nothing here tests one study against "
    "another. If intervals of two studies lie far apart, test that with a study that varies only this one thing.",
    "If studies differ in more than one respect, this page does not show which of them made the difference.",
)
IGNORED = ("learning_rate", "weight_decay", "data_dir", "model", "seed", "checkpoint_every", "evaluate_test")
"""Fields of a run that are tuned or chosen for each arm, or do not influence training."""
UNSET = {"data": "all", "model": "the family's default"}
"""Meaning of None in a group of settings."""


class Member(NamedTuple):
    """One of the studies."""

    name: str  #: Its number and a few words on what distinguishes it.
    result: StudyResult
    findings: Findings
    report: str  #: Path of its own report, relative to the joined page.


def write_joined(results: Sequence[StudyResult], out: Path | str) -> Path:
    """Write joined.html, joined.md, joined.json and figures/joined_*.svg, *.png; the same bytes for the same studies.

    Args:
        results: Two finished studies or more, in the order of the page.
        out: Folder, created if missing.

    Returns:
        The HTML file, which needs none of the others.

    Raises:
        InputError: There are fewer than two studies, or one occurs twice.
    """
    if len(results) < 2:
        raise InputError(f"results={len(results)} studies: give two or more to join")
    if families := [str(result.directory) for result in results if result.plan.families]:
        raise InputError(
            f"results holds a comparison of two families ({families[0]}): give studies of deeper and wider"
        )
    folders = Counter(Path(result.directory).resolve() for result in results)
    if twice := [folder for folder, count in folders.items() if count > 1]:
        raise InputError(f"results holds the study {str(twice[0])!r} more than once: give each study once")
    members = [
        Member(name, result, analyse(result), Path(os.path.relpath(result.directory / "report.html", out)).as_posix())
        for name, result in zip(names(results), results, strict=True)
    ]
    record = {
        "format": FORMAT,
        "differences": dict(differences(results)),
        "studies": [
            {
                "name": name,
                "report": report,
                "plan": study_identity(result.directory),
                "data": result.data,
                "environments": result.environments,
                **{key: getattr(findings, key) for key in ("decision", "scope", "sentence", "change")},
                "contrasts": [contrast_record(each) for each in findings.contrasts],
                "trends": findings.trends,
            }
            for name, result, findings, report in members
        ],
    }
    title = f"{TITLE} {len(members)} studies side by side"
    return write_page(Path(out), "joined", title, _parts(members), "joined", record)


def _parts(members: Sequence[Member]) -> Iterator[Part]:
    margins = {member.result.plan.margin for member in members}
    branches = [
        (f"{number}: {contrast.budget}", contrast)
        for number, member in enumerate(members, start=1)
        for contrast in member.findings.contrasts
    ]
    yield Paragraph(_summary(members), lead=True)
    yield _index(members)
    yield Bullets([f"{member.name}: its own report is {member.report}" for member in members])
    yield Heading("The contrasts")
    yield from pictures(
        "joined_contrasts",
        branches,
        lambda group: contrast_figure(group, min(margins) if len(margins) == 1 else None),
        f"Deeper minus wider with 95 % intervals: thick for {scope_of(branches[0][1])}, thin for new seeds on the test "
        "set of the study. The number is that of the study.",
        MOST_BRANCHES,
    )
    yield Heading("Test error against depth")
    yield from pictures(
        "joined_errors",
        list(dict.fromkeys(budget for member in members for budget in member.result.plan.budgets)),
        lambda group: error_overlay(members, group),
        "Mean test error of every arm with Student's 95 % interval over seeds; a panel per budget, a line per study. "
        "Each panel has its own scale.",
    )
    yield Heading("Differences between the studies")
    if rows := [(name, *values) for name, values in differences([member.result for member in members])]:
        yield Table(("", *(f"study {number}" for number in range(1, len(members) + 1))), rows, words=True)
    else:
        yield Paragraph("The plans are equal: the studies differ in nothing that was declared or recorded.")
    yield Heading("Verdict of each study")
    for member in members:
        yield Heading(member.name, 3)
        yield Paragraph(member.findings.sentence)
    yield Heading("Limits")
    yield Bullets(LIMITS)


def _summary(members: Sequence[Member]) -> str:
    outcomes = Counter(contrast.outcome for member in members for contrast in member.findings.contrasts)
    start = f"{plural(sum(outcomes.values()), 'contrast')} of {len(members)} studies"
    if len(outcomes) == 1:
        return f"All {start} agree: {next(iter(outcomes))}."
    ranked = sorted(outcomes.items(), key=lambda each: (-each[1], each[0]))
    return f"The {start} do not all agree: {', '.join(f'{count} {name}' for name, count in ranked)}."


def _index(members: Sequence[Member]) -> Table:
    def best_depth(row: tuple[Member, ContrastFinding]) -> str:
        fit = next(trend.fit for trend in row[0].findings.trends if trend.budget == row[1].budget)
        return f"{fit.optimum:.1f} ({fit.low:.1f} to {fit.high:.1f}){', an end' * fit.edge}" if fit else UNKNOWN

    columns = (
        ("study", lambda row: row[0].name),
        ("budget", lambda row: row[1].budget),
        ("decision (holds for)", lambda row: row[1].outcome),
        ("difference, new seeds and images (points)", lambda row: effect(row[1].population)),
        ("difference, new seeds, its test set (points)", lambda row: effect(row[1].fixed)),
        ("best depth fitted", best_depth),
    )
    rows = [(member, contrast) for member in members for contrast in member.findings.contrasts]
    return table(columns, rows, "Every study and budget", words=True)


def error_overlay(members: Sequence[Member], budgets: Sequence[str]) -> Figure:
    """Draw test error against depth: a panel per budget, a line per study that has it."""
    # Names are the user's: a dollar sign is no formula.
    labels = [each.name if len(each.name) <= 48 else f"{each.name[:47]}…" for each in members]
    with panels(
        budgets, "depth (weighted layers)", "test error (%)", height=2.6, single=3.6,
        columns=1 if max(map(len, labels)) > 22 else 2,
    ) as (figure, axes):  # fmt: skip
        for each, budget in zip(axes, budgets, strict=True):
            studies = [member.findings.at(budget) for member in members]
            scale = DepthAxis([finding.arm.depth for arms in studies for finding in arms])
            for number, arms in enumerate(studies):
                style = look(number)
                places = scale.at([finding.arm.depth for finding in arms]) + 0.014 * (number - (len(members) - 1) / 2)
                if arms:
                    means = [100 * finding.test_error.estimate for finding in arms]
                    each.plot(places, means, markersize=4.5, **style)
                for place, error in zip(places, (finding.test_error for finding in arms), strict=True):
                    if error.bounded:
                        ends = [100 * error.low, 100 * error.high]
                        each.plot([place, place], ends, color=style["color"], marker="_", markersize=5, linewidth=1.1)
            scale.label(each, [str(depth) for depth in scale.depths])
        for number, label in enumerate(labels):
            axes[0].plot([], [], label=label.replace("$", r"\$"), **look(number))
    return figure


def differences(results: Sequence[StudyResult]) -> list[tuple[str, tuple[str, ...]]]:
    """List (name, one value per study) of everything declared or recorded that differs, data and family first."""
    described = [_settings(result) for result in results]
    rows = []
    for name in dict.fromkeys(name for each in described for name in each):
        values = tuple(each.get(name, UNSET.get(name.partition(": ")[0], UNKNOWN)) for each in described)
        rows += [(name, values)] if len(set(values)) > 1 else []
    return rows


def names(results: Sequence[StudyResult]) -> list[str]:
    """Name each study by its number, its data, and the differences of its data, family, epochs and budgets."""
    rows = [row for row in differences(results) if row[0].startswith(("data: ", "model: ", "epochs", "budgets"))]
    named = [f"{number}: {result.data['name']}" for number, result in enumerate(results, start=1)]
    for name, values in [row for row in rows if row[0] != "data: name"][:MOST_DIFFERENCES]:
        shown = "" if name in ("model: family", "budgets") else f"{name.rpartition(': ')[2]} "
        named = [f"{start}, {shown}{value}" for start, value in zip(named, values, strict=True)]
    return named


def _settings(result: StudyResult) -> dict[str, str]:
    """Describe everything that was declared or recorded, by name; a group of settings is named before its fields."""
    plan, data, base = result.plan, result.data, as_record(result.plan.base)
    groups = {"data": base.pop("data") | {"name": data["name"]}, "model": model_settings(plan.arms[0])}
    groups |= {name: base.pop(name) for name in ("optimizer", "task")}
    settings: dict[str, Any] = {
        f"{group}: {name.replace('_', ' ')}": UNSET.get(group) if value is None else value
        for group, fields in groups.items()
        for name, value in fields.items()
        if name not in IGNORED
    }
    settings |= {name.replace("_", " "): value for name, value in base.items() if name not in IGNORED}
    settings |= {f"{split} images": count for split, count in data["sizes"].items()}
    settings |= {
        "classes": len(data["class_names"]),
        "image shape": data["image_shape"],
        "validation split": str(data.get("validation_hash", "not recorded"))[:16],
        "budgets": "; ".join(plan.budgets),
        "depths": sorted({arm.depth for arm in plan.arms}),
        "margin (points)": percent(plan.margin),
        "learning rates": plan.tuning.learning_rates,
        "weight decays": plan.tuning.weight_decays,
        "runs per arm": len(result.pilot.seeds),
        "rule": plan.rule,
        "devices": [each.get("devices", "not recorded") for each in result.environments],
    }
    return {name: text(value) for name, value in settings.items()}
