"""The command `export`: files agree with the run, or are not written; 8 bits cost about nothing on digits."""

import json

import jax
import numpy as np
import onnx
import pytest

from jaxcnn.data import load
from jaxcnn.errors import InputError
from jaxcnn.export.onnx import run_onnx
from jaxcnn.run import export as module
from jaxcnn.run import export_run, run
from jaxcnn.run.predict import load_model
from jaxcnn.spec import DataConfig, ModelSpec, OptimizerConfig, RunConfig
from tests.cli.calls import call, refused

DATA = DataConfig("digits", size=28)


@pytest.fixture(scope="module")
def classifier(tmp_path_factory):
    config = RunConfig(ModelSpec("lenet", 5, 6), DATA, OptimizerConfig(learning_rate=0.05), epochs=4)
    return run(config, out=tmp_path_factory.mktemp("export") / "run", progress=False)


def test_a_file_takes_pixels_and_says_what_it_is(classifier, capsys):
    code, out, _ = call(capsys, "export", classifier.directory, "--preprocess")
    assert code == 0
    assert "of the largest, on 30 test images" in out
    path = classifier.directory / "network.onnx"
    about = {each.key: json.loads(each.value) for each in onnx.load(path).metadata_props}
    assert about["classes"] == list("0123456789")
    assert about["images"] == "(batch, height, width, channels), uint8, 0 to 255"
    assert about["licence"] is about["weights"] is None
    test = load(DATA).load_test()
    logits = run_onnx(path.read_bytes(), np.asarray(test["images"]))["output"]
    accuracy = np.mean(logits.argmax(1) == test["labels"])
    assert accuracy == pytest.approx(classifier.metrics["test_accuracy"])


def test_a_file_says_whose_weights_it_began_with():
    config = RunConfig(ModelSpec("vgg_imagenet", 16), weights="keras/vgg16")
    about = module._metadata(config, ["a"], np.zeros(3), np.ones(3), preprocess=True)
    assert json.loads(about["weights"]) == "keras/vgg16"
    assert json.loads(about["licence"]) == "CC BY (VGG, Oxford)"


@pytest.mark.slow
def test_eight_bits_cost_at_most_a_point(classifier):
    made, whole = export_run(classifier.directory, int8=True), export_run(classifier.directory)
    assert made.path.name == "network_int8.onnx"
    assert made.float_metrics["accuracy"] == pytest.approx(classifier.metrics["test_accuracy"])
    assert made.metrics["accuracy"] >= made.float_metrics["accuracy"] - 0.01
    assert made.difference < 0.1
    assert whole.difference < 1e-5
    assert made.size < whole.size


def test_stablehlo_has_its_metadata_beside_it(classifier, tmp_path):
    made = export_run(classifier.directory, to="stablehlo", out=tmp_path / "deep" / "a.stablehlo")
    about = json.loads(made.path.with_suffix(".json").read_text())
    network, variables = load_model(classifier.directory)
    images = load(DATA).train["images"][:3]
    inputs = ((images / 255 - about["mean"]) / about["std"]).astype(np.float32)
    found = jax.export.deserialize(bytearray(made.path.read_bytes())).call(inputs)["output"]
    np.testing.assert_allclose(found, network.apply(variables, inputs), rtol=1e-4, atol=1e-4)


def test_a_file_that_disagrees_is_not_written(classifier, tmp_path, monkeypatch):
    monkeypatch.setattr(module, "TOLERANCE", 0.0)
    with pytest.raises(InputError, match=r"not written, its outputs differ from those of the run by"):
        export_run(classifier.directory, out=tmp_path / "a.onnx")
    monkeypatch.setattr(module, "INT8_TOLERANCE", 1e-6)
    monkeypatch.setattr(module, "TOLERANCE", 1e-5)
    with pytest.raises(InputError, match=r"not written.*; train longer, or export float32"):
        export_run(classifier.directory, int8=True, out=tmp_path / "a.onnx")
    assert list(tmp_path.iterdir()) == []


def test_what_cannot_be_exported_is_one_sentence(classifier, capsys, tmp_path, monkeypatch):
    assert "only onnx and web files are quantised" in refused(
        capsys, "export", classifier.directory, "--to", "stablehlo", "--int8"
    )
    assert "not a run folder" in refused(capsys, "export", tmp_path / "nowhere")
    record = classifier.directory / "config.json"
    before = record.read_bytes()
    for name, to, words in (
        (record, "onnx", "must end in .onnx"),
        (record.with_suffix(".stablehlo"), "stablehlo", "it would replace config.json"),
        (tmp_path, "onnx", "it is a folder"),
    ):
        assert words in refused(capsys, "export", classifier.directory, "--to", to, "--out", name)
    assert record.read_bytes() == before
    (tmp_path / "index.html").write_text("mine")
    assert "index.html of something else" in refused(
        capsys, "export", classifier.directory, "--to", "web", "--out", tmp_path
    )
    assert (tmp_path / "index.html").read_text() == "mine"
    with pytest.raises(InputError, match="choose stablehlo or onnx or litert"):
        export_run(classifier.directory, to="tflite")
    monkeypatch.setitem(__import__("sys").modules, "litert_converter", None)
    with pytest.raises(InputError, match=r"to='litert': .* is not installed; run pip install --no-deps "):
        export_run(classifier.directory, to="litert")
    monkeypatch.setitem(__import__("sys").modules, "jaxcnn.export.onnx", None)
    with pytest.raises(InputError):
        export_run(classifier.directory)
