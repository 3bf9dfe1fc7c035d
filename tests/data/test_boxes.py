"""Boxes are resized by the very numbers that resize the pixels, carried back exactly, padded, refused if impossible."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jaxcnn.data.boxes import boxes_of, check_objects, fit_boxes, objects, pad_alike, restore_boxes, stack_objects
from jaxcnn.data.dataset import BadImage
from jaxcnn.data.decode import resize_array
from jaxcnn.errors import InputError

SIDE = st.integers(8, 90)


@settings(deadline=None, max_examples=100)
@given(SIDE, SIDE, SIDE, SIDE, st.sampled_from(["squash", "pad"]), st.integers(0, 2**31))
def test_boxes_come_back_to_a_thousandth_of_a_pixel(height, width, high, wide, fit, seed):
    low = np.random.default_rng(seed).uniform(0, 0.9, (5, 2)) * [height, width]
    boxes = np.concatenate(
        [low, low + np.random.default_rng(seed + 1).uniform(0.05, 1, (5, 2)) * ([height, width] - low)], 1
    )
    moved, visible = fit_boxes(boxes, (height, width), (high, wide), fit)
    assert visible.all()
    assert np.abs(restore_boxes(moved, (height, width), (high, wide), fit) - boxes).max() < 1e-3


@pytest.mark.parametrize("fit", ["squash", "crop", "pad"])
@pytest.mark.parametrize("sides", [(64, 64), (48, 96), (40, 56)])
@pytest.mark.parametrize("original", [(120, 200), (200, 120), (64, 64)])
def test_a_resized_box_is_the_box_of_the_resized_pixels(fit, sides, original):
    image = np.zeros((*original, 3), np.uint8)
    box = np.array([[original[0] * 0.3, original[1] * 0.35, original[0] * 0.7, original[1] * 0.6]]).round()
    y, x, bottom, right = box[0].astype(int)
    image[y:bottom, x:right] = 255
    small = resize_array(image, sides, fit)[..., 0] > 127
    rows, columns = np.flatnonzero(small.any(1)), np.flatnonzero(small.any(0))
    pixels = np.array([rows[0], columns[0], rows[-1] + 1, columns[-1] + 1])
    assert np.abs(fit_boxes(box, original, sides, fit)[0][0] - pixels).max() <= 1.0


def test_cropping_drops_boxes_that_are_out_of_sight():
    its = objects(
        [[0, 0, 100, 30], [0, 60, 100, 140], [0, 40, 100, 60]], [0, 1, 2], (100, 200), sides=(50, 50), fit="crop"
    )
    assert its.labels.tolist() == [1, 2]  # 50..150 is seen: nothing of the first, half of the third
    assert np.allclose(its.boxes, [[0, 0.1, 1, 0.9], [0, 0, 1, 0.1]])


@pytest.mark.parametrize(
    ("box", "kind"),
    [
        ((10, 10, 10, 30), "box_without_area"), ((30, 10, 20, 30), "box_order"), ((10, 10, 90, 140), "box_outside"),
        ((10, -5, 20, 30), "box_outside"), ((10, float("nan"), 20, 30), "box_values"),
        ((80.5, 0, 81, 9), "box_outside"),
    ],
)  # fmt: skip
def test_impossible_boxes_are_refused_by_kind(box, kind):
    with pytest.raises(BadImage) as caught:
        objects([box], [0], (80, 120), hint="; a hint")
    assert caught.value.kind == kind


def test_a_box_a_pixel_too_large_is_clipped():
    its = objects([[-1, 0, 81, 121]], [0], (80, 120))
    assert its.boxes.tolist() == [[0, 0, 1, 1]]


def test_instances_are_resized_renumbered_and_refused():
    seen = np.zeros((100, 200), np.uint8)
    seen[:, :30], seen[:, 60:140], seen[40:60, 90:110] = 1, 2, 3
    boxes = [[0, 0, 100, 30], [0, 60, 100, 140], [40, 90, 60, 110]]
    cropped = objects(boxes, [0, 1, 2], (100, 200), sides=(50, 50), fit="crop", instances=seen)
    assert cropped.labels.tolist() == [1, 2]
    expected = np.repeat(np.repeat([[0, 1, 0]], 50, 0), [5, 40, 5], 1)
    expected[20:30, 20:30] = 2
    assert np.array_equal(cropped.instances, expected)
    padded = objects(boxes, [0, 1, 2], (100, 200), sides=(50, 50), fit="pad", instances=seen)
    assert not padded.instances[:12].any()
    assert np.unique(padded.instances).tolist() == [0, 1, 2, 3]
    assert "instances" not in stack_objects([cropped, objects([], [], (100, 200), sides=(50, 50))])
    assert stack_objects([cropped, padded])["instances"].shape == (2, 50, 50)
    for wrong, kind in ((seen[:50], "mask_size"), (seen + 1, "mask_values")):
        with pytest.raises(BadImage) as caught:
            objects(boxes, [0, 1, 2], (100, 200), instances=wrong)
        assert caught.value.kind == kind


def test_objects_are_stacked_padded_and_checked():
    one, none = objects([[0, 0, 10, 10]], [2], (20, 40), crowd=[True]), objects([], [], (20, 40))
    split = stack_objects([one, none])
    assert split["labels"].tolist() == [[2], [-1]]
    assert split["boxes"].shape == (2, 1, 4)
    assert split["crowd"].tolist() == [[True], [False]]
    assert split["sizes"].tolist() == [[20, 40], [20, 40]]
    more = stack_objects([objects([[0, 0, 1, 1]] * 3, [0, 0, 1], (20, 40))])
    both = pad_alike({"train": split, "test": more})
    assert both["train"]["labels"].tolist() == [[2, -1, -1], [-1, -1, -1]]
    assert both["test"]["labels"].tolist() == [[0, 0, 1]]
    assert stack_objects([none])["labels"].tolist() == [[-1]]
    check_objects("set", "train", split["labels"], ("a", "b", "c"))
    with pytest.raises(InputError, match="label 2, outside"):
        check_objects("set", "train", split["labels"], ("a", "b"))
    with pytest.raises(InputError, match="no box"):
        check_objects("set", "train", np.full((3, 1), -1), ("a", "b"))


def test_the_box_of_a_mask():
    mask = np.zeros((6, 8), bool)
    mask[2:4, 3:7] = True
    assert boxes_of([mask]).tolist() == [[2, 3, 4, 7]]
    assert boxes_of([]).shape == (0, 4)
