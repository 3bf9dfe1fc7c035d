"""Boxes, suppression, RoIAlign, anchors and sampling against torchvision (stored), and their own laws."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from jaxcnn import ops
from tests.fixtures.reference import assert_close, load

CASES = {name: values for name, (_, values) in load("boxes").items()}
THRESHOLDS = (0.3, 0.45, 0.5, 0.7)
COORDINATE = st.floats(-0.5, 1.5, width=32)
BOXES = arrays(np.float32, (6, 4), elements=COORDINATE)  # any corners: without area, turned around, outside


def test_overlaps_agree_with_torchvision():
    case = {name: jnp.asarray(value) for name, value in CASES["overlap"].items()}
    assert_close(ops.pairwise_iou(case["a"], case["b"]), case["iou"], "iou")
    assert_close(ops.box_giou(case["a"][:, None], case["b"][None]), case["giou"], "giou")


def test_coding_agrees_with_torchvision():
    case = {name: jnp.asarray(value) for name, value in CASES["coding"].items()}
    assert_close(ops.encode_boxes(case["boxes"], case["anchors"]), case["codes"], "codes")
    assert_close(ops.decode_boxes(case["wild"], case["anchors"]), case["decoded"], "decoded")
    again = ops.decode_boxes(ops.encode_boxes(case["boxes"], case["anchors"]), case["anchors"])
    assert_close(again, case["boxes"], "there and back")


@pytest.mark.parametrize("threshold", THRESHOLDS)
def test_suppression_agrees_with_torchvision(threshold):
    most, case = 120, CASES["nms"]
    one = jax.jit(lambda boxes, scores: ops.nms(boxes, scores, threshold))
    many = jax.jit(lambda boxes, scores, labels: ops.nms(boxes, scores, threshold, labels))
    for number in range(25):
        boxes, scores, labels = (case[f"{number}/{name}"] for name in ("boxes", "scores", "labels"))
        padding = most - len(scores)
        boxes, labels = np.pad(boxes, ((0, padding), (0, 0))), np.pad(labels, (0, padding))
        scores = np.pad(scores, (0, padding), constant_values=-np.inf)
        for kept, name in ((one(boxes, scores), "one"), (many(boxes, scores, labels), "many")):
            expected = np.pad(case[f"{number}/{name}/{threshold}"], (0, padding))
            assert np.array_equal(kept, expected), f"case {number}, {name}"


def greedy(boxes, scores, threshold):
    keep = []
    overlap = np.asarray(ops.pairwise_iou(jnp.asarray(boxes), jnp.asarray(boxes)))
    for place in np.argsort(-scores, kind="stable"):
        if scores[place] > -np.inf and all(overlap[place, other] <= threshold for other in keep):
            keep.append(place)
    return np.isin(np.arange(len(scores)), keep)


SUPPRESS = jax.jit(jax.vmap(ops.nms, in_axes=(0, 0, None)))


@settings(deadline=None, max_examples=60)
@given(
    arrays(np.float32, (8, 4), elements=st.integers(0, 6).map(float)),
    arrays(np.float32, (8,), elements=st.sampled_from([-np.inf, 0.1, 0.5, 0.9])),
    st.sampled_from(THRESHOLDS),
)
def test_suppression_is_greedy_with_ties_padding_and_boxes_without_area(boxes, scores, threshold):
    kept = SUPPRESS(boxes[None], scores[None], threshold)[0]
    assert np.array_equal(kept, greedy(boxes, scores, threshold))


def test_detections_are_chosen_by_class_and_filled_up():
    boxes = jnp.array([[0.0, 0.0, 0.5, 0.5], [0.0, 0.0, 0.5, 0.49], [0.5, 0.5, 1.0, 1.0]])
    scores = jnp.array([[0.9, 0.3], [0.8, 0.7], [0.0, 0.2]])
    select = jax.jit(ops.select_detections, static_argnames=("detections", "iou_threshold"))
    got = select(boxes, scores, detections=5, iou_threshold=0.5)
    assert got.labels.tolist() == [0, 1, 1, -1, -1]
    assert np.allclose(got.scores, [0.9, 0.7, 0.2, 0, 0])
    assert np.array_equal(got.boxes, [boxes[0], boxes[1], boxes[2], np.zeros(4), np.zeros(4)])
    nothing = select(boxes, jnp.zeros((3, 2)), detections=20)
    assert nothing.labels.tolist() == [-1] * 20
    assert not nothing.scores.any()


@pytest.mark.parametrize("aligned", [False, True])
@pytest.mark.parametrize("sampling", [1, 2, 3])
def test_roi_align_agrees_with_torchvision(aligned, sampling):
    case, name = CASES["roi"], f"{aligned}/{sampling}"
    height, width = case["features"].shape[:2]
    boxes = jnp.asarray(case["boxes"] / np.float32([height, width, height, width]))

    def cut(features):
        return ops.roi_align(features, boxes, (4, 5), sampling=sampling, aligned=aligned)

    @jax.jit
    def both(features, g):
        y, pull = jax.vjp(cut, features)
        return y, pull(g)[0]

    y, gradient = both(case["features"], case[f"{name}/g"])
    assert_close(y, case[f"{name}/y"], "y")
    assert_close(gradient, case[f"{name}/dx"], "dx")


def test_a_pyramid_gives_each_region_from_the_map_of_its_size():
    maps = [jnp.full((size, size, 1), float(level)) for level, size in enumerate((32, 16, 8, 4))]
    sides = np.array([0.01, 0.12, 0.126, 0.24, 0.26, 0.49, 0.51, 1.0])
    boxes = jnp.asarray(np.stack([0 * sides, 0 * sides, sides, sides], axis=1).astype(np.float32))
    cut = jax.jit(ops.multilevel_roi_align, static_argnums=2)(maps, boxes, 2)
    assert cut.shape == (8, 2, 2, 1)
    assert cut[:, 0, 0, 0].tolist() == [0, 0, 0, 0, 1, 1, 2, 3]


def test_anchors_agree_with_torchvision():
    scales = (0.07, 0.15, 0.33, 0.51, 0.69, 0.87, 1.05)
    ratios = ((2,), (2, 3), (2, 3), (2, 3), (2,), (2,))
    layers = zip((38, 19, 10, 5, 3, 1), (8, 16, 32, 64, 100, 300), scales, scales[1:], ratios, strict=False)
    ssd = np.concatenate([
        ops.grid_anchors((side, side), ops.anchor_shapes(scale, larger, its), step=(step / 300, step / 300))
        for side, step, scale, larger, its in layers
    ])  # fmt: skip
    assert len(ssd) == CASES["anchors"]["ssd_count"] == 8732
    ours = np.concatenate([ssd[:500], ssd[-500:]]) * 300
    # torchvision clips its default boxes to the image.
    assert np.abs(ours.clip(0, 300) - CASES["anchors"]["ssd"].clip(0, 300)).max() < 1e-3
    shapes = [(size * np.sqrt(r), size / np.sqrt(r)) for r in (0.5, 1.0, 2.0) for size in (32, 64)]
    shapes = [(2 * round(h / 2) / 64, 2 * round(w / 2) / 96) for h, w in shapes]  # torchvision rounds corners
    faster = ops.grid_anchors((4, 6), shapes, centre=0.0) * np.float32([64, 96, 64, 96])
    assert np.abs(faster - CASES["anchors"]["faster"]).max() < 1.01  # a half is rounded to even there


def test_matching_agrees_with_torchvision():
    case = {name: jnp.asarray(value) for name, value in CASES["anchors"].items()}
    labels = jnp.array([0] * 9 + [-1] * 3)
    boxes = jnp.concatenate([case["boxes"], jnp.tile(jnp.array([[0.0, 0.0, 99.0, 99.0]]), (3, 1))])
    match = jax.jit(ops.match_anchors, static_argnames=("foreground", "background", "force"))
    forced = match(case["candidates"], boxes, labels, foreground=0.5)
    assert np.array_equal(forced, case["ssd_matches"])
    plain = match(case["candidates"], boxes, labels, foreground=0.6, background=0.3, force=False)
    assert np.array_equal(plain, case["plain_matches"])
    assert set(np.unique(plain)) >= {ops.BACKGROUND, ops.IGNORED}


def test_every_box_gets_an_anchor_and_padding_gets_none():
    anchors = jnp.asarray(ops.grid_anchors((4, 4), [(0.25, 0.25)]))
    boxes = jnp.array([[0.30, 0.30, 0.32, 0.32], [0.0, 0.0, 1.0, 1.0], [0.30, 0.30, 0.31, 0.31], [2.0, 2.0, 3.0, 3.0]])
    matched = np.asarray(MATCH(anchors, boxes, jnp.array([0, 1, 2, 0])))
    assert matched[5] == 2, "two boxes want one anchor: the later one gets it"
    assert (matched == 1).sum() == 1, "a box below the threshold gets its best anchor"
    assert not (matched == 3).any(), "a box that no anchor touches gets none"
    empty = MATCH(anchors, boxes, jnp.full(4, -1))
    assert (empty == ops.BACKGROUND).all()
    assert (ops.match_anchors(anchors, boxes[:0], jnp.zeros(0, jnp.int32)) == ops.BACKGROUND).all()


def test_hard_negatives_are_three_a_positive_and_never_none():
    losses = jnp.arange(10, dtype=jnp.float32)
    positive = jnp.arange(10) == 9
    ignored = jnp.arange(10) == 8
    chosen = ops.hard_negatives(losses, positive, ~positive & ~ignored, 3, floor=1)
    assert np.flatnonzero(chosen).tolist() == [5, 6, 7]
    nothing = jnp.zeros(10, bool)
    assert np.flatnonzero(ops.hard_negatives(losses, nothing, ~nothing, 3, floor=2)).tolist() == [8, 9]
    assert not ops.hard_negatives(losses, nothing, nothing, 3, floor=2).any()


def test_proposals_are_sampled_by_the_numbers_given():
    draw = jnp.array([0.1, 0.9, 0.5, 0.3, 0.8, 0.2])
    positive, negative = jnp.array([1, 1, 1, 0, 0, 0], bool), jnp.array([0, 0, 0, 1, 1, 0], bool)
    sample = ops.sample_proposals(positive, negative, draw, 4, 0.5)
    assert sample.indices.tolist() == [1, 2, 4, 3]
    assert sample.valid.tolist() == [True] * 4
    assert sample.positive.tolist() == [True, True, False, False]
    few = ops.sample_proposals(positive & False, negative, draw, 8, 0.25)
    assert few.valid.tolist() == [True, True] + [False] * 6
    assert few.indices[:2].tolist() == [4, 3]


def everything(a, b):
    """A number to which all operations on boxes contribute."""
    codes = ops.encode_boxes(a, jnp.abs(b))
    parts = (ops.pairwise_iou(a, b), ops.box_giou(a, b), codes * 1e-3, ops.clip_boxes(a), ops.box_area(a))
    cut = ops.roi_align(jnp.ones((4, 4, 2)), a, 2)
    return sum(part.sum() for part in parts) + cut.sum() + ops.decode_boxes(a, b).sum()


EVERYTHING, MATCH = jax.jit(jax.value_and_grad(everything, argnums=(0, 1))), jax.jit(ops.match_anchors)


@settings(deadline=None, max_examples=50)
@given(BOXES, BOXES, arrays(np.int32, (6,), elements=st.integers(-1, 2)))
def test_nothing_is_ever_nan_and_gradients_are_finite(a, b, labels):
    pixel = np.float32([[0.5, 0.5, 0.5, 0.5], [0.5, 0.5, 0.5001, 0.5001]])
    a, b = np.concatenate([a, pixel]), np.concatenate([b, pixel[::-1]])
    labels = np.concatenate([labels, np.int32([0, 1])])
    value, grads = EVERYTHING(a, b)
    assert np.isfinite(value)
    assert all(np.isfinite(grad).all() for grad in grads)
    matched = np.asarray(MATCH(b, a, labels))
    assert ((matched == -1) | (labels[np.maximum(matched, 0)] >= 0)).all(), "padding is matched"
