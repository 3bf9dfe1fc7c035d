"""The cache: used, keyed by what matters, rebuilt when damaged, never half written."""

import functools
import json
import os
import threading

import numpy as np
import pytest

from jaxcnn.data.cache import entry_path, load_or_compute, load_or_decode
from jaxcnn.data.dataset import BadImage, Example, Pool, Source
from jaxcnn.errors import InputError
from jaxcnn.runtime.files import cache_dir

IMAGES = np.random.default_rng(0).integers(0, 256, (50, 4, 3, 2), np.uint8)


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("JAXCNN_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


class Counting:
    """A source of fifty images that counts how often it is read."""

    def __init__(self, *, bad=(), fail_at=None, **identity):
        self.reads, self.bad, self.fail_at = 0, bad, fail_at
        self.source = Source("set", "memory", identity, ("a", "b"), {"train": Pool(50, self.read)})

    def read(self):
        self.reads += 1
        for i, image in enumerate(IMAGES):
            if i == self.fail_at:
                raise RuntimeError("interrupted")
            yield Example(f"image {i}", BadImage("torn") if i in self.bad else image, i % 2)


def entries(folder):
    return sorted(path.name for path in (folder / "data").iterdir())


def test_read_once_then_mapped_from_disk(own_cache):
    counting = Counting()
    for _ in range(3):
        split, _ = load_or_decode(counting.source, "train")
        np.testing.assert_array_equal(split["images"], IMAGES)
        assert split["labels"].tolist() == [i % 2 for i in range(50)]
    assert counting.reads == 1
    assert isinstance(split["images"], np.memmap)
    assert split["labels"].dtype == np.int32
    assert len(entries(own_cache)) == 1
    assert json.loads((entry_path(counting.source, "train") / "meta.json").read_text())["shape"] == [50, 4, 3, 2]


def test_another_identity_is_another_entry(own_cache):
    for size in (1, 2):
        counting = Counting(size=size)
        load_or_decode(counting.source, "train")
        assert counting.reads == 1
    assert len(entries(own_cache)) == 2


def test_entries_of_earlier_versions_are_found():
    # Recorded when the format was introduced: another name would leave every user's cached images unused.
    source = Source("a set", "memory", {"folder": "/x", "size": None}, ("a", "b"), {})
    assert entry_path(source, "train", "skip").name == "a_set-train-9b55384d3f5268db0d6e"


def truncate(path):
    path.write_bytes(path.read_bytes()[:-50])


def flip_a_bit(path):
    data = bytearray(path.read_bytes())
    data[-100] ^= 1
    path.write_bytes(bytes(data))


@pytest.mark.parametrize("name", ["images.npy", "labels.npy", "meta.json"])
@pytest.mark.parametrize("damage", [truncate, flip_a_bit, os.remove, lambda path: path.write_bytes(b"")])
def test_a_damaged_entry_is_rebuilt(own_cache, name, damage):
    counting = Counting(padding="x" * 200)
    load_or_decode(counting.source, "train")
    before = (entry_path(counting.source, "train") / name).read_bytes()
    damage(entry_path(counting.source, "train") / name)
    if name != "meta.json" or damage is not flip_a_bit:  # a flipped bit of the recorded identity harms nobody
        np.testing.assert_array_equal(load_or_decode(counting.source, "train")[0]["images"], IMAGES)
        assert counting.reads == 2
        assert (entry_path(counting.source, "train") / name).read_bytes() == before
    assert len(entries(own_cache)) == 1


def test_an_interrupted_build_leaves_nothing(own_cache):
    with pytest.raises(RuntimeError, match="interrupted"):
        load_or_decode(Counting(fail_at=30).source, "train")
    assert entries(own_cache) == []


def test_skipped_images_leave_a_shorter_valid_entry():
    counting = Counting(bad=(0, 7, 49))
    for _ in range(2):
        split, skipped = load_or_decode(counting.source, "train", on_bad="skip")
        assert skipped == ("image 0: torn", "image 7: torn", "image 49: torn")
        np.testing.assert_array_equal(split["images"], np.delete(IMAGES, [0, 7, 49], axis=0))
    assert counting.reads == 1
    with pytest.raises(InputError, match="image 0 in data set 'set' cannot be used: torn"):
        load_or_decode(counting.source, "train")


def test_nothing_but_bad_images():
    with pytest.raises(InputError, match="train split of data set 'set' has no image that can be decoded"):
        load_or_decode(Counting(bad=range(50)).source, "train", on_bad="skip")


def test_two_that_build_at_once_agree(own_cache):
    counting, results = Counting(), []
    build = functools.partial(load_or_decode, counting.source, "train")
    threads = [threading.Thread(target=lambda: results.append(build())) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(results) == 4
    for split, _ in results:
        np.testing.assert_array_equal(split["images"], IMAGES)
    assert len(entries(own_cache)) == 1


def test_a_cache_that_cannot_be_written(tmp_path, monkeypatch):
    (tmp_path / "file").write_text("in the way")
    monkeypatch.setenv("JAXCNN_CACHE", str(tmp_path / "file"))
    with pytest.raises(InputError, match=r"cache folder .* cannot be written .*set JAXCNN_CACHE"):
        load_or_decode(Counting().source, "train")


def test_progress_goes_to_standard_error(capfd):
    load_or_decode(Counting().source, "train", progress=True)
    assert capfd.readouterr().out == ""


def test_small_arrays_are_made_once_a_key(own_cache):
    made = []

    def make():
        made.append(np.arange(len(made), 5))
        return made[-1]

    for _ in range(2):
        np.testing.assert_array_equal(load_or_compute("a set", "labels", {"size": 1}, make), np.arange(5))
    np.testing.assert_array_equal(load_or_compute("a set", "labels", {"size": 2}, make), np.arange(1, 5))
    np.testing.assert_array_equal(load_or_compute("a set", "means", {"size": 1}, make), np.arange(2, 5))
    assert len(made) == len(entries(own_cache)) == 3


@pytest.mark.parametrize("damage", [truncate, flip_a_bit, lambda path: path.write_bytes(b"")])
def test_a_damaged_small_array_is_made_anew(own_cache, damage):
    for _ in range(2):
        np.testing.assert_array_equal(load_or_compute("set", "labels", 1, lambda: np.arange(99)), np.arange(99))
        (path,) = (own_cache / "data").iterdir()
        damage(path)


def test_where_the_cache_lies(monkeypatch, tmp_path):
    assert cache_dir() == tmp_path / "cache"
    monkeypatch.delenv("JAXCNN_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    assert cache_dir() == tmp_path / "xdg" / "jaxcnn"
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    assert cache_dir() == tmp_path / "home" / ".cache" / "jaxcnn"
