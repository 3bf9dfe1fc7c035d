"""Verify a study or a single run: its numbers again, from the per-example predictions and the records of its runs.

It reads plain JSON, and its formulas are not the report's (`jaxcnn.study.verify.formulas`). What random draws decide
(bootstraps) is drawn anew and must agree up to a tenth of the interval. Not recomputed: the limits of the chance that
the deeper run errs less, the number of seeds needed, and measured costs, which are compared with costs.json only.
"""

from __future__ import annotations

from pathlib import Path

from jaxcnn.errors import InputError
from jaxcnn.study.plan import load_plan
from jaxcnn.study.rule import rule_named
from jaxcnn.study.verify.arms import accuracy_check, arm_checks, cost_check, front_check
from jaxcnn.study.verify.checks import Check, equal_check
from jaxcnn.study.verify.contrasts import contrast_checks, trend_checks
from jaxcnn.study.verify.formulas import (
    combine,
)  # fmt: skip
from jaxcnn.study.verify.record import record_check
from jaxcnn.study.verify.single import run_checks
from jaxcnn.study.verify.stored import (
    REMEDY,
    ArmErrors,
    data_check,
    ends_of,
    read_arrays,
    read_errors,
    read_json,
    seal_check,
    sides_of,
)
from jaxcnn.study.verify.tuning import (
    best_setting,
    choice_check,
    curse_check,
    curve_of,
    fold_check,
    inner_check,
    lowest_setting,
    retuning_checks,
)


def verify(directory: Path | str, *, data: bool = True) -> list[Check]:
    """Compare a study's analysis.json, or a single run's result.json, with numbers recomputed from its other files.

    Args:
        directory: The study's folder, as `run_study` wrote it or as it was published; or a run's.
        data: Also load the data set and compare its validation and test split with what was recorded.

    Returns:
        The checks. All is well where `equal == numbers` in each of them.

    Raises:
        InputError: A file is missing or cannot be read.
    """
    directory = Path(directory)
    try:
        return run_checks(directory, data) if (directory / "config.json").exists() else _study_checks(directory, data)
    except InputError:
        raise
    except (KeyError, TypeError, AttributeError, IndexError, ValueError) as error:
        what = f"{type(error).__name__}: {error}"
        raise InputError(
            f"{str(directory)!r}: one of its files does not hold what jaxcnn writes ({what}); {REMEDY}"
        ) from error


def _study_checks(directory: Path, data: bool) -> list[Check]:
    plan, analysis = load_plan(directory), read_json(directory / "analysis.json")
    tuning, runs = read_json(directory / "tuning.json"), read_json(directory / "runs.json")
    arrays = read_arrays(directory / "predictions.npz")
    errors = read_errors(plan.base.task.kind, arrays)
    folds, groups = errors.folds, errors.groups

    def arm(label: str, setting: list[float]) -> ArmErrors:
        if folds is not None:  # a row of predictions for each repeat, whose runs follow one another
            own, its = [each for each in runs["runs"] if each["arm"] == label], arrays["arms"] == label
            return ArmErrors(errors.wrong[its], own, [each[its] for each in errors.classes])
        rows = [n for n, run in enumerate(runs["runs"]) if run["arm"] == label and run["setting"] == setting]
        return ArmErrors(
            errors.wrong[rows], [runs["runs"][row] for row in rows], [each[rows] for each in errors.classes]
        )

    smooth, retuned = plan.tuning.method == "smooth", rule_named(plan.rule).retuned
    curves = {label: curve_of(each["trials"]) for label, each in tuning["arms"].items() if each["trials"]}
    lowest_of = {label: lowest_setting(each, tuning["arms"][label]["setting"]) for label, each in curves.items()}
    chosen = {
        label: (lowest_of.get(label) if smooth else best_setting(each["trials"])) or each["setting"]
        for label, each in tuning["arms"].items()
    }
    arms = {label: arm(label, setting) for label, setting in chosen.items()}
    checks = [seal_check(directory, runs), choice_check(tuning, chosen), *arm_checks(analysis, tuning, arms, errors)]
    checks += accuracy_check(runs["runs"], errors)
    if folds is not None:
        checks.append(fold_check(tuning, runs["runs"], plan.seeds.first, plan.folds or 1))
    if retuned:
        checks += retuning_checks(analysis, curves, tuning)
    if analysis.get("curse"):
        checks.append(curse_check(analysis, tuning, arms, errors.metric, smooth=smooth))
    spreads = {each["arm"]["label"]: each["retuning"]["variance"] for each in analysis["arms"] if each.get("retuning")}
    for kind in ("contrasts", "shared"):
        shared = tuning["shared"] if kind == "shared" else None
        ends = ends_of(directory)
        inner = inner_check(directory, ends, curves, folds=folds is not None) if retuned and not shared else []
        labelled = [each for pair, more in zip(ends, inner or [[]] * len(ends), strict=True) for each in (pair, *more)]
        pairs = [
            (arm(pair["deeper"], shared or chosen[pair["deeper"]]), arm(pair["wider"], shared or chosen[pair["wider"]]))
            for pair in labelled
        ]
        if analysis[kind]:
            words = dict(zip(sides_of(directory), ("deeper", "wider"), strict=False))
            between = iter(analysis.get("between", []) if not shared else [])
            rows = [
                each | {"decision": words.get(each["decision"], each["decision"])}
                for end, more in zip(analysis[kind], inner or [[]] * len(ends), strict=True)
                for each in (end, *(next(between) for _ in more))
            ]
            tunings = [
                [spreads[label] for label in pair.values() if label in spreads and not shared] for pair in labelled
            ]
            found, outcomes = contrast_checks(
                rows, pairs, errors, plan.margin, "shared: " if shared else "", tunings, [1 + len(m) for m in inner]
                if inner else [1] * len(ends), retuned=retuned,
            )  # fmt: skip
            checks += found
            if not shared:
                verdict = [(words.get(analysis["decision"], analysis["decision"]), analysis["scope"])]
                checks.append(equal_check("verdict over all budgets", verdict, [combine(outcomes)]))
    checks += trend_checks(analysis, arms)
    checks += [cost_check(directory, analysis), front_check(analysis), record_check(directory, analysis)]
    if data and folds is not None and errors.labels is not None:
        each = [
            data_check(plan.images(part), its, errors.labels[own], None if groups is None else groups[own])
            for part, its in enumerate(runs["data"]["folds"])
            for own in [folds == part]
        ]
        numbers, equal = sum(one.numbers for one in each), sum(one.equal for one in each)
        checks.append(Check(each[0].name, numbers, equal, 0.0, each[0].remark))
    elif data:
        checks.append(data_check(plan.base.data, runs["data"], errors.labels, groups))
    return checks
