"""plan.json: a study's plan, sealed, written once and never changed; its hash is the identity of the study."""

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

from jaxcnn.errors import InputError
from jaxcnn.records import as_record, from_record, shortened
from jaxcnn.runtime.files import holds_files, read_sealed, seal, write_sealed
from jaxcnn.spec import BUDGETS, NOT_IDENTITY, StudyConfig, identity
from jaxcnn.study.plan import Plan, check_plan
from jaxcnn.study.rule import rule_named

FORMAT, FORMER_FORMAT = "jaxcnn study plan 3", "jaxcnn study plan 2"
FILE = "plan.json"
REMEDY = "restore it, or begin a new study in a new folder: a plan is never changed"


def study_identity(directory: Path) -> str:
    """Return the hash of the plan that a folder holds, which binds all other files of the study to it.

    It is that of the record as it was written, whichever version wrote it, without what changes no result.

    Raises:
        InputError: There is no plan, or it is damaged.
    """
    record = _read(directory)
    if record["format"] == FORMAT:
        return seal(identity(record))
    data = {name: value for name, value in record["base"].get("data", {}).items() if name != "data_dir"}
    rest = {name: value for name, value in record.items() if name != "command"}
    return seal(rest | {"base": record["base"] | {"data": data}})


def load_plan(directory: Path) -> Plan:
    """Read plan.json.

    Args:
        directory: Folder of a study.

    Raises:
        InputError: The file is missing, truncated, edited, or of an unknown format.
    """
    record = _read(directory)
    try:
        plan = from_record(Plan, _plan_fields(record), "its record", REMEDY)
        check_plan(plan)
    except InputError as error:
        text = str(error).removesuffix(REMEDY).rstrip("; ")
        raise InputError(f"{directory / FILE} is not a complete study plan ({text}): {REMEDY}") from None
    return plan


def store_plan(plan: Plan, directory: Path) -> Plan:
    """Write plan.json, once; the same plan again changes nothing.

    Args:
        plan: The study.
        directory: Its folder, created if missing.

    Returns:
        The plan as it stands on disk, so that 1 and 1.0, or a list and a tuple, are one study; with the command and the
        other fields of `jaxcnn.spec.NOT_IDENTITY` as in `plan`.

    Raises:
        InputError: The folder holds another study or other files. Nothing is overwritten.
    """
    path = directory / FILE
    if directory.exists() and not directory.is_dir():
        raise InputError(f"out={str(directory)!r} is a file: give a folder")
    if not path.exists():
        # The second look: another process may have planned the same study in the meantime.
        if holds_files(directory) and not path.exists():
            raise InputError(f"out={str(directory)!r} holds other files and no {FILE}: give a new or empty folder")
        directory.mkdir(parents=True, exist_ok=True)
        with suppress(FileExistsError):
            write_sealed(path, _plan_record(plan), once=True)
    stored = load_plan(directory)
    first, second = (identity(as_record(each)) for each in (stored, plan))
    # The tolerance decides the arms, which are compared themselves; former plans do not hold it.
    if changed := [name for name in first if first[name] != second[name] and name != "tolerance"]:
        raise InputError(
            f"out={str(directory)!r} holds a study with another plan ({', '.join(changed)} differ): a plan is never "
            "changed; give a new folder, or the settings it was planned with"
        )
    data = replace(stored.base.data, data_dir=plan.base.data.data_dir, workers=plan.base.data.workers)
    present = {name: getattr(plan, name) for name in NOT_IDENTITY if hasattr(plan, name)}
    return replace(stored, base=replace(stored.base, data=data), **present)


def _plan_record(plan: Plan) -> dict[str, Any]:
    """Return plan.json without its seal, with what follows from the plan spelled out for a reader."""
    return {
        "format": FORMAT,
        "command": plan.command,
        "rule": plan.rule,
        "rule_text": rule_named(plan.rule).text,
        "measure": "test error of the last epoch, deeper minus wider",
        "contrasts": {
            budget: {"deeper": deeper.label, "wider": wider.label}
            for budget in plan.budgets
            for deeper, wider in [plan.contrast(budget)]
        },
        "study": as_record({each.name: getattr(plan, each.name) for each in fields(StudyConfig)}),
        "arms": [{"label": arm.label, **as_record(arm)} for arm in plan.arms],
    }


def _read(directory: Path) -> dict[str, Any]:
    path = directory / FILE
    if not directory.is_dir():
        raise InputError(f"{str(directory)!r} is not a folder: give the folder of a study")
    if not path.exists():
        raise InputError(f"{str(directory)!r} holds no {FILE}: give the folder of a study")
    record = read_sealed(path, REMEDY)
    if record.get("format") not in (FORMAT, FORMER_FORMAT):
        raise InputError(f"{path} is not a {FORMAT!r} file: it was written by another version of jaxcnn; {REMEDY}")
    return record


def _plan_fields(record: Mapping[str, Any]) -> dict[str, Any]:
    """Return the fields of a `Plan`; the former format had no `study` and spelled the rule out."""
    study, rule = record.get("study"), record.get("rule", "")
    if record["format"] == FORMER_FORMAT:
        study = {name: record[name] for name in ("base", "hypothesis", "margin", "tuning", "seeds") if name in record}
        rule = rule_named(rule).identifier
    if not isinstance(study, Mapping):
        raise InputError(f"study={shortened(study)}: expected an object")
    settings = {name: value for name, value in study.items() if name not in ("depths", *BUDGETS)}  # those of the arms
    return settings | {"arms": record.get("arms", ()), "rule": rule, "command": record.get("command", "")}
