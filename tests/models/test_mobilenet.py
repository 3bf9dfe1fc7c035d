"""MobileNetV2 and EfficientNet-lite0: published counts, maps, and the names of torchvision."""

import jax
import jax.numpy as jnp
import pytest

from jaxcnn.analysis.complexity import count
from jaxcnn.errors import InputError
from jaxcnn.models import build, named
from jaxcnn.spec import ModelSpec


@pytest.mark.parametrize(
    ("name", "parameters", "millions"),
    [
        ("mobilenet_v2", 3_504_872, 301),  # torchvision 0.29.1, MobileNet_V2_Weights.meta: num_params, _ops
        ("efficientnet_lite0", 4_652_008, 407),  # github.com/tensorflow/tpu, efficientnet/lite; its README: 4.7M, 407M
    ],
)
def test_counts_are_the_published_ones(name, parameters, millions):
    found = count(build(named(name), 1000), (224, 224, 3))
    assert found.params == parameters
    assert round(found.macs / 1e6) == pytest.approx(millions, abs=22)


def test_one_map_for_each_stride():
    module = build(named("mobilenet_v2"), 10)
    images = jnp.zeros((1, 64, 64, 3))
    variables = jax.eval_shape(module.init, jax.random.key(0), images)
    maps = jax.eval_shape(lambda v, x: module.apply(v, x, method="features"), variables, images)
    assert [each.shape[1:] for each in maps] == [(32, 32, 16), (16, 16, 24), (8, 8, 32), (4, 4, 96), (2, 2, 1280)]


def test_small_images_keep_their_size_longer():
    strides = build(ModelSpec("mobilenet", 53, 8, options={"stem": "cifar"}), 10).backbone.strides
    assert strides == (1, 1, 1, 2, 2, 1, 2, 1)
    with pytest.raises(InputError, match="at most 7 stages"):
        build(ModelSpec("mobilenet", 26, 8, stage_sizes=(1,) * 8, stage_widths=(8,) * 8), 10)
