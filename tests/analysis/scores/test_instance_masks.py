"""Masks of a split against pycocotools (stored), by hand, and the map of all instances."""

import json
from pathlib import Path

import numpy as np
import pytest

from jaxcnn.analysis.scores.coco_ap import figures
from jaxcnn.analysis.scores.instance_masks import instance_map, instance_matches, paste_masks, split_scores
from tests.fixtures.instances import CLASSES, SIDE, random_instances

EXPECTED = json.loads((Path(__file__).parents[2] / "fixtures" / "masks.json").read_text())


def saved_of(images):
    """What the task saves; a mask as large as the image has one cell a pixel, so that pasting changes nothing."""
    most, found_most = (max([1, *(len(each[place]) for each in images)]) for place in (0, 3))
    saved = {
        "labels": np.full((len(images), most), -1), "crowd": np.zeros((len(images), most), bool),
        "boxes": np.zeros((len(images), most, 4)), "instances": np.zeros((len(images), SIDE, SIDE), np.uint8),
        "found_labels": np.full((len(images), found_most), -1), "found_scores": np.zeros((len(images), found_most)),
        "found_boxes": np.zeros((len(images), found_most, 4)),
        "found_mask_boxes": np.tile([0.0, 0.0, 1.0, 1.0], (len(images), found_most, 1)),
        "found_masks": np.zeros((len(images), found_most, SIDE, SIDE), np.uint8),
    }  # fmt: skip
    for n, (masks, labels, crowd, found, found_labels, scores) in enumerate(images):
        for k, mask in enumerate(masks):
            saved["instances"][n][mask] = k + 1
        saved["labels"][n, : len(masks)], saved["crowd"][n, : len(masks)] = labels, crowd
        saved["found_masks"][n, : len(found)] = found * 255
        saved["found_labels"][n, : len(found)], saved["found_scores"][n, : len(found)] = found_labels, scores
    return saved


def test_the_twelve_figures_of_random_sets_are_those_of_pycocotools():
    for seed, expected in enumerate(EXPECTED[:8]):
        ours = list(figures(instance_matches(saved_of(random_instances(seed)), CLASSES)).values())
        assert np.allclose(ours, expected, rtol=0, atol=1e-9), f"set {seed}: {ours} instead of {expected}"


@pytest.mark.slow
def test_the_other_sets_too():
    for seed, expected in enumerate(EXPECTED[8:], 8):
        ours = list(figures(instance_matches(saved_of(random_instances(seed)), CLASSES)).values())
        assert np.allclose(ours, expected, rtol=0, atol=1e-9), f"set {seed}: {ours} instead of {expected}"


def test_masks_are_pasted_where_their_regions_are():
    mask = np.array([[[255, 0], [255, 0]]], np.uint8)
    (pasted,) = paste_masks(mask, np.array([[1.0, 2.0, 3.0, 6.0]]), (4, 8))
    expected = np.zeros((4, 8), bool)
    expected[1:3, 2:4] = True  # the left half
    assert np.array_equal(pasted, expected)
    for region in ([-3.0, -2.0, -1.0, -1.0], [2.0, 2.0, 2.0, 2.0], [4.0, 0.0, 9.0, 9.0]):  # outside, or without area
        assert not paste_masks(mask, np.array([region]), (4, 8)).any()
    (half,) = paste_masks(np.uint8([[[255]]]), np.array([[-5.0, -5.0, 2.0, 4.0]]), (4, 8))
    assert half.sum() == 8
    smooth = np.random.default_rng(0).integers(0, 256, (1, 7, 7)).astype(np.uint8)
    assert paste_masks(smooth, np.array([[0.0, 0.0, 7.0, 7.0]]), (7, 7)).tolist() == (smooth > 127.5).tolist()


def test_a_map_of_instances_and_its_scores():
    masks = np.zeros((3, 4, 4), bool)
    masks[0, :2], masks[1, 1:3], masks[2, 3] = True, True, True
    drawn = instance_map(masks, np.array([0.9, 0.6, 0.4]))
    assert drawn.tolist() == [[1] * 4, [1] * 4, [2] * 4, [0] * 4]
    (image,) = random_instances(2)[:1]
    masks, labels, crowd, _, _, _ = image
    perfect = saved_of([(masks, labels, crowd, masks, labels, np.full(len(labels), 0.9))])
    assert split_scores(perfect)[:3] == (len(labels), 0, 0)
    assert split_scores(perfect).pq == pytest.approx(1.0)
    assert figures(instance_matches({**perfect, "crowd": crowd[None] & False}, CLASSES))["AP"] == pytest.approx(1.0)
