"""A data set loaded for streaming is the data set in memory: its splits, its images, its statistics."""

from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from jaxcnn.data import loading
from jaxcnn.data.loading import info, load
from jaxcnn.data.sources.catalog import find_source
from jaxcnn.data.stream import is_streamed
from jaxcnn.errors import InputError
from jaxcnn.runtime.files import cache_dir
from jaxcnn.spec import DataConfig


def save(path, value, mode="RGB", size=(12, 10)):
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(value).integers(0, 256, (size[1], size[0], 3), np.uint8)
    Image.fromarray(pixels).convert(mode).save(path)


@pytest.fixture
def root(tmp_path, monkeypatch):
    """Two classes of twenty images; and a cache of its own."""
    monkeypatch.setenv("JAXCNN_CACHE", str(tmp_path / "cache"))
    for i in range(40):
        save(tmp_path / "set" / "ab"[i % 2] / f"{i}.png", i)
    return tmp_path / "set"


@pytest.fixture
def split_root(tmp_path, monkeypatch):
    """Training, validation and test images in folders of their own."""
    monkeypatch.setenv("JAXCNN_CACHE", str(tmp_path / "cache"))
    for i in range(36):
        save(tmp_path / "own" / ("train", "val", "test")[i % 3] / "ab"[i % 2] / f"{i}.png", i)
    return tmp_path / "own"


def assert_equal(streamed, whole):
    """Everything that `load` says, and every image."""
    for name in ("class_names", "image_shape", "validation_hash", "sizes", "skipped"):
        assert getattr(streamed, name) == getattr(whole, name), name
    np.testing.assert_array_equal(streamed.mean, whole.mean)
    np.testing.assert_array_equal(streamed.std, whole.std)
    pairs = [(streamed.train, whole.train), (streamed.validation, whole.validation)]
    for ours, theirs in [*pairs, (streamed.load_test(), whole.load_test())]:
        assert is_streamed(ours)
        np.testing.assert_array_equal(ours["images"][:], theirs["images"])
        np.testing.assert_array_equal(ours["labels"], theirs["labels"])
        assert ours["labels"].dtype == np.int32


@pytest.mark.parametrize("settings", [{}, {"size": 8}, {"train_size": 9, "validation": 0.25}])
def test_a_folder_streamed_is_the_folder_in_memory(root, settings):
    streamed = load(DataConfig(str(root), stream=True, **settings))
    assert not list((cache_dir() / "data").glob("*/images.npy"))
    assert streamed.sampled == streamed.sizes["train"]
    assert_equal(streamed, load(DataConfig(str(root), **settings)))


def test_splits_of_their_own(split_root):
    assert_equal(load(DataConfig(str(split_root), stream=True)), load(DataConfig(str(split_root))))


def test_grey_folders_stay_grey(root):
    for i in range(40):
        save(root / "ab"[i % 2] / f"{i}.png", i, mode="L")
    for _ in range(2):  # judged from the files, then remembered
        assert_equal(load(DataConfig(str(root), stream=True)), load(DataConfig(str(root))))


def test_what_is_in_memory_is_not_streamed(tmp_path):
    np.savez(tmp_path / "set.npz", images=np.zeros((20, 4, 4), np.uint8), labels=np.arange(20) % 2)
    for name in ("digits", "glyphs", str(tmp_path / "set.npz")):
        with pytest.raises(InputError, match="held in memory as a whole, so there is nothing to stream; leave stream"):
            load(DataConfig(name, stream=True))


def test_a_bad_file_is_refused_when_it_is_indexed(split_root):
    (split_root / "test" / "b" / "9.png").write_bytes(b"")
    test = load(DataConfig(str(split_root), stream=True)).load_test()
    test["images"][:6]
    with pytest.raises(InputError, match=r"test/b/9.png in data set .* \(0 bytes\).*on_bad='skip'"):
        test["images"][6:]


def everything(config):
    """All images of the three splits."""
    data = load(config)
    return [split["images"][:] for split in (data.train, data.validation, data.load_test())]


@pytest.mark.parametrize("name", ["a/0.png", "b/5.png", "b/39.png"])
def test_bad_files_are_refused_or_replaced(root, name):
    (root / name).write_bytes(b"not an image")
    with pytest.raises(InputError, match=f"{name} in data set .* not an image"):
        everything(DataConfig(str(root), stream=True))
    with pytest.warns(UserWarning, match=f"skipped {name}: .*the next image of its class replaces it"):
        images = everything(DataConfig(str(root), stream=True, on_bad="skip"))
    assert sum(map(len, images)) == 40
    # The image that stands in is another one of the same split: nothing leaks between them.
    contents = [{image.tobytes() for image in split} for split in images]
    assert sum(map(len, contents)) == len(set().union(*contents)) == 39


