"""COCO's average precision against pycocotools: twelve figures of 200 random sets (stored)."""

import json
import time
from pathlib import Path

import numpy as np
import pytest

from jaxcnn.analysis.scores.coco_ap import FIGURES, ap50, ap50_by_image, class_ap, coco_ap, figures, match_coco
from jaxcnn.errors import InputError
from tests.fixtures.detections import random_set

EXPECTED = json.loads((Path(__file__).parents[2] / "fixtures" / "detections.json").read_text())


def test_the_twelve_figures_of_200_random_sets_are_those_of_pycocotools():
    assert len(EXPECTED) == 200
    for seed, expected in enumerate(EXPECTED):
        found, truth, classes = random_set(seed)
        ours = list(coco_ap(found, truth, classes=classes).values())
        assert np.allclose(ours, expected, rtol=0, atol=1e-9), f"set {seed}: {ours} instead of {expected}"


def test_figures_have_names_and_perfect_detections_score_one():
    _, truth, classes = random_set(2)
    truth = {**truth, "crowd": np.zeros_like(truth["crowd"])}
    found = {"boxes": truth["boxes"], "labels": truth["labels"], "scores": np.ones(truth["labels"].shape)}
    matches = match_coco(found, truth, classes=classes)
    named = figures(matches)
    assert tuple(named) == FIGURES
    assert named["AP"] == named["AP50"] == named["AR100"] == pytest.approx(1.0, abs=1e-12)
    assert ap50(matches) == pytest.approx(1.0, abs=1e-12)
    assert {round(each["AP"], 9) for each in class_ap(matches)} <= {1.0, -1.0}


def test_a_resample_of_images_is_the_set_of_its_images():
    found, truth, classes = random_set(11)
    rng = np.random.default_rng(0)
    found["scores"] = rng.permutation(found["scores"].size).reshape(found["scores"].shape)  # no ties between images
    drawn = rng.integers(0, len(truth["labels"]), len(truth["labels"]))
    repeated = [{name: values[drawn] for name, values in each.items()} for each in (found, truth)]
    weights = np.bincount(drawn, minlength=len(truth["labels"]))
    matches = match_coco(found, truth, classes=classes)
    # Copies of an image are tied: precision within a step may differ, which making it monotone mostly hides.
    expected = coco_ap(*repeated, classes=classes)["AP50"]
    assert ap50(matches, weights) == pytest.approx(expected, abs=0.02)
    assert ap50(matches) == pytest.approx(figures(matches)["AP50"], abs=1e-12)


def area(matches, label, weights):
    """Area under interpolated precision of one class with images weighted, hit by hit: what AP's recalls sample."""
    rows = [n for n in np.argsort(-matches.score, kind="stable")
            if matches.label[n] == label and not matches.ignored[n, 0, 0]]  # fmt: skip
    each = weights[matches.image[rows]]
    hit = each * matches.hit[rows, 0, 0]
    precision = hit.cumsum() / each.cumsum()
    total = sum(hit[n] * precision[n:].max() for n in range(len(rows)))
    return total / (matches.objects[:, label, 0] @ weights)


@pytest.mark.parametrize("seed", range(12))
def test_values_of_images_have_ap_as_their_mean_and_are_its_derivative(seed):
    found, truth, classes = random_set(seed)
    rng = np.random.default_rng(seed)
    found["scores"] = rng.permutation(found["scores"].size).reshape(found["scores"].shape)
    matches = match_coco(found, truth, classes=classes)
    values, images = ap50_by_image(matches), len(truth["labels"])
    assert values.shape == (images, classes)
    expected = [each["AP50"] for each in class_ap(matches)]
    for label, value in enumerate(expected):
        if value < 0:
            assert np.isnan(values[:, label]).all()
            continue
        assert values[:, label].mean() == pytest.approx(value, abs=1e-12)
        for image in range(images):
            sides = []
            for sign in (1, -1):  # where two ranks are equally good, the derivatives from both sides differ
                weights = np.ones(images)
                weights[image] += sign * 1e-7
                sides.append(sign * (area(matches, label, weights) - area(matches, label, np.ones(images))) / 1e-7)
            ours = (values[image, label] - value) / images
            assert min(sides) - 1e-5 <= ours <= max(sides) + 1e-5


def test_shares_of_the_image_need_its_size():
    found, truth, classes = random_set(5)
    scale = np.array([480, 640, 480, 640])
    relative = [{**each, "boxes": each["boxes"] / scale} for each in (found, truth)]
    sizes = np.tile([480, 640], (len(truth["labels"]), 1))
    ours = coco_ap(*relative, classes=classes, sizes=sizes)
    assert ours == pytest.approx(coco_ap(found, truth, classes=classes), abs=1e-9)


def test_an_overlap_of_masks_takes_the_place_of_boxes():
    found = {"boxes": np.zeros((1, 1, 4)), "labels": np.zeros((1, 1), int), "scores": np.ones((1, 1)), "area": [[50.0]]}
    truth = {"boxes": np.zeros((1, 1, 4)), "labels": np.zeros((1, 1), int), "area": np.array([[50.0]])}
    ours = coco_ap(found, truth, classes=1, overlap=lambda image, rows, objects: np.full((1, 1), 0.72))
    assert ours["AP"] == pytest.approx(0.5)  # thresholds 0.50, 0.55, 0.60, 0.65, 0.70
    assert ours["AP_large"] == -1


def test_sets_of_different_lengths_are_refused():
    found, truth, classes = random_set(0)
    with pytest.raises(InputError, match="images"):
        coco_ap({name: values[:0] for name, values in found.items()}, truth, classes=classes)


def test_300_images_with_100_detections_take_a_second_or_two():
    rng = np.random.default_rng(0)
    low = rng.uniform(0, 400, (300, 100, 2))
    boxes = np.concatenate([low, low + rng.uniform(5, 100, low.shape)], axis=-1)
    labels = rng.integers(0, 3, (300, 100))
    found = {"boxes": boxes + rng.normal(0, 3, boxes.shape), "labels": labels, "scores": rng.uniform(size=labels.shape)}
    truth = {"boxes": boxes[:, :20], "labels": labels[:, :20]}
    start = time.perf_counter()
    coco_ap(found, truth, classes=3)
    assert time.perf_counter() - start < 10  # 1 to 2 on an idle core
