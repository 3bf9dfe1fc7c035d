"""Average precision of detections as Pascal VOC defines it: all points (since 2010) or eleven.

Reference: Everingham et al. 2010, "The Pascal Visual Object Classes challenge"; the Python evaluation of Fast R-CNN.
"""

from __future__ import annotations

from typing import Literal

import numpy as np

from jaxcnn.analysis.scores.coco_ap import Arrays, pairwise_box_iou
from jaxcnn.errors import require

Rule = Literal["all", "11", "101"]


def voc_ap(
    found: Arrays,
    truth: Arrays,
    *,
    classes: int,
    threshold: float = 0.5,
    rule: Rule = "all",
    pixel: float = 1.0,
) -> np.ndarray:
    """Compute the average precision of each class; -1 for a class without objects.

    A detection, the best of all images first, is right if its IoU with the object that it overlaps most is above the
    threshold and no better detection has found that object; a second one is wrong. One of a difficult object counts
    neither way.

    Args:
        found: boxes (N, D, 4) corners in pixels, scores (N, D), labels (N, D) with -1 for padding.
        truth: boxes (N, M, 4), labels (N, M) with -1 for padding; optionally difficult (N, M) bool.
        classes: Number of classes.
        threshold: IoU that a right detection exceeds.
        rule: all (area under the curve made monotone), 11 (mean at recalls 0, 0.1, ..., 1: before 2010), or 101.
        pixel: Added to sides, as VOC's corners are inclusive pixels; 0 for corners that are places.

    Returns:
        float64 (classes,).
    """
    require(rule in ("all", "11", "101"), "rule", repr(rule), "choose all, 11 or 101")
    boxes, scores, labels = (np.asarray(found[name]) for name in ("boxes", "scores", "labels"))
    true_boxes, true_labels = np.asarray(truth["boxes"]), np.asarray(truth["labels"])
    difficult = np.asarray(truth.get("difficult", np.zeros(true_labels.shape, bool)), bool)
    result = np.full(classes, -1.0)
    for label in range(classes):
        objects = int(((true_labels == label) & ~difficult).sum())
        if not objects:
            continue
        image, place = np.nonzero(labels == label)
        order = np.argsort(-scores[image, place], kind="stable")
        image, place = image[order], place[order]
        best, overlap = np.full(len(image), -1), np.full(len(image), -np.inf)
        for n in np.unique(image):
            rows, its = np.flatnonzero(image == n), np.flatnonzero(true_labels[n] == label)
            if len(its):
                iou = pairwise_box_iou(boxes[n, place[rows]], true_boxes[n, its], pixel=pixel)
                best[rows], overlap[rows] = its[iou.argmax(axis=1)], iou.max(axis=1)
        near = overlap > threshold
        hard = near & difficult[image, best]
        first = np.zeros(len(image), bool)
        candidates = np.flatnonzero(near & ~hard)
        keys = image[candidates] * true_labels.shape[1] + best[candidates]
        first[candidates[np.unique(keys, return_index=True)[1]]] = True
        result[label] = area_under(first[~hard], objects, rule)
    return result


def area_under(right: np.ndarray, objects: int, rule: Rule = "all") -> float:
    """Compute the average precision of detections in order of score.

    Args:
        right: (D,) bool.
        objects: Number of objects to be found, at least 1.
        rule: As for `voc_ap`.

    >>> area_under(np.array([True, False, True]), 2)
    0.8333333333333333
    """
    hits = np.cumsum(right)
    recall, precision = hits / objects, hits / np.arange(1, len(right) + 1)
    if rule != "all":
        points = np.linspace(0, 1, int(rule))
        return float(np.mean([precision[recall >= point - 1e-12].max(initial=0.0) for point in points]))
    recall, precision = np.concatenate([[0.0], recall, [1.0]]), np.concatenate([[0.0], precision, [0.0]])
    precision = np.maximum.accumulate(precision[::-1])[::-1]
    return float((np.diff(recall) * precision[1:]).sum())
