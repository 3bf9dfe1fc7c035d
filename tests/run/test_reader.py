"""A reader trained on a few lines of digits, by functions and commands."""

import json

import numpy as np
import pytest
from PIL import Image

from jaxcnn.data import load
from jaxcnn.run import predict, run
from jaxcnn.run.read import read_lines
from jaxcnn.spec import DataConfig, ModelSpec, OptimizerConfig, RunConfig
from tests.cli.calls import call, refused

CONFIG = RunConfig(
    ModelSpec("plain", 3, 4, head="reader", options={"reader_width": 32, "reader_layers": 1}),
    DataConfig("lines:digits", images=100, size=(16, 128)),
    OptimizerConfig("adam", learning_rate=0.01),
    epochs=2,
    batch_size=16,
)


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    return run(CONFIG, out=tmp_path_factory.mktemp("reader") / "run", progress=False)


@pytest.mark.slow
def test_metrics_are_those_of_the_stored_lines(trained):
    assert trained.metrics["train_loss"] < trained.history[0]["train_loss"]
    saved = trained.predictions
    wrong = (saved["labels"] >= 0).sum()
    assert 0 < trained.metrics["test_character_error"] <= 1.5
    assert saved["labels"].shape == (20, 16)
    assert wrong > 0
    lines = predict(trained.directory, list(load(CONFIG.data).load_test()["images"][:3]))
    for row, told in zip(saved["predictions"], lines, strict=False):
        assert told["line"] == "".join(map(str, row[row >= 0]))
        assert told["path"] is None


@pytest.mark.slow
def test_photographed_lines(trained, tmp_path, capsys):
    image = load(CONFIG.data).load_test()["images"][0]
    page = np.full((60, 220), 220, np.uint8)
    page[20:36, 40:168] -= (image[..., 0] // 255 * 180).astype(np.uint8)
    Image.fromarray(page).save(tmp_path / "line.png")
    (told,) = read_lines(trained.directory, [tmp_path / "line.png"])
    assert told["seen"].shape == (16, 128, 1)
    assert len(told["probabilities"]) == len(told["line"])
    code, out, _ = call(capsys, "read", trained.directory, tmp_path / "line.png", "--out", tmp_path / "seen")
    assert (code, out) == (0, f"{tmp_path / 'line.png'}: {told['line']}\n")
    assert np.array_equal(np.asarray(Image.open(tmp_path / "seen" / "001_line.png")), told["seen"][..., 0])
    code, out, _ = call(capsys, "read", trained.directory, tmp_path / "line.png", "--json")
    assert json.loads(out)[0]["line"] == told["line"]
    Image.fromarray(np.full((60, 220), 220, np.uint8)).save(tmp_path / "empty.png")
    assert "no text on it" in refused(capsys, "read", trained.directory, tmp_path / "empty.png")
    assert "no such file" in refused(capsys, "read", trained.directory, tmp_path / "absent.png")
