"""The report of a study: report.html, report.md, analysis.json and the figures, rebuilt from its files without JAX."""

import csv
import io
import math
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.table import Table
from rich.text import Text

from jaxcnn.pictures.document import Block, Figure, to_html, to_markdown
from jaxcnn.pictures.style import Part, Picture, write_figure
from jaxcnn.records import as_record
from jaxcnn.runtime.console import print_fitting
from jaxcnn.runtime.files import make_folder, write_json, write_text
from jaxcnn.study.report.contrasts import class_section, statistics_section
from jaxcnn.study.report.costs import cost_section, front_section
from jaxcnn.study.report.curves import error_section, training_section
from jaxcnn.study.report.protocol import limit_section, protocol_section, repeat_section
from jaxcnn.study.report.summary import arm_section, title, verdict_section
from jaxcnn.study.report.tuning import tuning_section
from jaxcnn.study.report.why import why_section
from jaxcnn.study.result import StudyResult
from jaxcnn.study.tuning import Setting
from jaxcnn.study.verdict.analyse import analyse
from jaxcnn.study.verdict.findings import ArmFinding, Findings
from jaxcnn.study.verdict.formatting import percent, span
from jaxcnn.study.verdict.record import analysis_record

SECTIONS = (
    verdict_section,
    error_section,
    arm_section,
    cost_section,
    tuning_section,
    training_section,
    why_section,
    front_section,
    class_section,
    statistics_section,
    protocol_section,
    limit_section,
    repeat_section,
)


def write_report(result: StudyResult, out: Path | str, findings: Findings | None = None) -> Path:
    """Write report.html, report.md, analysis.json, runs.csv and figures/*.svg, *.png; equal bytes for equal studies.

    Args:
        result: A finished study.
        out: Folder, created if missing; normally the study's own.
        findings: The study's analysis; None: computed.

    Returns:
        The HTML file, which needs none of the others.

    >>> write_report(load_study("runs/study"), "runs/study")  # doctest: +SKIP
    """
    findings = findings or analyse(result)
    parts = [part for section in SECTIONS for part in section(result, findings)]
    page = write_page(Path(out), "report", title(result), parts, "analysis", analysis_record(result, findings))
    write_text(Path(out) / "runs.csv", runs_csv(result))
    return page


def runs_csv(result: StudyResult) -> str:
    """Return a tidy table as CSV: a row per run, the tuning trials first; what was not measured or finite is empty."""
    arms, shared, rows = {arm.label: arm for arm in result.plan.arms}, result.tuning.shared, list[dict[str, Any]]()

    def add(stage: str, label: str, setting: Setting, seed: int, values: dict[str, Any]) -> None:
        arm, own = arms[label], setting == result.tuning.arms[label].setting
        about = {"stage": stage, "arm": label, "family": arm.family, "budget_kind": arm.kind, "budget": arm.budget}
        about |= {"depth": arm.depth, "width": arm.width, "widths": arm.widths, "params": arm.params}
        about |= {"macs": arm.macs, "activations": arm.activations, **setting._asdict()}
        about |= {"own_setting": own, "shared_setting": setting == shared, "seed": seed}
        rows.append(about | {name: "" if math.isnan(value) else value for name, value in values.items()})

    metric = f"validation_{result.plan.measure.metric}"
    for label, tuned in result.tuning.arms.items():
        for each in tuned.trials:
            values = {"validation_loss": each.validation_loss, metric: 1 - each.validation_error}
            add("tuning", label, each.setting, each.seed, {**values, "diverged": each.diverged})
    for run in result.runs:
        seconds = {f"{name}_seconds": value for name, value in run.seconds.items()}
        add("runs", run.arm, run.setting, run.seed, {**run.metrics, "diverged": run.diverged, **seconds})
    text, names = io.StringIO(), dict.fromkeys(name for row in reversed(rows) for name in row)
    table = csv.DictWriter(text, names, lineterminator="\n")
    table.writeheader()
    table.writerows(rows)
    return text.getvalue()


def write_page(
    out: Path, name: str, heading: str, parts: Iterable[Part], record_name: str, record: Mapping[str, Any]
) -> Path:
    """Write one page as HTML and Markdown with its figures, and its record as JSON; return the HTML file."""
    make_folder(out)
    (out / "figures").mkdir(exist_ok=True)
    blocks: list[Block] = [
        Figure(f"figures/{part.name}.svg", write_figure(part.drawing, out / "figures", part.name), part.caption)
        if isinstance(part, Picture)
        else part
        for part in parts
    ]
    write_text(out / f"{name}.md", to_markdown(heading, blocks))
    write_text(out / f"{name}.html", to_html(heading, blocks))
    write_json(out / f"{record_name}.json", as_record(record), allow_nan=False)
    return out / f"{name}.html"


def show_report(result: StudyResult, out: Path | str) -> Path:
    """Write the report, as `write_report`, then print the verdict's table and the path of the page."""
    findings = analyse(result)
    page = write_report(result, out, findings)
    print_fitting(lambda without: verdict_table(result, findings, without), ("runs", "ms/step", "off %", "params"))
    print(f"report: {page}")
    return page


def verdict_table(result: StudyResult, findings: Findings | None = None, without: Sequence[str] = ()) -> Table:
    """Return the table of arms for the terminal, with a section per budget and the verdict below.

    >>> table = verdict_table(load_study("runs/study"))  # doctest: +SKIP
    """
    findings = findings or analyse(result)
    note = "\n! best at an edge of the learning rates tried" * any(each.edge for each in findings.arms)
    table = Table(
        title=Text(title(result)),
        caption=Text(f"{findings.sentence}\n{findings.change}{note}"),
        caption_justify="left",
        box=SIMPLE_HEAD,
        pad_edge=False,
        collapse_padding=True,
    )

    def cells(each: ArmFinding) -> dict[str, str]:
        limits = span(each.test_error).replace(" to ", ", ")
        return {
            **({"family": each.arm.name} if each.arm.name else {}),
            "depth": str(each.arm.depth),
            "width": each.arm.widths,
            "params": f"{each.arm.params:,}",
            "off %": f"{100 * each.arm.mismatch:+.2f}",
            "lr": f"{each.setting.learning_rate:g}{'!' * each.edge}",
            "test error % [95 %]": f"{percent(each.test_error.estimate)} [{limits}]",
            "ms/step": f"{1000 * (each.cost.step if each.cost else each.step):.1f}",
            "runs": str(len(each.test_errors)),
        }

    names = [name for name in cells(findings.arms[0]) if name not in without]
    for name in names:
        longest = max(len(cells(each)[name]) for each in findings.arms)
        table.add_column(name, justify="right", no_wrap=True, min_width=max(longest, len(name)))
    for budget in result.plan.budgets:
        for each in findings.at(budget):
            table.add_row(*(Text(cells(each)[name]) for name in names))
        table.add_section()
    return table
