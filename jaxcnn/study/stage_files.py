"""The files of a study after its plan: sealed, bound to the plan and checked; tuning.json and pilot.json."""

from __future__ import annotations

import math
from collections.abc import Iterable
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

from jaxcnn.errors import InputError
from jaxcnn.records import as_record, from_record, shortened
from jaxcnn.runtime.files import read_sealed, write_sealed
from jaxcnn.study.plan import Plan
from jaxcnn.study.plan_file import study_identity
from jaxcnn.study.schedule import Pilot, Schedule
from jaxcnn.study.tuning import TuningResult

FORMAT, FORMER_FORMAT = "jaxcnn study 3", "jaxcnn study 2"
REMEDY = "delete it and run the study again, which rebuilds it from the runs"
LARGEST = 3.5e38  # no float32 is larger

T = TypeVar("T")


def store_stages(directory: Path, now: Schedule) -> None:
    """Write tuning.json and pilot.json once they are known; a file that exists is checked and never replaced.

    Raises:
        InputError: One exists and is damaged, of another study, or not what the runs beside it give.
    """
    for name, result in (("tuning.json", now.tuning), ("pilot.json", now.pilot)):
        if result is None:
            continue
        if not (directory / name).exists():
            write_stage(directory, name, result)
        elif as_record(read_stage(directory, name, type(result))) != as_record(result):
            raise InputError(f"{directory / name} does not say what the runs beside it give: {REMEDY}")


def load_stages(directory: Path, plan: Plan) -> tuple[TuningResult, Pilot]:
    """Read tuning.json and pilot.json.

    Raises:
        InputError: One is missing, truncated, edited, or of another study.
    """
    tuning, pilot = read_stage(directory, "tuning.json", TuningResult), read_stage(directory, "pilot.json", Pilot)
    path = directory / "tuning.json"
    require(set(tuning.arms) == {arm.label for arm in plan.arms}, path, "its arms are not those of plan.json beside it")
    grids = {tuple((trial.setting, trial.seed) for trial in arm.trials) for arm in tuning.arms.values()}
    require(len(grids) == 1, path, "its arms were not tuned alike")
    tried = {setting for setting, _ in grids.pop()}
    chosen = {tuning.shared, *(arm.setting for arm in tuning.arms.values())}
    require(not tried or chosen <= tried, path, "a setting was chosen that was not tried")
    for rate, decay in tried | chosen:
        require(0 < rate <= LARGEST and 0 <= decay <= LARGEST, path, f"lr {rate:g}, wd {decay:g} is no setting")
    trials = [trial for arm in tuning.arms.values() for trial in arm.trials]
    require(within((t.validation_error for t in trials), 0, 1), path, "an error is not between 0 and 1")
    require(within((t.validation_loss for t in trials), -LARGEST, LARGEST), path, "a loss is no float32")
    return tuning, pilot


def write_stage(directory: Path, name: str, content: NamedTuple) -> None:
    """Write a file of a study, sealed and bound to its plan."""
    write_sealed(directory / name, {"format": FORMAT, "plan": study_identity(directory), **as_record(content)})


def read_stage(directory: Path, name: str, form: type[T]) -> T:
    """Read a file of a study.

    Args:
        directory: The study's folder.
        name: Name of the file.
        form: Named tuple with the fields of the file besides format, plan and seal.

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
    wanted = form._fields  # type: ignore[attr-defined]
    if set(content) != set(wanted):
        raise InputError(
            f"{path} is another kind of file than its name says (it holds {shortened(sorted(content))}, not "
            f"{sorted(wanted)}): {REMEDY}"
        )
    return from_record(form, content, str(path), REMEDY)


def require(holds: bool, path: Path, problem: str, remedy: str = REMEDY) -> None:
    """Refuse a file that has the right fields and types and yet cannot be what a study wrote.

    Raises:
        InputError: `holds` is False.
    """
    if not holds:
        raise InputError(f"{path} cannot be right, because {problem}: {remedy}")


def within(values: Iterable[float], low: float, high: float) -> bool:
    """Return whether all numbers lie between two others or were not finite, which is NaN."""
    return all(math.isnan(value) or low <= value <= high for value in values)
