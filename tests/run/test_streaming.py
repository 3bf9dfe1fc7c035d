"""A run on streamed images is the run on the same images in memory."""

import os
import signal
from dataclasses import replace

import pytest
from PIL import Image
from sklearn.datasets import load_digits

from jaxcnn.run import evaluate_run, run
from jaxcnn.spec import DataConfig, ModelSpec, RunConfig
from jaxcnn.train import Interrupted


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """300 digits as PNG files, a folder a class."""
    root, digits = tmp_path_factory.mktemp("images"), load_digits()
    for number, (image, label) in enumerate(zip(digits.images[:300], digits.target[:300], strict=True)):
        file = root / f"digit{label}" / f"{number:03}.png"
        file.parent.mkdir(exist_ok=True)
        Image.fromarray((image * 255 / 16).astype("uint8")).save(file)
    return root


def config_of(folder, **data):
    return RunConfig(
        model=ModelSpec("dense", depth=3, width=8, options={"norm": True}),
        data=DataConfig(str(folder), augment=("crop",), **data), epochs=3, batch_size=50,
    )  # fmt: skip


def timeless(result):
    return [{k: v for k, v in row.items() if k not in ("seconds", "steps_timed")} for row in result.history]


@pytest.fixture(scope="module")
def in_memory(folder):
    return run(config_of(folder), progress=False)


@pytest.mark.slow
@pytest.mark.parametrize(
    "parallel", ["jit", *(pytest.param(each, marks=pytest.mark.slow) for each in ("sharded", "pmap"))]
)
def test_streamed_training_is_the_same_training(folder, in_memory, parallel):
    plain = in_memory if parallel == "jit" else run(replace(config_of(folder), parallel=parallel), progress=False)
    streamed = run(replace(config_of(folder, stream=True), parallel=parallel), progress=False)
    assert timeless(streamed) == timeless(plain)
    assert streamed.metrics == plain.metrics
    assert streamed.data["validation_hash"] == plain.data["validation_hash"]


@pytest.mark.slow
def test_it_stops_within_an_epoch_and_goes_on(folder, in_memory, tmp_path, monkeypatch):
    """A signal while the second batch of the second epoch is decoded, by a worker process, then by threads."""
    import jaxcnn.data.stream.images as images

    calls, get = [], images.StreamedImages.__getitem__

    def counted(self, key):
        calls.append(1)
        if len(calls) == 12:
            os.kill(os.getpid(), signal.SIGTERM)
        return get(self, key)

    monkeypatch.setattr(images.StreamedImages, "__getitem__", counted)
    config = config_of(folder, stream=True, workers=1)
    with pytest.raises(Interrupted, match="saved"):
        run(config, out=tmp_path / "run", progress=False)
    again = run(config, out=tmp_path / "run", progress=False)
    assert timeless(again) == timeless(in_memory)
    assert evaluate_run(tmp_path / "run")["accuracy"] == in_memory.metrics["test_accuracy"]
