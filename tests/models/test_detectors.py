"""Detectors: parameters after their formulas and published counts, the maps that heads use, and what is refused."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jaxcnn.analysis.complexity import count
from jaxcnn.errors import InputError
from jaxcnn.models import build, named
from jaxcnn.spec import Detection, Instances, ModelSpec, RunConfig
from jaxcnn.tasks import detection
from jaxcnn.train import make_eval_step, make_init, make_train_step

BACKBONES = {
    "resnet": ModelSpec("resnet", 8, 4, options={"head_stride": 2}),
    "wrn": ModelSpec("wrn", 10, 1, options={"head_stride": 2}),
    "plain": ModelSpec("plain", 6, 4, options={"head_stride": 2, "norm": False}),
    "vgg": ModelSpec("vgg", 11, 4, options={"head_stride": 4}),
    "resnet_imagenet": ModelSpec("resnet_imagenet", 10, 4, options={"skip": False}),
}


def with_head(spec, head, **options):
    return ModelSpec(**{**vars(spec), "head": head, "options": {**spec.options, **options}})


@pytest.mark.slow
@pytest.mark.parametrize(
    ("family", "head"),
    [
        *((family, head) for family in BACKBONES for head in ("ssd", "yolo", "faster_rcnn")),
        ("plain", "mask_rcnn"), ("resnet_imagenet", "retinanet"), ("resnet_imagenet", "borders"),
    ],
)  # fmt: skip
def test_any_backbone_carries_any_head(family, head):
    module = build(with_head(BACKBONES[family], head), num_classes=3)
    shapes = jax.eval_shape(
        lambda: module.init_with_output(jax.random.key(0), jnp.zeros((2, 64, 96, 3)))[0],
    )
    if head in ("faster_rcnn", "mask_rcnn"):
        assert shapes["objectness"].shape == shapes["codes"].shape[:2]
        assert shapes["codes"].shape[1:] == shapes["anchors"].shape
        assert (shapes["proposals"].shape, shapes["scores"].shape) == ((2, 48, 4), (2, 48, 4))
        if head == "mask_rcnn":
            assert (shapes["mask_boxes"].shape, shapes["masks"].shape) == ((2, 48, 4), (2, 48, 28, 28, 3))
            assert RunConfig(model=with_head(BACKBONES[family], head)).task == Instances()
        return
    if head == "borders":  # resized to the images, whatever the stride of the finest map
        assert {name: each.shape for name, each in shapes.items()} == {"pixels": (2, 64, 96, 5)}
        assert RunConfig(model=with_head(BACKBONES[family], head)).task == Instances()
        return
    if head == "retinanet":
        assert shapes["logits"].shape == (2, shapes["anchors"].shape[0], 3)
        assert shapes["codes"].shape == (2, *shapes["anchors"].shape)
        return
    cells = shapes["scores"].shape[1]
    assert shapes["scores"].shape == (2, cells, 4 if head == "ssd" else 3)
    assert shapes["codes" if head == "ssd" else "distances"].shape == (2, cells, 4)
    assert shapes["anchors" if head == "ssd" else "cells"].shape == (cells, 4)
    assert RunConfig(model=with_head(BACKBONES[family], head)).task == Detection()


def test_parameters_of_the_heads_follow_their_formulas():
    spec, images = ModelSpec("resnet_imagenet", 10, 8), (64, 64, 3)
    backbone = count(build(spec, 1), images).params - 64 - 1
    # Maps of 8, 16, 32, 64 channels at strides 4 to 32; a pyramid of 16 channels.
    pyramid = sum(c * 16 + 16 for c in (8, 16, 32, 64)) + 4 * (9 * 16 * 16 + 16)
    ssd = sum(9 * 16 * 4 * (5 + 1 + 4) + 4 * (5 + 1 + 4) for _ in range(4))
    assert count(build(with_head(spec, "ssd"), 5), images).params == backbone + pyramid + ssd
    yolo = 9 * 16 * 16 + 4 * 2 * 16 + 9 * 16 * (5 + 4) + 5 + 4
    assert count(build(with_head(spec, "yolo"), 5), images).params == backbone + pyramid + yolo
    rpn = 4 * (9 * 16 * 16 + 16 + 16 * 4 * 5 + 4 * 5)
    regions = 25 * 16 * 128 + 128 + 128 * 128 + 128 + 128 * (6 + 4) + 6 + 4
    assert count(build(with_head(spec, "faster_rcnn"), 5), images).params == backbone + pyramid + rpn + regions
    plain = count(
        build(with_head(spec, "ssd", head_pyramid=False, head_stride=8, head_extras=1, head_width=12), 5), images
    )
    extra = 9 * 64 * 12 + 2 * 12
    assert plain.params == backbone + extra + sum((9 * c + 1) * 4 * 10 for c in (16, 32, 64, 12))


def test_a_stride_that_no_map_has_is_refused():
    with pytest.raises(InputError, match="head_stride=64"):
        count(build(ModelSpec("resnet", 8, 4, head="ssd", options={"head_stride": 64}), 2), (64, 64, 3))


@pytest.mark.parametrize(
    "name", ["ssd", *(pytest.param(name, marks=pytest.mark.slow) for name in ("yolo", "faster_rcnn"))]
)
def test_a_step_trains_and_padding_changes_nothing(name):
    spec = ModelSpec("plain", 4, 4, head=name, options={"head_stride": 4, "head_pyramid": False, "norm": False})
    assert named(name).head == name
    module, task, tx, key = build(spec, 2), detection(), optax.sgd(0.02, momentum=0.9), jax.random.key(0)
    state = make_init(module, tx, (32, 32, 3))(key)
    rng = np.random.default_rng(0)
    batch = {
        "images": jnp.asarray(rng.standard_normal((4, 32, 32, 3)), jnp.float32), "mask": jnp.ones(4),
        "labels": jnp.array([[0, 1], [1, -1], [-1, -1], [0, -1]]), "crowd": jnp.zeros((4, 2), bool),
        "boxes": jnp.tile(jnp.array([[[0.1, 0.1, 0.5, 0.5], [0.4, 0.5, 0.9, 0.9]]]), (4, 1, 1)),
        "sizes": jnp.full((4, 2), 32),
    }  # fmt: skip
    step, evaluate = jax.jit(make_train_step(module, tx, task)), jax.jit(make_eval_step(module, task))
    losses, nothing = [], step(state, {**batch, "mask": jnp.zeros(4)}, key)[0]
    same = jax.tree.map(lambda a, b: bool((a == b).all()), nothing.params, state.params)
    assert all(jax.tree.leaves(same))
    for _ in range(12):
        state, sums = step(state, batch, key)
        losses.append(task.metrics({k: float(v) for k, v in sums.items()})["loss"])
    assert losses[-1] < 0.8 * losses[0]
    sums, found = evaluate(state, batch)
    assert found["boxes"].shape == (4, 100, 4)
    assert found["labels"].shape == (4, 100)
    assert float(sums["count"]) == 4


@pytest.mark.parametrize(("classes", "params"), [(91, 35_641_826), (21, 26_285_486), (4, 24_013_232)])
def test_ssd300_has_the_parameters_and_anchors_of_torchvision(classes, params):
    """torchvision 0.29.1, ssd300_vgg16(weights=None, weights_backbone=None, num_classes=...): background is a class."""
    module = build(named("ssd300_vgg16"), classes - 1)
    assert count(module, (300, 300, 3)).params == params
    shapes = jax.eval_shape(lambda: module.init_with_output(jax.random.key(0), jnp.zeros((1, 300, 300, 3)))[0])
    assert shapes["scores"].shape == (1, 8732, classes)
    assert shapes["anchors"].shape == (8732, 4)
    assert RunConfig(model=named("ssd300_vgg16")).task == Detection()


def test_tiny_yolov2_has_the_published_parameters_anchors_and_work():
    """yolov2-tiny-voc.cfg of Darknet: 6.97 billion operations, two a multiply-accumulate, at 416 pixels."""
    module = build(named("tiny_yolov2"), 20)
    cost = count(module, (416, 416, 3))
    assert cost.params == 15_861_773
    assert round(2 * cost.macs / 1e9, 2) == 6.97
    shapes = jax.eval_shape(lambda: module.init_with_output(jax.random.key(0), jnp.zeros((1, 416, 416, 3)))[0])
    assert {name: each.shape for name, each in shapes.items()} == {
        "scores": (1, 845, 21), "codes": (1, 845, 4), "anchors": (845, 4)
    }  # fmt: skip
    assert RunConfig(model=named("tiny_yolov2")).task == Detection()
    with pytest.raises(InputError, match="at least 32x32"):
        count(module, (16, 416, 3))


@pytest.mark.parametrize(
    ("name", "classes", "params"),
    [
        ("maskrcnn_resnet50_fpn", 90, 44_454_513),
        *(pytest.param(*each, marks=pytest.mark.slow) for each in (
            ("maskrcnn_resnet50_fpn", 1, 43_975_515), ("fasterrcnn_resnet50_fpn", 90, 41_808_406),
            ("fasterrcnn_resnet50_fpn", 20, 41_449_656), ("fasterrcnn_resnet50_fpn", 3, 41_362_531),
            ("retinanet_resnet50_fpn", 91, 34_068_119), ("retinanet_resnet50_fpn", 4, 32_263_304),
        )),
    ],
)  # fmt: skip
def test_published_detectors_have_the_parameters_of_torchvision(name, classes, params):
    """torchvision 0.29.1 with weights=None, whose batch norm is trained; background is one of its num_classes in the
    two-stage ones, which have one more than here."""
    assert count(build(named(name), classes), (128, 128, 3)).params == params


def test_ssd300_refuses_images_that_are_too_small():
    with pytest.raises(InputError, match="at least 268"):
        count(build(named("ssd300_vgg16"), 2), (128, 300, 3))
