"""Found instances of a split, as a run stores them: masks put into the image, average precision, one map of all."""

from __future__ import annotations

import math
from collections.abc import Mapping
from functools import reduce

import numpy as np

from jaxcnn.analysis.scores.coco_ap import Matches, match_coco
from jaxcnn.analysis.scores.instances import InstanceScores, instance_scores

Arrays = Mapping[str, np.ndarray]
Pair = tuple[int, int]
SURE = 0.5
"""Smallest score of an instance that a map of instances shows."""


def paste_masks(masks: np.ndarray, boxes: np.ndarray, size: Pair) -> np.ndarray:
    """Put masks of regions into the image, bilinearly, true above one half. He et al. 2017, section 3.1.

    Args:
        masks: (D, S, S) uint8, probabilities times 255.
        boxes: (D, 4) regions that they cover, (ymin, xmin, ymax, xmax) in pixels.
        size: Height and width of the image.

    Returns:
        (D, height, width) bool.

    >>> paste_masks(np.array([[[255]]], np.uint8), np.array([[0.0, 1.0, 1.0, 3.0]]), (2, 3)).tolist()
    [[[False, True, True], [False, False, False]]]
    """
    pasted = np.zeros((len(masks), *size), bool)
    for mask, (y, x, bottom, right), whole in zip(masks, np.asarray(boxes, np.float64).tolist(), pasted, strict=True):
        rows, down = _weights(y, bottom, size[0], len(mask))
        columns, across = _weights(x, right, size[1], len(mask))
        whole[rows, columns] = down @ mask.astype(np.float64) @ across.T > 127.5
    return pasted


def _weights(start: float, stop: float, side: int, count: int) -> tuple[slice, np.ndarray]:
    """Return the pixels whose middles a region covers, and the weights (pixels, count) of a mask's cells there."""
    low, high = (min(max(math.ceil(edge - 0.5), 0), side) for edge in (start, stop))
    places = (np.arange(low, high) + 0.5 - start) / max(stop - start, 1e-9) * count - 0.5
    return slice(low, high), np.maximum(1 - np.abs(places.clip(0, count - 1)[:, None] - np.arange(count)), 0)


def found_masks(saved: Arrays, image: int, size: Pair) -> np.ndarray:
    """Return the masks (D, H, W) bool that were found in an image, as the network saw it; empty ones for padding.

    >>> saved = {"found_labels": np.array([[0, -1]]), "found_mask_boxes": np.array([[[0, 0, 1, 0.5]] * 2])}
    >>> found_masks(saved | {"found_masks": np.full((1, 2, 2, 2), 255, np.uint8)}, 0, (2, 2)).tolist()
    [[[True, False], [True, False]], [[False, False], [False, False]]]
    """
    real = saved["found_labels"][image] >= 0
    boxes = saved["found_mask_boxes"][image] * np.tile(np.asarray(size, np.float64), 2)
    return paste_masks(saved["found_masks"][image], boxes, size) & real[:, None, None]


def true_masks(saved: Arrays, image: int) -> np.ndarray:
    """Return the masks (M, H, W) bool of the true objects of an image.

    >>> true_masks({"labels": np.zeros((1, 2)), "instances": np.array([[[0, 1], [2, 2]]])}, 0).tolist()
    [[[False, True], [False, False]], [[False, False], [True, True]]]
    """
    numbers = np.arange(1, saved["labels"].shape[1] + 1)
    return saved["instances"][image][None] == numbers[:, None, None]


def mask_iou(found: np.ndarray, truth: np.ndarray, crowd: np.ndarray) -> np.ndarray:
    """Compute the IoU (D, G) of masks (D, H, W) and (G, H, W) bool; a crowd's is the share of the found mask in it.

    >>> whole = np.ones((1, 2, 2), bool)
    >>> mask_iou(whole, np.array([[[1, 0], [0, 0]]], bool), np.array([False])).tolist()
    [[0.25]]
    """
    a, b = (each.reshape(len(each), -1).astype(np.float32) for each in (found, truth))  # exact below 2^24 pixels
    inner, own, other = (a @ b.T).astype(np.float64), a.sum(axis=1)[:, None], b.sum(axis=1)[None]
    whole = np.where(crowd[None], own, own + other - inner)
    return np.divide(inner, whole, out=np.zeros_like(inner), where=whole > 0)


