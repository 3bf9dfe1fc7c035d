"""What a run gave, and how it is written to its folder and read back."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from jaxcnn.errors import InputError
from jaxcnn.run.folder import REMEDY, RunDirectory
from jaxcnn.spec import RunConfig


@dataclass(frozen=True)
class RunResult:
    """What a run gave.

    Args:
        config: The run that was asked for.
        directory: Its folder, None where nothing was written.
        metrics: Of the last epoch: train_, validation_ and (if evaluate_test) test_ loss (nats) and accuracy.
        history: One record an epoch.
        predictions: Of the test split, per example: labels, predictions, probability (of the predicted class), correct;
            empty where evaluate_test is off.
        params: Trainable parameters.
        macs: Multiply-accumulates of one image's forward pass, convolutions and dense layers.
        seconds: compile, train, step (median over epochs, a step), total.
        environment: Versions and hardware.
        programs: How the step was driven: mode (jit, pmap, sharded), devices, scan, members (runs in one program).
        diverged: None, or of the step whose loss or gradients were not finite: step, indices (of its examples in the
            training split), loss, parameter_norms and gradient_norms by path, nonfinite (paths). Nothing was learnt
            after it; the metrics are those of a network whose weights are NaN.
        data: The data set: name, sizes, classes, shape, normalisation, hash of the validation split.
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
        InputError: Not a run's folder, not finished, or damaged; the run of a user's own module reads too, with the
            config's model left at its default.
    """
    folder = RunDirectory(Path(directory))
    config, _ = folder.read_config()
    stored = folder.read_result()
    try:
        return RunResult(
            config=config,
            directory=folder.path,
            metrics=stored["metrics"],
            history=tuple(stored["history"]),
            predictions=folder.read_predictions(stored["predictions_sha256"]) if config.evaluate_test else {},
            params=stored["params"],
            macs=stored["macs"],
            seconds=stored["seconds"],
            environment=folder.read("environment.json"),
            data=folder.read("data.json"),
            programs=stored["programs"],
            diverged=stored["diverged"],
        )
    except KeyError as error:
        raise InputError(f"run {str(folder.path)!r}: result.json lacks {error}; {REMEDY}") from error


def store(directory: RunDirectory, result: RunResult) -> None:
    """Write a finished run: the result last, because it is what says that the run is finished."""
    digest = directory.write_predictions(result.predictions) if result.predictions else None
    directory.write_result(
        {
            "predictions_sha256": digest,
            "metrics": result.metrics,
            "history": list(result.history),
            "params": result.params,
            "macs": result.macs,
            "seconds": result.seconds,
            "programs": result.programs,
            "diverged": result.diverged,
        }
    )
