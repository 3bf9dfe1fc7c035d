"""Verify a study or a single run: its numbers again, from the per-example predictions and the records of its runs.

It reads plain JSON, and its formulas are not the report's (`jaxcnn.study.formulas`). What random draws decide
(bootstraps) is drawn anew and must agree up to a tenth of the interval. Not recomputed: the limits of the chance that
the deeper run errs less, the number of seeds needed, and measured costs, which are compared with costs.json only.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable
from pathlib import Path
from types import SimpleNamespace
from typing import Any, NamedTuple
from zipfile import BadZipFile

import numpy as np

from jaxcnn.errors import InputError
from jaxcnn.run.folder import RunFolder
from jaxcnn.runtime.files import read_sealed, sha256
from jaxcnn.spec import DataConfig
from jaxcnn.study.formulas import (
    DRAWS,
    Curve,
    another_tuning,
    benjamini_hochberg,
    bootstrap,
    combine,
    cross,
    curve,
    decide,
    decide_retuned,
    holm,
    holm_both,
    kappa,
    lowest,
    missed_objects,
    missed_pixels,
    power,
    welch,
    wins,
)  # fmt: skip
from jaxcnn.study.measure import measure_of
from jaxcnn.study.plan import load_plan, study_identity
from jaxcnn.study.rule import rule_named

EXACT, DRAWN = 1e-6, 0.1
"""Largest relative difference of what is computed; largest difference of what is drawn, in widths of its interval."""
REMEDY = "restore it from a copy; keep the file as it is until then"


class Check(NamedTuple):
    """One kind of number of the report."""

    name: str
    numbers: int  #: How many were compared.
    equal: int  #: How many of them agree.
    difference: float  #: Largest absolute difference.
    remark: str = ""


class _Arm(NamedTuple):
    wrong: np.ndarray  # (seeds, N) of 0 and 1, or contributions of the images to the error of each run
    runs: list[dict[str, Any]]
    classes: list[np.ndarray]  # the same by class, (seeds, images)


class _Errors(NamedTuple):
    """What predictions.npz says of all runs."""

    metric: str
    wrong: np.ndarray  # (runs, N)
    classes: list[np.ndarray]  # (runs, images) of each class
    step: float
    labels: np.ndarray | None  # of classifiers
    folds: np.ndarray | None = None  # (N,) of each image
    groups: np.ndarray | None = None

    def images_of(self, label: int) -> tuple[np.ndarray | None, np.ndarray | None]:
        """Return folds and groups of the images of a class; all images where each of them has several."""
        own = slice(None) if self.labels is None else self.labels == label
        return tuple(None if each is None else each[own] for each in (self.folds, self.groups))  # type: ignore[return-value]


def _errors(kind: str, arrays: dict[str, np.ndarray]) -> _Errors:
    """Compute the errors of all runs by the formulas of this check."""
    if kind == "segmentation":
        hits, unions = arrays["intersections"], arrays["unions"]
        each = np.array([missed_pixels(*pair) for pair in zip(hits, unions, strict=True)])
        metric, step = "mean_iou", 1 / unions[0].sum()
    elif kind == "detection":
        rows = zip(arrays["found_labels"], arrays["found_scores"], arrays["hits"], strict=True)
        each = np.array([missed_objects(*row, arrays["objects"]) for row in rows])
        metric, step = "AP50", 1 / arrays["objects"].sum()
    else:
        labels = arrays["labels"]
        wrong = (arrays["predictions"] != labels).astype(np.float64)
        classes = [wrong[:, labels == number] for number in range(int(labels.max()) + 1)]
        return _Errors("accuracy", wrong, classes, 1 / len(labels), labels, arrays.get("folds"), arrays.get("groups"))
    whole = np.nanmean(each, axis=2)
    return _Errors(metric, whole, list(np.moveaxis(each, 2, 0)), float(step), None, groups=arrays.get("groups"))


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
    if (directory / "config.json").exists():
        return _run_checks(directory, data)
    plan, analysis = load_plan(directory), _json(directory / "analysis.json")
    tuning, runs = _json(directory / "tuning.json"), _json(directory / "runs.json")
    arrays = _arrays(directory / "predictions.npz")
    errors = _errors(plan.base.task.kind, arrays)
    folds, groups = errors.folds, errors.groups

    def arm(label: str, setting: list[float]) -> _Arm:
        if folds is not None:  # a row of predictions for each repeat, whose runs follow one another
            own, its = [each for each in runs["runs"] if each["arm"] == label], arrays["arms"] == label
            return _Arm(errors.wrong[its], own, [each[its] for each in errors.classes])
        rows = [n for n, run in enumerate(runs["runs"]) if run["arm"] == label and run["setting"] == setting]
        return _Arm(errors.wrong[rows], [runs["runs"][row] for row in rows], [each[rows] for each in errors.classes])

    smooth, retuned = plan.tuning.method == "smooth", rule_named(plan.rule).retuned
    curves = {label: _curve(each["trials"]) for label, each in tuning["arms"].items() if each["trials"]}
    lowest_of = {label: list(each.settings[int(each.errors.argmin())]) for label, each in curves.items()}
    chosen = {
        label: (lowest_of.get(label) if smooth else _best(each["trials"])) or each["setting"]
        for label, each in tuning["arms"].items()
    }
    arms = {label: arm(label, setting) for label, setting in chosen.items()}
    checks = [_seals(directory, runs), _tuning(tuning, chosen), *_arm_checks(analysis, tuning, arms, errors)]
    checks += _accuracies(runs["runs"], errors)
    if folds is not None:
        checks.append(_fold_check(tuning, runs["runs"], plan.seeds.first, plan.folds or 1))
    if retuned:
        checks += _retuning_checks(analysis, curves, tuning)
    if analysis.get("curse"):
        checks.append(_curse_check(analysis, tuning, arms, errors.metric, smooth=smooth))
    spreads = {each["arm"]["label"]: each["retuning"]["variance"] for each in analysis["arms"] if each.get("retuning")}
    for kind in ("contrasts", "shared"):
        shared = tuning["shared"] if kind == "shared" else None
        ends = _ends(directory)
        inner = _inner(directory, ends, curves, folds=folds is not None) if retuned and not shared else []
        labelled = [each for pair, more in zip(ends, inner or [[]] * len(ends), strict=True) for each in (pair, *more)]
        pairs = [
            (arm(pair["deeper"], shared or chosen[pair["deeper"]]), arm(pair["wider"], shared or chosen[pair["wider"]]))
            for pair in labelled
        ]
        if analysis[kind]:
            words = dict(zip(_sides(directory), ("deeper", "wider"), strict=False))
            between = iter(analysis.get("between", []) if not shared else [])
            rows = [
                each | {"decision": words.get(each["decision"], each["decision"])}
                for end, more in zip(analysis[kind], inner or [[]] * len(ends), strict=True)
                for each in (end, *(next(between) for _ in more))
            ]
            tunings = [
                [spreads[label] for label in pair.values() if label in spreads and not shared] for pair in labelled
            ]
            found, outcomes = _contrast_checks(
                rows, pairs, errors, plan.margin, "shared: " if shared else "", tunings, [1 + len(m) for m in inner]
                if inner else [1] * len(ends), retuned=retuned,
            )  # fmt: skip
            checks += found
            if not shared:
                verdict = [(words.get(analysis["decision"], analysis["decision"]), analysis["scope"])]
                checks.append(_same("verdict over all budgets", verdict, [combine(outcomes)]))
    checks += _trend_checks(analysis, arms)
    checks += [_cost_check(directory, analysis), _front_check(analysis)]
    if data and folds is not None and errors.labels is not None:
        each = [
            _data_check(plan.images(part), its, errors.labels[own], None if groups is None else groups[own])
            for part, its in enumerate(runs["data"]["folds"])
            for own in [folds == part]
        ]
        numbers, equal = sum(one.numbers for one in each), sum(one.equal for one in each)
        checks.append(Check(each[0].name, numbers, equal, 0.0, each[0].remark))
    elif data:
        checks.append(_data_check(plan.base.data, runs["data"], errors.labels, groups))
    return checks


def _run_checks(directory: Path, data: bool) -> list[Check]:
    """Check a single run: its seals, and what its result says of the test split."""
    folder, result = RunFolder(directory), _json(directory / "result.json")
    arrays = _arrays(directory / "predictions.npz")
    bad, digests = [], result.get("files") or {}
    try:
        folder.read_result()  # its own seal, and those of the files beside it
    except InputError as error:
        bad.append(str(error).split(":")[0])
    bad += ["predictions.npz"] * (sha256(directory / "predictions.npz") != result["predictions_sha256"])
    checks = [
        Check("seals and hashes of the files", len(digests) + 2, len(digests) + 2 - len(bad), 0.0, ", ".join(bad))
    ]
    metrics, last = result["metrics"], _json(directory / "metrics.jsonl", last_line=True)
    logged = [last.get(name) for name in metrics]
    checks.append(_close("metrics of the last epoch in the log", metrics.values(), logged))
    config, _ = folder.read_config()
    if config.task.kind == "segmentation":
        checks += _mask_checks(arrays, metrics, result.get("details") or {}, config.task.ignore)  # type: ignore[attr-defined]
        about = [_data_check(config.data, _json(directory / "data.json"), arrays["labels"])] if data else []
        return [*checks, *about]
    if config.task.kind == "detection":
        recorded = _json(directory / "data.json")
        run = SimpleNamespace(predictions=arrays, data=recorded, config=config)
        stored = measure_of("detection").gather(run)
        found = (stored[name] for name in ("found_labels", "found_scores", "hits", "objects"))
        by_class = 1 - missed_objects(*found).mean(0)
        checks.append(_close("test AP50", [metrics["test_AP50"]], [np.nanmean(by_class)]))
        checks.append(_close("AP50 by class", (result.get("details") or {})["class_AP50"], by_class))
        about = recorded | {"test_hash": result["test_hash"]}
        return [*checks, _data_check(config.data, about, None)] if data else checks
    if config.task.kind != "classification":
        return checks
    labels, right = arrays["labels"], arrays["predictions"] == arrays["labels"]
    checks.append(_close("test accuracy", [metrics["test_accuracy"]], [right.mean()]))
    if details := result.get("details"):
        confusion = np.zeros(np.shape(details["confusion"]))
        np.add.at(confusion, (labels, arrays["predictions"]), 1)
        by_class = [right[labels == n].mean() if (labels == n).any() else math.nan for n in range(len(confusion))]
        checks.append(_close("confusion counts", details["confusion"], confusion))
        checks.append(_close("accuracy by class", details["class_accuracy"], by_class))
    return [*checks, _data_check(config.data, _json(directory / "data.json"), labels)] if data else checks


def _mask_checks(
    arrays: dict[str, np.ndarray], metrics: dict[str, float], details: dict[str, Any], ignore: int
) -> list[Check]:
    """Compute the measures of a segmentation again, pixel by pixel, from the stored masks."""
    labels, named, classes = arrays["labels"], arrays["predictions"], arrays["unions"].shape[1]
    counted = (labels >= 0) & (labels < classes) & (labels != ignore)
    hits, unions = (
        np.array([[(each(labels[n] == k, named[n] == k) & counted[n]).sum() for k in range(classes)]
                  for n in range(len(labels))]).reshape(len(labels), classes)
        for each in (np.logical_and, np.logical_or)
    )  # fmt: skip
    iou = [float(hits[:, k].sum() / whole) if (whole := unions[:, k].sum()) else None for k in range(classes)]
    present = [share for share in iou if share is not None]
    stored = [np.array_equal(arrays["intersections"], hits), np.array_equal(arrays["unions"], unions)]
    checks = [
        Check("intersections and unions of each image", 2, sum(stored), 0.0, "" if all(stored) else "they differ"),
        _close("test pixel accuracy", [metrics["test_accuracy"]], [hits.sum() / max(counted.sum(), 1)]),
        _close("test mean IoU", [metrics["test_mean_iou"]], [np.mean(present) if present else 0.0]),
    ]
    if "class_iou" in details:
        checks.append(_close("IoU by class", details["class_iou"], iou))
    return checks


def _arrays(path: Path) -> dict[str, np.ndarray]:
    try:
        with np.load(path, allow_pickle=False) as file:
            return dict(file)
    except (OSError, ValueError, BadZipFile):
        raise InputError(f"{path}: cannot be read; {REMEDY}") from None


def _json(path: Path, *, last_line: bool = False) -> dict[str, Any]:
    try:
        text = path.read_text()
        return _pairs(json.loads(text.splitlines()[-1] if last_line and text else text))
    except OSError:
        raise InputError(
            f"{path}: cannot be read; `jaxcnn report` writes analysis.json, a study or a run the others"
        ) from None
    except ValueError:
        raise InputError(f"{path}: it is not JSON; {REMEDY}") from None


def _pairs(record: Any) -> Any:
    """Return a record with every setting as [learning rate, weight decay], as format 2 wrote it."""
    if isinstance(record, dict):
        if set(record) == {"learning_rate", "weight_decay"}:
            return [record["learning_rate"], record["weight_decay"]]
        return {name: _pairs(value) for name, value in record.items()}
    return [_pairs(value) for value in record] if isinstance(record, list) else record


def _sides(directory: Path) -> list[str]:
    """Return the names of the two families that a study compares, in the order of its arms; none for depths."""
    arms = _json(directory / "plan.json")["arms"]
    return list(dict.fromkeys(arm["name"] for arm in arms if arm.get("name")))


def _ends(directory: Path) -> list[dict[str, str]]:
    """Return the labels of the deepest and the shallowest arm of each budget, or of the first and second family."""
    budgets: dict[tuple[str, float], list[dict[str, Any]]] = {}
    for each in _json(directory / "plan.json")["arms"]:
        budgets.setdefault((each["kind"], each["budget"]), []).append(each)
    ordered = [sorted(each, key=lambda arm: arm["depth"]) for each in budgets.values()]
    if sides := _sides(directory):
        ordered = [sorted(each, key=lambda arm: -sides.index(arm["name"])) for each in budgets.values()]
    return [{"deeper": each[-1]["label"], "wider": each[0]["label"]} for each in ordered]


def _seals(directory: Path, runs: dict[str, Any]) -> Check:
    """Check the hash of every sealed file, that all belong to this plan, and the hash of the predictions."""
    names = [name for name in ("tuning.json", "pilot.json", "runs.json", "costs.json") if (directory / name).exists()]
    bad, plan = [], study_identity(directory)  # which checks plan.json's own seal
    for name in names:
        try:
            record: dict[str, Any] = read_sealed(directory / name, REMEDY)
            bad += [name] * (record.get("plan") != plan)
        except InputError:
            bad.append(name)
    bad += ["predictions.npz"] * (sha256(directory / "predictions.npz") != runs["predictions_sha256"])
    count = len(names) + 2
    return Check("seals and hashes of the files", count, count - len(bad), 0.0, ", ".join(bad))


def _scores(trials: list[dict[str, Any]]) -> dict[tuple[float, ...], tuple[float, float]]:
    """Return mean validation error and loss of each setting; a trial that diverged makes it all wrong."""
    scores = {}
    for setting in {tuple(trial["setting"]) for trial in trials}:
        own = [trial for trial in trials if tuple(trial["setting"]) == setting]
        error, loss = (float(np.mean([_number(t[f"validation_{name}"]) for t in own])) for name in ("error", "loss"))
        scores[setting] = (1.0, math.inf) if any(trial["diverged"] for trial in own) else (error, loss)
    return scores


def _best(trials: list[dict[str, Any]]) -> list[float] | None:
    """Return the setting with the lowest mean validation error, then loss, then values; None without trials."""
    scores = _scores(trials)
    return list(min(scores, key=lambda setting: (*scores[setting], *setting))) if scores else None


def _curve(trials: list[dict[str, Any]]) -> Curve:
    errors = [1.0 if each["diverged"] else _number(each["validation_error"]) for each in trials]
    return curve([tuple(each["setting"]) for each in trials], errors, trials[0].get("images") or 1000)


def _fold_check(tuning: dict[str, Any], runs: list[dict[str, Any]], first: int, folds: int) -> Check:
    """Check that the runs of a fold have the setting that the trials of this fold give."""
    found = []
    for run in runs:
        fold, tuned = (run["seed"] - first) % folds, tuning["arms"][run["arm"]]
        trials = [trial for trial in tuned["trials"] if trial["fold"] == fold]
        best = tuned["setting"]
        if trials:
            each = _curve(trials)
            best = list(each.settings[int(each.errors.argmin())])
        found.append((run["setting"], best))
    return _same("settings of the folds", *_split(found))


def _curse_check(
    analysis: dict[str, Any], tuning: dict[str, Any], arms: dict[str, _Arm], metric: str, *, smooth: bool
) -> Check:
    """Compare what the settings promised with the validation errors of their runs, over the arms."""
    from scipy import stats

    gaps = []
    for label, its in arms.items():
        trials = tuning["arms"][label]["trials"]
        folds = {trial.get("fold") for trial in trials}
        own = [[trial for trial in trials if trial.get("fold") == fold] for fold in folds]
        promised = np.mean([_curve(each).errors.min() if smooth else min(_scores(each).values())[0] for each in own])
        gaps.append(1 - np.mean([run["metrics"][f"validation_{metric}"] for run in its.runs]) - promised)
    mean, low, high = np.mean(gaps), -math.inf, math.inf
    if len(gaps) > 1:
        low, high = stats.t.interval(0.95, len(gaps) - 1, mean, np.std(gaps, ddof=1) / math.sqrt(len(gaps)))
    return _close("validation error of the runs against that of tuning", _limits(analysis["curse"]), [mean, low, high])


def _retuning_checks(analysis: dict[str, Any], curves: dict[str, Curve], tuning: dict[str, Any]) -> list[Check]:
    """Check the curves through the trials, and draw anew what another tuning would choose."""
    arms = {each["arm"]["label"]: each for each in analysis["arms"]}
    fits, drawn = [], []
    for label, each in curves.items():
        trials, found = tuning["arms"][label]["trials"], arms[label]["retuning"]
        folds = sorted({trial["fold"] for trial in trials if trial.get("fold") is not None})
        by_fold = [_curve([trial for trial in trials if trial["fold"] == fold]) for fold in folds] or [each]
        fits.append(([arms[label]["tuning_error"]], [np.mean([one.errors.min() for one in by_fold])]))
        again = np.array([another_tuning(one) for one in by_fold])
        variance, others = again[:, 0].sum() / len(by_fold) ** 2, again[:, 1].mean()
        # Both variances come from draws, of which few choose a setting that is chosen rarely: four standard errors.
        heavy = max(again[:, 2].max(), 1 / max(others, found["others"], 0.2 / DRAWS))
        rarely = max(1.0, 4 / DRAWN * math.sqrt(2 * heavy / (5 * DRAWS)))
        width = max(variance, found["variance"], 1e-12) * rarely
        drawn += [(found["variance"], variance, width), (found["others"], others, 1.0)]
    if not fits:
        return []
    return [
        _close("validation error by the curve through the trials", *_split(fits)),
        _drawn("what another tuning would choose, drawn anew", drawn),
    ]


def _inner(
    directory: Path, ends: list[dict[str, str]], curves: dict[str, Curve], *, folds: bool
) -> list[list[dict[str, str]]]:
    """Return the contrasts of the interior arm of each budget, the one with the lowest curve, with both ends.

    With folds it is the middle one.
    """
    arms, pairs = _json(directory / "plan.json")["arms"], []
    for end in ends:
        deeper, wider = (next(arm for arm in arms if arm["label"] == end[side]) for side in ("deeper", "wider"))
        own = [arm for arm in arms if (arm["kind"], arm["budget"]) == (deeper["kind"], deeper["budget"])]
        inside = sorted((arm for arm in own if wider["depth"] < arm["depth"] < deeper["depth"]),
                        key=lambda arm: (arm["depth"], -arm["width"]))  # fmt: skip
        if _sides(directory) or not inside:
            pairs.append([])
            continue
        middle = inside[(len(inside) - 1) // 2]["label"]
        if not folds and all(arm["label"] in curves for arm in inside):
            middle = min((arm["label"] for arm in inside), key=lambda label: curves[label].errors.min())
        pairs.append([{"deeper": middle, "wider": end["wider"]}, {"deeper": end["deeper"], "wider": middle}])
    return pairs


def _tuning(tuning: dict[str, Any], chosen: dict[str, list[float]]) -> Check:
    return _same("settings that tuning chose", [each["setting"] for each in tuning["arms"].values()], chosen.values())


def _arm_checks(
    analysis: dict[str, Any], tuning: dict[str, Any], arms: dict[str, _Arm], errors: _Errors
) -> list[Check]:
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
            ("test error of every arm and its interval", _limits(found["test_error"]), _possible([mean, low, high], 0)),
            (
                "means over seeds of other metrics",
                [found["train_loss"], found["test_loss"]]
                + [1 - _number(found[f"{split}_error"]) for split in ("train", "validation")],
                [
                    np.mean([_number(run["metrics"].get(name)) for run in runs])
                    for name in ("train_loss", "test_loss", f"train_{errors.metric}", f"validation_{errors.metric}")
                ],
            ),
            ("consistency of errors between seeds", [found["seed_consistency"]], [_kappa(errors, wrong, wrong)]),
            ("expected best of n trials", found["expected_best"], _expected_best(tuning["arms"][label]["trials"])),
        ):
            pairs.setdefault(name, []).append((old, new))
    return [_close(name, *_split(each)) for name, each in pairs.items()]


def _accuracies(runs: list[dict[str, Any]], errors: _Errors) -> list[Check]:
    recorded, name = [run["metrics"][f"test_{errors.metric}"] for run in runs], errors.metric.replace("_", " ")
    found, folds = 1 - errors.wrong.mean(1), errors.folds
    if folds is not None:
        found = np.array([[1 - row[folds == part].mean() for part in np.unique(folds)] for row in errors.wrong])
    return [_close(f"{name} in the run records and in the predictions", [recorded], [found])]


def _kappa(errors: _Errors, first: np.ndarray, second: np.ndarray) -> float:
    """Return the consistency of errors; NaN where an image is neither right nor wrong."""
    return math.nan if errors.labels is None else kappa(first, second)


def _expected_best(trials: list[dict[str, Any]]) -> list[float]:
    """Return the expected lowest error of n draws from the settings' mean scores (Dodge et al. 2019)."""
    means = [error for error, _ in _scores(trials).values()]
    errors, count = sorted(means), len(means)
    # P(the smallest of n draws is the i-th smallest) = ((N - i + 1) / N)^n - ((N - i) / N)^n.
    chances = [[((count - i) / count) ** n - ((count - i - 1) / count) ** n for i in range(count)]
               for n in range(1, count + 1)]  # fmt: skip
    return [float(np.dot(chance, errors)) for chance in chances]


