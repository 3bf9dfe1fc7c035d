"""Read what a study stored as plain JSON and arrays, and check its seals, hashes and splits."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, NamedTuple
from zipfile import BadZipFile

import numpy as np

from jaxcnn.errors import InputError
from jaxcnn.runtime.files import read_sealed, sha256
from jaxcnn.spec import DataConfig
from jaxcnn.study.plan import study_identity
from jaxcnn.study.verify.checks import Check
from jaxcnn.study.verify.formulas import (
    missed_objects,
    missed_pixels,
)  # fmt: skip

REMEDY = "restore it from a copy; keep the file as it is until then"


class ArmErrors(NamedTuple):
    """Errors and records of the runs of one arm."""

    wrong: np.ndarray  # (seeds, N) of 0 and 1, or contributions of the images to the error of each run
    runs: list[dict[str, Any]]
    classes: list[np.ndarray]  # the same by class, (seeds, images)


class Errors(NamedTuple):
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


def read_errors(kind: str, arrays: dict[str, np.ndarray]) -> Errors:
    """Compute the errors of all runs by the formulas of this check."""
    if kind == "segmentation":
        hits, unions = arrays["intersections"], arrays["unions"]
        each = np.array([missed_pixels(*pair) for pair in zip(hits, unions, strict=True)])
        metric, step = "mean_iou", 1 / unions[0].sum()
    elif kind in ("detection", "instances"):
        rows = zip(arrays["found_labels"], arrays["found_scores"], arrays["hits"], strict=True)
        each = np.array([missed_objects(*row, arrays["objects"]) for row in rows])
        metric, step = "AP50", 1 / arrays["objects"].sum()
    else:
        labels = arrays["labels"]
        wrong = (arrays["predictions"] != labels).astype(np.float64)
        classes = [wrong[:, labels == number] for number in range(int(labels.max()) + 1)]
        return Errors("accuracy", wrong, classes, 1 / len(labels), labels, arrays.get("folds"), arrays.get("groups"))
    whole = np.nanmean(each, axis=2)
    return Errors(metric, whole, list(np.moveaxis(each, 2, 0)), float(step), None, groups=arrays.get("groups"))


def read_arrays(path: Path) -> dict[str, np.ndarray]:
    """Read a .npz file."""
    try:
        with np.load(path, allow_pickle=False) as file:
            return dict(file)
    except FileNotFoundError:
        raise InputError(f"{path}: there is no such file, and nothing to verify without it; {REMEDY}") from None
    except (OSError, ValueError, TypeError, AttributeError, BadZipFile):
        raise InputError(f"{path}: cannot be read; {REMEDY}") from None


def read_json(path: Path, *, last_line: bool = False) -> dict[str, Any]:
    """Read a JSON file, or the last line of a file of JSON lines."""
    try:
        text = path.read_text()
        return as_pairs(json.loads(text.splitlines()[-1] if last_line and text else text))
    except OSError:
        raise InputError(
            f"{path}: cannot be read; `jaxcnn report` writes analysis.json, a study or a run the others"
        ) from None
    except ValueError:
        raise InputError(f"{path}: it is not JSON; {REMEDY}") from None


def as_pairs(record: Any) -> Any:
    """Return a record with every setting as [learning rate, weight decay], as format 2 wrote it."""
    if isinstance(record, dict):
        if set(record) == {"learning_rate", "weight_decay"}:
            return [record["learning_rate"], record["weight_decay"]]
        return {name: as_pairs(value) for name, value in record.items()}
    return [as_pairs(value) for value in record] if isinstance(record, list) else record


def sides_of(directory: Path) -> list[str]:
    """Return the names of the two families that a study compares, in the order of its arms; none for depths."""
    arms = read_json(directory / "plan.json")["arms"]
    return list(dict.fromkeys(arm["name"] for arm in arms if arm.get("name")))


def ends_of(directory: Path) -> list[dict[str, str]]:
    """Return the labels of the deepest and the shallowest arm of each budget, or of the first and second family."""
    budgets: dict[tuple[str, float], list[dict[str, Any]]] = {}
    for each in read_json(directory / "plan.json")["arms"]:
        budgets.setdefault((each["kind"], each["budget"]), []).append(each)
    ordered = [sorted(each, key=lambda arm: arm["depth"]) for each in budgets.values()]
    if sides := sides_of(directory):
        ordered = [sorted(each, key=lambda arm: -sides.index(arm["name"])) for each in budgets.values()]
    return [{"deeper": each[-1]["label"], "wider": each[0]["label"]} for each in ordered]


def seal_check(directory: Path, runs: dict[str, Any]) -> Check:
    """Check the hash of every sealed file, that all belong to this plan, and the hash of the predictions."""
    bad, plan = [], study_identity(directory)  # which checks plan.json's own seal
    costs = ["costs.json"] if (directory / "costs.json").exists() else []  # the first published studies have none
    names = ["tuning.json", "pilot.json", "runs.json", *costs]
    for name in names:
        try:
            record: dict[str, Any] = read_sealed(directory / name, REMEDY)
            bad += [name] * (record.get("plan") != plan)
        except InputError:
            bad.append(name)
        except FileNotFoundError:
            bad.append(f"{name} (missing)")
    bad += ["predictions.npz"] * (sha256(directory / "predictions.npz") != runs["predictions_sha256"])
    count = len(names) + 2
    return Check("seals and hashes of the files", count, count - len(bad), 0.0, ", ".join(bad))


def data_check(
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
