"""The report of a study: verdict, table, figures, method and how to repeat it, in Markdown, HTML and JSON."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.table import Table as ConsoleTable
from rich.text import Text

from jaxcnn.files import write_json
from jaxcnn.spec import OptimizerConfig
from jaxcnn.study.document import Block, Code, Facts, Figure, Heading, Paragraph, Table, to_html, to_markdown
from jaxcnn.study.figures import curves_figure, error_figure, write_figure
from jaxcnn.study.results import StudyResult, load_study
from jaxcnn.study.statistics import Interval
from jaxcnn.study.verdict import ArmSummary, Verdict, judge, points, summarise

FORMAT = "jaxcnn study report 1"
TITLE = "Deeper or wider?"
HEADER = (
    "depth",
    "width",
    "parameters",
    "off budget (%)",
    "MACs per image",
    "test error (%)",
    "95 % interval",
    "validation error (%)",
    "training error (%)",
    "time per step (ms)",
    "runs",
)
LIMITS = (
    "This is the simple form of a study. All arms share one learning rate and weight decay, chosen once and not tuned "
    "per arm, so an arm may lose because the shared values suit it less. The interval covers the spread over seeds on "
    "one fixed test set, not the choice of test images. The budget is parameters only; equal MACs, memory or time may "
    "answer differently. Only the declared contrast is a test; the other arms are shown for the curve."
)
NOTE = (
    "Errors are those of the last epoch, means over seeds, with Student's t interval. 1 MAC is one multiply-add in a "
    "convolution or dense layer. Widths are channels of the first stage; where the budget needed it, the channels of "
    "each stage follow in brackets."
)


def write_report(result: StudyResult, out: Path | str) -> Path:
    """Write report.md, report.html, report.json and figures/*.svg, *.png; the same bytes for the same study.

    Args:
        result: A finished study.
        out: Folder, made where missing; the study's own is the natural one.

    Returns:
        The HTML file, which needs none of the others.
    """
    out = Path(out)
    (out / "figures").mkdir(parents=True, exist_ok=True)
    verdict, rows = judge(result), summarise(result)
    error = write_figure(error_figure(result), out / "figures", "error_vs_depth")
    curves = write_figure(curves_figure(result), out / "figures", "learning_curves")
    blocks = _blocks(result, verdict, rows, error, curves)
    title = _title(result, rows)
    (out / "report.md").write_text(to_markdown(title, blocks), encoding="utf-8")
    (out / "report.html").write_text(to_html(title, blocks), encoding="utf-8")
    write_json(out / "report.json", _record(result, verdict, rows), allow_nan=False)
    return out / "report.html"


def rebuild(directory: Path | str) -> Path:
    """Write the report of a finished study again from its JSON files, without training.

    Args:
        directory: Folder of a study.

    Returns:
        The HTML file.

    Raises:
        InputError: The folder holds no finished study, or its files are truncated or foreign.
    """
    return write_report(load_study(directory), directory)


def verdict_table(result: StudyResult) -> ConsoleTable:
    """The table of arms for the terminal.

    Args:
        result: A finished study.

    Returns:
        A rich table, with the verdict's sentences as its caption.
    """
    rows, verdict = summarise(result), judge(result)
    table = ConsoleTable(
        title=Text(_title(result, rows)),
        caption=Text(f"{verdict.sentence}\n{verdict.scope}"),
        caption_justify="left",
        box=SIMPLE_HEAD,
        pad_edge=False,
        collapse_padding=True,
    )
    for name in ("depth", "width", "params", "off %", "MACs", "test error % [95 %]", "ms/step", "runs"):
        table.add_column(name, justify="right", no_wrap=True)
    for row in rows:
        depth, _, params, off, macs, error, interval, _, _, step, runs = _cells(row)
        width = "-".join(map(str, row.arm.spec.stage_widths or (row.arm.width,)))
        table.add_row(depth, width, params, off, macs, Text(f"{error} [{interval}]"), step, runs)
    return table


def _title(result: StudyResult, rows: tuple[ArmSummary, ...]) -> str:
    return f"{TITLE} {result.data['name']} at {rows[0].arm.budget:,} parameters"


def _blocks(
    result: StudyResult, verdict: Verdict, rows: tuple[ArmSummary, ...], error: str, curves: str
) -> list[Block]:
    blocks: list[Block] = [
        Paragraph(verdict.sentence, lead=True),
        Paragraph(verdict.scope),
        Heading("The arms"),
        Table(HEADER, [_cells(row) for row in rows]),
        Paragraph(NOTE),
    ]
    diverged = [f"{row.diverged} at depth {row.arm.depth}" for row in rows if row.diverged]
    if diverged:
        blocks.append(Paragraph(f"Runs that diverged (their errors are included): {', '.join(diverged)}."))
    blocks += [
        Figure("figures/error_vs_depth.svg", error, "Test error against depth at one parameter budget."),
        Heading("Training and validation"),
        Figure("figures/learning_curves.svg", curves, "Loss by epoch on training and validation images, per arm."),
        Heading("How it was done"),
        Facts(_facts(result)),
        Heading("What this does not say"),
        Paragraph(LIMITS),
        Heading("Do it again"),
        Paragraph("The first line repeats the study (finished runs are kept); the second rebuilds this page in DIR."),
        Code(f"{result.plan.command}\njaxcnn report DIR"),
    ]
    return blocks


def _cells(row: ArmSummary) -> tuple[str, ...]:
    arm, stages = row.arm, row.arm.spec.stage_widths
    interval = row.test_error
    bounded = math.isfinite(interval.half_width)
    return (
        str(arm.depth),
        f"{arm.width} ({'-'.join(str(channels) for channels in stages)})" if stages else str(arm.width),
        f"{arm.params:,}",
        f"{100 * arm.mismatch:+.2f}",
        f"{arm.macs:,}",
        points(interval.estimate),
        f"{points(max(interval.low, 0.0))} to {points(interval.high)}" if bounded else "one seed",
        points(row.validation_error),
        points(row.train_error),
        f"{1000 * row.step:.1f}",
        str(len(row.test_errors)),
    )


def _facts(result: StudyResult) -> list[tuple[str, str]]:
    base, data = result.plan.base, result.data
    sizes = ", ".join(f"{count:,} {split}" for split, count in data["sizes"].items())
    total = sum(run.seconds["total"] for run in result.runs)
    solved = ("depth", "width", "stage_widths")
    fixed = {k: v for k, v in asdict(result.plan.arms[0].spec).items() if v is not None and k not in solved}
    facts = [
        ("Rule", result.plan.rule),
        ("Contrast", f"{result.plan.deeper} minus {result.plan.wider}, declared before the first run"),
        ("Family", f"{_text(fixed)}; only depth and width differ between arms"),
        ("Data", f"{data['name']}: {sizes}; image shape {_text(data['image_shape'])}"),
        ("Validation split", str(data.get("validation_hash", "not recorded"))),
        ("Training", f"{base.epochs} epochs, batch size {base.batch_size}, label smoothing {base.label_smoothing}"),
        ("Augmentation", _text(base.data.augment) or "none"),
        ("Optimiser", _optimizer(base.optimizer)),
        ("Seeds", _text(result.plan.seeds)),
        ("Training time", f"{total:,.0f} s for {len(result.runs)} runs, compilation included"),
    ]
    for environment in result.environments:
        facts.append(("Ran on", "; ".join(f"{k.replace('_', ' ')} {_text(v)}" for k, v in environment.items() if v)))
    return facts


def _optimizer(config: OptimizerConfig) -> str:
    unused = () if config.schedule == "step" else ("milestones", "factor")
    unused += () if config.name == "sgd" else ("momentum", "nesterov")
    return _text({key: value for key, value in asdict(config).items() if key not in unused})


def _text(value: Any) -> str:
    if isinstance(value, Mapping):
        return ", ".join(f"{str(key).replace('_', ' ')} {_text(item)}" for key, item in value.items())
    if isinstance(value, list | tuple):
        return ", ".join(_text(item) for item in value)
    if isinstance(value, bool):
        return "on" if value else "off"
    return "none" if value is None else str(value)


def _record(result: StudyResult, verdict: Verdict, rows: tuple[ArmSummary, ...]) -> dict[str, Any]:
    return {
        "format": FORMAT,
        "verdict": verdict.decision,
        "sentence": verdict.sentence,
        "scope": verdict.scope,
        "rule": result.plan.rule,
        "contrast": {"deeper": result.plan.deeper, "wider": result.plan.wider, **_limits(verdict.contrast)},
        "seeds": list(result.plan.seeds),
        "data": result.data,
        "arms": [
            {
                "depth": row.arm.depth,
                "width": row.arm.width,
                "stage_widths": row.arm.spec.stage_widths,
                "params": row.arm.params,
                "budget": row.arm.budget,
                "mismatch": row.arm.mismatch,
                "macs": row.arm.macs,
                "test_error": _limits(row.test_error),
                "test_errors": row.test_errors,
                "validation_error": row.validation_error,
                "train_error": row.train_error,
                "step_seconds": row.step,
                "runs": len(row.test_errors),
                "diverged": row.diverged,
            }
            for row in rows
        ],
        "environments": list(result.environments),
        "command": result.plan.command,
    }


def _limits(interval: Interval) -> dict[str, float | None]:
    bounded = math.isfinite(interval.half_width)
    return {
        "estimate": interval.estimate,
        "low": interval.low if bounded else None,
        "high": interval.high if bounded else None,
    }
