"""The records of a finished study, and results.json, from which every report is built."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jaxcnn.errors import InputError
from jaxcnn.study.arm import Arm
from jaxcnn.study.plan import Plan, load_plan, read_json

FORMAT = "jaxcnn study results 1"
METRICS = ("train_loss", "train_accuracy", "validation_loss", "validation_accuracy", "test_loss", "test_accuracy")


@dataclass(frozen=True)
class RunRecord:
    """What a study keeps of one run; the run's own folder holds the rest.

    Args:
        arm: Label of the arm.
        seed: Its seed.
        metrics: Last epoch: loss (nats) and accuracy (0 to 1) on train, validation and test.
        history: One dict an epoch, without the test split. Values that were not finite are NaN.
        seconds: compile, train, step (median of a step) and total.
    """

    arm: str
    seed: int
    metrics: dict[str, float]
    history: tuple[dict[str, float], ...]
    seconds: dict[str, float]


@dataclass(frozen=True)
class StudyResult:
    """A finished study.

    Args:
        plan: As declared before the first run.
        runs: One record per arm and seed, arm by arm.
        data: Name, sizes, class names, image shape and validation hash, as the runs recorded them.
        environments: Every different set of versions and hardware that took part, usually one.
        directory: The study's folder.
    """

    plan: Plan
    runs: tuple[RunRecord, ...]
    data: dict[str, Any]
    environments: tuple[dict[str, Any], ...]
    directory: Path

    def of(self, arm: Arm) -> tuple[RunRecord, ...]:
        """The runs of one arm, in the order of the seeds."""
        return tuple(record for record in self.runs if record.arm == arm.label)


def load_study(directory: Path | str) -> StudyResult:
    """Read a finished study from its two JSON files, without training and without its runs' folders.

    Args:
        directory: Folder that `run_study` wrote.

    Returns:
        The result, equal to the one `run_study` returned.

    Raises:
        InputError: A file is missing (the study never finished), truncated, of another format or of another plan.
    """
    directory = Path(directory)
    if not directory.is_dir():
        raise InputError(f"{directory} is not a folder: give the folder of a study")
    plan = load_plan(directory)
    path = directory / "results.json"
    record = read_json(path, FORMAT)
    try:
        runs = tuple(_run_record(item) for item in record["runs"])
        data, environments = dict(record["data"]), tuple(dict(item) for item in record["environments"])
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise InputError(f"{path} is incomplete ({error!r}): delete it and run the study again to rebuild it") from None
    if [(item.arm, item.seed) for item in runs] != _pairs(plan):
        raise InputError(f"{path} does not hold the runs of its study.json: delete it and run the study again")
    return StudyResult(plan, runs, data, environments, directory)


def to_json(plan: Plan, records: Sequence[RunRecord], data: Sequence[Any], environments: Sequence[Any]) -> dict:
    """What results.json holds.

    Args:
        plan: The study.
        records: One a run, in the plan's order.
        data: What each run recorded about its data.
        environments: What each run recorded about versions and hardware.

    Returns:
        Plain JSON values.

    Raises:
        InputError: The data were not the same in every run.
    """
    if len(_distinct(_plain(item) for item in data)) > 1:
        raise InputError(
            f"data {plan.base.data.name!r} changed between the runs of this study: run all of it again in a new folder"
        )
    return {
        "format": FORMAT,
        "data": _plain(data[0]),
        "environments": _distinct(_plain(item) for item in environments),
        "runs": [_plain(vars(record)) for record in records],
    }


def _pairs(plan: Plan) -> list[tuple[str, int]]:
    return [(arm.label, seed) for arm in plan.arms for seed in plan.seeds]


def _run_record(item: Mapping[str, Any]) -> RunRecord:
    return RunRecord(
        arm=str(item["arm"]),
        seed=int(item["seed"]),
        metrics={name: _number(item["metrics"][name]) for name in METRICS},
        history=tuple({key: _number(value) for key, value in epoch.items()} for epoch in item["history"]),
        seconds={key: _number(value) for key, value in item["seconds"].items()},
    )


def _number(value: float | None) -> float:
    return math.nan if value is None else value + 0


def _plain(value: Any) -> Any:
    """JSON has no NaN: a value that is not finite is stored as null and read back as NaN."""
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if hasattr(value, "item"):
        value = value.item()
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _distinct(items: Iterable[Any]) -> list[Any]:
    kept: list[Any] = []
    for item in items:
        if item not in kept:
            kept.append(item)
    return kept