def _contrast_checks(
    reported: list[dict[str, Any]], pairs: list[tuple[_Arm, _Arm]], errors: _Errors, margin: float, prefix: str,
    tunings: list[list[float]], sizes: list[int], *, retuned: bool,
) -> tuple[list[Check], list[tuple[str, str]]]:  # fmt: skip
    """Check contrasts, `sizes` of them at each budget, and return the decisions of the budgets."""
    from scipy import stats

    rows: dict[str, list[tuple[Any, Any]]] = {}
    drawn: list[tuple[float, float, float]] = []
    outcomes, crossings, welches = [], [], []
    for (deeper, wider), tuning in zip(pairs, tunings, strict=True):
        several, where = min(len(deeper.wrong), len(wider.wrong)) > 1, (errors.folds, errors.groups)
        crossings.append(cross(deeper.wrong, wider.wrong, tuning, errors.step, *where) if several else None)
        welches.append(welch(deeper.wrong.mean(1), wider.wrong.mean(1), errors.step))
    p = [1.0 if c is None else float(2 * stats.t.sf(abs(c.estimate) / c.error, c.freedom)) for c in crossings]
    equal = [
        1.0 if c is None else float(stats.t.sf((margin - abs(c.estimate)) / c.error, c.freedom)) for c in crossings
    ]
    different, equivalent = holm_both(p, equal) if retuned else (holm(p), equal)
    corrected = different, holm([each[3] for each in welches])
    for place, (found, (deeper, wider)) in enumerate(zip(reported, pairs, strict=True)):
        crossing, fixed = crossings[place], welches[place]
        wide = narrow = [fixed[0], -math.inf, math.inf]
        if crossing is not None:
            wide, narrow = (
                [crossing.estimate, *stats.t.interval(level, crossing.freedom, crossing.estimate, crossing.error)]
                for level in (0.95, 0.9)
            )
        first, second = deeper.wrong.mean(1), wider.wrong.mean(1)
        pooled = np.mean([max(each.var(ddof=1), errors.step**2 / 12) for each in (first, second)])
        values = [
            ("difference for new seeds and images, 95 and 90 %",
             [*_limits(found["population"]), *_limits(found["population90"])],
             [*_possible(wide), *_possible(narrow)]),
            ("p-values, after Holm too",
             [found[n] for n in ("population_p", "population_holm", "fixed_p", "fixed_holm")],
             [p[place], corrected[0][place], fixed[3], corrected[1][place]]),
            ("difference on this test set (Welch)", _limits(found["fixed"]), _possible(fixed[:3])),
            ("consistency of errors between arms", [found["consistency"]], [_kappa(errors, deeper.wrong, wider.wrong)]),
            ("chance that the deeper run errs less", [found["superiority"]["estimate"]], [wins(first, second)]),
        ]  # fmt: skip
        if crossing is not None:
            parts = {name: getattr(crossing, name) / crossing.error**2 for name in found["parts"]}
            values.append(("p-value of equivalence", [found["tost"]], [equal[place]]))
            values.append(("shares of variance", found["parts"].values(), parts.values()))
            spread, floor = math.sqrt(pooled), 0.0
            if retuned:
                values.append(("p-value of equivalence, after Holm", [found["tost_holm"]], [equivalent[place]]))
                floor = math.sqrt(crossing.examples + crossing.tuning)
                values.append(("smallest difference that any number of seeds detects", [found["endless"]],
                               [floor * (stats.norm.ppf(0.975) + stats.norm.ppf(0.8))]))  # fmt: skip
                spread = math.sqrt(crossing.seeds * found["seeds"] / 2)
            if spread > 1e-6 * floor:
                reached = power(found["detectable"] / spread, found["seeds"], floor / spread)
                values.append(("power at the detectable difference", [0.8], [reached]))
            if found["bootstrap"] and found["bootstrap"]["low"] is not None:
                again = bootstrap(deeper.wrong, wider.wrong, crossing, errors.groups)
                _, *limits = _possible([crossing.estimate, *again])
                width = limits[1] - limits[0]
                drawn += [(found["bootstrap"][n], new, width) for n, new in zip(("low", "high"), limits, strict=True)]
            step = errors.step if errors.labels is None else None
            classes = enumerate(zip(deeper.classes, wider.classes, strict=True))
            by_class = [c for c in (_of_class(*each, step, errors.images_of(n)) for n, each in classes) if c]
            q = benjamini_hochberg([each[3] for each in by_class])
            values.append(("differences by class, p and q",
                           [[*_limits(c["difference"]), c["p"], c["q"]] for c in found["classes"]],
                           [[*_possible(each), one] for each, one in zip(by_class, q, strict=True)]))  # fmt: skip
        for name, old, new in values:
            rows.setdefault(name, []).append((old, new))
        judged = decide(wide, narrow, different[place], fixed, corrected[1][place], margin)
        outcomes.append(decide_retuned(wide[0], different[place], equivalent[place]) if retuned else judged)
    budgets, first = [], 0
    for size in sizes:
        if [decision for decision, _ in outcomes[first + 1 : first + size]] == ["deeper", "wider"]:
            outcomes[first] = "between", "population"
        budgets.append(outcomes[first])
        first += size
    checks = [_close(prefix + name, *_split(each)) for name, each in rows.items()]
    checks.append(_same(f"{prefix}decision of every budget", [(r["decision"], r["scope"]) for r in reported], outcomes))
    if drawn:
        checks.append(_drawn(f"{prefix}crossed bootstrap, drawn anew", drawn))
    return checks, budgets


