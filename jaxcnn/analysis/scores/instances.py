"""Scores of instance segmentation from maps of instance numbers: AP at a threshold, F1, panoptic quality.

References: Schmidt et al. 2018, "Cell detection with star-convex polygons" (AP at a threshold); Kirillov et al. 2019,
"Panoptic segmentation" (PQ).
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from jaxcnn.errors import InputError, require


class InstanceScores(NamedTuple):
    """Counts of matched instances; they add up over images, and the scores are ratios of the sums.

    Args:
        hits: Predicted instances that match a true one (TP).
        extra: Predicted instances without a match (FP).
        missed: True instances without a match (FN).
        overlap: Sum of the IoU of the matched pairs.
    """

    hits: int = 0
    extra: int = 0
    missed: int = 0
    overlap: float = 0.0

    def plus(self, other: InstanceScores) -> InstanceScores:
        """Return the sums of two sets of images."""
        hits, extra, missed = (a + b for a, b in zip(self[:3], other[:3], strict=True))
        return InstanceScores(hits, extra, missed, self.overlap + other.overlap)

    @property
    def ap(self) -> float:
        """TP / (TP + FP + FN); 0 where there is nothing at all."""
        return _share(self.hits, self.hits + self.extra + self.missed)

    @property
    def precision(self) -> float:
        """TP / (TP + FP)."""
        return _share(self.hits, self.hits + self.extra)

    @property
    def recall(self) -> float:
        """TP / (TP + FN)."""
        return _share(self.hits, self.hits + self.missed)

    @property
    def f1(self) -> float:
        """2 TP / (2 TP + FP + FN)."""
        return _share(2 * self.hits, 2 * self.hits + self.extra + self.missed)

    @property
    def pq(self) -> float:
        """Panoptic quality: F1 times the mean IoU of the matched pairs."""
        return self.f1 * _share(self.overlap, self.hits)


def instance_scores(found: np.ndarray, truth: np.ndarray, threshold: float = 0.5) -> InstanceScores:
    """Match the instances of one image and count.

    Above 0.5 a match is unique, as instances do not overlap. At 0.5 and below, the assignment has the most pairs that
    reach the threshold, and among those the largest sum of IoU.

    Args:
        found: (H, W) int, 0 for background, one other number for each instance.
        truth: (H, W) int, likewise.
        threshold: Smallest IoU of a match.
    """
    from scipy.optimize import linear_sum_assignment  # takes 0.35 s to import, which every run would pay

    require(0.0 < threshold <= 1.0, "threshold", threshold, "must be above 0 and at most 1")
    iou = instance_iou(found, truth)
    pairs = min(iou.shape)
    if not pairs:
        return InstanceScores(0, iou.shape[0], iou.shape[1], 0.0)
    rows, columns = linear_sum_assignment(-((iou >= threshold) + iou / (2 * pairs)))
    matched = iou[rows, columns]
    matched = matched[matched >= threshold]
    return InstanceScores(len(matched), iou.shape[0] - len(matched), iou.shape[1] - len(matched), float(matched.sum()))


def instance_iou(found: np.ndarray, truth: np.ndarray) -> np.ndarray:
    """Compute the IoU (P, Q) of the P instances of one map with the Q of another, in rising order of their numbers."""
    found, truth = np.asarray(found), np.asarray(truth)
    if found.shape != truth.shape:
        raise InputError(f"found has shape {found.shape} and truth {truth.shape}; give maps of one size")
    names, a = np.unique(found, return_inverse=True)
    true_names, b = np.unique(truth, return_inverse=True)
    counts = np.bincount(
        a.reshape(-1) * len(true_names) + b.reshape(-1), minlength=len(names) * len(true_names)
    ).reshape(len(names), len(true_names))
    whole = counts.sum(axis=1)[:, None] + counts.sum(axis=0)[None, :] - counts
    return (counts / np.maximum(whole, 1))[names != 0][:, true_names != 0]


def _share(part: float, whole: float) -> float:
    return part / whole if whole else 0.0
