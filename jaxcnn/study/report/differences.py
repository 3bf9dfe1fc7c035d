"""In what several studies differ: data, family, recipe and plan, in words."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from jaxcnn.study.report.numbers import UNKNOWN, percent, text
from jaxcnn.study.result import StudyResult

DEFAULT = "the family's default"
# Solved or tuned per arm, or without influence on what is learned.
SOLVED = ("depth", "width", "stage_widths", "num_classes")
REPLACED = ("learning_rate", "weight_decay", "data_dir")
RUNS = ("model", "data", "optimizer", "seed", "checkpoint_every", "evaluate_test")


def differences(results: Sequence[StudyResult]) -> list[tuple[str, tuple[str, ...]]]:
    """Everything declared or recorded that is not the same in all studies.

    Args:
        results: The studies.

    Returns:
        (name, one value a study, in words), the data and the family first.
    """
    described = [_described(result) for result in results]
    names = list(dict.fromkeys(name for each in described for name in each))
    rows = [(name, tuple(each.get(name, UNKNOWN) for each in described)) for name in names]
    return [(name, values) for name, values in rows if len(set(values)) > 1]


def names(results: Sequence[StudyResult], most: int = 3) -> list[str]:
    """What to call each study: its number, its data, and what sets its data and its family apart.

    Args:
        results: The studies.
        most: Differences named at most.
    """
    rows = [(name, values) for name, values in differences(results) if name.startswith(("data: ", "model: "))]
    called = []
    for number, result in enumerate(results):
        shown = [_apart(name, values[number]) for name, values in rows if name != "data: name"][:most]
        called.append(", ".join([f"{number + 1}: {result.data['name']}", *shown]))
    return called


def _apart(name: str, value: str) -> str:
    name = name.partition(": ")[2]
    return value if name == "family" else f"{name} {value}"


def _described(result: StudyResult) -> dict[str, str]:
    plan, data, spec = result.plan, result.data, result.plan.arms[0].spec
    base = asdict(plan.base)
    fields = {key: value for key, value in asdict(spec).items() if key not in SOLVED} if spec else {}
    described: dict[str, Any] = {
        "data: name": data["name"],
        **_group("data", base["data"], "all"),
        "model: family": plan.arms[0].family,
        **_group("model", fields, DEFAULT),
        **_group("optimizer", base["optimizer"], None),
        **{_words(key): value for key, value in base.items() if key not in RUNS},
        **{f"{split} images": count for split, count in data["sizes"].items()},
        "classes": len(data["class_names"]),
        "image shape": data["image_shape"],
        "validation split": str(data.get("validation_hash", "not recorded"))[:16],
        "budgets": "; ".join(plan.budgets),
        "depths": sorted({arm.depth for arm in plan.arms}),
        "margin (points)": percent(plan.margin),
        "learning rates": plan.tuning.learning_rates,
        "weight decays": plan.tuning.weight_decays,
        "runs per arm": len(result.pilot.seeds),
        "rule": plan.rule,
        "devices": [each.get("devices", "not recorded") for each in result.environments],
    }
    return {name: text(value) for name, value in described.items()}


def _group(name: str, fields: dict[str, Any], missing: str | None) -> dict[str, Any]:
    """The fields of one config; what is None goes by what that means there."""
    kept = {key: value for key, value in fields.items() if key not in (*REPLACED, "name", "family")}
    if name == "optimizer":
        kept = {"name": fields["name"], **kept}
    return {f"{name}: {_words(key)}": missing if value is None else value for key, value in kept.items()}


def _words(key: str) -> str:
    return key.replace("_", " ")