def _of_class(
    deeper: np.ndarray, wider: np.ndarray, step: float | None,
    where: tuple[np.ndarray | None, np.ndarray | None],
) -> list[Any] | None:  # fmt: skip
    """Return the contrast of one class; `where` has the folds and groups of its images."""
    from scipy import stats

    if deeper.shape[1] < 2 or not (np.isfinite(deeper).all() and np.isfinite(wider).all()):
        return None
    folds, groups = where
    if (folds is not None and np.bincount(folds).min() < 2) or (groups is not None and len(np.unique(groups)) < 2):
        return None
    each = cross(deeper, wider, (), step, folds, groups)
    low, high = stats.t.interval(0.95, each.freedom, each.estimate, each.error)
    return [each.estimate, low, high, 2 * stats.t.sf(abs(each.estimate) / each.error, each.freedom)]


def _trend_checks(analysis: dict[str, Any], arms: dict[str, _Arm]) -> list[Check]:
    fits, limits = [], []
    for trend in analysis["trends"]:
        if (fit := trend["fit"]) is None:
            continue
        own = [each["arm"] for each in analysis["arms"] if each["arm"]["budget_label"] == trend["budget"]]
        logs = np.log([arm["depth"] for arm in own])
        rates = [arms[arm["label"]].wrong.mean(1) for arm in own]
        weights = np.sqrt([len(each) for each in rates])
        means = np.array([each.mean() for each in rates])
        fits.append((fit["coefficients"], np.polyfit(logs, means, 2, w=weights)[::-1]))
        steps = np.linspace(logs.min(), logs.max(), 4001)
        fits.append(([fit["optimum"]], [lowest(np.polyfit(logs, means, 2, w=weights), steps)]))
        if min(map(len, rates)) > 1:
            limits += _trend_limits(fit, logs, rates, weights, steps)
    checks = [_close("trend over depth and its best depth", *_split(fits), tolerance=2e-3)] if fits else []
    return [*checks, _drawn("interval of the best depth, drawn anew", limits)] if limits else checks


