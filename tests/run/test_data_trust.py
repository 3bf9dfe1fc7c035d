"""A run's images are those it recorded: changed ones are refused, moved ones accepted."""

import json
import shutil
from dataclasses import replace
from importlib import import_module

import numpy as np
import pytest
from PIL import Image
from sklearn.datasets import load_digits

from jaxcnn.errors import InputError
from jaxcnn.run import evaluate_run, load_result, predict, run
from jaxcnn.runtime.files import write_sealed
from jaxcnn.spec import DataConfig, ModelSpec, RunConfig


@pytest.fixture(scope="module")
def original(tmp_path_factory):
    """A folder with a run, and its images: 160 digits, a folder a class."""
    root, digits = tmp_path_factory.mktemp("work"), load_digits(n_class=4)
    for number, (image, label) in enumerate(zip(digits.images[:160], digits.target[:160], strict=True)):
        file = root / "images" / f"digit{label}" / f"{number:03}.png"
        file.parent.mkdir(exist_ok=True, parents=True)
        Image.fromarray((image * 255 / 16).astype("uint8")).save(file)
    run(config_of(root / "images"), out=root / "run", progress=False)
    return root


@pytest.fixture
def work(original, tmp_path):
    """A copy of both."""
    shutil.copytree(original, tmp_path / "work")
    return tmp_path / "work"


def config_of(images, **fields):
    model = ModelSpec("dense", depth=2, width=8)
    return RunConfig(model=model, data=DataConfig(str(images)), **{"epochs": 2, "batch_size": 32} | fields)


def rename(work):
    (work / "images" / "digit0").rename(work / "images" / "digit9")


def add(work):
    shutil.copy(next((work / "images" / "digit0").iterdir()), work / "images" / "digit0" / "999.png")


def remove(work):
    next((work / "images" / "digit0").iterdir()).unlink()


def exchange(work):
    """Two images of one class change places: names, sizes, labels and the mean stay."""
    first, second = sorted((work / "images" / "digit0").iterdir())[:2]
    pixels = first.read_bytes()
    first.write_bytes(second.read_bytes())
    second.write_bytes(pixels)


@pytest.mark.parametrize("change", [rename, add, remove, exchange])
@pytest.mark.parametrize("split", ["train", "validation", "test"])
def test_evaluate_refuses_data_that_changed(work, change, split):
    evaluate_run(work / "run", split=split, data=str(work / "images"))
    change(work)
    with pytest.raises(InputError, match=r"data '.*images': its .* changed since the run in '.*run' began"):
        evaluate_run(work / "run", split=split, data=str(work / "images"))
    image = next((work / "images" / "digit1").iterdir())
    assert predict(work / "run", [image])[0]["name"].startswith("digit")  # it needs no data set


def test_evaluate_refuses_a_test_split_whose_images_changed(tmp_path):
    digits = load_digits(n_class=2)
    images, labels = digits.images.astype(np.uint8), digits.target
    arrays = {"x_train": images[:200], "y_train": labels[:200], "x_test": images[200:], "y_test": labels[200:]}
    np.savez(tmp_path / "set.npz", **arrays)
    result = run(config_of(tmp_path / "set.npz"), out=tmp_path / "run", progress=False)
    assert evaluate_run(tmp_path / "run")["accuracy"] == result.metrics["test_accuracy"]
    assert load_result(tmp_path / "run").data == result.data
    np.savez(tmp_path / "set.npz", **arrays | {"x_test": 16 - images[200:]})
    evaluate_run(tmp_path / "run", split="validation")
    with pytest.raises(InputError, match="its test split changed since the run"):
        evaluate_run(tmp_path / "run")


def test_a_finished_run_is_not_taken_for_that_of_other_images(work, capsys):
    """The same command after the files were exchanged: the old result would be read as the new one."""
    config = config_of(work / "images")
    run(config, out=work / "run")
    assert "holds this run, finished: it is read, nothing is trained" in capsys.readouterr().err
    exchange(work)
    with pytest.raises(InputError, match="its content changed since the run"):
        run(config, out=work / "run", progress=False)


def test_resuming_refuses_data_that_changed(work):
    (work / "run" / "result.json").unlink()
    config = config_of(work / "images")
    exchange(work)
    before = {path: path.read_bytes() for path in work.rglob("*") if path.is_file()}
    with pytest.raises(InputError, match="its content changed since the run"):
        run(config, out=work / "run", progress=False)
    assert {path: path.read_bytes() for path in work.rglob("*") if path.is_file()} == before


