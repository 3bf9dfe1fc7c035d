"""Pixel accuracy, IoU and Dice against scikit-learn; run lengths there and back."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from sklearn.metrics import accuracy_score, f1_score, jaccard_score
from sklearn.metrics import confusion_matrix as sklearn_confusion

from jaxcnn.analysis.scores import run_length
from jaxcnn.analysis.scores.segmentation import (
    class_dice,
    class_iou,
    confusion_matrix,
    iou_by_image,
    mean_dice,
    mean_iou,
    pixel_accuracy,
)

CLASSES = 4
masks = hnp.arrays(np.uint8, (2, 3, 5), elements=st.sampled_from([0, 1, 2, 3, 255]))
named = hnp.arrays(np.uint8, (2, 3, 5), elements=st.integers(0, CLASSES - 1))


@given(masks, named)
def test_they_equal_scikit_learn(labels, predictions):
    confusion = confusion_matrix(labels, predictions, CLASSES)
    counted = labels != 255
    true, found = labels[counted], predictions[counted]
    if not len(true):
        assert (confusion.sum(), pixel_accuracy(confusion), mean_iou(confusion), mean_dice(confusion)) == (0, 0, 0, 0)
        return
    np.testing.assert_array_equal(confusion, sklearn_confusion(true, found, labels=range(CLASSES)))
    assert pixel_accuracy(confusion) == pytest.approx(accuracy_score(true, found))
    present = sorted({*true.tolist(), *found.tolist()})  # classes that are absent from both are left out
    iou = jaccard_score(true, found, labels=present, average=None)
    dice = f1_score(true, found, labels=present, average=None)
    np.testing.assert_allclose(class_iou(confusion)[present], iou)
    np.testing.assert_allclose(class_dice(confusion)[present], dice)
    assert np.isnan(class_iou(confusion)).sum() == np.isnan(class_dice(confusion)).sum() == CLASSES - len(present)
    assert mean_iou(confusion) == pytest.approx(iou.mean())
    assert mean_dice(confusion) == pytest.approx(dice.mean())


def test_sums_over_parts_are_the_whole():
    rng = np.random.default_rng(0)
    labels, predictions = rng.integers(0, 5, (2, 7, 8, 9))
    parts = sum(confusion_matrix(a, b, 5) for a, b in zip(labels, predictions, strict=True))
    np.testing.assert_array_equal(parts, confusion_matrix(labels, predictions, 5))


def test_what_is_no_class_is_refused_or_dropped():
    with pytest.raises(ValueError, match="shape"):
        confusion_matrix(np.zeros((2, 2)), np.zeros((2, 3)), 2)
    with pytest.raises(ValueError, match="predictions hold 0 to 7"):
        confusion_matrix([0, 1], [0, 7], 2)
    assert confusion_matrix([0, 1, -1, 9], [0, 1, 7, 7], 2).tolist() == [[1, 0], [0, 1]]
    assert confusion_matrix([0, 1], [1, 1], 2, ignore=0).tolist() == [[0, 0], [0, 1]]


@given(hnp.arrays(bool, hnp.array_shapes(min_dims=2, max_dims=2, max_side=9)))
def test_run_lengths_come_back(mask):
    rle = run_length.encode(mask)
    assert rle["size"] == list(mask.shape)
    np.testing.assert_array_equal(run_length.decode(rle), mask)
    # COCO's definition: runs of one column after the other, the first one of zeros.
    column = "".join("01"[int(value)] for value in mask.T.ravel())
    runs = [len(run) for run in column.replace("01", "0 1").replace("10", "1 0").split()]
    assert [count for count in rle["counts"] if count] == runs
    assert (rle["counts"][0] == 0) == (column[0] == "1")


def test_damaged_run_lengths_are_refused():
    with pytest.raises(ValueError, match="damaged"):
        run_length.decode({"size": [2, 2], "counts": [1, 2]})
    with pytest.raises(ValueError, match="height"):
        run_length.encode([0, 1])


@given(masks, named)
def test_values_of_images_have_iou_as_their_mean_and_are_its_derivative(labels, predictions):
    each = np.array([confusion_matrix(a, b, CLASSES) for a, b in zip(labels, predictions, strict=True)])
    hits = each.diagonal(axis1=1, axis2=2)
    unions = each.sum(axis=1) + each.sum(axis=2) - hits
    values = iou_by_image(hits, unions)
    np.testing.assert_allclose(values.mean(axis=0), class_iou(each.sum(axis=0)), atol=1e-12)
    if not (unions.sum(axis=0) > 0).any():
        return
    for image in range(len(values)):
        weights = np.ones(len(values))
        weights[image] += 1e-6
        moved = mean_iou(np.tensordot(weights, each, 1)) - mean_iou(each.sum(axis=0))
        expected = (np.nanmean(values[image]) - mean_iou(each.sum(axis=0))) / len(values)
        # An image of a class that the others do not have keeps that class's IoU.
        assert abs(moved / 1e-6 - expected) < 1e-4
