"""tuning.json and pilot.json, and how every file of a study after its plan is sealed and bound to that plan."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from jaxcnn.errors import InputError
from jaxcnn.files import read_sealed, write_sealed
from jaxcnn.study.agenda import Agenda, Pilot, Tuned
from jaxcnn.study.grid import Choice, Setting, Trial
from jaxcnn.study.plan import Plan
from jaxcnn.study.store import identity

FORMAT = "jaxcnn study 2"
REMEDY = "delete it and run the study again, which rebuilds it from the runs"


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
    tuning, pilot = (read_stage(directory, name, plan) for name in ("tuning.json", "pilot.json"))
    with complete(directory / "tuning.json"):
        tuned = _tuned(tuning)
    with complete(directory / "pilot.json"):
        return tuned, Pilot(pilot["spread"], pilot["needed"], tuple(pilot["seeds"]))


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


@contextmanager
def complete(path: Path) -> Iterator[None]:
    """Make a sentence of what goes wrong where a file that is whole and sealed is not of the form it should have."""
    try:
        yield
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        if isinstance(error, InputError):
            raise
        raise InputError(f"{path} is another kind of file than its name says ({error!r}): {REMEDY}") from None


def numbers(row: Mapping[str, Any]) -> dict[str, Any]:
    """A row of a file with null as NaN."""
    return {key: math.nan if value is None else value for key, value in row.items()}


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


def _tuned(record: Mapping[str, Any]) -> Tuned:
    arms = record["arms"]
    trials = {label: tuple(map(_trial, arm["trials"])) for label, arm in arms.items()}
    choices = {label: Choice(Setting(*arm["setting"]), arm["edge"]) for label, arm in arms.items()}
    return Tuned(trials, choices, Setting(*record["shared"]))


def _trial(record: Mapping[str, Any]) -> Trial:
    return Trial(**{**numbers(record), "setting": Setting(*record["setting"])})
