"""A finished study: runs.json, predictions.npz and costs.json, and all of its files as one result."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import numpy as np

from jaxcnn.errors import InputError
from jaxcnn.runtime.files import in_one_move, sha256
from jaxcnn.study.arm import Arm
from jaxcnn.study.plan import Plan
from jaxcnn.study.plan_file import load_plan
from jaxcnn.study.run_files import Cost, StoredRun, read_costs, read_runs
from jaxcnn.study.schedule import Item, Pilot, Tuned, diverged
from jaxcnn.study.stage_files import REMEDY, load_stages, number, read_stage, require, write_stage
from jaxcnn.study.tuning import Setting

FILES = ("costs.json", "runs.json", "predictions.npz")


@dataclass(frozen=True)
class RunRecord:
    """What a study keeps of one run; the run's own folder holds the rest.

    Args:
        arm: Label of the arm.
        setting: Learning rate and weight decay.
        seed: Its seed.
        metrics: Last epoch: loss (nats) and accuracy (0 to 1) on train, validation and test.
        history: One dict an epoch, without the test split. Values that were not finite are NaN.
        seconds: compile, train, step (median of a step) and total.
    """

    arm: str
    setting: Setting
    seed: int
    metrics: dict[str, float]
    history: tuple[dict[str, float], ...]
    seconds: dict[str, float]

    @property
    def diverged(self) -> bool:
        """Whether its loss was not finite at the end."""
        return diverged(self.metrics)


@dataclass(frozen=True, eq=False)
class StudyResult:
    """A finished study.

    Args:
        plan: As declared before the first run.
        tuned: What tuning gave.
        pilot: How the number of runs was chosen.
        runs: One record per arm and seed, then those of the contrasts' arms at the shared setting.
        labels: (N,) classes of the test images.
        predictions: (runs, N) predicted classes, a row a run.
        costs: Memory and time of a training step by arm; empty where they were not measured.
        data: Name, sizes, class names, image shape and validation hash, as the runs recorded them.
        environments: Every different set of versions and hardware that took part, usually one.
        directory: The study's folder.
    """

    plan: Plan
    tuned: Tuned
    pilot: Pilot
    runs: tuple[RunRecord, ...]
    labels: np.ndarray
    predictions: np.ndarray
    costs: dict[str, Cost]
    data: dict[str, Any]
    environments: tuple[dict[str, Any], ...]
    directory: Path

    def of(self, arm: Arm, *, shared: bool = False) -> tuple[RunRecord, ...]:
        """The runs of one arm in the order of the seeds, at its own setting or at the shared one."""
        return tuple(self.runs[row] for row in self._rows(arm, shared))

    def errors(self, arm: Arm, *, shared: bool = False) -> np.ndarray:
        """(seeds, N) of 0 and 1: which test images each run of an arm got wrong."""
        return (self.predictions[list(self._rows(arm, shared))] != self.labels).astype(np.uint8)

    def _rows(self, arm: Arm, shared: bool) -> tuple[int, ...]:
        setting = self.tuned.shared if shared else self.tuned.choices[arm.label].setting
        return tuple(
            row for row, record in enumerate(self.runs) if record.arm == arm.label and record.setting == setting
        )


def load_study(directory: Path | str) -> StudyResult:
    """Read a finished study from its files, without training and without its runs' folders.

    Args:
        directory: Folder that `run_study` wrote, or the same files elsewhere.

    Returns:
        The result, equal to the one `run_study` returned.

    Raises:
        InputError: A file is missing (the study is not finished), truncated, edited, or of another study.
    """
    directory = Path(directory)
    plan = load_plan(directory)
    tuned, pilot = load_stages(directory, plan)
    stored = read_runs(directory, plan)
    labels, predictions = _read_predictions(directory, stored.predictions_sha256)
    costs = read_costs(directory, plan) if (directory / "costs.json").exists() else {}
    result = StudyResult(
        plan, tuned, pilot, tuple(map(_run_record, stored.runs)), labels, predictions, costs, stored.data,
        stored.environments, directory,
    )  # fmt: skip
    _check_runs(result)
    return result


def _check_runs(result: StudyResult) -> None:
    """Whether the runs are those that tuning and pilot ask for: each file may be whole and still not fit the others."""
    path = result.directory / "runs.json"
    for arm in result.plan.arms:
        if [run.seed for run in result.of(arm)] != list(result.pilot.seeds):
            raise InputError(
                f"{path} does not hold the runs of {arm.label} that tuning.json and pilot.json beside it ask for: "
                f"{REMEDY}"
            )
    shape, classes = (len(result.runs), result.data["sizes"]["test"]), len(result.data["class_names"])
    fits = (
        result.predictions.shape == shape and result.labels.shape == shape[1:] and bool((result.labels < classes).all())
    )
    require(fits, path, f"predictions.npz beside it does not hold {shape[0]} runs on {shape[1]} images")


def store_costs(directory: Path, plan: Plan, costs: Mapping[str, Cost]) -> None:
    """Write costs.json."""
    write_stage(directory, "costs.json", plan, {"arms": {label: cost._asdict() for label, cost in costs.items()}})


def store_runs(directory: Path, plan: Plan, items: Sequence[Item], read: Callable[[Path], Any]) -> None:
    """Gather the finished runs into runs.json and predictions.npz.

    Args:
        directory: The study's folder.
        plan: The study.
        items: Its runs that opened the test split.
        read: A run's folder to its `RunResult`.

    Raises:
        InputError: The runs do not have the same data, or a damaged runs.json is there, which is not replaced.
    """
    if (directory / "runs.json").exists():
        read_stage(directory, "runs.json", plan)
    results = [read(directory / item.path) for item in items]
    about = _distinct(result.data for result in results)
    labels = _distinct(result.predictions["labels"].tolist() for result in results)
    if len(about) > 1 or len(labels) > 1:
        raise InputError(
            f"data {plan.base.data.name!r} changed between the runs of this study: run all of it again in a new folder"
        )
    kind = np.uint8 if len(about[0]["class_names"]) <= 256 else np.uint16
    arrays: dict[str, Any] = {
        "labels": np.array(labels[0], kind),
        "predictions": np.stack([result.predictions["predictions"] for result in results]).astype(kind),
    }
    with in_one_move(directory / "predictions.npz") as partial, partial.open("wb") as stream:
        np.savez_compressed(stream, **arrays)
    record = {
        "predictions_sha256": sha256(directory / "predictions.npz"),
        "data": about[0],
        "environments": _distinct(result.environment for result in results),
        "runs": [_run_json(item, result) for item, result in zip(items, results, strict=True)],
    }
    write_stage(directory, "runs.json", plan, record)


def _run_json(item: Item, result: Any) -> dict[str, Any]:
    # The test split enters a study once per run, as the last epoch's metrics; no curve of it is kept.
    history = [{k: v for k, v in epoch.items() if not k.startswith("test_")} for epoch in result.history]
    return {
        "arm": item.arm.label,
        "setting": item.setting,
        "seed": item.seed,
        "metrics": result.metrics,
        "history": history,
        "seconds": result.seconds,
    }


def _run_record(stored: StoredRun) -> RunRecord:
    def numbers(row: Mapping[str, float | None]) -> dict[str, float]:
        return {name: number(value) for name, value in row.items()}

    history = tuple(numbers(epoch) for epoch in stored.history)
    metrics, seconds = numbers(stored.metrics), numbers(stored.seconds)
    return RunRecord(stored.arm, stored.setting, stored.seed, metrics, history, seconds)


def _read_predictions(directory: Path, digest: str) -> tuple[np.ndarray, np.ndarray]:
    path = directory / "predictions.npz"
    if not path.exists():
        raise InputError(f"{directory} holds no predictions.npz: {REMEDY.replace('delete it and ', '')}")
    if sha256(path) != digest:
        raise InputError(f"{path} is not the file that runs.json was written with: {REMEDY}")
    try:
        with np.load(path, allow_pickle=False) as arrays:
            return arrays["labels"], arrays["predictions"]
    except (KeyError, ValueError, OSError, BadZipFile):
        raise InputError(f"{path} does not hold the arrays labels and predictions: {REMEDY}") from None


def _distinct(items: Iterable[Any]) -> list[Any]:
    kept: list[Any] = []
    for item in items:
        if item not in kept:
            kept.append(item)
    return kept