def test_nothing_but_bad_files(root):
    for path in root.rglob("*.png"):
        path.write_bytes(b"")
    with pytest.raises(InputError, match=r"train split of data set .* has no image that can be decoded"):
        load(DataConfig(str(root), stream=True, on_bad="skip"))


def test_sizes_that_differ_need_size(root):
    save(root / "b" / "39.png", 1, size=(20, 10))
    with pytest.raises(InputError, match=r"a/0.png is 10x12, b/39.png is 10x20 pixels\); set size, such as"):
        load(DataConfig(str(root), stream=True))
    assert load(DataConfig(str(root), stream=True, size=16)).image_shape == (16, 16, 3)


def test_statistics_of_a_sample(root, monkeypatch):
    monkeypatch.setattr(loading, "SAMPLE", 10)
    whole, streamed = load(DataConfig(str(root))), load(DataConfig(str(root), stream=True))
    assert (streamed.sampled, whole.sampled) == (10, None)
    # Independent uniform pixels: 10 images of 120 pixels, each with the deviation 0.29, give 0.29 / sqrt(1200) = 0.008.
    np.testing.assert_allclose(streamed.mean, whole.mean, atol=5 * 0.008)
    np.testing.assert_allclose(streamed.std, whole.std, atol=5 * 0.008)
    assert (streamed.mean != whole.mean).any()
    again = load(DataConfig(str(root), stream=True))
    np.testing.assert_array_equal(again.mean, streamed.mean)
    other = load(DataConfig(str(root), stream=True, train_size=12))
    assert (other.mean != streamed.mean).any()


@pytest.mark.parametrize("damage", [b"", b"PK\3\4 torn"])
def test_statistics_are_cached_and_recomputed_if_damaged(root, damage, monkeypatch):
    first = load(DataConfig(str(root), stream=True))
    (kept,) = (cache_dir() / "data").glob("*-statistics-*.npz")
    kept.write_bytes(damage)
    again = load(DataConfig(str(root), stream=True))
    np.testing.assert_array_equal(again.mean, first.mean)
    monkeypatch.setattr(loading, "channel_statistics", None)  # from here on it must not be called
    np.testing.assert_array_equal(load(DataConfig(str(root), stream=True)).std, first.std)


def test_a_cache_that_cannot_be_written_is_no_obstacle(root, tmp_path, monkeypatch):
    (tmp_path / "file").write_text("in the way")
    monkeypatch.setenv("JAXCNN_CACHE", str(tmp_path / "file"))
    assert info(DataConfig(str(root), stream=True))["sizes"] == {"train": 26, "validation": 3, "test": 11}


@pytest.mark.slow
@pytest.mark.real
def test_a_tfds_set_streamed_is_the_set_in_memory(real_data):
    # Its labels begin at 1 and its images are stored transposed: the set that differs most from how it is read.
    config = DataConfig("emnist/letters", data_dir=str(real_data))
    whole, streamed = load(config), load(replace(config, stream=True))
    assert streamed.validation_hash == whole.validation_hash
    assert (streamed.sizes, streamed.image_shape) == (whole.sizes, whole.image_shape)
    # 4,096 of 12,000 images, whose own means spread by less than 0.1: 0.1 / sqrt(4096) = 0.0016.
    np.testing.assert_allclose(streamed.mean, whole.mean, atol=0.004)
    np.testing.assert_allclose(streamed.std, whole.std, atol=0.004)
    assert streamed.sampled == 4096
    chosen = np.random.default_rng(0).integers(0, streamed.sizes["validation"], 200)
    for ours, theirs in ((streamed.validation, whole.validation), (streamed.load_test(), whole.load_test())):
        np.testing.assert_array_equal(ours["labels"], theirs["labels"])
        np.testing.assert_array_equal(ours["images"][chosen], theirs["images"][chosen])


@pytest.mark.real
def test_damaged_records_are_named(real_data, tmp_path):
    source = find_source(DataConfig("cats_vs_dogs", data_dir=str(real_data), size=16))
    folder = tmp_path / "cats_vs_dogs" / "4.0.1"
    folder.mkdir(parents=True)
    for path in (real_data / "cats_vs_dogs" / "4.0.1").iterdir():
        data = path.read_bytes()
        (folder / path.name).write_bytes(data[: len(data) // 2] if "train" in path.name else data)
    with pytest.raises(
        InputError, match=r"split train of data set 'cats_vs_dogs' .* is damaged .*prepare the set again"
    ):
        load(DataConfig("cats_vs_dogs", data_dir=str(tmp_path), size=16, stream=True))
    assert source.pools["train"].length == 800