def instance_matches(saved: Arrays, classes: int) -> Matches:
    """Match the found masks of a split with the true ones, as COCO does, in pixels of the images that were seen.

    Args:
        saved: Arrays that the task `instances` saves.
        classes: Number of classes.

    >>> whole, label = np.array([[[0.0, 0.0, 1.0, 1.0]]]), np.zeros((1, 1), int)
    >>> truth = {"instances": np.ones((1, 4, 4), int), "labels": label, "crowd": label.astype(bool), "boxes": whole}
    >>> found = {"boxes": whole, "mask_boxes": whole, "labels": label, "scores": np.array([[0.9]])}
    >>> found |= {"masks": np.full((1, 1, 2, 2), 255, np.uint8)}
    >>> saved = truth | {f"found_{name}": values for name, values in found.items()}
    >>> bool(instance_matches(saved, classes=1).hit.all(axis=2)[0, 0])  # at every threshold of the IoU
    True
    """
    size = saved["instances"].shape[1:]
    images = range(len(saved["labels"]))
    overlaps, areas, true_areas = [], [], []
    for image in images:
        found, truth = found_masks(saved, image, (size[0], size[1])), true_masks(saved, image)
        overlaps.append(mask_iou(found, truth, saved["crowd"][image]))
        areas.append(found.sum(axis=(1, 2)))
        true_areas.append(truth.sum(axis=(1, 2)))
    # An object that another one hides, or a fit of the image cuts off, is none to be found.
    labels = np.where(np.array(true_areas) > 0, saved["labels"], -1)
    found = {"boxes": saved["found_boxes"], "scores": saved["found_scores"], "labels": saved["found_labels"]}
    truth = {"boxes": saved["boxes"], "labels": labels, "crowd": saved["crowd"], "area": np.array(true_areas)}
    return match_coco(
        {**found, "area": np.array(areas)}, truth, classes=classes,
        overlap=lambda image, rows, objects: overlaps[image][np.ix_(rows, objects)],
    )  # fmt: skip


def instance_map(masks: np.ndarray, scores: np.ndarray, least: float = SURE) -> np.ndarray:
    """Return one map int32 (H, W) of masks (D, H, W) bool: k at the k-th, 0 elsewhere; the best has a pixel of several.

    Args:
        masks: Of falling score.
        scores: (D,).
        least: Smallest score of a mask that is shown.

    >>> masks = np.array([[[1, 0, 0]], [[1, 1, 0]]], bool)
    >>> instance_map(masks, np.array([0.9, 0.8])).tolist()
    [[1, 2, 0]]
    """
    shown = masks & (np.asarray(scores) >= least)[:, None, None]
    return np.where(shown.any(axis=0), shown.argmax(axis=0) + 1, 0).astype(np.int32)


def image_scores(saved: Arrays, threshold: float = 0.5) -> list[InstanceScores]:
    """Return the counts of `instance_scores` of each image; classes and crowds play no part.

    >>> found = {"found_labels": np.array([[0]]), "found_scores": np.array([[0.9]])}
    >>> found |= {"found_masks": np.full((1, 1, 2, 2), 255, np.uint8), "found_mask_boxes": np.array([[[0, 0, 1, 1]]])}
    >>> image_scores(found | {"instances": np.array([[[1, 1], [1, 2]]])})[0][:3]  # right, too many, missed
    (1, 0, 1)
    """
    size = saved["instances"].shape[1:]
    return [
        instance_scores(
            instance_map(found_masks(saved, image, (size[0], size[1])), saved["found_scores"][image]), truth, threshold
        )
        for image, truth in enumerate(saved["instances"])
    ]


def split_scores(saved: Arrays, threshold: float = 0.5) -> InstanceScores:
    """Return the sum of `image_scores` over a split.

    >>> empty = {"found_labels": np.array([[-1]]), "found_scores": np.array([[0.0]])}
    >>> empty |= {"found_masks": np.zeros((1, 1, 2, 2), np.uint8), "found_mask_boxes": np.zeros((1, 1, 4))}
    >>> split_scores(empty | {"instances": np.array([[[1, 1], [0, 2]]])})[:3]
    (0, 0, 2)
    """
    return reduce(InstanceScores.plus, image_scores(saved, threshold), InstanceScores())
