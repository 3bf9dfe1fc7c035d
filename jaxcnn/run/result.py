"""What a run gave, and how it is written to its folder and read back."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from jaxcnn.run.folder import RunFolder, StoredResult
from jaxcnn.spec import RunConfig


@dataclass(frozen=True)
class RunResult:
    """Result of a run.

    Args:
        config: The run.
        directory: Its folder, None where nothing was written.
        metrics: The task's metrics of the last epoch, as train_, validation_ and (if evaluate_test) test_ numbers;
            classification: loss (nats) and accuracy.
        history: One record per epoch.
        predictions: Arrays of the test split, per example, as the task saves them (classification: labels, predictions,
            probability of the predicted class, correct); empty where evaluate_test is off.
        params: Trainable parameters.
        macs: Multiply-accumulates of one image's forward pass, convolutions and dense layers.
        seconds: compile, train, step (median over epochs, a step), total.
        environment: Versions and hardware.
        data: The data set: name, sizes, classes, shape, normalisation, hash of the validation split.
        programs: How the step was driven: mode (jit, pmap, sharded), devices, scan, members (runs in one program).
        diverged: None, or of the step whose loss or gradients were not finite: step, indices (of its examples in the
            training split), loss, parameter_norms and gradient_norms by path, nonfinite (paths). Nothing was learnt
            after it; the metrics are those of a network whose weights are NaN.
    """

    config: RunConfig
    directory: Path | None
    metrics: dict[str, float]
    history: tuple[dict[str, Any], ...]
    predictions: dict[str, np.ndarray]
    params: int
    macs: int
    seconds: dict[str, float]
    environment: dict[str, Any]
    data: dict[str, Any]
    programs: dict[str, Any] = field(default_factory=dict)
    diverged: dict[str, Any] | None = None


def load_result(directory: Path | str) -> RunResult:
    """Read a finished run.

    Raises:
        InputError: Not a run's folder, not finished, or damaged. The run of a user-defined module reads too, with the
            config's model at its default.
    """
    folder = RunFolder(Path(directory))
    config, _ = folder.read_config()
    stored = folder.read_result()
    return RunResult(
        config=config,
        directory=folder.path,
        metrics=stored.metrics,
        history=stored.history,
        predictions=folder.read_predictions(stored.predictions_sha256) if config.evaluate_test else {},
        params=stored.params,
        macs=stored.macs,
        seconds=stored.seconds,
        environment=folder.read("environment.json"),
        data=folder.read("data.json"),
        programs=stored.programs,
        diverged=stored.diverged,
    )


def store(folder: RunFolder, result: RunResult) -> None:
    """Write a finished run: the result last, because it marks the run as finished."""
    digest = folder.write_predictions(result.predictions) if result.predictions else None
    folder.write_result(
        StoredResult(
            digest, result.metrics, result.history, result.params, result.macs, result.seconds, result.programs,
            result.diverged,
        )
    )  # fmt: skip
