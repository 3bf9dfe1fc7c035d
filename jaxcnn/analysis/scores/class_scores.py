"""Scores of a classifier by class, all functions of one confusion matrix."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike


class ClassScores(NamedTuple):
    """Scores of each class, arrays (classes,); support is the number of examples with this label."""

    precision: np.ndarray
    recall: np.ndarray
    f1: np.ndarray
    support: np.ndarray


@dataclass(frozen=True)
class Confusion:
    """A kind of mistake: `count` examples of `label` were called `prediction`, a `share` of the label's examples."""

    label: int
    prediction: int
    count: int
    share: float


def confusion_matrix(labels: ArrayLike, predictions: ArrayLike, classes: int) -> np.ndarray:
    """Count examples by label and prediction.

    Args:
        labels: Integers, 0 .. classes - 1, of any shape.
        predictions: As many of the same shape.
        classes: Number of classes.

    Returns:
        int64 (classes, classes), [label][prediction].

    Raises:
        ValueError: Shapes differ, or a label or prediction is no class.

    >>> confusion_matrix([0, 0, 1], [0, 1, 1], 2).tolist()
    [[1, 1], [0, 1]]
    """
    labels, predictions = np.asarray(labels), np.asarray(predictions)
    if labels.shape != predictions.shape:
        raise ValueError(f"labels have shape {labels.shape} and predictions {predictions.shape}; give one per example")
    for name, values in (("labels", labels), ("predictions", predictions)):
        if values.size and not 0 <= values.min() <= values.max() < classes:
            raise ValueError(f"{name} hold {values.min()} to {values.max()}; give classes from 0 to {classes - 1}")
    places = labels.astype(np.int64).ravel() * classes + predictions.astype(np.int64).ravel()
    return np.bincount(places, minlength=classes**2).reshape(classes, classes)


def class_scores(confusion: ArrayLike) -> ClassScores:
    """Compute precision, recall and F1 of each class; 0 where the quotient is 0 / 0, as in scikit-learn.

    precision = right / predicted, recall = right / labelled, F1 = 2 right / (predicted + labelled).

    >>> class_scores([[1, 1], [0, 2]]).recall.tolist()
    [0.5, 1.0]
    """
    confusion = np.asarray(confusion)
    right, labelled, predicted = confusion.diagonal(), confusion.sum(axis=1), confusion.sum(axis=0)
    return ClassScores(
        precision=right / np.maximum(predicted, 1),
        recall=right / np.maximum(labelled, 1),
        f1=2 * right / np.maximum(predicted + labelled, 1),
        support=labelled,
    )


def top_confusions(confusion: ArrayLike, count: int = 10) -> list[Confusion]:
    """Return the most frequent kinds of mistakes, the most frequent first; ties by label, then by prediction.

    >>> top_confusions([[5, 1, 0], [0, 4, 2], [0, 0, 3]], 1)
    [Confusion(label=1, prediction=2, count=2, share=0.3333333333333333)]
    """
    confusion = np.array(confusion)
    labelled = confusion.sum(axis=1)
    np.fill_diagonal(confusion, 0)
    best = np.argsort(-confusion, axis=None, kind="stable")[:count]
    pairs = [(int(place) // len(confusion), int(place) % len(confusion)) for place in best]
    return [
        Confusion(label, prediction, number, float(number / labelled[label]))
        for label, prediction in pairs
        if (number := int(confusion[label, prediction]))
    ]
