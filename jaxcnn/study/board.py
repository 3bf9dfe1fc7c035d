"""A finished study as TensorBoard event files: one HParams table, a line for each trial and run."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from pathlib import Path
from shutil import rmtree
from typing import Any

from jaxcnn.study.arm import Arm
from jaxcnn.study.result import StudyResult
from jaxcnn.study.tuning import Setting
from jaxcnn.train.tensorboard import summary_writer


def write_board(result: StudyResult, out: Path | str) -> Path:
    """Write the trials and runs of a study for TensorBoard (extra `tensorboard`); an earlier table there is replaced.

    Args:
        result: A finished study.
        out: Folder; the files come into its folder `tensorboard`, one folder per trial and run.

    Returns:
        The folder for `tensorboard --logdir`.

    Raises:
        InputError: tensorboardX is not installed.

    >>> write_board(load_study("runs/study"), "runs/study")  # doctest: +SKIP
    """
    make, folder = summary_writer(), Path(out) / "tensorboard"
    from tensorboardX.summary import hparams

    rmtree(folder, ignore_errors=True)
    lines = list(_lines(result))
    names = dict.fromkeys(name for _, _, metrics, _ in lines for name in metrics)
    for path, about, metrics, history in lines:
        with make(str(folder / path)) as writer:
            start, *rest = hparams(about, dict.fromkeys(names, 0.0))
            writer.file_writer.add_summary(start)
            writer.file_writer.add_summary(rest[0])
            for epoch in history:
                for name, value in epoch.items():
                    if name.startswith(("train_", "validation_")):
                        writer.add_scalar(f"epoch_{name}", value, epoch["epoch"])
            for name, value in metrics.items():
                if math.isfinite(value):
                    writer.add_scalar(name, value, len(history) or result.plan.base.epochs)
            writer.file_writer.add_summary(rest[1])
    return folder


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