def _trend_limits(
    fit: dict[str, Any], logs: np.ndarray, rates: list[np.ndarray], weights: np.ndarray, steps: np.ndarray
) -> list[tuple[float, float, float]]:
    """Draw the seeds of every depth anew; as wide as t is against the normal (Satterthwaite's degrees of freedom)."""
    from scipy import stats

    rng, means = np.random.default_rng(20_261), np.array([each.mean() for each in rates])
    curve, slope, _ = np.polyfit(logs, means, 2, w=weights)
    sizes = np.array([len(each) for each in rates])
    freedom = float(sizes.min() - 1)
    if curve > 1e-12:  # by the delta method: how the vertex moves with the mean of each depth
        moves = np.polyfit(logs, np.eye(len(logs)), 2, w=weights)
        gradient = -moves[1] / (2 * curve) + slope * moves[0] / (2 * curve**2)
        shares = gradient**2 * np.array([each.var(ddof=1) for each in rates]) / sizes
        if total := float(np.sum(shares**2 / (sizes - 1))):
            freedom = float(shares.sum() ** 2 / total)
    stretch = stats.t.ppf(0.975, freedom) / stats.norm.ppf(0.975)
    drawn = np.empty((DRAWS, len(rates)))
    for place, each in enumerate(rates):
        moved = each[rng.integers(len(each), size=(DRAWS, len(each)))].mean(1) - means[place]
        drawn[:, place] = means[place] + stretch * math.sqrt(len(each) / (len(each) - 1)) * moved
    best = np.log([lowest(each, steps) for each in np.polyfit(logs, drawn.T, 2, w=weights).T])
    low, high = np.quantile(best, [0.025, 0.975])
    width = max(high - low, float(np.ptp(logs)) / 4)
    return [(math.log(fit["low"]), low, width), (math.log(fit["high"]), high, width)]


