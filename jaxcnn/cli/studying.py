"""`jaxcnn study` and `report`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from jaxcnn.cli.training import starting_point
from jaxcnn.spec import RunConfig


@dataclass(frozen=True)
class StudyFlags:
    """Deeper or wider? Solve the width of each depth for one parameter budget, train every arm, report.

    `--data NAME` and `--model NAME` set the starting point; depth and width of the model are the study's to choose.

    Args:
        config: Shared by all arms.
        depths: Depths to compare.
        params: Trainable parameters of every arm.
        seeds: Runs of each arm.
        tolerance: How far an arm may miss the budget, relative.
        out: Folder of the study; the same command goes on where an interrupted one stopped.
    """

    config: Annotated[RunConfig, tyro.conf.arg(name="")]
    depths: tuple[int, ...] = (8, 14, 20)
    params: int = 27_000
    seeds: int = 5
    tolerance: float = 0.01
    out: Path = Path("runs/study")


@dataclass(frozen=True)
class ReportFlags:
    """Rebuild a study's report from its records, without training.

    Args:
        study: Folder of the study.
    """

    study: tyro.conf.Positional[Path]


def study(arguments: Sequence[str]) -> None:
    """Run a study and print its verdict."""
    start, rest = starting_point(arguments)
    flags = tyro.cli(StudyFlags, args=rest, prog="jaxcnn study", default=StudyFlags(start))
    from jaxcnn.data import load
    from jaxcnn.study import match_width, run_study, write_report

    dataset = load(flags.config.data, progress=True)
    arms = [
        match_width(
            flags.config.model,
            depth,
            params=flags.params,
            input_shape=dataset.image_shape,
            num_classes=len(dataset.class_names),
            tolerance=flags.tolerance,
        )
        for depth in flags.depths
    ]
    result = run_study(flags.config, arms, tuple(range(flags.seeds)), out=flags.out)
    _show(result, write_report(result, flags.out))


def report(arguments: Sequence[str]) -> None:
    """Rebuild a report."""
    flags = tyro.cli(ReportFlags, args=arguments, prog="jaxcnn report")
    from jaxcnn.study import load_study, write_report

    result = load_study(flags.study)
    _show(result, write_report(result, flags.study))


def _show(result, page: Path) -> None:
    from rich.console import Console

    from jaxcnn.study import verdict_table

    Console().print(verdict_table(result))
    print(f"report: {page}")
