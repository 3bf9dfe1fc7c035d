"""Several studies on one page: an index of their verdicts, what differs between them, their curves and contrasts."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from matplotlib.figure import Figure as Drawing

from jaxcnn.errors import InputError
from jaxcnn.runtime.files import write_json, write_text
from jaxcnn.study.plan_file import identity
from jaxcnn.study.report.contrast_figures import Branch, contrast_figure, outcome
from jaxcnn.study.report.differences import differences, names
from jaxcnn.study.report.document import Bullets, Heading, Paragraph, Table, to_html, to_markdown
from jaxcnn.study.report.error_figures import draw_study
from jaxcnn.study.report.numbers import at, effect, plural
from jaxcnn.study.report.page import TITLE, plain, written
from jaxcnn.study.report.sections import Part, Picture, numbered
from jaxcnn.study.report.style import DepthAxis, chunks, legend, look, panels
from jaxcnn.study.result import StudyResult
from jaxcnn.study.verdict.analyse import analyse
from jaxcnn.study.verdict.findings import Findings

FORMAT = "jaxcnn joined studies 1"
MOST_BRANCHES = 12
INDEX = (
    "study", "budget", "decision (holds for)", "difference, new seeds and images (points)",
    "difference, new seeds, its test set (points)", "best depth fitted",
)  # fmt: skip
LIMITS = (
    "Each verdict was declared, tested and corrected within its own study; nothing here tests one study against "
    "another. Where intervals of two studies are far apart, a study of its own that varies that one thing tests it.",
    "Studies that differ in more than one respect do not say which of them made the difference.",
)


class Member(NamedTuple):
    """One of the studies.

    Args:
        name: Its number and what sets it apart, in a few words.
        result: Its records.
        findings: Its findings.
        report: Where its own report lies, seen from the joined page.
    """

    name: str
    result: StudyResult
    findings: Findings
    report: str


def write_joined(results: Sequence[StudyResult], out: Path | str) -> Path:
    """Write joined.html, joined.md, joined.json and figures/joined_*.svg, *.png; the same bytes for the same studies.

    Args:
        results: Two finished studies or more, in the order of the page.
        out: Folder, made where missing.

    Returns:
        The HTML file, which needs none of the others.

    Raises:
        InputError: Fewer than two studies, or the same one twice.
    """
    _check(results)
    out = Path(out)
    out.mkdir(parents=True, exist_ok=True)
    members = _members(results, out)
    title = f"{TITLE} {len(members)} studies side by side"
    blocks = written(_parts(members), out)
    write_text(out / "joined.md", to_markdown(title, blocks))
    write_text(out / "joined.html", to_html(title, blocks))
    write_json(out / "joined.json", _record(members), allow_nan=False)
    return out / "joined.html"


def _check(results: Sequence[StudyResult]) -> None:
    if len(results) < 2:
        raise InputError(f"results={len(results)} studies: give two or more to join")
    folders = Counter(Path(result.directory).resolve() for result in results)
    twice = [folder for folder, count in folders.items() if count > 1]
    if twice:
        raise InputError(f"results holds the study {str(twice[0])!r} more than once: give each study once")


def _members(results: Sequence[StudyResult], out: Path) -> list[Member]:
    members = []
    for name, result in zip(names(results), results, strict=True):
        report = Path(os.path.relpath(Path(result.directory) / "report.html", out)).as_posix()
        members.append(Member(name, result, analyse(result), report))
    return members


def _parts(members: Sequence[Member]) -> list[Part]:
    margins = {member.result.plan.margin for member in members}
    margin = margins.pop() if len(margins) == 1 else None
    branches = [
        Branch(f"{number}: {contrast.budget}", contrast)
        for number, member in enumerate(members, start=1)
        for contrast in member.findings.contrasts
    ]
    forest = (
        "Deeper minus wider with 95 % intervals, thick for new seeds and new images, thin for new seeds on the test "
    )
    forest += "set of its study. The number is that of the study."
    contrasts = [
        Picture(numbered("joined_contrasts", number), contrast_figure(group, margin), forest)
        for number, group in enumerate(chunks(branches, MOST_BRANCHES), start=1)
    ]
    apart = [(name, *values) for name, values in differences([member.result for member in members])]
    columns = [f"study {number}" for number in range(1, len(members) + 1)]
    same = Paragraph("Nothing that was declared or recorded: the plans are equal.")
    return [
        Paragraph(_summary(members), lead=True),
        Table(INDEX, _index(members), "Every study and budget", words=True),
        Bullets([f"{member.name}: its own report is {member.report}" for member in members]),
        Heading("The contrasts"),
        *contrasts,
        Heading("Test error against depth"),
        *_curves(members),
        Heading("What differs between the studies"),
        Table(("", *columns), apart, words=True) if apart else same,
        Heading("Each study's verdict"),
        *(part for member in members for part in (Heading(member.name, 3), Paragraph(member.findings.sentence))),
        Heading("What this does not say"),
        Bullets(LIMITS),
    ]


def _summary(members: Sequence[Member]) -> str:
    outcomes = Counter(outcome(contrast) for member in members for contrast in member.findings.contrasts)
    total = sum(outcomes.values())
    if len(outcomes) == 1:
        (only,) = outcomes
        return f"All {plural(total, 'contrast')} of {len(members)} studies say the same: {only}."
    ranked = sorted(outcomes.items(), key=lambda each: (-each[1], each[0]))
    listed = ", ".join(f"{count} {name}" for name, count in ranked)
    return f"The {plural(total, 'contrast')} of {len(members)} studies do not all say the same: {listed}."


def _index(members: Sequence[Member]) -> list[tuple[str, ...]]:
    rows = []
    for member in members:
        fits = {trend.budget: trend.fit for trend in member.findings.trends}
        for contrast in member.findings.contrasts:
            fit = fits.get(contrast.budget)
            best = f"{fit.optimum:.1f} ({fit.low:.1f} to {fit.high:.1f}){', an end' * fit.edge}" if fit else "–"
            effects = effect(contrast.population), effect(contrast.fixed)
            rows.append((member.name, contrast.budget, outcome(contrast), *effects, best))
    return rows


def _curves(members: Sequence[Member]) -> list[Part]:
    budgets = list(dict.fromkeys(budget for member in members for budget in member.result.plan.budgets))
    caption = (
        "Mean test error of every arm with Student's 95 % interval over seeds; a panel a budget, a line a study. Each "
        "panel has its own scale."
    )
    return [
        Picture(numbered("joined_errors", number), error_overlay(members, group), caption)
        for number, group in enumerate(chunks(budgets), start=1)
    ]


def error_overlay(members: Sequence[Member], budgets: Sequence[str]) -> Drawing:
    """Test error against depth, a panel a budget, a line a study.

    Args:
        members: The studies.
        budgets: Those to show; a study without one is not in its panel.

    Returns:
        A matplotlib figure.
    """
    with panels(len(budgets), height=2.6, single=3.6) as (figure, axes):
        for each, budget in zip(axes, budgets, strict=True):
            found = [at(member.findings.arms, budget) for member in members]
            scale = DepthAxis([finding.arm.depth for arms in found for finding in arms])
            for number, arms in enumerate(found):
                if arms:
                    draw_study(each, scale, arms, look(number), shift=0.014 * (number - (len(members) - 1) / 2))
            scale.label(each, [str(depth) for depth in scale.depths])
            each.set_title(budget)
        for number, member in enumerate(members):
            axes[0].plot([], [], label=_legend(member.name), **look(number).style)
        legend(figure, axes[0], columns=1 if max(len(_legend(member.name)) for member in members) > 22 else 2)
        figure.supxlabel("depth (weighted layers)", fontsize=10)
        figure.supylabel("test error (%)", fontsize=10)
    return figure


def _legend(name: str) -> str:
    """A name that fits a legend, and whose dollar signs are no formula."""
    return (name if len(name) <= 48 else f"{name[:47]}…").replace("$", r"\$")


def _record(members: Sequence[Member]) -> dict[str, Any]:
    return {
        "format": FORMAT,
        "differences": {name: list(values) for name, values in differences([member.result for member in members])},
        "studies": [
            {
                "name": member.name,
                "report": member.report,
                "plan": identity(member.result.plan),
                "data": plain(member.result.data),
                "environments": plain(member.result.environments),
                "decision": member.findings.decision,
                "scope": member.findings.scope,
                "sentence": member.findings.sentence,
                "change": member.findings.change,
                "contrasts": plain(member.findings.contrasts),
                "trends": plain(member.findings.trends),
            }
            for member in members
        ],
    }
