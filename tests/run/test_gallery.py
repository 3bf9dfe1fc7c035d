"""An embedding trained on some characters; its measures on others; a gallery of them, by functions and by commands."""

import json

import numpy as np
import pytest
from PIL import Image

from jaxcnn.data import load
from jaxcnn.errors import InputError
from jaxcnn.run import evaluate_run, predict, run
from jaxcnn.run.gallery import add_to_gallery, gallery_threshold, who
from jaxcnn.spec import DataConfig, Embedding, ModelSpec, OptimizerConfig, RunConfig
from tests.cli.calls import call, refused

pytestmark = pytest.mark.slow  # all of it needs trained runs

CONFIG = RunConfig(
    ModelSpec("plain", 3, 8, head="embedding", options={"dimensions": 16}),
    DataConfig("glyphs", classes=24, images=480, groups="class"),
    OptimizerConfig("adam", learning_rate=0.003),
    Embedding(per_class=4),
    epochs=3,
    batch_size=32,
)


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    folder = tmp_path_factory.mktemp("embedding") / "run"
    return run(CONFIG, out=folder, progress=False)


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """Three images of each character that training never saw."""
    folder, test = tmp_path_factory.mktemp("characters"), load(CONFIG.data).load_test()
    found = {}
    for label in np.unique(test["labels"]).tolist():
        for number, image in enumerate(test["images"][test["labels"] == label][:3]):
            path = folder / f"{label}_{number}.png"
            Image.fromarray(image[..., 0]).save(path)
            found.setdefault(label, []).append(path)
    return found


def test_splits_have_classes_of_their_own(trained):
    data = load(CONFIG.data)
    seen = [set(split["labels"].tolist()) for split in (data.train, data.validation, data.load_test())]
    assert sum(map(len, seen)) == len(set.union(*seen)) == 24
    assert data.split_by == "group"


def test_a_run_measures_what_training_never_saw(trained):
    metrics, details = trained.metrics, trained.details
    assert metrics["test_recall_at_1"] > 0.4  # chance is a fifth
    assert metrics["test_accuracy_5way_1shot"] > 0.3
    assert metrics["test_accuracy_5way_5shot"] > metrics["test_accuracy_5way_1shot"]
    assert 0 < details["half_interval_5way_1shot"] < 0.02
    assert metrics["test_equal_error_rate"] < 0.5
    assert "test_accuracy_20way_1shot" not in metrics  # there are not so many classes
    assert metrics["train_batch_accuracy"] > 0.3
    assert trained.predictions["vectors"].shape[1] == 16
    again = evaluate_run(trained.directory)
    assert again["recall_at_1"] == pytest.approx(metrics["test_recall_at_1"])


def test_a_gallery_names_what_it_knows(trained, files, tmp_path):
    file = tmp_path / "known.npz"
    labels = list(files)[:4]
    for label in labels:
        add_to_gallery(file, f"character {label}", files[label][:1], run=trained.directory)
    gallery = add_to_gallery(file, f"character {labels[0]}", files[labels[0]][1:2])
    assert gallery.counts.tolist() == [2, 1, 1, 1]
    own = [each["vector"] for each in predict(trained.directory, files[labels[0]][:2])]
    np.testing.assert_allclose(gallery.sums[0], np.sum(own, axis=0), rtol=1e-5)
    found = who(file, [files[label][0] for label in labels])
    assert [each["nearest"] for each in found[1:]] == list(gallery.names[1:])
    assert found[1]["distance"] == pytest.approx(0, abs=1e-3)
    limit = gallery_threshold(gallery)
    assert 0 < limit.threshold == found[0]["threshold"]
    assert 0 <= limit.error <= 0.5
    far = tmp_path / "noise.png"
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (28, 28), np.uint8)).save(far)
    assert who(file, [far])[0]["name"] is None


def test_commands(trained, files, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    one, two = list(files)[:2]
    assert "there is no such gallery; add to it first" in refused(capsys, "gallery", "who", files[one][0])
    assert "give " in refused(capsys, "gallery", "add", "first", files[one][0])
    code, out, _ = call(capsys, "gallery", "add", "first", files[one][0], "--run", trained.directory)
    assert (code, out) == (0, "gallery.npz: first (1)\n")
    call(capsys, "gallery", "add", "second", *files[two][:2])
    code, out, _ = call(capsys, "gallery", "who", files[one][0])
    assert code == 0
    assert f"{files[one][0]}: first (distance 0.000, unknown above" in out
    code, out, _ = call(capsys, "gallery", "who", files[two][2], "--json")
    assert json.loads(out)[0]["nearest"] in ("first", "second")
    assert "no such file" in refused(capsys, "gallery", "who", "absent.png")
    assert "it is a folder" in refused(capsys, "gallery", "who", tmp_path)
    assert "it is the answer where no name fits" in refused(capsys, "gallery", "add", "unknown", files[one][0])
    moved = trained.directory.rename(trained.directory.with_name("moved"))
    assert "give its new place as run" in refused(capsys, "gallery", "who", files[one][0])
    code, out, _ = call(capsys, "gallery", "who", files[one][0], "--run", moved)
    assert (code, ": first (distance 0.000" in out) == (0, True)
    moved.rename(trained.directory)
    assert "give a name and one image" in refused(capsys, "gallery", "add", "third")
    (tmp_path / "gallery.npz").write_bytes(b"PK")
    assert "it is no gallery" in refused(capsys, "gallery", "who", files[one][0])


def test_classes_too_few_for_a_batch_are_refused():
    with pytest.raises(InputError, match=r"batch_size=128.*multiple of task\.per_class=5"):
        run(RunConfig(CONFIG.model, CONFIG.data, epochs=1), progress=False)
