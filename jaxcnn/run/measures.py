"""Measures over a whole split, which no sum over batches gives: average precision of detections."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from jaxcnn.analysis.coco_ap import Matches, class_ap, figures, match_coco
from jaxcnn.data.boxes import restore_boxes
from jaxcnn.spec import DataConfig

Arrays = Mapping[str, np.ndarray]
REPORTED = ("AP", "AP50", "AP75")
"""COCO's figures that are metrics of a run; the others are among its details."""


def measures_predictions(task: str) -> bool:
    """Return whether a task has measures beside its own metrics."""
    return task == "detection"


def measures_of(
    task: str, saved: Arrays, classes: int, image_shape: tuple[int, ...], data: DataConfig
) -> tuple[dict[str, float], dict[str, Any]]:
    """Return metrics and details of a split beside those of the task; none for a task whose metrics are sums.

    Args:
        task: Name of the task.
        saved: Arrays that the task saves of the split.
        classes: Number of classes.
        image_shape: (H, W, C) of the images that the network sees.
        data: How images were resized.
    """
    if not measures_predictions(task) or not {"labels", "boxes", "found_boxes"} <= saved.keys():
        return {}, {}
    matches = detection_matches(saved, classes, image_shape, data)
    values = figures(matches)
    by_class = class_ap(matches)
    counts = matches.objects[:, :, 0].sum(axis=0)
    details: dict[str, Any] = {name: value for name, value in values.items() if name not in REPORTED}
    for name in REPORTED:
        details[f"class_{name}"] = [each[name] if count else None for each, count in zip(by_class, counts, strict=True)]
    details["class_objects"] = [float(count) for count in counts]
    return {name: values[name] for name in REPORTED}, details


def detection_matches(saved: Arrays, classes: int, image_shape: tuple[int, ...], data: DataConfig) -> Matches:
    """Return the matched detections of a split, in pixels of the original images, as COCO's areas are meant.

    Detections are carried back to the original image. So are the true boxes, which were cropped where `data.fit` is
    crop.
    """
    sides, sizes = image_shape[:2], np.asarray(saved["sizes"])
    whole = np.tile(np.asarray(sides, np.float64), 2)

    def original(boxes: np.ndarray) -> np.ndarray:
        pixels = np.asarray(boxes, np.float64) * whole
        rows = [
            restore_boxes(each, (int(size[0]), int(size[1])), (sides[0], sides[1]), data.fit)
            for each, size in zip(pixels, sizes, strict=True)
        ]
        return np.stack(rows) if rows else pixels

    found = {"boxes": original(saved["found_boxes"]), "scores": saved["found_scores"], "labels": saved["found_labels"]}
    truth = {"boxes": original(saved["boxes"]), "labels": saved["labels"], "crowd": saved["crowd"]}
    return match_coco(found, truth, classes=classes)
