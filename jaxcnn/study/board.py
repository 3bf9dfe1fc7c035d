"""A finished study as TensorBoard event files: one HParams table, a line for each trial and run."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from pathlib import Path
from shutil import rmtree
from typing import Any

from jaxcnn.errors import InputError
from jaxcnn.study.arm import Arm
from jaxcnn.study.result import StudyResult
from jaxcnn.study.tuning import Setting
from jaxcnn.train.tensorboard import summary_writer

STAGES = ("tuning", "runs")
"""Folders of the table: trials, and runs."""


def write_board(result: StudyResult, out: Path | str) -> Path:
    """Write the trials and runs of a study for TensorBoard (extra `tensorboard`); its earlier table is replaced.

    Args:
        result: A finished study.
        out: Folder; the files come into its folder `tensorboard`, one folder per trial and run.

    Returns:
        The folder for `tensorboard --logdir`.

    Raises:
        InputError: tensorboardX is not installed, or that folder holds something else than an earlier table.

    >>> write_board(load_study("runs/study"), "runs/study")  # doctest: +SKIP
    """
    make, folder = summary_writer(), Path(out) / "tensorboard"
    from tensorboardX.summary import hparams

    others = [path for path in folder.rglob("*") if path.is_file() and not _written(path.relative_to(folder))]
    if others:
        raise InputError(f"out={str(out)!r}: {others[0]} is no part of a study's table; choose another folder")
    for stage in STAGES:
        if (folder / stage).exists():
            rmtree(folder / stage)
    for path, about, metrics, history in _lines(result):
        # Without a summary of the experiment TensorBoard makes the columns itself, those that differ first.
        _, start, end = hparams(about, {})
        last = dict(history[-1]) if history else {"epoch": result.plan.base.epochs}
        with make(str(folder / path)) as writer:
            writer.file_writer.add_summary(start)
            for epoch in (*history[:-1], last | dict(metrics)):
                for name, value in epoch.items():
                    if name.startswith(("train_", "validation_", "test_")) and math.isfinite(value):
                        writer.add_scalar(name, value, epoch["epoch"])
            writer.file_writer.add_summary(end)
    return folder


def _written(path: Path) -> bool:
    return path.parts[0] in STAGES and path.name.startswith("events.out.tfevents.")


def _lines(result: StudyResult) -> Iterator[tuple[str, dict[str, Any], Mapping[str, float], Any]]:
    """Yield folder, hyperparameters, last metrics and history of every trial and run."""
    arms, metric = {arm.label: arm for arm in result.plan.arms}, f"validation_{result.plan.measure.metric}"
    for label, tuned in result.tuning.arms.items():
        for each in tuned.trials:
            about = _about("tuning", arms[label], each.setting, each.seed)
            metrics = {"validation_loss": each.validation_loss, metric: 1 - each.validation_error}
            yield f"tuning/{label}/{each.setting.label}/seed{each.seed}", about, metrics, ()
    for run in result.runs:
        about = _about("runs", arms[run.arm], run.setting, run.seed)
        yield f"runs/{run.arm}/{run.setting.label}/seed{run.seed}", about, run.metrics, run.history


def _about(stage: str, arm: Arm, setting: Setting, seed: int) -> dict[str, Any]:
    costs = {"params": arm.params, "macs": arm.macs}
    about = {"stage": stage, "family": arm.name or arm.family, "budget": arm.budget_label, "depth": arm.depth}
    return {**about, "width": arm.widths, **costs, **setting._asdict(), "seed": seed}
