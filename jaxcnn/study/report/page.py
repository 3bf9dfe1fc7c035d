"""The report of a study: report.html, report.md, analysis.json and the figures, rebuilt from its files without JAX."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import asdict, is_dataclass
from pathlib import Path
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table as ConsoleTable
from rich.text import Text

from jaxcnn.runtime.files import write_json, write_text
from jaxcnn.study.arm import Arm
from jaxcnn.study.plan_file import identity
from jaxcnn.study.report.document import Block, Figure, to_html, to_markdown
from jaxcnn.study.report.evidence import (
    class_section,
    limit_section,
    protocol_section,
    repeat_section,
    statistics_section,
)
from jaxcnn.study.report.learning import training_section, tuning_section
from jaxcnn.study.report.numbers import at, percent, span
from jaxcnn.study.report.sections import (
    Part,
    Picture,
    arm_section,
    error_section,
    front_section,
    ledger_section,
    verdict_section,
)
from jaxcnn.study.report.style import write_figure
from jaxcnn.study.result import StudyResult, load_study
from jaxcnn.study.verdict.analyse import analyse
from jaxcnn.study.verdict.findings import ArmFinding, Findings

FORMAT = "jaxcnn study analysis 1"
TITLE = "Deeper or wider?"


def write_report(result: StudyResult, out: Path | str) -> Path:
    """Write report.html, report.md, analysis.json and figures/*.svg, *.png; the same bytes for the same study.

    Args:
        result: A finished study.
        out: Folder, made where missing; the study's own is the natural one.

    Returns:
        The HTML file, which needs none of the others.
    """
    out = Path(out)
    out.mkdir(parents=True, exist_ok=True)
    findings = analyse(result)
    blocks, title = written(parts(result, findings), out), _title(result)
    write_text(out / "report.md", to_markdown(title, blocks))
    write_text(out / "report.html", to_html(title, blocks))
    write_json(out / "analysis.json", record(result, findings), allow_nan=False)
    return out / "report.html"


def rebuild(directory: Path | str) -> Path:
    """Write the report of a finished study again from its files, without training.

    Args:
        directory: Folder of a study.

    Returns:
        The HTML file.

    Raises:
        InputError: The folder holds no finished study, or its files are truncated or foreign.
    """
    return write_report(load_study(directory), directory)


def parts(result: StudyResult, findings: Findings) -> list[Part]:
    """The report's content in order, the verdict first."""
    return [
        *verdict_section(result, findings),
        *error_section(result, findings),
        *arm_section(result, findings),
        *ledger_section(result, findings),
        *tuning_section(result, findings),
        *training_section(result, findings),
        *front_section(result, findings),
        *class_section(findings),
        *statistics_section(result, findings),
        *protocol_section(findings),
        *limit_section(result, findings),
        *repeat_section(result),
    ]


def written(content: Iterable[Part], out: Path) -> list[Block]:
    """Write the pictures among the content into out/figures and put their files in their place."""
    folder = out / "figures"
    folder.mkdir(exist_ok=True)
    return [
        Figure(f"figures/{part.name}.svg", write_figure(part.drawing, folder, part.name), part.caption)
        if isinstance(part, Picture)
        else part
        for part in content
    ]


def record(result: StudyResult, findings: Findings) -> dict[str, Any]:
    """The findings for machines; what is not finite is null."""
    return {
        "format": FORMAT,
        "plan": identity(result.plan),
        "command": result.plan.command,
        "hypothesis": result.plan.hypothesis,
        "rule": result.plan.rule,
        "margin": result.plan.margin,
        "data": plain(result.data),
        "environments": plain(result.environments),
        **plain(findings),
    }


def plain(value: Any) -> Any:
    """Named tuples and dataclasses as objects, an arm with its label, numbers that are not finite as null."""
    if isinstance(value, Arm):
        return {"label": value.label, "budget_label": value.budget_label, **plain(value._asdict())}
    if hasattr(value, "_asdict"):
        return plain(value._asdict())
    if is_dataclass(value) and not isinstance(value, type):
        return plain(asdict(value))
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def show_report(result: StudyResult, out: Path | str) -> Path:
    """Write the report, then print the verdict's table and where the page lies.

    Args:
        result: A finished study.
        out: Folder, as for `write_report`.

    Returns:
        The HTML file.
    """
    page = write_report(result, out)
    Console().print(verdict_table(result))
    print(f"report: {page}")
    return page


def verdict_table(result: StudyResult) -> ConsoleTable:
    """The table of arms for the terminal, 80 columns wide, a section per budget.

    Args:
        result: A finished study.

    Returns:
        A rich table, with the verdict and what would change it as its caption.
    """
    findings = analyse(result)
    note = "\n! best at an edge of the learning rates tried" * any(each.edge for each in findings.arms)
    table = ConsoleTable(
        title=Text(_title(result)),
        caption=Text(f"{findings.sentence}\n{findings.change}{note}"),
        caption_justify="left",
        box=SIMPLE_HEAD,
        pad_edge=False,
        collapse_padding=True,
    )
    for name in ("depth", "width", "params", "off %", "lr", "test error % [95 %]", "ms/step", "runs"):
        table.add_column(name, justify="right", no_wrap=True)
    for budget in result.plan.budgets:
        for finding in at(findings.arms, budget):
            table.add_row(*_console_cells(finding))
        table.add_section()
    return table


def _console_cells(finding: ArmFinding) -> tuple[Text | str, ...]:
    arm = finding.arm
    stages = arm.spec.stage_widths if arm.spec else None
    limits = span(finding.test_error, lowest=0.0).replace(" to ", ", ")
    step = finding.cost.step if finding.cost else finding.step
    return (
        str(arm.depth),
        "-".join(map(str, stages or (arm.width,))),
        f"{arm.params:,}",
        f"{100 * arm.mismatch:+.2f}",
        f"{finding.setting.learning_rate:g}{'!' if finding.edge else ''}",
        Text(f"{percent(finding.test_error.estimate)} [{limits}]"),
        f"{1000 * step:.1f}",
        str(len(finding.test_errors)),
    )


def _title(result: StudyResult) -> str:
    budgets = result.plan.budgets
    shown = " and ".join(budgets) if len(budgets) < 3 else f"{len(budgets)} budgets"
    return f"{TITLE} {result.data['name']} at {shown}"