def test_a_run_with_splits_by_index_is_refused_with_what_changed(work):
    """Folders of versions that chose validation and test images of an unsplit folder by index."""
    result = load_result(work / "run")
    record = json.loads((work / "run" / "data.json").read_text())
    del record["split_by"], record["content"]
    (work / "run" / "data.json").write_text(json.dumps(record))
    stored = json.loads((work / "run" / "result.json").read_text())
    del stored["files"]
    write_sealed(work / "run" / "result.json", stored)
    assert load_result(work / "run").metrics == result.metrics
    assert predict(work / "run", [next((work / "images" / "digit1").iterdir())])
    with pytest.raises(InputError, match="were chosen by index, as former versions did, and are now chosen by their n"):
        evaluate_run(work / "run", data=str(work / "images"))


def test_the_recorded_mean_and_deviation_are_used(work, monkeypatch):
    seen, module = [], import_module("jaxcnn.run.predict")
    real = module.check_data

    def look(folder, dataset):
        seen.append(real(folder, dataset._replace(mean=dataset.mean + np.float32(1e-7))))
        return seen[-1]

    monkeypatch.setattr(module, "check_data", look)
    evaluate_run(work / "run", data=str(work / "images"))
    assert seen[0].mean.tolist() == load_result(work / "run").data["mean"]


def test_a_moved_run_and_moved_data_are_found(work, monkeypatch):
    expected = evaluate_run(work / "run", data=str(work / "images"))
    shutil.move(work / "run", work / "elsewhere")
    shutil.move(work / "images", work / "other")
    assert evaluate_run(work / "elsewhere", data=str(work / "other")) == expected
    record = json.loads((work / "elsewhere" / "config.json").read_text())  # as former versions stored paths
    record["data"]["name"] = "images"
    (work / "elsewhere" / "config.json").write_text(json.dumps(record))
    stored = json.loads((work / "elsewhere" / "result.json").read_text())
    del stored["files"]
    write_sealed(work / "elsewhere" / "result.json", stored)
    again = run(config_of(work / "other"), out=work / "elsewhere", progress=False)  # the same images at another path
    assert again.metrics == load_result(work / "elsewhere").metrics
    shutil.move(work / "other", work / "images")
    add(work)
    with pytest.raises(InputError, match="changed since the run"):
        run(config_of(work / "images"), out=work / "elsewhere", progress=False)


def test_a_missing_data_folder_says_how_to_name_its_new_place(work, original):
    record = json.loads((work / "run" / "config.json").read_text())
    record["data"]["name"] = "/no/such/images"
    (work / "run" / "config.json").write_text(json.dumps(record))
    (work / "run" / "result.json").unlink()
    with pytest.raises(InputError, match=r"does not exist.*if the run's data have moved, give their new place as data"):
        evaluate_run(work / "run")


def test_a_path_is_stored_absolute_and_names_one_configuration(work, monkeypatch, tmp_path):
    monkeypatch.chdir(work)
    result = run(config_of("images"), out="new", progress=False)
    assert json.loads((work / "new" / "config.json").read_text())["data"]["name"] == str(work / "images")
    for name in ("./images", str(work / "images"), f"../{work.name}/images"):
        assert run(config_of(name), out="new", progress=False).metrics == result.metrics
    monkeypatch.chdir(tmp_path)
    assert evaluate_run(work / "new")["accuracy"] == result.metrics["test_accuracy"]
    with pytest.raises(InputError, match=r"another configuration \(data.name is '.*images', not 'digits'\)"):
        run(replace(config_of("x"), data=DataConfig("digits")), out=work / "new", progress=False)


def test_predictions_come_in_batches_and_a_bad_file_loses_none(work):
    images = sorted((work / "images").rglob("*.png"))[:70]  # batches of 32, the last one padded
    alone = [predict(work / "run", [image])[0] for image in images[30:34]]
    bad = work / "bad.png"
    bad.write_bytes(b"")
    found = predict(work / "run", [*images, bad, work / "none.png"])
    assert [each["path"] for each in found] == [*images, bad, work / "none.png"]
    assert [each["name"] for each in found[30:34]] == [each["name"] for each in alone]
    np.testing.assert_allclose([f["probability"] for f in found[30:34]], [a["probability"] for a in alone], rtol=1e-5)
    assert "bad.png': the file is empty" in found[-2]["error"]
    assert "there is no such file" in found[-1]["error"]
    with pytest.raises(InputError, match="the file is empty"):
        predict(work / "run", [bad])


def test_classes_with_their_counts_are_shown_before_training(original, capsys):
    run(replace(config_of(original / "images"), epochs=1))
    shown = capsys.readouterr().err
    assert "training images in 4 classes: digit0 (" in shown
