"""Check what tuning chose, what its curve promised, and what another tuning would choose."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np

from jaxcnn.study.verify.checks import (
    DRAWN,
    Check,
    as_number,
    close_check,
    drawn_check,
    equal_check,
    limits_of,
    split_pairs,
)
from jaxcnn.study.verify.formulas import (
    DRAWS,
    Curve,
    another_tuning,
    curve,
    flattery,
)  # fmt: skip
from jaxcnn.study.verify.stored import ArmErrors, read_json, sides_of

TIE = 1e-12
"""Largest difference of two fitted errors that may be one of rounding: where rates do not matter, a curve is flat."""


def _scores(trials: list[dict[str, Any]]) -> dict[tuple[float, ...], tuple[float, float]]:
    """Return mean validation error and loss of each setting; a trial that diverged makes it all wrong."""
    scores = {}
    for setting in {tuple(trial["setting"]) for trial in trials}:
        own = [trial for trial in trials if tuple(trial["setting"]) == setting]
        error, loss = (float(np.mean([as_number(t[f"validation_{name}"]) for t in own])) for name in ("error", "loss"))
        scores[setting] = (1.0, math.inf) if any(trial["diverged"] for trial in own) else (error, loss)
    return scores


def best_setting(trials: list[dict[str, Any]]) -> list[float] | None:
    """Return the setting with the lowest mean validation error, then loss, then values; None without trials."""
    scores = _scores(trials)
    return list(min(scores, key=lambda setting: (*scores[setting], *setting))) if scores else None


def curve_of(trials: list[dict[str, Any]]) -> Curve:
    """Return the curve through some trials."""
    return curve(*_points(trials))


def _points(trials: list[dict[str, Any]]) -> tuple[list[tuple[float, ...]], list[float], int]:
    errors = [1.0 if each["diverged"] else as_number(each["validation_error"]) for each in trials]
    return [tuple(each["setting"]) for each in trials], errors, trials[0].get("images") or 1000


def lowest_setting(found: Curve, stored: list[float]) -> list[float]:
    """Return the setting with the lowest error by a curve: the stored one if no more than rounding parts the two."""
    best = int(found.errors.argmin())
    tied = [each for each, error in zip(found.settings, found.errors, strict=True) if error <= found.errors[best] + TIE]
    return stored if tuple(stored) in tied else list(found.settings[best])


def fold_check(tuning: dict[str, Any], runs: list[dict[str, Any]], first: int, folds: int) -> Check:
    """Check that the runs of a fold have the setting that the trials of this fold give."""
    found = []
    for run in runs:
        fold, tuned = (run["seed"] - first) % folds, tuning["arms"][run["arm"]]
        trials = [trial for trial in tuned["trials"] if trial["fold"] == fold]
        best = tuned["setting"]
        if trials:
            best = lowest_setting(curve_of(trials), run["setting"])
        found.append((run["setting"], best))
    return equal_check("settings of the folds", *split_pairs(found))


def curse_check(
    analysis: dict[str, Any], tuning: dict[str, Any], arms: dict[str, ArmErrors], metric: str, *, smooth: bool
) -> Check:
    """Compare what the settings promised with the validation errors of their runs, over the arms."""
    from scipy import stats

    again = {each["arm"]["label"]: each.get("retuning") or {} for each in analysis["arms"]}
    gaps = []
    for label, its in arms.items():
        trials = tuning["arms"][label]["trials"]
        folds = {trial.get("fold") for trial in trials}
        own = [[trial for trial in trials if trial.get("fold") == fold] for fold in folds]
        promised = np.mean([curve_of(each).errors.min() if smooth else min(_scores(each).values())[0] for each in own])
        promised += again[label].get("optimism", 0.0)  # drawn anew below; older files lack it
        gaps.append(1 - np.mean([run["metrics"][f"validation_{metric}"] for run in its.runs]) - promised)
    mean, low, high = np.mean(gaps), -math.inf, math.inf
    if len(gaps) > 1:
        low, high = stats.t.interval(0.95, len(gaps) - 1, mean, np.std(gaps, ddof=1) / math.sqrt(len(gaps)))
    return close_check(
        "validation error of the runs against that of tuning", limits_of(analysis["curse"]), [mean, low, high]
    )


def retuning_checks(analysis: dict[str, Any], curves: dict[str, Curve], tuning: dict[str, Any]) -> list[Check]:
    """Check the curves through the trials, and draw anew what another tuning would choose."""
    arms = {each["arm"]["label"]: each for each in analysis["arms"]}
    fits, drawn = [], []
    for label, each in curves.items():
        trials, found = tuning["arms"][label]["trials"], arms[label]["retuning"]
        folds = sorted({trial["fold"] for trial in trials if trial.get("fold") is not None})
        by_fold = [curve_of([trial for trial in trials if trial["fold"] == fold]) for fold in folds] or [each]
        fits.append(([arms[label]["tuning_error"]], [np.mean([one.errors.min() for one in by_fold])]))
        # Each fold is tuned by itself, with its share of the trials; the curve through all of them is known best.
        variance, others, heavy = another_tuning(each._replace(counts=each.counts / len(by_fold)))
        variance /= len(by_fold)
        # Both variances come from draws, of which few choose a setting that is chosen rarely: four standard errors.
        heavy = max(heavy, 1 / max(others, found["others"], 0.2 / DRAWS))
        rarely = max(1.0, 4 / DRAWN * math.sqrt(2 * heavy / (5 * DRAWS)))
        width = max(variance, found["variance"], 1e-12) * rarely
        drawn += [(found["variance"], variance, width), (found["others"], others, 1.0)]
        if "optimism" in found:
            mean, error = flattery(*_points(trials), len(by_fold))
            drawn.append((found["optimism"], mean, max(4 / DRAWN * error, 1e-9)))
    if not fits:
        return []
    return [
        close_check("validation error by the curve through the trials", *split_pairs(fits)),
        drawn_check("what another tuning would choose, drawn anew", drawn),
    ]


def inner_check(
    directory: Path, ends: list[dict[str, str]], curves: dict[str, Curve], *, folds: bool
) -> list[list[dict[str, str]]]:
    """Return the contrasts of the interior arm of each budget, the one with the lowest curve, with both ends.

    With folds it is the middle one.
    """
    arms, pairs = read_json(directory / "plan.json")["arms"], []
    for end in ends:
        deeper, wider = (next(arm for arm in arms if arm["label"] == end[side]) for side in ("deeper", "wider"))
        own = [arm for arm in arms if (arm["kind"], arm["budget"]) == (deeper["kind"], deeper["budget"])]
        inside = sorted((arm for arm in own if wider["depth"] < arm["depth"] < deeper["depth"]),
                        key=lambda arm: (arm["depth"], -arm["width"]))  # fmt: skip
        if sides_of(directory) or not inside:
            pairs.append([])
            continue
        middle = inside[(len(inside) - 1) // 2]["label"]
        if not folds and all(arm["label"] in curves for arm in inside):
            middle = min((arm["label"] for arm in inside), key=lambda label: curves[label].errors.min())
        pairs.append([{"deeper": middle, "wider": end["wider"]}, {"deeper": end["deeper"], "wider": middle}])
    return pairs


def choice_check(tuning: dict[str, Any], chosen: dict[str, list[float]]) -> Check:
    """Check the setting that tuning chose for each arm."""
    return equal_check(
        "settings that tuning chose", [each["setting"] for each in tuning["arms"].values()], chosen.values()
    )


def expected_best(trials: list[dict[str, Any]]) -> list[float]:
    """Return the expected lowest error of n draws from the settings' mean scores (Dodge et al. 2019)."""
    means = [error for error, _ in _scores(trials).values()]
    errors, count = sorted(means), len(means)
    # P(the smallest of n draws is the i-th smallest) = ((N - i + 1) / N)^n - ((N - i) / N)^n.
    chances = [[((count - i) / count) ** n - ((count - i - 1) / count) ** n for i in range(count)]
               for n in range(1, count + 1)]  # fmt: skip
    return [float(np.dot(chance, errors)) for chance in chances]
