import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen

from jaxcnn.analysis.complexity import count
from jaxcnn.analysis.network.layer_outputs import feature_maps, kernels, relu_outputs
from jaxcnn.models import build, named
from jaxcnn.spec import ModelSpec
from tests.fixtures.reference import draw_variables

SMALL = {
    "plain": ModelSpec("plain", 4, 4),
    "resnet": ModelSpec("resnet", 8, 4),
    "wrn": ModelSpec("wrn", 10, 1),
    "airbench": ModelSpec("airbench", 4, 8),
    "unet": ModelSpec("unet", 8, 4, options={"levels": 3}),
}


def network(name):
    module = build(SMALL[name], num_classes=3)
    images = jnp.asarray(np.random.default_rng(0).standard_normal((2, 16, 16, 3)), jnp.float32)
    return module, draw_variables(module, images), images


@pytest.mark.parametrize("name", SMALL)
def test_every_convolution_of_every_family(name):
    module, variables, images = network(name)
    maps, found = feature_maps(module, variables, images), kernels(variables)
    layers = {layer.path: layer for layer in count(module, (16, 16, 3)).layers if layer.kind in ("Conv", "UpConv")}
    assert list(maps) == list(layers), "the order of the calls"
    assert set(maps) == set(found)
    for path, layer in layers.items():
        assert maps[path].shape == (2, *layer.output_shape)
        assert found[path].size <= layer.params


def test_maps_are_what_flax_captures():
    module, variables, images = network("resnet")
    _, state = module.apply(variables, images, capture_intermediates=True, mutable=["intermediates"])
    seen = state["intermediates"]
    for name, map in feature_maps(module, variables, images).items():
        node = seen
        for part in name.split("/"):
            node = node[part]
        np.testing.assert_allclose(map, node["__call__"][0], rtol=1e-5, atol=1e-5)


def test_relus_of_a_residual_network():
    module, variables, images = network("resnet")
    relus = relu_outputs(module, variables, images)
    names = ["conv1", *(f"stage{s}_block1{end}" for s in (1, 2, 3) for end in ("/conv1", ""))]
    assert list(relus) == names
    maps = module.apply(variables, images, method="features")
    for stage, map in enumerate(maps, 1):  # what a block puts out is behind its last ReLU
        np.testing.assert_allclose(relus[f"stage{stage}_block1"], map, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    ("name", "names"),
    [
        ("plain", ["norm1", "norm2", "norm3"]),
        ("wrn", [*(f"stage{s}_block1/norm{n}" for s in (1, 2, 3) for n in (1, 2)), "norm"]),
        ("airbench", []),
    ],
)
def test_relus_are_named_by_the_layer_in_front(name, names):
    assert list(relu_outputs(*network(name))) == names


def test_relus_of_lenet():
    module = build(named("lenet5"), num_classes=10)
    images = jnp.ones((1, 28, 28, 1))
    relus = relu_outputs(module, draw_variables(module, images), images)
    assert {name: out.shape[1:] for name, out in relus.items()} == {
        "conv1": (28, 28, 6), "conv2": (10, 10, 16), "dense1": (120,), "dense2": (84,),
    }  # fmt: skip
    assert all((out >= 0).all() for out in relus.values())


class Shared(linen.Module):
    """One convolution, called twice, with a ReLU of Flax."""

    @linen.compact
    def __call__(self, x):
        conv = linen.Conv(1, (1, 1), use_bias=False, name="same")
        return linen.relu(conv(linen.relu(conv(x))))


def test_a_layer_that_is_called_twice_has_two_maps():
    variables = {"params": {"same": {"kernel": jnp.full((1, 1, 1, 1), -2.0)}}}
    image = jnp.ones((1, 1, 1, 1))
    maps = {name: float(map.sum()) for name, map in feature_maps(Shared(), variables, image).items()}
    assert maps == {"same": -2.0, "same_2": 0.0}
    assert list(relu_outputs(Shared(), variables, image)) == ["same", "same_2"]
    assert jax.tree.map(float, relu_outputs(Shared(), variables, -image)["same"].sum()) == 2.0
