"""Measures over a whole split, which no sum over batches gives: average precision, few-shot accuracy."""

from __future__ import annotations

from typing import Any

from jaxcnn.analysis.scores.coco_ap import Matches, class_ap, figures
from jaxcnn.analysis.scores.detections import Arrays, detection_matches
from jaxcnn.analysis.scores.few_shot import class_members, few_shot_accuracy
from jaxcnn.analysis.scores.instance_masks import instance_matches, split_scores
from jaxcnn.analysis.scores.retrieval import recall_at
from jaxcnn.analysis.scores.verification import equal_error, pair_distances, roc_curve
from jaxcnn.spec import DataConfig

REPORTED = ("AP", "AP50", "AP75")
"""COCO's figures that are metrics of a run; the others are among its details."""

EPISODES = ((5, 1), (5, 5), (20, 1), (20, 5))
"""Classes and known images of each, of the few-shot episodes; those with more classes than a split has are left out."""


def measures_predictions(task: str) -> bool:
    """Return whether a task has measures beside its own metrics."""
    return task in ("detection", "instances", "embedding")


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
    if task == "embedding" and {"labels", "vectors"} <= saved.keys():
        return _of_vectors(saved)
    if task == "instances" and {"instances", "found_masks"} <= saved.keys():
        scores = split_scores(saved)
        metrics, details = _of_matches(instance_matches(saved, classes))
        more = {"box_AP50": figures(detection_matches(saved, classes, image_shape, data))["AP50"]}
        return {**metrics, "instance_ap": scores.ap, "PQ": scores.pq}, {**details, **more}
    if task == "detection" and {"labels", "boxes", "found_boxes"} <= saved.keys():
        return _of_matches(detection_matches(saved, classes, image_shape, data))
    return {}, {}


def _of_matches(matches: Matches) -> tuple[dict[str, float], dict[str, Any]]:
    """Return COCO's figures, and as details the others of them and those of each class."""
    values = figures(matches)
    by_class = class_ap(matches)
    counts = matches.objects[:, :, 0].sum(axis=0)
    details: dict[str, Any] = {name: value for name, value in values.items() if name not in REPORTED}
    for name in REPORTED:
        details[f"class_{name}"] = [each[name] if count else None for each, count in zip(by_class, counts, strict=True)]
    details["class_objects"] = [float(count) for count in counts]
    return {name: values[name] for name in REPORTED}, details


def _of_vectors(saved: Arrays) -> tuple[dict[str, float], dict[str, Any]]:
    """Return recall, few-shot accuracy and the equal error rate of vectors; details: half 95 % intervals, ROC area."""
    vectors, labels = saved["vectors"], saved["labels"]
    metrics, details = dict[str, float](), dict[str, Any]()
    if len(members := class_members(labels, 2)) < 2:  # no pair of one class, or none of two
        return metrics, details
    metrics |= dict(zip(("recall_at_1", "recall_at_5"), recall_at(vectors, labels, (1, 5)), strict=True))
    for ways, shots in EPISODES:
        if ways <= sum(len(each) > shots for each in members):
            found = few_shot_accuracy(vectors, labels, ways, shots)
            metrics[f"accuracy_{ways}way_{shots}shot"] = found.accuracy
            details[f"half_interval_{ways}way_{shots}shot"] = found.half_width
    roc = roc_curve(*pair_distances(vectors, labels))
    metrics["equal_error_rate"], details["threshold"] = equal_error(roc)
    return metrics, details | {"roc_area": roc.area}