def _cost_check(directory: Path, analysis: dict[str, Any]) -> Check:
    """Compare the costs that the report shows with plan.json and costs.json."""
    planned = {each["label"]: each for each in _json(directory / "plan.json")["arms"]}
    file = directory / "costs.json"
    measured = _json(file)["arms"] if file.exists() else {}
    old, new = list[Any](), list[Any]()
    for each in analysis["arms"]:
        label, cost = each["arm"]["label"], each["cost"] or {}
        old += [each["arm"][name] for name in ("params", "macs", "activations", "mismatch")] + sorted(cost.values())
        new += [planned[label][name] for name in ("params", "macs", "activations", "mismatch")]
        new += sorted(measured.get(label, {}).values())
    return _close("costs in the report and in their files", old, new)


def _front_check(analysis: dict[str, Any]) -> Check:
    labels = [each["arm"]["label"] for each in analysis["arms"]]
    errors = [each["test_error"]["estimate"] for each in analysis["arms"]]
    recomputed = []
    for front in analysis["fronts"]:
        points = list(zip(front["costs"], errors, strict=True))
        beaten = [any(c <= a and d <= b and (c, d) != (a, b) for c, d in points) for a, b in points]
        recomputed.append([label for label, one in zip(labels, beaten, strict=True) if not one])
    return _same("Pareto fronts", [front["front"] for front in analysis["fronts"]], recomputed)


