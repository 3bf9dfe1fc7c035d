"""Keras' weights in our networks: its logits, its counts, its preprocessing, and what does not fit."""

import json
from dataclasses import replace
from pathlib import Path

import h5py
import jax
import numpy as np
import pytest

from jaxcnn.errors import InputError
from jaxcnn.interop import load_weights
from jaxcnn.interop.keras_names import KERAS
from jaxcnn.interop.weights import assign, trunk_layers, variable_shapes
from jaxcnn.models import build, named
from jaxcnn.ops.forms import as_written
from jaxcnn.spec import NORMALISATIONS, ModelSpec, RunConfig
from tests.fixtures.make_keras_fixtures import NETWORKS, draw_images, draw_weight

FIXTURES = Path(__file__).parents[1] / "fixtures"
PATHS = json.loads((FIXTURES / "keras.json").read_text())
# keras.io/api/applications, and what our networks have more: scales under batch norm; or less: running statistics,
# which Keras counts, and biases of convolutions under batch norm. VGG-16 at 64 pixels has 94,371,840 weights less.
COUNTS = {"vgg16": (138_357_544 - 94_371_840, 0), "resnet50": (25_636_712, -53_120 - 26_560),
          "inception_v3": (23_851_784, 17_216 - 34_432)}  # fmt: skip


def spec_of(name):
    spec = replace(named(name), num_classes=1000)
    return spec if name == "vgg16" else replace(spec, options={**spec.options, "variant": "keras"})


def shape_of(name):
    return (NETWORKS[name][1],) * 2 + (3,)


def arrays_of(name, draw):
    return {"/".join(path.split("/")[-2:]): draw(path, tuple(shape)) for path, shape in PATHS[name].items()}


@pytest.mark.slow
@pytest.mark.parametrize("name", NETWORKS)
def test_logits_are_keras(name, tmp_path):
    file, spec = tmp_path / "weights.h5", spec_of(name)
    with h5py.File(file, "w") as tree:
        for path, shape in PATHS[name].items():
            tree[path] = draw_weight(path, tuple(shape))
    loaded = load_weights(file, spec, shape_of(name))
    file.unlink()
    assert loaded.new == ()
    with as_written():
        logits = jax.jit(build(spec).apply)(loaded.variables, draw_images(NETWORKS[name][1]))
    with np.load(FIXTURES / "keras.npz") as stored:
        expected = stored[name]
    assert np.abs(logits - expected).max() <= 1e-5 * np.abs(expected).max()


@pytest.mark.parametrize("name", NETWORKS)
def test_every_weight_has_its_place_and_counts_are_keras(name):
    spec = spec_of(name)
    shapes = variable_shapes(spec, shape_of(name))
    variables, new = assign(arrays_of(name, lambda _, shape: np.zeros(shape, np.float32)), shapes, spec, name, KERAS)
    assert new == ()
    assert sum(leaf.size for leaf in jax.tree.leaves(variables)) == sum(map(np.prod, shapes.values()))
    count = sum(int(np.prod(shape)) for path, shape in shapes.items() if path.startswith("params/"))
    with np.load(FIXTURES / "keras.npz") as stored:
        assert int(stored[f"{name}_parameters"]) == COUNTS[name][0]
    assert count == sum(COUNTS[name])


@pytest.mark.parametrize("name", NETWORKS)
def test_pixels_are_normalised_as_keras_does(name):
    config = RunConfig(spec_of(name), weights="weights.h5")
    mean, std = NORMALISATIONS[config.data.normalize]
    with np.load(FIXTURES / "keras.npz") as stored:
        expected = stored[f"{name}_pixels"] if name.startswith("inception") else stored[f"{name}_pixels"][..., ::-1]
        np.testing.assert_allclose((stored["pixels"] / 255 - mean) / std, expected, atol=1e-4)


def test_a_trunk_without_dense_layers_starts_a_network_with_one():
    arrays = arrays_of("vgg16", lambda _, shape: np.zeros(shape, np.float32))
    trunk = {key: value for key, value in arrays.items() if key.startswith("block")}
    spec = ModelSpec("vgg", 14, 64, 10, options={"dense": 1})
    shapes = variable_shapes(spec, (64, 64, 3))
    assert assign(trunk, shapes, spec, "file", KERAS)[1] == ("dense1",)
    assert trunk_layers(spec, shapes, KERAS) == tuple(sorted(f"conv{number}" for number in range(1, 14)))
    spec = spec_of("vgg16")
    with pytest.raises(InputError, match=r"4 differences .*- fc1/bias \(4096,\) \(params/dense1/bias\)"):
        assign(trunk, variable_shapes(spec, (64, 64, 3)), spec, "file", KERAS)


def test_what_does_not_fit_is_listed():
    arrays = arrays_of("resnet50", lambda _, shape: np.zeros(shape, np.float32))
    arrays["conv9/kernel"] = arrays.pop("conv2_block1_1_bn/gamma")
    arrays["conv1_conv/kernel"] = arrays["conv1_conv/kernel"][:3]
    spec = spec_of("resnet50")
    with pytest.raises(InputError) as refused:
        assign(arrays, variable_shapes(spec, (64, 64, 3)), spec, "file", KERAS)
    message = str(refused.value)
    assert message.startswith("weights='file': 4 differences")
    for line in (
        "- conv1_conv/kernel: params/conv1/conv/kernel has shape (7, 7, 3, 64)",
        "+ conv1_conv/kernel: the file's gives (3, 7, 3, 64)",
        "- conv2_block1_1_bn/gamma (64,) (params/stage1_block1/conv1/norm/scale)",
        "+ conv9/kernel (64,)",
    ):
        assert line in message
