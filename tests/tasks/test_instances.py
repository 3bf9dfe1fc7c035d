"""Instance segmentation: the loss of masks by hand and its laws, what is decoded, saved and refused."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy import ndimage

from jaxcnn.analysis.scores.instance_masks import split_scores
from jaxcnn.errors import InputError
from jaxcnn.spec import Detection, Instances, TaskConfig
from jaxcnn.tasks import instances, make_task
from jaxcnn.tasks.border_loss import BORDER, INSIDE, border_targets, connected
from jaxcnn.tasks.mask_loss import mask_loss, mask_targets
from tests.tasks.test_detection import CLASSES, OBJECTS, batch_of, outputs_of

SIDE = 4


def outputs_with_masks(draw):
    regions = jax.nn.sigmoid(draw[:, 6:12, :4])
    masks = jnp.broadcast_to(draw[:, 12:18, None, :SIDE, None], (2, 6, SIDE, SIDE, CLASSES))
    return {**outputs_of("faster_rcnn", draw), "mask_boxes": regions, "masks": masks}


@jax.jit
def value_and_gradient(draw, batch):
    def mean(draw):
        total, weight = instances().loss(outputs_with_masks(draw), batch)
        return total / jnp.maximum(weight, 1.0), instances().sums(outputs_with_masks(draw), batch)

    return jax.value_and_grad(mean, has_aux=True)(draw)


DECODE = jax.jit(lambda draw: instances().decode(outputs_with_masks(draw)))


def _loss_of_pixels(logits, batch):
    total, weight = instances().loss({"pixels": logits}, batch)
    return total / jnp.maximum(weight, 1.0), instances().sums({"pixels": logits}, batch)


PIXELS = jax.jit(jax.value_and_grad(_loss_of_pixels, has_aux=True))
DECODE_PIXELS = jax.jit(lambda logits: instances().decode({"pixels": logits}))


def test_the_loss_of_masks_by_hand():
    """Two regions of three hold an object: the first exactly, the second its left half; classes differ."""
    seen = np.zeros((1, 8, 8), np.uint8)
    seen[0, :4, :4], seen[0, 4:, 4:] = 1, 2
    boxes = jnp.array([[[0.0, 0.0, 0.5, 0.5], [0.5, 0.5, 1.0, 1.0], [0.0, 0.0, 0.0, 0.0]]])
    regions = jnp.array([[[0.0, 0.0, 0.5, 0.5], [0.5, 0.36, 1.0, 0.86], [0.0, 0.5, 0.4, 0.9]]])
    logits = np.random.default_rng(0).standard_normal((1, 3, 2, 2, 2)).astype(np.float32)
    batch = {"labels": jnp.array([[1, 0, -1]]), "boxes": boxes, "instances": jnp.asarray(seen)}
    targets = (np.ones((2, 2)), np.array([[0, 1], [0, 1]]))
    expected = []
    for region, label, target in zip((0, 1), (1, 0), targets, strict=True):
        p = 1 / (1 + np.exp(-logits[0, region, :, :, label]))
        expected.append(-(target * np.log(p) + (1 - target) * np.log(1 - p)).mean())
    found = jax.jit(mask_loss)({"mask_boxes": regions, "masks": jnp.asarray(logits)}, batch)
    assert found.tolist() == [pytest.approx(np.mean(expected), rel=1e-5)]
    crowd = {**batch, "crowd": jnp.array([[False, True, False]])}
    alone = jax.jit(mask_loss)({"mask_boxes": regions, "masks": jnp.asarray(logits)}, crowd)
    assert alone.tolist() == [pytest.approx(expected[0], rel=1e-5)]


def test_targets_are_the_pixels_under_the_cells():
    seen = np.random.default_rng(1).integers(0, 3, (9, 15)).astype(np.uint8)
    regions = np.array([[0.0, 0.0, 1.0, 1.0], [0.0, 0.4, 1.0, 1.0]], np.float32)
    found = np.asarray(mask_targets(jnp.asarray(seen), jnp.asarray(regions), jnp.array([1, 2]), 3))
    assert np.array_equal(found[0], seen[1::3, 2::5] == 1)
    assert np.array_equal(found[1], seen[1::3, 7::3] == 2)


@pytest.mark.slow
@settings(deadline=None, max_examples=20)
@given(
    labels=arrays(np.int32, (2, OBJECTS), elements=st.integers(-1, CLASSES - 1)),
    corners=arrays(np.float32, (2, OBJECTS, 4), elements=st.sampled_from([0.0, 0.25, 0.26, 0.5, 0.99, 1.0])),
    seen=arrays(np.uint8, (2, 8, 8), elements=st.integers(0, OBJECTS)),
    mask=st.sampled_from([(1.0, 1.0), (1.0, 0.0), (0.0, 0.0)]),
    scale=st.sampled_from([0.0, 1.0, 1e4]),
)
def test_nothing_is_ever_nan_and_gradients_are_finite(labels, corners, seen, mask, scale):
    boxes = np.sort(corners.reshape(2, OBJECTS, 2, 2), axis=2).reshape(2, OBJECTS, 4)
    draw = scale * np.random.default_rng(0).standard_normal((2, 20, 7)).astype(np.float32)
    batch = {**batch_of(labels, boxes, mask), "instances": jnp.asarray(seen)}
    (loss, sums), gradient = value_and_gradient(draw, batch)
    assert np.isfinite(loss)
    assert np.isfinite(gradient).all()
    metrics = instances().metrics({name: float(value) for name, value in sums.items()})
    assert np.isfinite([*metrics.values()]).all()
    assert metrics["loss"] == pytest.approx(float(loss), rel=1e-4, abs=1e-6)
    if not any(mask):
        assert not np.asarray(gradient).any()
    found = DECODE(draw)
    assert (found["masks"].shape, found["masks"].dtype) == ((2, 100, SIDE, SIDE), np.uint8)
    assert ((found["mask_boxes"] >= 0) & (found["mask_boxes"] <= 1)).all()


def test_a_detection_has_the_mask_of_its_own_region_and_class():
    draw = np.random.default_rng(2).standard_normal((2, 20, 7)).astype(np.float32)
    outputs = outputs_with_masks(jnp.asarray(draw))
    outputs["masks"] = jnp.asarray(np.random.default_rng(3).standard_normal(outputs["masks"].shape), jnp.float32)
    found = jax.jit(instances().decode)(outputs)
    p = np.exp(np.asarray(outputs["scores"], np.float64))
    p = (p / p.sum(axis=-1, keepdims=True))[..., 1:]
    for score, label, region, mask in zip(*(np.asarray(found[name])[0, :3] for name in
                                            ("scores", "labels", "mask_boxes", "masks")), strict=True):  # fmt: skip
        (place,) = np.flatnonzero(np.isclose(p[0, :, label], score, atol=1e-6))
        assert np.array_equal(region, outputs["mask_boxes"][0, place])
        expected = 255 / (1 + np.exp(-np.asarray(outputs["masks"][0, place, :, :, label], np.float64)))
        assert np.abs(mask - expected).max() <= 0.51


def scene():
    """Four objects of two classes, two of them touching, one cut off by the edge; the third counts neither way."""
    seen = np.zeros((24, 30), np.uint8)
    seen[2:9, 2:9], seen[2:9, 9:17], seen[14:22, 3:13], seen[12:20, 20:30] = 1, 2, 3, 4
    return seen, np.array([0, 1, 0, 1])


def test_borders_by_hand():
    seen, labels = scene()
    kinds, counts = jax.jit(border_targets)(jnp.asarray(seen), jnp.array([0, 1, -1, 1]))
    expected = np.zeros(seen.shape, int)
    for number, inside, label in ((1, np.s_[3:8, 3:8], 0), (2, np.s_[3:8, 10:16], 1), (4, np.s_[13:19, 21:30], 1)):
        expected[seen == number] = BORDER
        expected[inside] = INSIDE + label
    known = seen != 3
    assert np.array_equal(np.asarray(counts), known)
    assert np.array_equal(np.asarray(kinds)[known], expected[known])
    logits = np.random.default_rng(0).standard_normal((1, *seen.shape, 4)).astype(np.float32)
    batch = {"labels": jnp.asarray(labels)[None], "instances": jnp.asarray(seen)[None], "mask": jnp.ones(1)}
    batch["crowd"] = jnp.array([[False, False, True, False]])
    p = np.exp(logits[0]) / np.exp(logits[0]).sum(axis=-1, keepdims=True)
    weights = np.where(known, np.array([1.0, 4.0, 2.0, 2.0])[expected], 0.0)
    own = np.take_along_axis(p, expected[..., None], axis=-1)[..., 0]
    total, weight = jax.jit(instances().loss)({"pixels": jnp.asarray(logits)}, batch)
    assert float(weight) == 1
    assert float(total) == pytest.approx(-(weights * np.log(own)).sum() / weights.sum(), rel=1e-5)


def test_perfect_pixels_are_perfect_objects():
    seen, labels = scene()
    kinds, _ = border_targets(jnp.asarray(seen), jnp.asarray(labels))
    found = jax.jit(instances(Instances(detections=20)).decode)({"pixels": 20.0 * jax.nn.one_hot(kinds, 4)[None]})
    found = {name: np.asarray(each) for name, each in found.items()}
    assert sorted(found["labels"][0, :4].tolist()) == [0, 0, 1, 1]
    assert (found["labels"][0, 4:] == -1).all()
    saved = {f"found_{name}": each for name, each in found.items()} | {"instances": seen[None]}
    assert split_scores(saved) == (4, 0, 0, 4.0)
    nothing = jax.jit(instances().decode)({"pixels": jnp.zeros((1, 8, 8, 3))})
    assert (np.asarray(nothing["labels"]) == -1).all()


@pytest.mark.parametrize("seed", range(3))
def test_pieces_are_those_of_scipy(seed):
    inside = np.random.default_rng(seed).random((17, 23)) < 0.6
    found, expected = np.asarray(jax.jit(connected)(jnp.asarray(inside))), ndimage.label(inside)[0]
    assert np.array_equal(found > 0, inside)
    pairs = {(a, b) for a, b in zip(found[inside].tolist(), expected[inside].tolist(), strict=True)}
    assert len(pairs) == expected.max() == len(np.unique(found[inside]))


@pytest.mark.slow
@settings(deadline=None, max_examples=20)
@given(
    labels=arrays(np.int32, (2, OBJECTS), elements=st.integers(-1, CLASSES - 1)),
    seen=arrays(np.uint8, (2, 8, 8), elements=st.integers(0, OBJECTS)),
    mask=st.sampled_from([(1.0, 1.0), (1.0, 0.0), (0.0, 0.0)]),
    scale=st.sampled_from([0.0, 1.0, 1e4]),
)
def test_borders_are_never_nan_either(labels, seen, mask, scale):
    logits = scale * np.random.default_rng(0).standard_normal((2, 8, 8, CLASSES + 2)).astype(np.float32)
    batch = {**batch_of(labels, np.zeros((2, OBJECTS, 4)), mask), "instances": jnp.asarray(seen)}
    (loss, sums), gradient = PIXELS(logits, batch)
    assert np.isfinite(loss)
    assert np.isfinite(gradient).all()
    assert np.isfinite([*instances().metrics({name: float(value) for name, value in sums.items()}).values()]).all()
    if not any(mask):
        assert not np.asarray(gradient).any()
    found = {name: np.asarray(each) for name, each in DECODE_PIXELS(logits).items()}
    assert (found["masks"].shape, found["masks"].dtype) == ((2, 100, 28, 28), np.uint8)
    assert ((found["boxes"] >= 0) & (found["boxes"] <= 1)).all()
    assert ((found["labels"] >= 0) == (found["scores"] > 0)).all()


def test_what_is_saved_described_and_refused():
    task = instances()
    found = {"boxes": np.zeros((1, 2, 4)), "scores": np.array([[0.9, 0.0]]), "labels": np.array([[1, -1]])}
    found |= {"mask_boxes": np.zeros((1, 2, 4)), "masks": np.zeros((1, 2, 4, 4), np.uint8)}
    split = {name: np.zeros((1, 3)) for name in ("labels", "boxes", "crowd", "sizes", "instances", "images")}
    assert {"instances", "found_masks", "found_mask_boxes", "found_scores"} <= task.save(found, split).keys()
    about = task.describe({name: value[0] for name, value in found.items()}, ("cat", "dog"), 5)
    assert about["text"] == "1 dog"
    assert about["masks"].shape == (1, 4, 4)
    with pytest.raises(InputError, match="mask_weight"):
        make_task(Instances(mask_weight=-1.0))
    batch = batch_of(np.zeros((2, 3)), np.zeros((2, 3, 4)))
    with pytest.raises(InputError, match="choose head='mask_rcnn' or head='borders'"):
        jax.eval_shape(task.loss, outputs_of("faster_rcnn", jnp.zeros((2, 20, 7))), batch)
    assert TaskConfig.of_kind("instances") is Instances
    assert TaskConfig.of_kind("detection") is Detection
