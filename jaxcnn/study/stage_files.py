"""tuning.json and pilot.json, and how every file of a study after its plan is sealed and bound to that plan."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple, TypeVar, get_type_hints

from jaxcnn.errors import InputError
from jaxcnn.records import from_record, shortened
from jaxcnn.runtime.files import read_sealed, write_sealed
from jaxcnn.study.plan import Plan
from jaxcnn.study.plan_file import identity
from jaxcnn.study.schedule import Agenda, Pilot, Tuned
from jaxcnn.study.tuning import Choice, Setting, Trial

FORMAT = "jaxcnn study 2"
REMEDY = "delete it and run the study again, which rebuilds it from the runs"
LARGEST = 3.5e38  # no float32 is larger

T = TypeVar("T")


class TrialRecord(NamedTuple):
    """A `Trial` in the file: null where a number was not finite."""

    setting: Setting
    seed: int
    validation_error: float | None
    validation_loss: float | None
    diverged: bool


class ArmTuning(NamedTuple):
    """An arm in tuning.json."""

    setting: Setting
    edge: bool
    trials: tuple[TrialRecord, ...]


class TuningFile(NamedTuple):
    """The form of tuning.json; that of pilot.json is `Pilot`."""

    shared: Setting
    arms: dict[str, ArmTuning]


def store_stages(directory: Path, plan: Plan, agenda: Agenda) -> None:
    """Write tuning.json and pilot.json once they are known; what is there is checked and never replaced.

    Raises:
        InputError: One is there and is damaged, of another study, or not what the runs beside it give.
    """
    if agenda.tuned is not None:
        _store_once(directory, "tuning.json", plan, _tuned_json(agenda.tuned))
    if agenda.pilot is not None:
        _store_once(directory, "pilot.json", plan, agenda.pilot._asdict())


def _store_once(directory: Path, name: str, plan: Plan, record: Mapping[str, Any]) -> None:
    if not (directory / name).exists():
        write_stage(directory, name, plan, record)
        return
    held, wanted = read_stage(directory, name, plan), json.loads(json.dumps(plain(record)))
    if any(held.get(key) != value for key, value in wanted.items()):
        raise InputError(f"{directory / name} does not say what the runs beside it give: {REMEDY}")


def load_stages(directory: Path, plan: Plan) -> tuple[Tuned, Pilot]:
    """What tuning.json and pilot.json say.

    Raises:
        InputError: One is missing, truncated, edited, or of another study.
    """
    tuned = _tuned(read_form(directory, "tuning.json", plan, TuningFile), directory / "tuning.json", plan)
    return tuned, read_form(directory, "pilot.json", plan, Pilot)


def write_stage(directory: Path, name: str, plan: Plan, record: Mapping[str, Any]) -> None:
    """Write a file of a study, sealed and bound to its plan."""
    write_sealed(directory / name, plain({"format": FORMAT, "plan": identity(plan), **record}))


def read_stage(directory: Path, name: str, plan: Plan) -> dict[str, Any]:
    """What `write_stage` wrote.

    Raises:
        InputError: It is missing, truncated, edited, or of another study.
    """
    path = directory / name
    if not path.exists():
        raise InputError(f"{directory} holds no {name}: the study is not finished; run it to its end first")
    record = read_sealed(path, REMEDY)
    if record.get("format") != FORMAT:
        raise InputError(f"{path} is not a {FORMAT!r} file of this version: {REMEDY}")
    if record.get("plan") != identity(plan):
        raise InputError(f"{path} belongs to another study than plan.json beside it: {REMEDY}")
    return record


def read_form(directory: Path, name: str, plan: Plan, form: type[T]) -> T:
    """What `write_stage` wrote, held to the fields of a named tuple and their types.

    Raises:
        InputError: As `read_stage`; or the file is whole and sealed, but not of this form.
    """
    record, path = read_stage(directory, name, plan), directory / name
    content = {key: value for key, value in record.items() if key not in ("format", "plan", "seal")}
    wanted = get_type_hints(form)
    if set(content) != set(wanted):
        raise InputError(
            f"{path} is another kind of file than its name says (it holds {shortened(sorted(content))}, not "
            f"{sorted(wanted)}): {REMEDY}"
        )
    return from_record(form, content, str(path), REMEDY)


def require(holds: bool, path: Path, what: str, remedy: str = REMEDY) -> None:
    """Refuse a file that is of its form and cannot be what a study wrote.

    Raises:
        InputError: It does not hold.
    """
    if not holds:
        raise InputError(f"{path} cannot be right, because {what}: {remedy}")


def number(value: float | None) -> float:
    """A number of a file with null as NaN."""
    return math.nan if value is None else value


def is_share(value: float | None) -> bool:
    """Whether a number of a file is a share between 0 and 1, or was not finite."""
    return value is None or math.isnan(value) or 0 <= value <= 1


def is_single(value: float | None) -> bool:
    """Whether a number of a file is one that float32 has, or was not finite."""
    return value is None or math.isnan(value) or abs(value) <= LARGEST


def plain(value: Any) -> Any:
    """JSON has no NaN: a value that is not finite is stored as null and read back as NaN."""
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    if hasattr(value, "item"):
        value = value.item()
    return None if isinstance(value, float) and not math.isfinite(value) else value


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


def _tuned(stored: TuningFile, path: Path, plan: Plan) -> Tuned:
    require(set(stored.arms) == {arm.label for arm in plan.arms}, path, "its arms are not those of plan.json beside it")
    grids = {tuple((trial.setting, trial.seed) for trial in arm.trials) for arm in stored.arms.values()}
    require(len(grids) == 1, path, "its arms were not tuned alike")
    (grid,) = grids
    tried = {setting for setting, _ in grid}
    chosen = {stored.shared, *(arm.setting for arm in stored.arms.values())}
    require(not tried or chosen <= tried, path, "a setting was chosen that was not tried")
    for rate, decay in tried | chosen:
        require(0 < rate <= LARGEST and 0 <= decay <= LARGEST, path, f"lr {rate:g}, wd {decay:g} is no setting")
    for trial in (trial for arm in stored.arms.values() for trial in arm.trials):
        whole = is_share(trial.validation_error) and is_single(trial.validation_loss)
        require(whole, path, "an error is not between 0 and 1, or a loss no float32")
    return Tuned(
        {label: tuple(map(_trial, arm.trials)) for label, arm in stored.arms.items()},
        {label: Choice(arm.setting, arm.edge) for label, arm in stored.arms.items()},
        stored.shared,
    )


def _trial(stored: TrialRecord) -> Trial:
    error, loss = number(stored.validation_error), number(stored.validation_loss)
    return Trial(stored.setting, stored.seed, error, loss, stored.diverged)
