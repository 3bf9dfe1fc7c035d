"""`--data.size 96x160`: rectangles from the flag to the prediction."""

import json

import pytest

from jaxcnn.cli.flags import parse
from jaxcnn.spec import RunConfig
from tests.cli.calls import TINY, call, refused


@pytest.mark.parametrize(("word", "size"), [("96x160", (96, 160)), ("28", 28), ("28x28", 28), ("None", None)])
def test_a_size_is_one_number_or_height_x_width(word, size):
    assert parse(RunConfig(), ["--data.size", word]).data.size == size
    assert parse(RunConfig(), [f"--data.size={word}"]).data.size == size


@pytest.mark.slow
def test_a_run_on_rectangles_is_trained_evaluated_resumed_and_predicts(capsys, folder, tmp_path):
    train = ["train", "--data", folder, *TINY, "--out", tmp_path / "r"]
    assert call(capsys, *train, "--data.size", "8x14", "--data.fit", "pad")[0] == 0
    assert json.loads((tmp_path / "r" / "config.json").read_text())["data"]["size"] == [8, 14]
    assert json.loads((tmp_path / "r" / "data.json").read_text())["image_shape"] == [8, 14, 1]
    code, out, _ = call(capsys, "evaluate", tmp_path / "r", "--json")
    metrics = json.loads((tmp_path / "r" / "result.json").read_text())["metrics"]
    assert (code, json.loads(out)["accuracy"]) == (0, pytest.approx(metrics["test_accuracy"]))
    code, out, _ = call(capsys, "predict", tmp_path / "r", folder / "dark" / "0.png", "--json")
    assert (code, len(json.loads(out))) == (0, 1)
    assert call(capsys, *train, "--data.size", "8x14", "--data.fit", "pad")[0] == 0
    error = refused(capsys, *train, "--data.size", "14x8", "--data.fit", "pad")
    assert "data.size is [8, 14], not [14, 8]" in error


@pytest.mark.parametrize(
    ("words", "part"),
    [
        ("train --data.size 96y160", "--data.size 96y160: give INT or HEIGHTxWIDTH; see `jaxcnn train --help`"),
        ("train --quiet --data.size 0x8", "--data.size 0x8: must be from 1 to 4096"),
        ("data digits --size 8x", "--size 8x: give INT or HEIGHTxWIDTH"),
        ("data glyphs --size 12x40", "--size 12x40: must be at least 16 for characters"),
        ("train --quiet --model lenet5 --data.size 8x40", "need at least 12x12; use --data.size 12 or larger"),
    ],
)
def test_sizes_that_cannot_be_are_refused_in_the_words_of_the_flag(capsys, words, part):
    assert part in refused(capsys, *words.split())
