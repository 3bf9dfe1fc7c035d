"""torchvision's weights in our networks: its logits, its counts, and a list of all that does not fit."""

import json
import struct
from dataclasses import replace
from pathlib import Path

import jax
import numpy as np
import pytest

from jaxcnn.errors import InputError
from jaxcnn.interop import load_weights
from jaxcnn.interop.torch_names import TORCHVISION
from jaxcnn.interop.weights import assign, trunk_layers, variable_shapes
from jaxcnn.models import build, named
from jaxcnn.ops.forms import as_written
from jaxcnn.spec import ModelSpec
from tests.fixtures.make_torchvision_fixtures import NETWORKS, draw_images, draw_weight

FIXTURES = Path(__file__).parents[1] / "fixtures"
SHAPES = json.loads((FIXTURES / "torchvision.json").read_text())
# torchvision 0.29.1: parameters that the weights' pages state, and those that our networks do not have: biases of
# convolutions under batch norm, and Inception's auxiliary classifier.
COUNTS = {
    "resnet18": (11_689_512, 0), "resnet50": (25_557_032, 0), "vgg16": (138_357_544, 0),
    "vgg16_bn": (138_365_992, 4_224), "mobilenet_v2": (3_504_872, 0), "inception_v3": (27_161_264, 3_326_696),
}  # fmt: skip
slow = pytest.mark.slow


def spec_of(name, classes=1000):
    spec = replace(named(name.removesuffix("_bn")), num_classes=classes)
    return replace(spec, options={**spec.options, "norm": True}) if name.endswith("_bn") else spec


def drawn(name):
    return {key: np.asarray(draw_weight(key, tuple(shape))) for key, shape in SHAPES[name].items()}


@pytest.mark.parametrize("name", ["resnet18", *(pytest.param(each, marks=slow) for each in list(NETWORKS)[1:])])
def test_logits_are_torchvisions(name):
    side, spec = NETWORKS[name][1], spec_of(name)
    variables, new = assign(drawn(name), variable_shapes(spec, (side, side, 3)), spec, name)
    assert new == ()
    with as_written():
        logits = jax.jit(build(spec).apply)(variables, draw_images(side))
    with np.load(FIXTURES / "torchvision.npz") as stored:
        expected = stored[name]
    assert np.abs(logits - expected).max() <= 1e-5 * np.abs(expected).max()


@pytest.mark.parametrize("name", NETWORKS)
def test_counts_are_torchvisions(name):
    shapes = variable_shapes(spec_of(name), (NETWORKS[name][1],) * 2 + (3,))
    count = sum(int(np.prod(shape)) for path, shape in shapes.items() if path.startswith("params/"))
    with np.load(FIXTURES / "torchvision.npz") as stored:
        theirs = int(stored[f"{name}_parameters"])
    assert theirs == COUNTS[name][0]
    assert count == theirs - COUNTS[name][1]


def test_what_does_not_fit_is_listed():
    arrays, spec = drawn("resnet18"), spec_of("resnet18")
    shapes = variable_shapes(spec, (64, 64, 3))
    arrays["layer9.weight"] = arrays.pop("layer1.0.bn1.running_var")
    arrays["conv1.weight"] = arrays["conv1.weight"][:, :1]
    with pytest.raises(InputError) as refused:
        assign(arrays, shapes, spec, "file")
    start, end = "weights='file': 4 differences between the network (-) and the file (+): ", "; choose the model and "
    message = str(refused.value)
    assert message.startswith(start)
    assert set(message.removeprefix(start).split(end)[0].split("; ")) == {
        "- conv1.weight: params/conv1/conv/kernel has shape (7, 7, 3, 64)",
        "+ conv1.weight: the file's gives (7, 7, 1, 64)",
        "- layer1.0.bn1.running_var (64,) (batch_stats/stage1_block1/conv1/norm/var)",
        "+ layer9.weight (64,)",
    }


def test_a_deeper_network_lists_the_first_differences():
    spec = replace(named("resnet34"), num_classes=1000)
    with pytest.raises(InputError, match=r"; and \d+ more; choose"):
        assign(drawn("resnet18"), variable_shapes(spec, (64, 64, 3)), spec, "file")


def test_other_classes_and_other_heads_are_new():
    arrays = drawn("resnet18")
    spec = spec_of("resnet18", 10)
    variables, new = assign(arrays, variable_shapes(spec, (64, 64, 3)), spec, "file")
    assert new == ("dense",)
    assert "dense" not in variables["params"]
    spec = replace(spec, head="localizer")
    shapes = variable_shapes(spec, (64, 64, 3))
    variables, new = assign(arrays, shapes, spec, "file")
    trunk = trunk_layers(spec, shapes, TORCHVISION)
    assert set(variables["params"]) == set(trunk)
    assert new
    assert not set(new) & set(trunk)


def save_safetensors(arrays, path):
    header, data = {}, b""
    for name, value in arrays.items():
        value = np.asarray(value, np.float32)
        header[name] = {"dtype": "F32", "shape": value.shape, "data_offsets": [len(data), len(data) + value.nbytes]}
        data += value.tobytes()
    text = json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(text)) + text + data)
    return path


def test_a_file_is_checked_by_its_name_and_recorded(tmp_path):
    spec = replace(spec_of("resnet18"), options={})
    arrays = {key: np.zeros(shape) for key, shape in SHAPES["resnet18"].items()}
    file = save_safetensors(arrays, tmp_path / "resnet18.safetensors")
    loaded = load_weights(file, spec, (64, 64, 3))
    assert loaded.record["path"] == str(file)
    assert loaded.record["preprocessing"]["mean"] == [0.485, 0.456, 0.406]
    right, wrong = (tmp_path / f"a-{each}.safetensors" for each in (loaded.record["sha256"][:8], "00000000"))
    file.rename(right)
    assert load_weights(right, spec, (64, 64, 3)).record["sha256"] == loaded.record["sha256"]
    right.rename(wrong)
    with pytest.raises(InputError, match="its SHA-256 starts with"):
        load_weights(wrong, spec, (64, 64, 3))


@pytest.mark.parametrize(
    ("file", "spec", "words"),
    [
        ("none.pth", named("resnet18"), "no such file"),
        ("weights.npz", named("resnet18"), "unknown suffix"),
        ("weights.pth", named("wrn_28_10"), "no names of published weights"),
        ("keras_small.h5", named("mobilenet_v2"), "no names of published weights of keras"),
        ("keras_small.h5", named("resnet50"), "variant='torchvision': .* set variant=keras"),
        ("weights.pth", ModelSpec("inception", 48, 32, options={"variant": "keras"}), "set variant=torchvision"),
    ],
)
def test_what_cannot_be_loaded_is_named(file, spec, words):
    with pytest.raises(InputError, match=words):
        load_weights(FIXTURES / file, replace(spec, num_classes=1000))
