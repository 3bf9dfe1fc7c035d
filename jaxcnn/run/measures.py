"""Measures over a whole split, which no sum over batches gives: average precision of detections."""

from __future__ import annotations

from typing import Any

from jaxcnn.analysis.coco_ap import class_ap, figures
from jaxcnn.analysis.detections import Arrays, detection_matches
from jaxcnn.spec import DataConfig

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
