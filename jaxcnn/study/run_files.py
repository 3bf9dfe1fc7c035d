"""The forms of runs.json and costs.json: what they must hold, of which types and between which bounds."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from jaxcnn.records import from_record
from jaxcnn.study.plan import Plan
from jaxcnn.study.stage_files import REMEDY, is_share, is_single, number, read_form, require
from jaxcnn.study.tuning import Setting

METRICS = tuple(f"{split}_{name}" for split in ("train", "validation", "test") for name in ("loss", "accuracy"))
SECONDS = ("step", "total")
MOST_BYTES, MOST_SECONDS = 2**62, 1e12


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


class CostRecord(NamedTuple):
    """A `Cost` in the file: null where a time was not finite."""

    memory: int | None
    step: float | None
    spread: float | None
    compile: float | None


class CostsFile(NamedTuple):
    """The form of costs.json."""

    arms: dict[str, CostRecord]


class StoredRun(NamedTuple):
    """A `jaxcnn.study.result.RunRecord` in runs.json: null where a number was not finite."""

    arm: str
    setting: Setting
    seed: int
    metrics: dict[str, float | None]
    history: tuple[dict[str, float | None], ...]
    seconds: dict[str, float | None]


class RunsFile(NamedTuple):
    """The form of runs.json."""

    predictions_sha256: str
    data: dict[str, Any]
    environments: tuple[dict[str, Any], ...]
    runs: tuple[StoredRun, ...]


class StoredData(NamedTuple):
    """What a report needs to know of the data; the runs recorded more."""

    name: str
    sizes: dict[str, int]
    class_names: tuple[str, ...]
    image_shape: tuple[int, ...]
    validation_hash: str = ""


def read_costs(directory: Path, plan: Plan) -> dict[str, Cost]:
    """Read costs.json.

    Raises:
        InputError: It is damaged, of another study, or does not hold costs.
    """
    path, stored = directory / "costs.json", read_form(directory, "costs.json", plan, CostsFile)
    for label, cost in stored.arms.items():
        right = cost.memory is None or 0 <= cost.memory <= MOST_BYTES
        right = right and all(_is_time(value) for value in cost[1:])
        require(right, path, f"a cost of {label} is negative or larger than any")
    return {label: Cost(cost.memory, *map(number, cost[1:])) for label, cost in stored.arms.items()}


def read_runs(directory: Path, plan: Plan) -> RunsFile:
    """Read runs.json.

    Raises:
        InputError: It is damaged, of another study, or does not hold runs.
    """
    path, stored = directory / "runs.json", read_form(directory, "runs.json", plan, RunsFile)
    known = {name: value for name, value in stored.data.items() if name in StoredData._fields}
    data = from_record(StoredData, known, f"{path}.data", REMEDY)
    require({"train", "validation", "test"} <= set(data.sizes), path, "data.sizes does not name all splits")
    require(min(data.sizes.values()) > 0 and len(data.class_names) > 1, path, "its data have no images or classes")
    for run in stored.runs:
        check_run(run._asdict(), path, f"a run of {run.arm}")
    return stored._replace(data=_legible(stored.data), environments=_legible(stored.environments))


def _legible(value: Any) -> Any:
    """With every text one that a file and a figure can hold: of names of files, bytes that are no text are escaped."""
    if isinstance(value, str):
        return value.encode("utf-8", "backslashreplace").decode()
    if isinstance(value, Mapping):
        return {_legible(key): _legible(item) for key, item in value.items()}
    return type(value)(map(_legible, value)) if isinstance(value, list | tuple) else value


def check_run(run: Mapping[str, Any], path: Path, what: str, remedy: str = REMEDY, *, tested: bool = True) -> None:
    """Refuse a run without the numbers that a study goes by, or with one that no run can give.

    Args:
        run: Its metrics, history and seconds, of the types that `StoredRun` says.
        path: The file that holds them.
        what: What an error calls the run.
        remedy: The end of the error's sentence.
        tested: It opened the test split.

    Raises:
        InputError: There is such a number.
    """
    metrics = METRICS if tested else tuple(name for name in METRICS if not name.startswith("test_"))
    for kind, needed in (("metrics", metrics), ("seconds", SECONDS)):
        missing = [name for name in needed if name not in run[kind]]
        require(not missing, path, f"{what} has no {', '.join(missing)} in its {kind}", remedy)
    require(len(run["history"]) > 0, path, f"{what} has no epochs", remedy)
    for row in (run["metrics"], *run["history"]):
        for name, value in row.items():
            fits = is_share(value) if name.endswith("_accuracy") else is_single(value)
            require(fits, path, f"{name}={value} of {what} is none", remedy)
    require(all(map(_is_time, run["seconds"].values())), path, f"a time of {what} is negative or endless", remedy)


def _is_time(value: float | None) -> bool:
    return value is None or 0 <= value <= MOST_SECONDS
