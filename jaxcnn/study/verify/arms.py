"""Check the errors, intervals and costs of single arms."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np

from jaxcnn.study.verify.checks import (
    Check,
    as_number,
    close_check,
    equal_check,
    limits_of,
    possible_limits,
    split_pairs,
)
from jaxcnn.study.verify.formulas import (
    kappa,
)  # fmt: skip
from jaxcnn.study.verify.stored import ArmErrors, Errors, read_json
from jaxcnn.study.verify.tuning import expected_best


def arm_checks(
    analysis: dict[str, Any], tuning: dict[str, Any], arms: dict[str, ArmErrors], errors: Errors
) -> list[Check]:
    """Check the errors of every run and arm, their intervals, other metrics and the expected best of n trials."""
    from scipy import stats

    reported = {each["arm"]["label"]: each for each in analysis["arms"]}
    pairs: dict[str, list[tuple[Any, Any]]] = {}
    for label, (wrong, runs, _) in arms.items():
        found, rates = reported[label], wrong.mean(1)
        seeds = len(rates)
        mean, low, high = rates.mean(), -math.inf, math.inf
        if seeds > 1:
            # The spread is at least that of rounding to one image, pixel or object (Sheppard's correction).
            error = math.sqrt(max(rates.var(ddof=1), errors.step**2 / 12) / seeds)
            low, high = stats.t.interval(0.95, seeds - 1, mean, error)
        for name, old, new in (
            ("test error of every run", found["test_errors"], rates),
            (
                "test error of every arm and its interval",
                limits_of(found["test_error"]),
                possible_limits([mean, low, high], 0),
            ),
            (
                "means over seeds of other metrics",
                [found["train_loss"], found["test_loss"]]
                + [1 - as_number(found[f"{split}_error"]) for split in ("train", "validation")],
                [
                    np.mean([as_number(run["metrics"].get(name)) for run in runs])
                    for name in ("train_loss", "test_loss", f"train_{errors.metric}", f"validation_{errors.metric}")
                ],
            ),
            ("consistency of errors between seeds", [found["seed_consistency"]], [kappa_of(errors, wrong, wrong)]),
            ("expected best of n trials", found["expected_best"], expected_best(tuning["arms"][label]["trials"])),
        ):
            pairs.setdefault(name, []).append((old, new))
    return [close_check(name, *split_pairs(each)) for name, each in pairs.items()]


def accuracy_check(runs: list[dict[str, Any]], errors: Errors) -> list[Check]:
    """Check the metric in the run records against that of the predictions."""
    recorded, name = [run["metrics"][f"test_{errors.metric}"] for run in runs], errors.metric.replace("_", " ")
    found, folds = 1 - errors.wrong.mean(1), errors.folds
    if folds is not None:
        found = np.array([[1 - row[folds == part].mean() for part in np.unique(folds)] for row in errors.wrong])
    return [close_check(f"{name} in the run records and in the predictions", [recorded], [found])]


def kappa_of(errors: Errors, first: np.ndarray, second: np.ndarray) -> float:
    """Return the consistency of errors; NaN where an image is neither right nor wrong."""
    return math.nan if errors.labels is None else kappa(first, second)


def cost_check(directory: Path, analysis: dict[str, Any]) -> Check:
    """Compare the costs that the report shows with plan.json and costs.json."""
    planned = {each["label"]: each for each in read_json(directory / "plan.json")["arms"]}
    file = directory / "costs.json"
    measured = read_json(file)["arms"] if file.exists() else {}
    old, new = list[Any](), list[Any]()
    for each in analysis["arms"]:
        label, cost = each["arm"]["label"], each["cost"] or {}
        old += [each["arm"][name] for name in ("params", "macs", "activations", "mismatch")] + sorted(cost.values())
        new += [planned[label][name] for name in ("params", "macs", "activations", "mismatch")]
        new += sorted(measured.get(label, {}).values())
    return close_check("costs in the report and in their files", old, new)


def front_check(analysis: dict[str, Any]) -> Check:
    """Check which arms are on the Pareto fronts of error and cost."""
    labels = [each["arm"]["label"] for each in analysis["arms"]]
    errors = [each["test_error"]["estimate"] for each in analysis["arms"]]
    recomputed = []
    for front in analysis["fronts"]:
        points = list(zip(front["costs"], errors, strict=True))
        beaten = [any(c <= a and d <= b and (c, d) != (a, b) for c, d in points) for a, b in points]
        recomputed.append([label for label, one in zip(labels, beaten, strict=True) if not one])
    return equal_check("Pareto fronts", [front["front"] for front in analysis["fronts"]], recomputed)
