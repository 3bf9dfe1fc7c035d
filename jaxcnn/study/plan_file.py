"""plan.json: the plan of a study as JSON, sealed; written once and never changed after."""

from __future__ import annotations

import json
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict, fields, replace
from pathlib import Path
from typing import Any

from jaxcnn.errors import InputError
from jaxcnn.runtime.files import holds_files, read_sealed, seal, write_sealed
from jaxcnn.spec import as_record, from_record
from jaxcnn.study.plan import Plan, check_plan

FORMAT = "jaxcnn study plan 2"
FILE = "plan.json"
REMEDY = "restore it, or begin a new study in a new folder: a plan is never changed"


def identity(plan: Plan) -> str:
    """The seal of what makes this study the one it is: all but the command and where the data lie."""
    return seal(_identity(to_json(plan)))


def to_json(plan: Plan) -> dict[str, Any]:
    """The plan as plain JSON values, with what follows from it spelled out for a reader."""
    record = {
        "format": FORMAT,
        "command": plan.command,
        "hypothesis": plan.hypothesis,
        "margin": plan.margin,
        "rule": plan.rule,
        "measure": "test error of the last epoch, deeper minus wider",
        "contrasts": {
            budget: {"deeper": deeper.label, "wider": wider.label}
            for budget in plan.budgets
            for deeper, wider in [plan.contrast(budget)]
        },
        "tuning": asdict(plan.tuning),
        "seeds": asdict(plan.seeds),
        "arms": [
            {"label": arm.label} | arm._asdict() | {"spec": as_record(arm.spec) if arm.spec else None}
            for arm in plan.arms
        ],
        "base": as_record(plan.base),
    }
    return json.loads(json.dumps(record, default=_number))


def from_json(record: Mapping[str, Any], where: str = "plan") -> Plan:
    """The plan that `to_json` wrote.

    Args:
        record: What JSON holds of it.
        where: What an error calls it.

    Raises:
        InputError: Fields are missing or unknown, or a value is of another type than its field, or is one that no study
            can have.
    """
    needed = [each.name for each in fields(Plan)]
    if missing := [name for name in needed if name not in record]:
        raise InputError(f"{where}: the field {missing[0]!r} is missing; {REMEDY}")
    arms = record["arms"]
    if isinstance(arms, list):  # the label follows from the rest
        arms = [{k: v for k, v in arm.items() if k != "label"} if isinstance(arm, dict) else arm for arm in arms]
    plan = from_record(Plan, {name: record[name] for name in needed} | {"arms": arms}, where, REMEDY)
    check_plan(plan)
    return plan


def load_plan(directory: Path) -> Plan:
    """Read `plan.json`.

    Args:
        directory: Folder of a study.

    Returns:
        The plan.

    Raises:
        InputError: The file is missing, truncated, edited, or of another format.
    """
    path = directory / FILE
    if not directory.is_dir():
        raise InputError(f"{str(directory)!r} is not a folder: give the folder of a study")
    if not path.exists():
        raise InputError(f"{str(directory)!r} holds no {FILE}: give the folder of a study")
    record = read_sealed(path, REMEDY)
    if record.get("format") != FORMAT:
        raise InputError(f"{path} is not a {FORMAT!r} file: it was written by another version of jaxcnn; {REMEDY}")
    try:
        return from_json(record, "its record")
    except InputError as error:
        text = str(error).removesuffix(REMEDY).rstrip("; ")
        raise InputError(f"{path} is not a complete study plan ({text}): {REMEDY}") from None


def store_plan(plan: Plan, directory: Path) -> Plan:
    """Write `plan.json`, once; the same plan again changes nothing.

    Args:
        plan: The study.
        directory: Its folder, made where missing.

    Returns:
        The plan as it stands on disk, so that 1 and 1.0, or a list and a tuple, are one study; with the command and the
        place of the data as they are now.

    Raises:
        InputError: The folder holds another study or other files. Nothing is overwritten.
    """
    path = directory / FILE
    if directory.exists() and not directory.is_dir():
        raise InputError(f"out={str(directory)!r} is a file: give a folder")
    if not path.exists():
        # Looked at again: another process may have planned the same study in the meantime.
        if holds_files(directory) and not path.exists():
            raise InputError(f"out={str(directory)!r} holds other files and no {FILE}: give a new or empty folder")
        directory.mkdir(parents=True, exist_ok=True)
        with suppress(FileExistsError):
            write_sealed(path, to_json(plan), once=True)
    held = load_plan(directory)
    stored, wanted = _identity(to_json(held)), _identity(to_json(plan))
    if changed := [key for key in wanted if stored[key] != wanted[key]]:
        raise InputError(
            f"out={str(directory)!r} holds a study with another plan ({', '.join(changed)} differ): a plan is never "
            "changed; give a new folder, or the settings it was planned with"
        )
    data = replace(held.base.data, data_dir=plan.base.data.data_dir)
    return replace(held, base=replace(held.base, data=data), command=plan.command)


def _number(value: Any) -> Any:
    """NumPy's numbers as Python's."""
    if hasattr(value, "item"):
        return value.item()
    raise TypeError(f"{value!r} of a plan is no plain value")


def _identity(record: dict[str, Any]) -> dict[str, Any]:
    base = {**record["base"], "data": {k: v for k, v in record["base"]["data"].items() if k != "data_dir"}}
    return {k: v for k, v in record.items() if k not in ("command", "seal")} | {"base": base}
