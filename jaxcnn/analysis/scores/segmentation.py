"""Measures of a segmentation: pixel accuracy, IoU and Dice, all functions of one confusion matrix.

Reference: Long, Shelhamer and Darrell, "Fully convolutional networks for semantic segmentation", 2015, section 5.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from jaxcnn.analysis.scores import class_scores


def confusion_matrix(labels: ArrayLike, predictions: ArrayLike, classes: int, ignore: int = 255) -> np.ndarray:
    """Count the pixels of all images by label and prediction.

    Args:
        labels: (..., H, W) integers; pixels with the label `ignore`, or outside 0 .. classes - 1, are dropped.
        predictions: Integers of the same shape, 0 .. classes - 1.
        classes: Number of classes.
        ignore: Label of pixels that do not count.

    Returns:
        int64 (classes, classes), [label][prediction].

    Raises:
        ValueError: Shapes differ, or a prediction of a pixel that counts is no class.
    """
    labels, predictions = np.asarray(labels), np.asarray(predictions)
    if labels.shape != predictions.shape:
        raise ValueError(f"labels have shape {labels.shape} and predictions {predictions.shape}; give one per pixel")
    counted = (labels >= 0) & (labels < classes) & (labels != ignore)
    return class_scores.confusion_matrix(labels[counted], predictions[counted], classes)


def pixel_accuracy(confusion: ArrayLike) -> float:
    """Compute the share of labelled pixels whose prediction is right, from `confusion_matrix`; 0 without a pixel."""
    confusion = np.asarray(confusion)
    return float(confusion.trace() / max(confusion.sum(), 1))


def class_iou(confusion: ArrayLike) -> np.ndarray:
    """Compute intersection over union of each class, (classes,); NaN for one that is neither labelled nor named."""
    confusion = np.asarray(confusion)
    hits = confusion.diagonal()
    return _shares(hits, confusion.sum(axis=0) + confusion.sum(axis=1) - hits)


def class_dice(confusion: ArrayLike) -> np.ndarray:
    """Compute the Dice coefficient 2 |A and B| / (|A| + |B|) of each class; NaN as in `class_iou`."""
    confusion = np.asarray(confusion)
    return _shares(2 * confusion.diagonal(), confusion.sum(axis=0) + confusion.sum(axis=1))


def mean_iou(confusion: ArrayLike) -> float:
    """Compute the mean of `class_iou` over the classes that are labelled or named; 0 if there is none."""
    return _mean(class_iou(confusion))


def mean_dice(confusion: ArrayLike) -> float:
    """Compute the mean of `class_dice` over the classes that are labelled or named; 0 if there is none."""
    return _mean(class_dice(confusion))


def iou_by_image(intersections: ArrayLike, unions: ArrayLike) -> np.ndarray:
    """Return values of each image whose mean over images is the IoU of the whole set, class by class.

    The IoU of images with weights w is T(w) = sum w_i I_i / sum w_i U_i; the value of image i is T + N dT/dw_i, here
    T + N (I_i - T U_i) / U. The variance of the values, over N, estimates the variance of T over new images
    (infinitesimal jackknife).

    Args:
        intersections: (N, K) pixels of each image and class that are both labelled and named.
        unions: (N, K) pixels that are labelled or named.

    Returns:
        (N, K); NaN for a class that occurs in no image.

    References: Jaeckel 1972, "The infinitesimal jackknife"; Efron 1982, "The jackknife, the bootstrap and other
    resampling plans", chapter 6; Deville 1999, "Variance estimation for complex statistics and estimators".

    >>> iou_by_image([[1], [3]], [[2], [4]]).tolist()
    [[0.5555555555555556], [0.7777777777777777]]
    """
    hits, whole = np.asarray(intersections, np.float64), np.asarray(unions, np.float64)
    totals = whole.sum(axis=0)
    share = _shares(hits.sum(axis=0), totals)
    return share + len(hits) * _shares(hits - share * whole, totals)


def _shares(parts: np.ndarray, wholes: np.ndarray) -> np.ndarray:
    return np.where(wholes > 0, parts / np.maximum(wholes, 1), np.nan)


def _mean(values: np.ndarray) -> float:
    present = values[~np.isnan(values)]
    return float(present.mean()) if len(present) else 0.0
