"""Detections of a split, as a run stores them: matched with the true boxes."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from jaxcnn.analysis.scores.coco_ap import Matches, match_coco
from jaxcnn.data.boxes import restore_boxes
from jaxcnn.spec import DataConfig

Arrays = Mapping[str, np.ndarray]


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
