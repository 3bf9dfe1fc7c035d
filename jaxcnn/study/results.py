"""The files of a study after its plan, each sealed and bound to the plan: tuning, pilot, runs and predictions, costs."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from jaxcnn.errors import InputError
from jaxcnn.files import in_one_move, read_sealed, sha256, write_sealed
from jaxcnn.study.agenda import Agenda, Item, Pilot, Tuned
from jaxcnn.study.arm import Arm
from jaxcnn.study.grid import Choice, Setting, Trial
from jaxcnn.study.plan import Plan
from jaxcnn.study.store import identity, load_plan

FORMAT = "jaxcnn study 2"
REMEDY = "delete it and run the study again, which rebuilds it from the runs"


class Cost(NamedTuple):
    """What a training step of an arm costs, as `jaxcnn.run.cost` measured it; this form needs no JAX to be read.

    Args:
        memory: Bytes of the compiled step (arguments, outputs and temporaries, less what they share), None if unknown.
        step: Seconds, median over alternating rounds.
        spread: Seconds, the interquartile range over rounds.
        compile: Seconds that compiling took, or loading from the compilation cache.
    """

    memory: int | None
    step: float
    spread: float
    compile: float


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
        return not (math.isfinite(self.metrics["train_loss"]) and math.isfinite(self.metrics["validation_loss"]))


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
    tuning, pilot, stored = (_read(directory, f"{name}.json", plan) for name in ("tuning", "pilot", "runs"))
    costs = _read(directory, "costs.json", plan)["arms"] if (directory / "costs.json").exists() else {}
    try:
        labels, predictions = _read_predictions(directory, stored["predictions_sha256"])
        return StudyResult(
            plan=plan,
            tuned=_tuned(tuning),
            pilot=Pilot(pilot["spread"], pilot["needed"], tuple(pilot["seeds"])),
            runs=tuple(_run_record(item) for item in stored["runs"]),
            labels=labels,
            predictions=predictions,
            costs={label: Cost(**cost) for label, cost in costs.items()},
            data=dict(stored["data"]),
            environments=tuple(stored["environments"]),
            directory=directory,
        )
    except (KeyError, TypeError, AttributeError) as error:
        raise InputError(f"{directory} holds an incomplete study ({error!r}): {REMEDY}") from None


def store_stages(directory: Path, plan: Plan, agenda: Agenda) -> None:
    """Write tuning.json and pilot.json once they are known."""
    if agenda.tuned is not None:
        _write(directory, "tuning.json", plan, _tuned_json(agenda.tuned))
    if agenda.pilot is not None:
        _write(directory, "pilot.json", plan, agenda.pilot._asdict())


def store_costs(directory: Path, plan: Plan, costs: Mapping[str, Cost]) -> None:
    """Write costs.json."""
    _write(directory, "costs.json", plan, {"arms": {label: cost._asdict() for label, cost in costs.items()}})


def store_runs(directory: Path, plan: Plan, items: Sequence[Item], read: Callable[[Path], Any]) -> None:
    """Gather the finished runs into runs.json and predictions.npz.

    Args:
        directory: The study's folder.
        plan: The study.
        items: Its runs that opened the test split.
        read: A run's folder to its `RunResult`.

    Raises:
        InputError: The runs do not have the same data.
    """
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
    _write(directory, "runs.json", plan, _plain(record))


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


def _run_record(item: Mapping[str, Any]) -> RunRecord:
    return RunRecord(
        arm=item["arm"],
        setting=Setting(*item["setting"]),
        seed=item["seed"],
        metrics=_numbers(item["metrics"]),
        history=tuple(_numbers(epoch) for epoch in item["history"]),
        seconds=_numbers(item["seconds"]),
    )


def _tuned_json(tuned: Tuned) -> dict[str, Any]:
    return {
        "shared": tuned.shared,
        "arms": {
            label: {
                "setting": choice.setting,
                "edge": choice.edge,
                "trials": [trial._asdict() for trial in tuned.trials[label]],
            }
            for label, choice in tuned.choices.items()
        },
    }


def _tuned(record: Mapping[str, Any]) -> Tuned:
    arms = record["arms"]
    trials = {
        label: tuple(Trial(**_numbers(trial) | {"setting": Setting(*trial["setting"])}) for trial in arm["trials"])
        for label, arm in arms.items()
    }
    choices = {label: Choice(Setting(*arm["setting"]), arm["edge"]) for label, arm in arms.items()}
    return Tuned(trials, choices, Setting(*record["shared"]))


def _write(directory: Path, name: str, plan: Plan, record: Mapping[str, Any]) -> None:
    write_sealed(directory / name, _plain({"format": FORMAT, "plan": identity(plan), **record}))


def _read(directory: Path, name: str, plan: Plan) -> dict[str, Any]:
    path = directory / name
    if not path.exists():
        raise InputError(f"{directory} holds no {name}: the study is not finished; run it to its end first")
    record = read_sealed(path, REMEDY)
    if record.get("format") != FORMAT:
        raise InputError(f"{path} is not a {FORMAT!r} file of this version: {REMEDY}")
    if record.get("plan") != identity(plan):
        raise InputError(f"{path} belongs to another study than plan.json beside it: {REMEDY}")
    return record


def _read_predictions(directory: Path, digest: str) -> tuple[np.ndarray, np.ndarray]:
    path = directory / "predictions.npz"
    if not path.exists():
        raise InputError(f"{directory} holds no predictions.npz: {REMEDY.replace('delete it and ', '')}")
    if sha256(path) != digest:
        raise InputError(f"{path} is not the file that runs.json was written with: {REMEDY}")
    with np.load(path, allow_pickle=False) as arrays:
        return arrays["labels"], arrays["predictions"]


def _numbers(row: Mapping[str, Any]) -> dict[str, Any]:
    return {key: math.nan if value is None else value for key, value in row.items()}


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
