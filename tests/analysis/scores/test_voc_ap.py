"""VOC's average precision: a published sample, and an independent loop after the rules."""

import numpy as np
import pytest

from jaxcnn.analysis.scores.voc_ap import area_under, voc_ap
from jaxcnn.errors import InputError
from tests.fixtures.detections import random_set

# Sample 2 of R. Padilla's Object-Detection-Metrics (MIT): x, y, width, height by image, and detections with scores.
TRUE = (
    ((25, 16, 38, 56), (129, 123, 41, 62)), ((123, 11, 43, 55), (38, 132, 59, 45)),
    ((16, 14, 35, 48), (123, 30, 49, 44), (99, 139, 47, 47)), ((53, 42, 40, 52), (154, 43, 31, 34)),
    ((59, 31, 44, 51), (48, 128, 34, 52)), ((36, 89, 52, 76), (62, 58, 44, 67)), ((28, 31, 55, 63), (58, 67, 50, 58)),
)  # fmt: skip
FOUND = (
    ((0.88, 5, 67, 31, 48), (0.70, 119, 111, 40, 67), (0.80, 124, 9, 49, 67)),
    ((0.71, 64, 111, 64, 58), (0.54, 26, 140, 60, 47), (0.74, 19, 18, 43, 35)),
    ((0.18, 109, 15, 77, 39), (0.67, 86, 63, 46, 45), (0.38, 160, 62, 36, 53), (0.91, 105, 131, 47, 47),
     (0.44, 18, 148, 40, 44)),
    ((0.35, 83, 28, 28, 26), (0.78, 28, 68, 42, 67), (0.45, 87, 89, 25, 39), (0.14, 10, 155, 60, 26)),
    ((0.62, 50, 38, 28, 46), (0.44, 95, 11, 53, 28), (0.95, 29, 131, 72, 29), (0.23, 29, 163, 72, 29)),
    ((0.45, 43, 48, 74, 38), (0.84, 17, 155, 29, 35), (0.43, 95, 110, 25, 42)),
    ((0.48, 16, 20, 101, 88), (0.95, 33, 116, 37, 49)),
)  # fmt: skip


def padded(rows, inclusive):
    """Corners (ymin, xmin, ymax, xmax) and labels; inclusive: the last pixel instead of the end."""
    boxes, labels = np.zeros((len(rows), 5, 4)), np.full((len(rows), 5), -1)
    for n, its in enumerate(rows):
        for m, (x, y, width, height) in enumerate(its):
            boxes[n, m] = y, x, y + height - inclusive, x + width - inclusive
            labels[n, m] = 0
    return boxes, labels


@pytest.mark.parametrize(
    ("rule", "with_pixel", "without"), [("all", 24.57, 22.54), ("11", 26.84, 26.84), ("101", 24.82, 23.01)]
)
def test_the_published_sample(rule, with_pixel, without):
    for pixel, expected in ((1.0, with_pixel), (0.0, without)):
        boxes, labels = padded(TRUE, 0)
        found, found_labels = padded([[box[1:] for box in its] for its in FOUND], 0)
        scores = np.zeros(found_labels.shape)
        for n, its in enumerate(FOUND):
            scores[n, : len(its)] = [box[0] for box in its]
        ours = voc_ap(
            {"boxes": found, "labels": found_labels, "scores": scores}, {"boxes": boxes, "labels": labels},
            classes=1, threshold=0.3, rule=rule, pixel=pixel,
        )  # fmt: skip
        assert 100 * ours[0] == pytest.approx(expected, abs=0.005)


def by_hand(found, truth, label):
    """The loop of the challenge's own evaluation: whether each detection is right, and the number of objects."""
    rows = [
        (-score, n, d)
        for n, (labels, scores) in enumerate(zip(found["labels"].tolist(), found["scores"].tolist(), strict=True))
        for d, (its, score) in enumerate(zip(labels, scores, strict=True))
        if its == label
    ]
    boxes, true_boxes, true_labels = (each.tolist() for each in (found["boxes"], truth["boxes"], truth["labels"]))
    taken, right = set(), []
    for _, n, d in sorted(rows, key=lambda row: row[0]):
        (y, x, bottom, end), best, where = boxes[n][d], -1.0, None
        for m, its in enumerate(true_labels[n]):
            top, left, low, last = true_boxes[n][m]
            inner = max(min(bottom, low) - max(y, top) + 1, 0) * max(min(end, last) - max(x, left) + 1, 0)
            whole = (bottom - y + 1) * (end - x + 1) + (low - top + 1) * (last - left + 1) - inner
            if its == label and inner / whole > best:
                best, where = inner / whole, m
        if best > 0.5 and truth["difficult"][n, where]:
            continue
        right.append(best > 0.5 and (n, where) not in taken)
        if best > 0.5:
            taken.add((n, where))
    return np.array(right, bool), int(((truth["labels"] == label) & ~truth["difficult"]).sum())


def test_200_random_sets_agree_with_the_loop():
    for seed in range(200):
        found, truth, classes = random_set(seed)
        truth = {"boxes": truth["boxes"], "labels": truth["labels"], "difficult": truth["crowd"]}
        counted = [by_hand(found, truth, label) for label in range(classes)]
        for rule in ("all", "11"):
            expected = [area_under(*each, rule) if each[1] else -1.0 for each in counted]
            assert np.allclose(voc_ap(found, truth, classes=classes, rule=rule), expected), f"set {seed}"


def test_unknown_rules_are_refused():
    with pytest.raises(InputError, match="rule"):
        voc_ap({}, {}, classes=1, rule="12")