def _data_check(
    config: DataConfig, recorded: dict[str, Any], labels: np.ndarray | None, groups: np.ndarray | None = None
) -> Check:
    """Load the data set and compare its validation split by hash, its test split by labels or by hash, and groups."""
    from jaxcnn.data import load
    from jaxcnn.data.splits import content_hash

    name = "validation and test split of the data set"
    try:
        dataset = load(config)
        test = dataset.load_test()
    except InputError as error:
        return Check(name, 0, 0, 0.0, f"not checked: {str(error).split(';')[0]}")
    equal = content_hash(test) == recorded["test_hash"] if labels is None else np.array_equal(test["labels"], labels)
    same = [dataset.validation_hash == recorded["validation_hash"], equal]
    if groups is not None:
        pairs = set(zip(groups.tolist(), dataset.groups["test"].tolist(), strict=False))
        same.append(len(pairs) == len({one for one, _ in pairs}) == len({two for _, two in pairs}))
    return Check(name, len(same), sum(same), 0.0)


def _possible(interval: list[float], least: float = -1) -> list[float]:
    """Cut [estimate, low, high, ...] to shares from `least` to 1; no limits if they are wider than that."""
    estimate, low, high, *rest = interval
    none = high - low > 1 - least
    return [estimate, -math.inf if none else max(low, least), math.inf if none else min(high, 1), *rest]


