"""What a study will do, written before its first run: arms, seeds, the declared contrast and the verdict's rule."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from jaxcnn.errors import InputError
from jaxcnn.files import holds_files, write_json
from jaxcnn.spec import ModelSpec, RunConfig, as_record, from_record
from jaxcnn.study.arm import Arm

FORMAT = "jaxcnn study plan 1"
RULE = (
    "Test error of the deepest arm minus that of the shallowest and widest, with Welch's 95 % interval over seeds: "
    "deeper where the whole interval lies below zero, wider where it lies above, not resolved where it holds zero."
)


@dataclass(frozen=True)
class Plan:
    """A study as it was declared; equal plans are equal studies.

    Args:
        base: The run every arm shares: data, optimiser, epochs; its model and seed are replaced.
        arms: The networks compared, in the order in which they run.
        seeds: One run per arm and seed.
        deeper: Label of the deepest arm.
        wider: Label of the shallowest arm, the widest of them.
        rule: How the contrast between these two becomes a verdict.
        command: What was typed to start the study; not part of its identity.
    """

    base: RunConfig
    arms: tuple[Arm, ...]
    seeds: tuple[int, ...]
    deeper: str
    wider: str
    rule: str = RULE
    command: str = ""

    def config(self, arm: Arm, seed: int) -> RunConfig:
        """The run of one arm with one seed."""
        return replace(self.base, model=arm.spec, seed=seed)


def make_plan(base: RunConfig, arms: Sequence[Arm], seeds: Sequence[int], *, command: str = "") -> Plan:
    """Declare a study: which arms, which seeds, and which single contrast decides.

    Args:
        base: The run every arm shares.
        arms: Two or more, of two or more depths.
        seeds: One or more, all different.
        command: What the user typed, for the report.

    Returns:
        The plan, with the primary contrast chosen by depth and width alone.

    Raises:
        InputError: Fewer than two depths, two arms of the same name, no seeds or repeated ones.
    """
    names = Counter(arm.label for arm in arms)
    twice = [name for name, count in names.items() if count > 1]
    if twice:
        raise InputError(f"arms holds {twice[0]} more than once: give each arm a depth and width of its own")
    if len({arm.depth for arm in arms}) < 2:
        depths = sorted({arm.depth for arm in arms})
        raise InputError(f"arms have the depths {depths}: deeper against wider needs two depths or more")
    if not seeds or len(set(seeds)) < len(seeds):
        raise InputError(f"seeds={tuple(seeds)} must be one or more different whole numbers")
    deeper = max(arms, key=lambda arm: (arm.depth, -arm.width))
    wider = min(arms, key=lambda arm: (arm.depth, -arm.width))
    return Plan(base, tuple(arms), tuple(seeds), deeper.label, wider.label, command=command)


def to_json(plan: Plan) -> dict[str, Any]:
    """The plan as plain JSON values (lists, not tuples), so that what is compared is what is stored."""
    record = {
        "format": FORMAT,
        "command": plan.command,
        "primary_contrast": {"deeper": plan.deeper, "wider": plan.wider, "measure": "test error, deeper minus wider"},
        "verdict_rule": plan.rule,
        "seeds": plan.seeds,
        "arms": [{"label": arm.label} | arm._asdict() | {"spec": as_record(arm.spec)} for arm in plan.arms],
        "base": as_record(plan.base),
    }
    return json.loads(json.dumps(record))


def from_json(record: Mapping[str, Any]) -> Plan:
    """The plan that `to_json` wrote.

    Raises:
        KeyError, TypeError, InputError: Fields are missing or unknown; `load_plan` makes a sentence of them.
    """
    arms = tuple(
        Arm(**{k: v for k, v in arm.items() if k not in ("label", "spec")}, spec=from_record(ModelSpec, arm["spec"]))
        for arm in record["arms"]
    )
    contrast = record["primary_contrast"]
    return Plan(
        base=from_record(RunConfig, record["base"]),
        arms=arms,
        seeds=tuple(record["seeds"]),
        deeper=contrast["deeper"],
        wider=contrast["wider"],
        rule=record["verdict_rule"],
        command=record["command"],
    )


def read_json(path: Path, expected: str) -> dict[str, Any]:
    """A JSON file of ours.

    Args:
        path: The file.
        expected: Its `format` entry.

    Returns:
        The whole record.

    Raises:
        InputError: The file is missing, is no JSON (truncated or edited), or is of another format.
    """
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise InputError(f"{path} does not exist: {path.parent} holds no finished study; run it first") from None
    except (ValueError, OSError) as error:
        raise InputError(f"{path} cannot be read as JSON ({error}): restore it or start in a new folder") from None
    if not isinstance(record, dict) or record.get("format") != expected:
        raise InputError(f"{path} is not a {expected!r} file of this version: give the folder of a jaxcnn study")
    return record


def load_plan(directory: Path) -> Plan:
    """Read `study.json`.

    Args:
        directory: Folder of a study.

    Returns:
        The plan.

    Raises:
        InputError: The file is missing, truncated, of another format or with fields that do not belong to a plan.
    """
    path = directory / "study.json"
    record = read_json(path, FORMAT)
    try:
        return from_json(record)
    except (KeyError, TypeError, AttributeError, InputError) as error:
        raise InputError(f"{path} is not a complete study plan ({error}): restore it or use a new folder") from None


def store_plan(plan: Plan, directory: Path) -> None:
    """Write `study.json`, once; the same plan again changes nothing.

    Args:
        plan: The study.
        directory: Its folder, made where missing.

    Raises:
        InputError: The folder holds another study or other files. Nothing is overwritten.
    """
    path = directory / "study.json"
    if directory.exists() and not directory.is_dir():
        raise InputError(f"out={directory} is a file: give a folder")
    if path.exists():
        stored = to_json(load_plan(directory)) | {"command": ""}
        wanted = to_json(plan) | {"command": ""}
        changed = [key for key in wanted if stored[key] != wanted[key]]
        if changed:
            raise InputError(
                f"out={directory} holds a study with another configuration ({', '.join(changed)} differ): "
                "give a new folder, or the settings it was planned with"
            )
        return
    if holds_files(directory):
        raise InputError(f"out={directory} holds other files and no study.json: give a new or empty folder")
    directory.mkdir(parents=True, exist_ok=True)
    write_json(path, to_json(plan), allow_nan=False)
