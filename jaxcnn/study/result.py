"""A finished study and its files: each is sealed, bound to plan.json, and checked when it is read."""

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple, TypeVar
from zipfile import BadZipFile

import numpy as np

from jaxcnn.errors import InputError
from jaxcnn.records import as_record, from_record
from jaxcnn.runtime.files import atomic_write, read_sealed, sha256, write_sealed
from jaxcnn.spec import StepCost
from jaxcnn.study.arm import Arm
from jaxcnn.study.measure import Measure
from jaxcnn.study.plan import Plan, load_plan, study_identity
from jaxcnn.study.schedule import Pilot, Schedule, StudyRun, has_diverged
from jaxcnn.study.tuning import Setting, TuningResult

FORMAT, FORMER_FORMAT = "jaxcnn study 3", "jaxcnn study 2"
FILES = ("costs.json", "runs.json", "predictions.npz")
REBUILD = "run the study again, which rebuilds it from the folders of its runs"
REMEDY = f"restore it from a copy, or move it away and {REBUILD}"
OF_A_FOLD = ("sizes", "validation_hash", "test_hash", "content")
"""What the data of each fold have of their own, in runs.json."""
LARGEST = 3.5e38  # no float32 is larger
LARGEST_BYTES, LARGEST_SECONDS = 2**62, 1e12

T = TypeVar("T")


@dataclass(frozen=True)
class RunRecord:
    """One run as a study keeps it; the run's own folder holds the rest."""

    arm: str  #: Label of the arm.
    setting: Setting  #: Learning rate and weight decay.
    seed: int  #: Its seed.
    metrics: dict[str, float]  #: Last epoch: loss and the metric of the task on train, validation and test.
    #: One dict per epoch, without the test split. Values that were not finite are NaN.
    history: tuple[dict[str, float], ...]
    seconds: dict[str, float]  #: compile, train, step (median of a step) and total.
    finished: str = ""  #: Time of its end in UTC; empty in records of former versions.

    @property
    def diverged(self) -> bool:
        """Whether its loss was not finite at the end."""
        return has_diverged(self.metrics)


