"""Check a single run against its own predictions."""

from __future__ import annotations

import math
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np

from jaxcnn.analysis.scores.instance_masks import found_masks, instance_map
from jaxcnn.errors import InputError
from jaxcnn.run.folder import RunFolder
from jaxcnn.runtime.files import sha256
from jaxcnn.study.measure import measure_of
from jaxcnn.study.verify.checks import Check, close_check
from jaxcnn.study.verify.formulas import (
    missed_objects,
)  # fmt: skip
from jaxcnn.study.verify.stored import data_check, read_arrays, read_json


def run_checks(directory: Path, data: bool) -> list[Check]:
    """Check a single run: its seals, and what its result says of the test split."""
    folder, result = RunFolder(directory), read_json(directory / "result.json")
    arrays = read_arrays(directory / "predictions.npz")
    bad, digests = [], result.get("files") or {}
    try:
        folder.read_result()  # its own seal, and those of the files beside it
    except InputError as error:
        bad.append(str(error).split(":")[0])
    bad += ["predictions.npz"] * (sha256(directory / "predictions.npz") != result["predictions_sha256"])
    checks = [
        Check("seals and hashes of the files", len(digests) + 2, len(digests) + 2 - len(bad), 0.0, ", ".join(bad))
    ]
    metrics, last = result["metrics"], read_json(directory / "metrics.jsonl", last_line=True)
    logged = [last.get(name) for name in metrics]
    checks.append(close_check("metrics of the last epoch in the log", metrics.values(), logged))
    config, _ = folder.read_config()
    if config.task.kind == "segmentation":
        checks += _mask_checks(arrays, metrics, result.get("details") or {}, config.task.ignore)  # type: ignore[attr-defined]
        about = [data_check(config.data, read_json(directory / "data.json"), arrays["labels"])] if data else []
        return [*checks, *about]
    if config.task.kind in ("detection", "instances"):
        recorded = read_json(directory / "data.json")
        run = SimpleNamespace(predictions=arrays, data=recorded, config=config)
        stored = measure_of(config.task.kind).gather(run)
        found = (stored[name] for name in ("found_labels", "found_scores", "hits", "objects"))
        by_class = 1 - missed_objects(*found).mean(0)
        checks.append(close_check("test AP50", [metrics["test_AP50"]], [np.nanmean(by_class)]))
        checks.append(close_check("AP50 by class", (result.get("details") or {})["class_AP50"], by_class))
        if config.task.kind == "instances":
            scores = _instance_scores(arrays)
            checks.append(close_check("instance AP and PQ", [metrics["test_instance_ap"], metrics["test_PQ"]], scores))
        about = recorded | {"test_hash": result["test_hash"]}
        return [*checks, data_check(config.data, about, None)] if data else checks
    if config.task.kind != "classification":
        return checks
    labels, right = arrays["labels"], arrays["predictions"] == arrays["labels"]
    checks.append(close_check("test accuracy", [metrics["test_accuracy"]], [right.mean()]))
    if details := result.get("details"):
        confusion = np.zeros(np.shape(details["confusion"]))
        np.add.at(confusion, (labels, arrays["predictions"]), 1)
        by_class = [right[labels == n].mean() if (labels == n).any() else math.nan for n in range(len(confusion))]
        checks.append(close_check("confusion counts", details["confusion"], confusion))
        checks.append(close_check("accuracy by class", details["class_accuracy"], by_class))
    return [*checks, data_check(config.data, read_json(directory / "data.json"), labels)] if data else checks


def _instance_scores(arrays: dict[str, np.ndarray]) -> tuple[float, float]:
    """Compute TP / (TP + FP + FN) and PQ at IoU 0.5 again, pair by pair: the best pairs first."""
    hits, overlap, count = 0, 0.0, 0
    for image, truth in enumerate(arrays["instances"]):
        size = (truth.shape[0], truth.shape[1])
        found = instance_map(found_masks(arrays, image, size), arrays["found_scores"][image])
        names, true_names = (np.unique(each[each > 0]).tolist() for each in (found, truth))
        count += len(names) + len(true_names)
        pairs = []
        for name in names:
            its = found == name
            for other in np.unique(truth[its & (truth > 0)]).tolist():
                theirs = truth == other
                pairs.append(((its & theirs).sum() / (its | theirs).sum(), name, other))
        for iou, name, other in sorted(pairs, reverse=True):
            if iou >= 0.5 and name in names and other in true_names:
                names.remove(name)
                true_names.remove(other)
                hits, overlap = hits + 1, overlap + iou
    return hits / max(count - hits, 1), 2 * overlap / max(count, 1)


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
        close_check("test pixel accuracy", [metrics["test_accuracy"]], [hits.sum() / max(counted.sum(), 1)]),
        close_check("test mean IoU", [metrics["test_mean_iou"]], [np.mean(present) if present else 0.0]),
    ]
    if "class_iou" in details:
        checks.append(close_check("IoU by class", details["class_iou"], iou))
    return checks