def _limits(interval: dict[str, Any]) -> list[float]:
    return [interval["estimate"], *(interval[name] for name in ("low", "high"))]


def _close(name: str, reported: Iterable[Any], recomputed: Iterable[Any], tolerance: float = EXACT) -> Check:
    """Compare numbers of any nesting; null in the report stands for what is not finite."""
    old, new = (np.array([_number(v) for v in _flat(values)]) for values in (reported, recomputed))
    if old.shape != new.shape:
        return Check(name, max(old.size, new.size), 0, math.inf, f"{old.size} numbers reported, {new.size} recomputed")
    alike = np.isclose(old, new, rtol=tolerance, atol=1e-9) | (~np.isfinite(old) & ~np.isfinite(new))
    gap = np.abs(old - new)[np.isfinite(old) & np.isfinite(new)]
    return Check(name, old.size, int(alike.sum()), float(gap.max(initial=0.0)))


def _split(pairs: list[tuple[Any, Any]]) -> tuple[list[Any], list[Any]]:
    return [old for old, _ in pairs], [new for _, new in pairs]


def _drawn(name: str, triples: list[tuple[float, float, float]]) -> Check:
    """Compare limits that random draws gave, in widths of their interval."""
    gaps = [abs(old - new) / width for old, new, width in triples]
    return Check(name, len(gaps), sum(gap < DRAWN for gap in gaps), max(abs(old - new) for old, new, _ in triples))


def _same(name: str, reported: Iterable[Any], recomputed: Iterable[Any]) -> Check:
    pairs = list(zip(reported, recomputed, strict=True))
    return Check(name, len(pairs), sum(list(old) == list(new) for old, new in pairs), 0.0)


def _flat(values: Any) -> list[Any]:
    return [leaf for each in values for leaf in _flat(each)] if isinstance(values, Iterable) else [values]


def _number(value: Any) -> float:
    return math.nan if value is None else float(value)
