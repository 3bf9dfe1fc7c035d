"""Models for segmentation: published counts, sizes of outputs, options, heads on any backbone, the task they choose."""

import json
from dataclasses import replace
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

from jaxcnn.analysis.complexity import count
from jaxcnn.errors import InputError
from jaxcnn.models import HEADS, Head, ResNet, build, default_input, head_named, named, register_head
from jaxcnn.nn import UpConv
from jaxcnn.spec import MODEL_TASKS, Classification, ModelSpec, RunConfig, Segmentation

TORCH = json.loads((Path(__file__).parents[1] / "fixtures/torch_counts.json").read_text())


def shapes(spec, image, classes=3):
    module = build(spec, classes)
    x = jax.ShapeDtypeStruct((2, *image), jnp.float32)
    return jax.eval_shape(lambda x: module.init_with_output({"params": jax.random.key(0)}, x)[0], x).shape


@pytest.mark.parametrize(
    ("name", "classes", "params"),
    [
        ("unet_2015", 2, TORCH["unet"]["params"]),  # tests/fixtures/make_torch_counts.py
        ("unet_2015", 2, 31_030_658),
        ("fcn_resnet50", 21, 32_957_013),  # torchvision 0.29.1, fcn_resnet50(aux_loss=False, num_classes=...)
        ("fcn_resnet50", 11, 32_951_883),
    ],
)
def test_published_counts(name, classes, params):
    assert count(build(named(name), classes), (64, 64, default_input(name)[0][2])).params == params


def test_smaller_u_nets_of_2015():
    for width, params in ((16, 1_940_834), (8, 485_682)):
        assert count(build(replace(named("unet_2015"), width=width), 2), (64, 64, 1)).params == params


@pytest.mark.parametrize("image", [(32, 48, 3), (37, 50, 1), (9, 8, 3)])
def test_logits_have_the_size_of_the_images(image):
    assert shapes(ModelSpec("unet", 18, 2), image) == (2, *image[:2], 3)
    assert shapes(ModelSpec("resnet", 8, 2, head="fcn"), image) == (2, *image[:2], 3)


@pytest.mark.parametrize("family", ["resnet", "wrn", "plain", "vgg", "resnet_imagenet", "lenet"])
def test_any_backbone_has_the_head(family):
    depth = {"resnet": 8, "wrn": 10, "plain": 5, "vgg": 11, "resnet_imagenet": 18, "lenet": 5}[family]
    spec = ModelSpec(family, depth, 2, head="fcn", options={"head_skips": 1, "head_width": 4})
    assert shapes(spec, (64, 64, 3)) == (2, 64, 64, 3)


def test_depth_levels_and_growth_of_u_net():
    module = build(ModelSpec("unet", 2 * 3 + 3 * 5 - 6 + 3, 4, options={"levels": 3, "growth": "constant"}), 2)
    assert (module.backbone.stage_sizes, module.backbone.stage_widths) == ((3, 3, 3), (4, 4, 4))
    assert build(ModelSpec("unet", 11, 4), 2).backbone.stage_widths == (4, 8, 16, 32)
    with pytest.raises(InputError, match="nearest are 11 and 18"):
        build(ModelSpec("unet", 12, 4), 2)
    with pytest.raises(InputError, match="levels=0"):
        build(ModelSpec("unet", 12, 4, options={"levels": 0}), 2)


def test_dilation_keeps_maps_large_and_parameters_as_they_are():
    plain, dilated = (ModelSpec("resnet_imagenet", 18, 4, options={"dilated": n} if n else {}) for n in (0, 2))
    maps = [
        [each.shape[1] for each in jax.eval_shape(
            lambda x, spec=spec: build(spec, 3).init_with_output(jax.random.key(0), x, method="features")[0],
            jax.ShapeDtypeStruct((1, 64, 64, 3), jnp.float32),
        )]
        for spec in (plain, dilated)
    ]  # fmt: skip
    assert maps == [[16, 8, 4, 2], [16, 8, 8, 8]]
    assert count(build(plain, 3), (64, 64, 3)).params == count(build(dilated, 3), (64, 64, 3)).params
    with pytest.raises(InputError, match="dilated=4"):
        build(ModelSpec("resnet_imagenet", 50, 4, options={"dilated": 4}), 3)


def test_dilated_blocks_see_what_strided_ones_see():
    """At every second pixel a dilated stage computes what the strided one does, as in torchvision's ResNet."""
    x = jax.random.normal(jax.random.key(1), (1, 12, 12, 1))
    strided, dilated = (ResNet((1, 2), (2, 4), "bottleneck", dilated=n) for n in (0, 1))
    variables = jax.jit(strided.init)(jax.random.key(0), x)
    a, b = (jax.jit(module.apply)(variables, x)[-1] for module in (strided, dilated))
    np.testing.assert_allclose(a, b[:, ::2, ::2], atol=1e-5)


def test_an_up_convolution_is_a_transposed_one():
    x = jax.random.normal(jax.random.key(0), (2, 3, 5, 4))
    layer = UpConv(6)
    variables = layer.init(jax.random.key(1), x)
    kernel, bias = variables["params"]["kernel"], variables["params"]["bias"] + 0.5
    expected = lax.conv_transpose(x, kernel[::-1, ::-1], (2, 2), "VALID", dimension_numbers=("NHWC", "HWIO", "NHWC"))
    found = layer.apply({"params": {"kernel": kernel, "bias": bias}}, x)
    np.testing.assert_allclose(found, expected + 0.5, atol=1e-5)
    cost = count(UpConv(6), (3, 5, 4))
    assert (cost.params, cost.macs, cost.activations) == (4 * 4 * 6 + 6, 15 * 4 * 4 * 6, 6 * 10 * 6)


def test_the_model_chooses_the_task():
    assert RunConfig(named("unet")).task == Segmentation()
    assert RunConfig(ModelSpec("resnet", 8, head="fcn")).task == Segmentation()
    assert RunConfig(named("resnet20")).task == Classification()
    assert replace(RunConfig(), model=named("unet")).task == Segmentation()
    weighted = Segmentation(class_weights="median")
    assert RunConfig(named("unet"), task=weighted).task == weighted


def test_a_head_of_ones_own(monkeypatch):
    monkeypatch.setattr("jaxcnn.models.head.HEADS", {**HEADS})
    monkeypatch.setattr("jaxcnn.spec.MODEL_TASKS", MODEL_TASKS)
    fcn = head_named("fcn")
    register_head("mine", Head(fcn.module, Segmentation, fcn.options))
    try:
        spec = ModelSpec("resnet", 8, 2, head="mine", options={"head_width": 5})
        assert build(spec, 3).head.channels == 5
        assert RunConfig(spec).task == Segmentation()
    finally:
        MODEL_TASKS.pop("mine")
    with pytest.raises(InputError, match="head='fnc': unknown; did you mean fcn"):
        build(ModelSpec("resnet", 8, head="fnc"), 3)
    with pytest.raises(InputError, match="resnet with head fcn has no such option"):
        build(ModelSpec("resnet", 8, head="fcn", options={"levels": 3}), 3)
    with pytest.raises(InputError, match="head_skips=3"):
        shapes(ModelSpec("resnet", 8, 2, head="fcn", options={"head_skips": 3}), (16, 16, 3))
