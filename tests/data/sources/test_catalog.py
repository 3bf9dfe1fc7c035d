"""Names: what is listed, what a name means, and what is said of unknown ones."""

import json

import numpy as np
import pytest

from jaxcnn.data.sources.catalog import CatalogEntry, find_source, names
from jaxcnn.errors import InputError
from jaxcnn.spec import DataConfig


def make_prepared(root, name="toy", *, split="train", file_format="array_record", label="ClassLabel"):
    """The metadata of a prepared set, without its records."""
    folder = root / name / "1.0.0"
    folder.mkdir(parents=True)
    lib = "tensorflow_datasets.core.features"
    fields = {
        "image": {
            "pythonClassName": f"{lib}.image_feature.Image",
            "image": {"shape": {"dimensions": ["8", "8", "1"]}, "dtype": "uint8"},
        },
        "label": {"pythonClassName": f"{lib}.class_label_feature.{label}", "classLabel": {"numClasses": "3"}},
    }
    features = {"pythonClassName": f"{lib}.features_dict.FeaturesDict", "featuresDict": {"features": fields}}
    template = "{DATASET}-{SPLIT}.{FILEFORMAT}-{SHARD_X_OF_Y}"
    info = {
        "name": name.split("/")[0],
        "version": "1.0.0",
        "fileFormat": file_format,
        "splits": [{"name": split, "shardLengths": ["5"], "filepathTemplate": template}],
    }
    (folder / "features.json").write_text(json.dumps(features))
    (folder / "dataset_info.json").write_text(json.dumps(info))
    return folder


def error_of(name, data_dir=None):
    with pytest.raises(InputError) as error:
        find_source(DataConfig(name, data_dir=data_dir and str(data_dir)))
    assert "\n" not in str(error.value)
    return str(error.value)


def test_names_lists_embedded_prepared_and_known_sets(tmp_path):
    make_prepared(tmp_path)
    make_prepared(tmp_path, "family/member")
    make_prepared(tmp_path, "boxes", label="Text")
    make_prepared(tmp_path, "records", file_format="tfrecord")
    listed = {entry.name: entry for entry in names(str(tmp_path))}
    assert listed["digits"].state == listed["glyphs"].state == "embedded"
    assert listed["toy"] == CatalogEntry("toy", "5 train; 8x8x1; 3 classes", "prepared")
    assert listed["family/member"].state == "prepared"
    assert listed["mnist"].state == "not prepared"
    assert not {"boxes", "records", "family"} & set(listed)
    assert all("\n" not in entry.description for entry in listed.values())


def test_names_without_a_data_dir(tmp_path):
    assert {entry.state for entry in names(str(tmp_path / "none"))} == {"embedded", "not prepared"}


def test_the_folder_of_prepared_sets_is_found_by_environment_and_home(tmp_path, monkeypatch):
    make_prepared(tmp_path / "tensorflow_datasets")
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("TFDS_DATA_DIR", raising=False)
    assert any(entry.name == "toy" for entry in names())
    monkeypatch.setenv("TFDS_DATA_DIR", str(tmp_path / "elsewhere"))
    assert not any(entry.name == "toy" for entry in names())


def test_names_that_cannot_be_used_come_with_a_hint(tmp_path):
    make_prepared(tmp_path, "family/member")
    make_prepared(tmp_path, "mnist")
    for name, hint in {
        "fashion-mnist": "did you mean fashion_mnist",
        "digts": "did you mean digits",
        "qqqqqq": "`jaxcnn data` lists the known ones",
        "kmnist": f"'kmnist' is not prepared in {str(tmp_path)!r}; run `jaxcnn data prepare kmnist`",
        "family": "choose one that is prepared: family/member",
        "mnist:9.9.9": "'mnist:9.9.9' is not prepared",
    }.items():
        assert hint in error_of(name, tmp_path)
    assert "data_dir='" in error_of("mnist", tmp_path / "none")


def test_sets_that_cannot_be_used(tmp_path):
    make_prepared(tmp_path, "boxes", label="Text")
    assert "no feature pair of one image and one class label" in error_of("boxes", tmp_path)
    make_prepared(tmp_path, "odd", split="test")
    assert "has no split called train, only test" in error_of("odd", tmp_path)
    make_prepared(tmp_path, "records", file_format="tfrecord")
    assert "stored as tfrecord, which needs TensorFlow" in error_of("records", tmp_path)
    (make_prepared(tmp_path, "torn") / "features.json").write_text("{")
    assert "is damaged" in error_of("torn", tmp_path)


def test_a_prepared_name_wins_over_a_folder_unless_written_as_a_path(tmp_path, monkeypatch):
    make_prepared(tmp_path / "sets", "toy")
    monkeypatch.chdir(tmp_path)
    (tmp_path / "toy" / "a").mkdir(parents=True)
    source = find_source(DataConfig("toy", data_dir="sets"))
    assert source.identity.get("tfds") == "toy"
    assert "class folder 'toy/a' has no images" in error_of("./toy", "sets")


def test_a_prepared_set_by_its_folder(tmp_path):
    folder = make_prepared(tmp_path, "toy")
    for name in (folder, folder.parent):
        source = find_source(DataConfig(str(name)))
        assert source.pools["train"].length == 5
        assert source.class_names == ("0", "1", "2")


def test_the_newest_version_is_taken(tmp_path):
    old = make_prepared(tmp_path, "toy")
    new = old.parent / "1.10.0"
    new.mkdir()
    for path in old.iterdir():
        (new / path.name).write_text(path.read_text().replace("1.0.0", "1.10.0"))
    assert find_source(DataConfig("toy", data_dir=str(tmp_path))).where == str(new)
    assert find_source(DataConfig("toy:1.0.0", data_dir=str(tmp_path))).where == str(old)


def test_an_npz_file_by_its_path(tmp_path):
    np.savez(tmp_path / "set.npz", images=np.zeros((4, 2, 2), np.uint8), labels=np.array([0, 1, 0, 1]))
    assert find_source(DataConfig(str(tmp_path / "set.npz"))).pools["train"].length == 4
