"""Detection: the loss of SSD against torchvision (stored), both forms against their own laws; nothing is ever NaN."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from jaxcnn import ops
from jaxcnn.errors import InputError
from jaxcnn.models.yolo import grid_cells
from jaxcnn.spec import Detection
from jaxcnn.tasks import detection, make_task
from jaxcnn.tasks.cell_loss import focal_loss, match_cells
from tests.fixtures.reference import assert_close, load

CASE = load("boxes")["ssd_loss"][1]
ANCHORS = jnp.asarray(np.concatenate([ops.grid_anchors((4, 4), [(0.3, 0.3)]), ops.grid_anchors((2, 2), [(0.6, 0.6)])]))
CELLS = jnp.asarray(np.concatenate([grid_cells((4, 4)), grid_cells((2, 2))]))
CLASSES, OBJECTS = 2, 3


def outputs_of(form, draw):
    """Outputs of a head for two images, from normal numbers (2, 20, 7)."""
    if form == "ssd":
        return {"scores": draw[..., :3], "codes": draw[..., 3:7], "anchors": ANCHORS}
    if form == "faster_rcnn":
        corners = jax.nn.sigmoid(draw[:, :6, :4])  # of any order: some proposals have no area
        return {
            "objectness": draw[..., 0], "codes": draw[..., 3:7], "anchors": ANCHORS, "proposals": corners,
            "scores": draw[:, :6, :3], "refined": draw[:, :6, 3:7],
        }  # fmt: skip
    if form == "retinanet":
        return {"logits": draw[..., :2], "codes": draw[..., 3:7], "anchors": ANCHORS}
    return {"scores": draw[..., :2], "distances": draw[..., 3:7], "cells": CELLS}


def batch_of(labels, boxes, mask=(1.0, 1.0)):
    labels = jnp.asarray(labels, jnp.int32)
    return {
        "labels": labels, "boxes": jnp.asarray(boxes, jnp.float32), "mask": jnp.asarray(mask, jnp.float32),
        "crowd": jnp.zeros(labels.shape, bool), "images": jnp.zeros((2, 8, 8, 3)),
    }  # fmt: skip


def test_the_loss_of_ssd_agrees_with_torchvision():
    task = detection(Detection(least_negatives=0))
    scale = np.float32(1 / 100)  # pixels to shares
    batch = batch_of(CASE["labels"], CASE["boxes"] * scale)

    @jax.jit
    def both(scores, codes):
        def mean(scores, codes):
            outputs = {"scores": scores, "codes": codes, "anchors": jnp.asarray(CASE["anchors"] * scale)}
            total, weight = task.loss(outputs, batch)
            return total / weight, task.sums(outputs, batch)

        (loss, sums), gradients = jax.value_and_grad(mean, argnums=(0, 1), has_aux=True)(scores, codes)
        return loss, sums, gradients

    loss, sums, (scores, codes) = both(CASE["scores"], CASE["codes"])
    metrics = task.metrics({name: float(value) for name, value in sums.items()})
    assert metrics["class_loss"] == pytest.approx(float(CASE["class_loss"]), rel=1e-5)
    assert metrics["box_loss"] == pytest.approx(float(CASE["box_loss"]), rel=1e-5)
    assert float(loss) == pytest.approx(metrics["loss"], rel=1e-6)
    assert_close(scores, CASE["dscores"], "scores")
    assert_close(codes, CASE["dcodes"], "codes")


GRADIENT = {
    form: jax.jit(
        jax.value_and_grad(
            lambda draw, batch, form=form: (lambda pair: pair[0] / jnp.maximum(pair[1], 1.0))(
                detection().loss(outputs_of(form, draw), batch)
            )
        )
    )
    for form in ("ssd", "yolo", "faster_rcnn", "retinanet")
}
SUMS = {
    form: jax.jit(lambda draw, batch, form=form: detection().sums(outputs_of(form, draw), batch)) for form in GRADIENT
}
MATCH = jax.jit(match_cells)
DECODE = {form: jax.jit(lambda draw, form=form: detection().decode(outputs_of(form, draw))) for form in GRADIENT}


@pytest.mark.slow
@pytest.mark.parametrize("form", ["ssd", "yolo", "faster_rcnn", "retinanet"])
@settings(deadline=None, max_examples=25)
@given(
    labels=arrays(np.int32, (2, OBJECTS), elements=st.integers(-1, CLASSES - 1)),
    corners=arrays(np.float32, (2, OBJECTS, 4), elements=st.sampled_from([0.0, 0.25, 0.26, 0.5, 0.99, 1.0])),
    mask=st.sampled_from([(1.0, 1.0), (1.0, 0.0), (0.0, 0.0)]),
    scale=st.sampled_from([0.0, 1.0, 30.0, 1e4]),
)
def test_nothing_is_ever_nan_and_gradients_are_finite(form, labels, corners, mask, scale):
    boxes = np.concatenate(
        [np.minimum(corners[..., :2], corners[..., 2:]), np.maximum(corners[..., :2], corners[..., 2:])], -1
    )
    draw = scale * np.random.default_rng(0).standard_normal((2, 20, 7)).astype(np.float32)
    batch = batch_of(labels, boxes, mask)
    loss, gradient = GRADIENT[form](draw, batch)
    assert np.isfinite(loss)
    assert np.isfinite(gradient).all()
    assert all(np.isfinite(value) for value in SUMS[form](draw, batch).values())
    found = DECODE[form](draw)
    assert np.isfinite(found["boxes"]).all()
    assert ((found["boxes"] >= 0) & (found["boxes"] <= 1)).all()
    if not any(mask):
        assert not np.asarray(gradient).any()


@pytest.mark.parametrize("form", ["ssd", "yolo", "faster_rcnn", "retinanet"])
def test_images_without_objects_teach_and_crowds_are_left_out(form):
    draw = np.random.default_rng(1).standard_normal((2, 20, 7)).astype(np.float32)
    empty = batch_of(np.full((2, OBJECTS), -1), np.zeros((2, OBJECTS, 4)))
    loss, gradient = GRADIENT[form](draw, empty)
    assert loss > 0
    assert np.abs(np.asarray(gradient)[..., :2]).max() > 0
    one = batch_of([[0, -1, -1], [1, -1, -1]], np.tile(np.float32([0.1, 0.1, 0.6, 0.6]), (2, OBJECTS, 1)))
    crowd = {**one, "crowd": jnp.ones((2, OBJECTS), bool)}
    assert float(GRADIENT[form](draw, crowd)[0]) == pytest.approx(float(loss), rel=1e-6)
    assert float(SUMS[form](draw, one)["matched"]) >= 2
    assert float(SUMS[form](draw, crowd)["matched"]) == 0


def test_outputs_that_name_the_objects_are_decoded_to_them():
    boxes = np.float32([[0.1, 0.12, 0.4, 0.38], [0.5, 0.45, 0.98, 0.99]])
    scores, codes = np.zeros((1, 20, 3), np.float32), np.zeros((1, 20, 4), np.float32)
    scores[..., 0] = 9.0
    match = np.asarray(jax.jit(ops.match_anchors)(ANCHORS, boxes, np.int32([1, 0])))
    coded = np.asarray(jax.jit(ops.encode_boxes)(boxes[np.maximum(match, 0)], ANCHORS))
    for anchor in np.flatnonzero(match >= 0):
        scores[0, anchor] = [0, 9, 0] if match[anchor] else [0, 0, 9]
        codes[0, anchor] = coded[anchor]
    found = jax.jit(detection().decode)(
        {"scores": jnp.asarray(scores), "codes": jnp.asarray(codes), "anchors": ANCHORS}
    )
    order = np.argsort(np.asarray(found["labels"][0, :2]))
    assert found["labels"][0, :2][order].tolist() == [0, 1]
    assert np.allclose(found["boxes"][0, :2][order], boxes[::-1], atol=1e-5)
    # The same objects by cells.
    cells = np.asarray(MATCH(CELLS, boxes, np.int32([1, 0])))
    scores, distances = np.full((1, 20, 2), -9, np.float32), np.zeros((1, 20, 4), np.float32)
    for cell in np.flatnonzero(cells >= 0):
        y, x, height, width = np.asarray(CELLS[cell])
        top, left, bottom, right = boxes[cells[cell]]
        scores[0, cell, [1, 0][cells[cell]]] = 9
        distances[0, cell] = np.log(
            [(y - top) / height, (x - left) / width, (bottom - y) / height, (right - x) / width]
        )
    found = jax.jit(detection().decode)(
        {"scores": jnp.asarray(scores), "distances": jnp.asarray(distances), "cells": CELLS}
    )
    order = np.argsort(np.asarray(found["labels"][0, :2]))
    assert found["labels"][0, :3][order].tolist() == [0, 1]
    assert np.allclose(found["boxes"][0, :2][order], boxes[::-1], atol=1e-5)


def test_cells_find_objects_of_their_size_and_every_object_is_found():
    cells = jnp.asarray(np.concatenate([grid_cells((32, 32)), grid_cells((16, 16)), grid_cells((8, 8))]))
    boxes = jnp.array([[0.1, 0.1, 0.12, 0.12], [0.2, 0.2, 0.45, 0.45], [0.05, 0.3, 0.98, 0.97], [0.5, 0.5, 0.5, 0.5]])
    match = np.asarray(MATCH(cells, boxes, jnp.array([0, 1, 2, 0])))
    level = np.repeat([0, 1, 2], [1024, 256, 64])
    assert set(level[match == 0]) == {0}
    assert 1 in level[match == 1]
    assert set(level[match == 2]) == {2}
    assert not (match == 3).any()
    overlapping = np.asarray(MATCH(cells, jnp.tile(boxes[1:2], (4, 1)), jnp.array([0, 0, -1, -1])))
    assert {0, 1} <= set(overlapping.tolist())  # of two equal boxes each has a cell


def test_the_focal_loss_is_the_papers():
    p, target = np.array([0.9, 0.9, 0.2]), np.array([1.0, 0.0, 1.0])
    expected = [-0.25 * 0.1**2 * np.log(0.9), -0.75 * 0.9**2 * np.log(0.1), -0.25 * 0.8**2 * np.log(0.2)]
    logits = jnp.asarray(np.log(p / (1 - p)), jnp.float32)
    assert np.allclose(focal_loss(logits, jnp.asarray(target, jnp.float32)), expected, rtol=1e-5)


def test_options_out_of_range_and_foreign_outputs_are_refused():
    for wrong in ({"nms_iou": 1.5}, {"detections": 0}, {"box_weight": -1.0}, {"least_negatives": -1}):
        with pytest.raises(InputError, match=next(iter(wrong))):
            make_task(Detection(**wrong))
    with pytest.raises(InputError, match="detection needs"):
        detection().decode(jnp.zeros((2, 3)))


def test_what_is_saved_and_described():
    task = detection()
    found = {"boxes": np.zeros((1, 2, 4)), "scores": np.array([[0.9, 0.0]]), "labels": np.array([[1, -1]])}
    split = {name: np.zeros((1, 3)) for name in ("labels", "boxes", "crowd", "sizes", "images")}
    saved = {"labels", "boxes", "crowd", "sizes", "found_boxes", "found_scores", "found_labels"}
    assert task.save(found, split).keys() == saved
    about = task.describe({name: value[0] for name, value in found.items()}, ("cat", "dog"), 5)
    assert about["text"] == "1 dog"
    assert about["labels"].tolist() == [1]
    nothing = {"boxes": np.zeros((0, 4)), "scores": np.zeros(0), "labels": np.zeros(0, int)}
    assert task.describe(nothing, ("cat", "dog"), 5)["text"] == "nothing found"