@dataclass(frozen=True, eq=False)
class StudyResult:
    """A finished study."""

    plan: Plan  #: As declared before the first run.
    tuning: TuningResult  #: Trials and chosen settings.
    pilot: Pilot  #: How the number of runs was chosen.
    #: One record per arm and seed, then those of the contrasts' arms at the shared setting.
    runs: tuple[RunRecord, ...]
    #: What predictions.npz holds of the test images and of each run (`jaxcnn.study.measure`): labels (N,) and
    #: predictions (runs, N) of classifiers; with folds, a row per arm and repeat.
    arrays: dict[str, np.ndarray]
    costs: dict[str, StepCost]  #: Memory and time of a training step by arm; empty where they were not measured.
    data: dict[str, Any]  #: Name, sizes, class names, image shape and validation hash, as the runs recorded them.
    #: Every distinct set of versions and hardware that took part, usually one.
    environments: tuple[dict[str, Any], ...]
    directory: Path  #: The study's folder.

    def of(self, arm: Arm, *, shared: bool = False) -> tuple[RunRecord, ...]:
        """Return the runs of one arm in the order of the seeds, at its own setting or at the shared one."""
        return tuple(self.runs[row] for row in self._rows(arm, shared))

    def errors(self, arm: Arm, *, shared: bool = False) -> np.ndarray:
        """Return (seeds, N): what each test image contributes to the error of each run of an arm, which is their mean.

        Classifiers: 0 or 1, which images are wrong. With folds there is a row per repeat.
        """
        return self.plan.measure.errors(self.arrays, self._stored(arm, shared))

    def class_errors(self, arm: Arm, label: int, *, shared: bool = False) -> np.ndarray:
        """Return (seeds, n): the same for the error of one class."""
        return self.plan.measure.class_errors(self.arrays, self._stored(arm, shared), label)

    @property
    def images(self) -> int:
        """Number of test images."""
        return self.data["sizes"]["test"]

    @property
    def resolution(self) -> float:
        """Step of the error."""
        return self.plan.measure.resolution(self.arrays)

    @property
    def folds(self) -> np.ndarray | None:
        """Fold whose runs have each image as a test image, (N,); None: all runs have it."""
        return self.arrays.get("folds")

    @property
    def groups(self) -> np.ndarray | None:
        """Number of the group of each test image, (N,); None: each stands for itself."""
        return self.arrays.get("groups")

    def _stored(self, arm: Arm, shared: bool) -> list[int]:
        """Return the rows of predictions.npz, one for the runs of a repeat."""
        return list(dict.fromkeys(row // len(self.plan.parts) for row in self._rows(arm, shared)))

    def _rows(self, arm: Arm, shared: bool) -> list[int]:
        if self.plan.folds:
            return [row for row, run in enumerate(self.runs) if run.arm == arm.label and not shared]
        setting = self.tuning.shared if shared else self.tuning.arms[arm.label].setting
        return [row for row, run in enumerate(self.runs) if (run.arm, run.setting) == (arm.label, setting)]


class CostsFile(NamedTuple):
    """Fields of costs.json."""

    arms: dict[str, StepCost]


class RunsFile(NamedTuple):
    """Fields of runs.json."""

    predictions_sha256: str
    data: dict[str, Any]
    environments: tuple[dict[str, Any], ...]
    runs: tuple[RunRecord, ...]


class DataFields(NamedTuple):
    """What a report needs of the data; the runs recorded more."""

    name: str
    sizes: dict[str, int]
    class_names: tuple[str, ...]
    image_shape: tuple[int, ...]
    validation_hash: str = ""


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
    tuning, pilot = _read_tuning(directory, plan), read_file(directory, "pilot.json", Pilot)
    stored = _read_runs(directory, plan.measure)
    arrays = _read_predictions(directory, stored.predictions_sha256, plan)
    costs = read_file(directory, "costs.json", CostsFile).arms if (directory / "costs.json").exists() else {}
    for label, cost in costs.items():
        right = _in_range([cost.memory or 0], 0, LARGEST_BYTES) and _in_range(cost[1:], 0, LARGEST_SECONDS)
        _require(right, directory / "costs.json", f"a cost of {label} is out of range")
    result = StudyResult(plan, tuning, pilot, stored.runs, arrays, costs, stored.data, stored.environments, directory)
    path = directory / "runs.json"
    for arm in plan.arms:  # Each file may be whole and still not fit the others.
        if [run.seed for run in result.of(arm)] != list(pilot.seeds):
            raise InputError(
                f"{path} does not hold the runs of {arm.label} that tuning.json and pilot.json beside it ask for: "
                f"{REMEDY}"
            )
    shape, classes = (len(result.runs) // len(plan.parts), result.images), len(result.data["class_names"])
    fits = all(arrays[name].shape[: len(shape)] == shape for name in plan.measure.runs)
    of_images = (*plan.measure.truth, *(name for name in ("folds", "groups") if name in arrays))
    fits &= all(arrays[name].shape[:1] == shape[1:] for name in of_images)
    fits &= bool((arrays.get("labels", np.zeros(1)) < classes).all())
    if result.folds is not None:
        fits = fits and np.unique(result.folds).tolist() == list(plan.parts)
        settings = [(run.setting, tuning.arms[run.arm].at(plan.fold_of(run.seed))) for run in result.runs]
        _require(all(one == two for one, two in settings), path, "a run has not the setting of its fold in tuning.json")
    _require(fits, path, f"predictions.npz beside it does not hold {shape[0]} runs on {shape[1]} images")
    return result


def store_stages(directory: Path, now: Schedule) -> None:
    """Write tuning.json and pilot.json once they are known; a file that exists is checked and never replaced.

    Raises:
        InputError: One exists and is damaged, of another study, or not what the runs beside it give.
    """
    for name, result in (("tuning.json", now.tuning), ("pilot.json", now.pilot)):
        if result is None:
            continue
        if not (directory / name).exists():
            write_file(directory, name, result)
        elif as_record(read_file(directory, name, type(result))) != as_record(result):
            raise InputError(f"{directory / name} does not say what the runs beside it give: {REMEDY}")


def store_runs(
    directory: Path, runs: Sequence[StudyRun], read: Callable[[Path], Any], groups: np.ndarray | None = None
) -> None:
    """Gather the runs that opened the test split into runs.json and predictions.npz; `read` reads a run's folder.

    `groups` are those of the test images, of one fold after another.

    Raises:
        InputError: The runs do not have the same data, or a damaged runs.json is there, which is not replaced.
    """
    if (directory / "runs.json").exists():
        read_file(directory, "runs.json", RunsFile)
    results = [read(directory / each.path) for each in runs]
    recorded = set.intersection(*(set(result.data) for result in results))  # former versions recorded less
    data = [{name: value for name, value in result.data.items() if name in recorded} for result in results]
    plan = load_plan(directory)
    measure, parts = plan.measure, list(dict.fromkeys(each.fold for each in runs))
    if plan.resample_train:  # each has training images of its own
        data = [{name: value for name, value in each.items() if name != "content"} for each in data]
    gathered = [measure.gather(result) for result in results]
    for part in parts:
        own = [place for place, each in enumerate(runs) if each.fold == part]
        first = {name: gathered[own[0]][name] for name in measure.truth}
        same = all(np.array_equal(first[name], gathered[place][name]) for place in own for name in first)
        # Their name may differ: data can be moved while a study is interrupted.
        if len(_unique(data[place] | {"name": ""} for place in own)) > 1 or not same:
            raise InputError(
                f"data {data[0]['name']!r} changed between the runs of this study: run all of it again in a new folder"
            )
    # With folds a row is a repeat: its runs, which come one after another, on the images of their folds.
    size, ones = len(parts), gathered[: len(parts)]
    rows = [gathered[at : at + size] for at in range(0, len(runs), size)]
    arrays: dict[str, Any] = {
        **{name: np.concatenate([each[name] for each in ones]) for name in measure.truth},
        **{name: np.stack([np.concatenate([each[name] for each in row]) for row in rows]) for name in measure.runs},
        "arms": np.array([each.arm.label for each in runs[::size]]),
    }
    about = {
        "seeds": [each.seed for each in runs],
        "learning_rates": [each.setting.learning_rate for each in runs],
        "weight_decays": [each.setting.weight_decay for each in runs],
    }
    shape = (-1,) if parts == [None] else (-1, len(parts))
    arrays |= {name: np.array(values).reshape(shape) for name, values in about.items()}
    if parts != [None]:
        counts = [each["sizes"]["test"] for each in data[:size]]
        arrays["folds"] = np.repeat(np.array(parts, np.uint16), counts)
        folds = [{name: data[place].get(name) for name in OF_A_FOLD} for place in range(len(parts))]
        sizes = data[0]["sizes"] | {"test": sum(counts)}
        data[0] = {name: value for name, value in data[0].items() if name not in OF_A_FOLD}
        data[0] |= {"sizes": sizes, "folds": folds}
    if groups is not None:
        arrays["groups"] = np.unique(groups, return_inverse=True)[1].reshape(-1).astype(np.uint32)
    with atomic_write(directory / "predictions.npz") as partial, partial.open("wb") as stream:
        np.savez_compressed(stream, **arrays)
    environments = tuple(_unique(result.environment for result in results))
    # The test split enters a study once per run, as the last epoch's metrics; no curve of it is kept.
    histories = [
        tuple({k: v for k, v in epoch.items() if not k.startswith("test_")} for epoch in result.history)
        for result in results
    ]
    records = tuple(
        RunRecord(each.arm.label, each.setting, each.seed, result.metrics, history, result.seconds, result.finished)
        for each, result, history in zip(runs, results, histories, strict=True)
    )
    write_file(directory, "runs.json", RunsFile(sha256(directory / "predictions.npz"), data[0], environments, records))


def write_file(directory: Path, name: str, content: NamedTuple) -> None:
    """Write a file of a study, sealed and bound to its plan."""
    write_sealed(directory / name, {"format": FORMAT, "plan": study_identity(directory), **as_record(content)})


def read_file(directory: Path, name: str, form: type[T]) -> T:
    """Read a file of a study; `form` is a named tuple with its fields besides format, plan and seal.

    Raises:
        InputError: It is missing, truncated, edited, of another study, or does not have these fields.
    """
    path = directory / name
    if not path.exists():
        raise InputError(f"{directory} holds no {name}: the study is not finished; run it to its end first")
    record: dict[str, Any] = read_sealed(path, REMEDY)
    if record.get("format") not in (FORMAT, FORMER_FORMAT):
        raise InputError(f"{path} is not a {FORMAT!r} file: {REMEDY}")
    if record.get("plan") != study_identity(directory):
        raise InputError(f"{path} belongs to another study than plan.json beside it: {REMEDY}")
    content = {key: value for key, value in record.items() if key not in ("format", "plan", "seal")}
    return from_record(form, content, str(path), REMEDY)


def check_run(run: Any, path: Path, name: str, measure: Measure, remedy: str = REMEDY, *, tested: bool = True) -> None:
    """Refuse a run without the numbers that a study needs, or with one out of range.

    Args:
        run: Its metrics, history and seconds: a `RunRecord` or a `jaxcnn.run.RunResult`.
        path, name, remedy: File that holds them, name of the run, and end of the error message.
        measure: The error of the study.
        tested: Whether it opened the test split.

    Raises:
        InputError: There is such a number.
    """
    splits = ("train", "validation", "test") if tested else ("train", "validation")
    needed = [f"{split}_{each}" for split in splits for each in ("loss", measure.metric)
              if each == "loss" or split in measure.splits]  # fmt: skip
    for kind, names in (("metrics", needed), ("seconds", ("step", "total"))):
        missing = [each for each in names if each not in getattr(run, kind)]
        _require(not missing, path, f"{name} has no {', '.join(missing)} in its {kind}", remedy)
    _require(len(run.history) > 0, path, f"{name} has no epochs", remedy)
    for row in (run.metrics, *run.history):
        for each, value in row.items():
            low, high = (0, 1) if each.endswith(f"_{measure.metric}") else (-LARGEST, LARGEST)
            _require(_in_range([value], low, high), path, f"{each}={value} of {name} is out of range", remedy)
    _require(_in_range(run.seconds.values(), 0, LARGEST_SECONDS), path, f"a time of {name} is out of range", remedy)


def _read_tuning(directory: Path, plan: Plan) -> TuningResult:
    path, tuning = directory / "tuning.json", read_file(directory, "tuning.json", TuningResult)
    _require(
        set(tuning.arms) == {arm.label for arm in plan.arms}, path, "its arms are not those of plan.json beside it"
    )
    efforts = {(frozenset(t.setting for t in arm.trials), len(arm.trials)) for arm in tuning.arms.values()}
    if plan.tuning.method == "grid":
        efforts = {tuple((trial.setting, trial.seed) for trial in arm.trials) for arm in tuning.arms.values()}
    _require(len(efforts) == 1, path, "its arms were not tuned alike")
    tried = {trial.setting for arm in tuning.arms.values() for trial in arm.trials}
    chosen = {tuning.shared, *(arm.setting for arm in tuning.arms.values())}
    chosen |= {setting for arm in tuning.arms.values() for setting in arm.folds}
    _require(not tried or chosen <= tried, path, "a setting was chosen that was not tried")
    right = all(len(arm.folds) == (len(plan.parts) if plan.folds and tried else 0) for arm in tuning.arms.values())
    _require(right, path, "an arm has not one setting for each fold")
    for rate, decay in tried | chosen:
        _require(0 < rate <= LARGEST and 0 <= decay <= LARGEST, path, f"lr {rate:g}, wd {decay:g} is no setting")
    trials = [trial for arm in tuning.arms.values() for trial in arm.trials]
    _require(_in_range((t.validation_error for t in trials), 0, 1), path, "an error is not between 0 and 1")
    _require(_in_range((t.validation_loss for t in trials), -LARGEST, LARGEST), path, "a loss is no float32")
    return tuning


def _read_runs(directory: Path, measure: Measure) -> RunsFile:
    path, stored = directory / "runs.json", read_file(directory, "runs.json", RunsFile)
    known = {name: value for name, value in stored.data.items() if name in DataFields._fields}
    data = from_record(DataFields, known, f"{path}.data", REMEDY)
    _require({"train", "validation", "test"} <= set(data.sizes), path, "data.sizes does not name all splits")
    _require(min(data.sizes.values()) > 0 and len(data.class_names) > 1, path, "its data have no images or classes")
    for run in stored.runs:
        check_run(run, path, f"a run of {run.arm}", measure)
    return stored._replace(data=_escape(stored.data), environments=_escape(stored.environments))


def _read_predictions(directory: Path, digest: str, plan: Plan) -> dict[str, np.ndarray]:
    path = directory / "predictions.npz"
    if not path.exists():
        raise InputError(f"{directory} holds no predictions.npz: restore it from a copy, or {REBUILD}")
    if sha256(path) != digest:
        raise InputError(f"{path} is not the file that runs.json was written with: {REMEDY}")
    names = (*plan.measure.truth, *plan.measure.runs)
    try:
        with np.load(path, allow_pickle=False) as arrays:
            more = {"folds": bool(plan.folds), "groups": plan.base.data.groups is not None}
            return {name: arrays[name] for name in (*names, *(name for name, has in more.items() if has))}
    except (KeyError, ValueError, OSError, BadZipFile):
        raise InputError(f"{path} does not hold the arrays {', '.join(names)}: {REMEDY}") from None


def _require(holds: bool, path: Path, problem: str, remedy: str = REMEDY) -> None:
    """Refuse a file that has the right fields and types and yet cannot be what a study wrote.

    Raises:
        InputError: `holds` is False.
    """
    if not holds:
        raise InputError(f"{path} cannot be right, because {problem}: {remedy}")


def _in_range(values: Iterable[float], low: float, high: float) -> bool:
    """Return whether all numbers lie between two others or were not finite, which is NaN."""
    return all(math.isnan(value) or low <= value <= high for value in values)


def _escape(value: Any) -> Any:
    """Return a record whose texts any file and figure can hold: names of files may have bytes that are no text."""
    if isinstance(value, str):
        return value.encode("utf-8", "backslashreplace").decode()
    if isinstance(value, Mapping):
        return {_escape(key): _escape(item) for key, item in value.items()}
    return type(value)(map(_escape, value)) if isinstance(value, list | tuple) else value


def _unique(items: Iterable[Any]) -> list[Any]:
    distinct: list[Any] = []
    for item in items:
        if item not in distinct:
            distinct.append(item)
    return distinct
