"""`inspect` on real folders, arrays and records: what it says of a set is what `load` does with it."""

import hashlib
import json
import os
import re
import shutil

import numpy as np
import pytest
from PIL import Image

from jaxcnn.data import check as inspection
from jaxcnn.data.check import inspect, scan_example, scan_file
from jaxcnn.data.dataset import BadImage, Example, Pool, Source
from jaxcnn.data.loading import load
from jaxcnn.errors import InputError
from jaxcnn.records import as_record
from jaxcnn.spec import DataConfig

RNG = np.random.default_rng(0)


def noise(path, *, size=(8, 8), **options):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(RNG.integers(0, 256, (*size, 3), np.uint8)).save(path, **options)


@pytest.fixture
def root(tmp_path):
    """Two classes of twenty images of noise."""
    for label in ("a", "b"):
        for i in range(20):
            noise(tmp_path / "set" / label / f"{i}.png")
    return tmp_path / "set"


def check(root, **kwargs):
    return inspect(DataConfig(str(root), **kwargs))


def counted(found):
    return {kind: each.count for kind, each in found.findings.items()}


def digests(split):
    return [hashlib.sha256(image.tobytes()).digest() for image in split["images"]]


def test_a_good_folder(root):
    found = check(root)
    data = load(DataConfig(str(root)))
    assert (found.verdict, found.problems, found.findings) == ("usable", (), {})
    assert {split: sum(counts) for split, counts in found.splits.items()} == data.sizes
    assert np.bincount(data.train["labels"]).tolist() == list(found.splits["train"])
    assert json.loads(json.dumps(as_record(found)))["class_names"] == ["a", "b"]
    assert found.where == str(root)


def test_leaks_are_those_of_the_splits_that_load_makes(root):
    for i in range(12):
        shutil.copyfile(root / "a" / f"{i}.png", root / "a" / f"{i} again.png")
        shutil.copyfile(root / "b" / f"{i}.png", root / "b" / f"x{i}.png")
    found = check(root)
    data = load(DataConfig(str(root)))
    train, validation, test = digests(data.train), digests(data.validation), digests(data.load_test())
    assert counted(found)["test_in_train"] == sum(each in train for each in test) > 0
    assert counted(found).get("validation_in_train", 0) == sum(each in train for each in validation)
    assert found.verdict == "flawed"


def test_every_kind_of_bad_file_at_once(root):
    bad = {
        "empty": b"",
        "not_an_image": b"hello",
        "truncated": (root / "a" / "0.png").read_bytes()[:100],
        "damaged": (root / "a" / "0.png").read_bytes()[:60] + bytes(150) + (root / "a" / "0.png").read_bytes()[210:],
        "huge": b"P6 60000 60000 255\n" + bytes(300),
    }
    for name, data in bad.items():
        (root / "a" / f"{name}.png").write_bytes(data)
    os.symlink(root / "nowhere", root / "a" / "dangling.png")
    os.mkfifo(root / "a" / "unreadable.png")
    Image.new("F", (8, 8)).save(root / "b" / "unsupported.tif")
    found = check(root)
    expected = {*bad, "dangling", "unreadable", "unsupported"}
    assert counted(found) == dict.fromkeys(found.findings, 1)
    assert set(found.findings) == expected
    for kind in expected:
        assert f"{kind}." in found.findings[kind].names[0]
    assert (found.verdict, found.images, found.decoded) == ("flawed", 40 + 8, 40)
    with pytest.warns(UserWarning, match="skipped 8 files"):
        sizes = load(DataConfig(str(root), on_bad="skip")).sizes
    skipping = check(root, on_bad="skip")
    assert skipping.verdict == "usable"
    assert {split: sum(counts) for split, counts in skipping.splits.items()} == sizes


def own_splits(root):
    for split in ("train", "test"):
        for label in ("a", "b"):
            for i in range(6):
                noise(root / split / label / f"{i}.png")
    return root


def test_files_that_are_not_read_and_16_bit_images_with_small_values_are_named(root):
    (root / "a" / "x.heic").write_bytes(b"\0\0\0\x18ftypheic")
    Image.fromarray(np.full((8, 8), 200, np.uint16)).save(root / "a" / "y.png")
    Image.fromarray(np.full((8, 8), 4000, np.uint16)).save(root / "b" / "z.png")
    found = check(root)
    assert found.verdict == "flawed"
    assert "a/x.heic: it is not an image in a format that is read" in found.findings["not_an_image"].names[0]
    assert "a/y.png: its 16-bit values are all below 256" in found.findings["unsupported"].names[0]
    assert found.findings["few_levels"].names == ("b/z.png",)


def test_splits_of_its_own(tmp_path):
    root = own_splits(tmp_path / "set")
    assert check(root, validation=0.2).verdict == "usable"
    for i in range(6):
        shutil.copyfile(root / "train" / "a" / f"{i}.png", root / "test" / "a" / f"leak{i}.png")
    shutil.copyfile(root / "train" / "b" / "0.png", root / "train" / "a" / "other.png")
    found = check(root, validation=0.2)
    assert counted(found)["test_in_train"] + counted(found).get("test_in_validation", 0) == 6
    assert re.fullmatch(r"test/a/leak(\d).png = train/a/\1.png", found.findings["test_in_train"].names[0])
    assert found.findings["label_conflict"].names == ("train/b/0.png (b) = train/a/other.png (a)",)


@pytest.mark.parametrize(
    "spoil", ["empty class", "unknown class", "beside", "one class", "no class", "too few", "all bad"]
)
def test_a_structure_that_load_refuses_is_reported_and_the_rest_is_read(tmp_path, spoil):
    root = own_splits(tmp_path / "set")
    if spoil == "empty class":
        (root / "train" / "c").mkdir()
    elif spoil == "unknown class":
        noise(root / "test" / "c" / "0.png")
    elif spoil == "beside":
        noise(root / "more" / "0.png")
    elif spoil == "all bad":
        for path in (root / "test").rglob("*.png"):
            path.write_bytes(b"")
    elif spoil == "one class":
        for split in ("train", "test"):
            shutil.rmtree(root / split / "b")
    else:
        root = tmp_path / "other"
        for i in range(1 if spoil == "too few" else 0):
            noise(root / "a" / f"{i}.png")
            noise(root / "b" / f"{i}.png")
        noise(root / "loose.png")
    found = check(root, on_bad="skip")
    assert found.verdict == "unusable"
    with pytest.raises(InputError) as error:
        load(DataConfig(str(root), on_bad="skip")).load_test()
    alike = str(error.value).split("(")[0][:40]
    assert any(alike in problem for problem in found.problems), (found.problems, str(error.value))
    assert found.decoded == {"no class": 0, "too few": 2, "all bad": 12, "one class": 12, "unknown class": 25}.get(
        spoil, 24
    )


def test_sizes_that_differ(root):
    noise(root / "a" / "wide.png", size=(8, 12))
    found = check(root)
    assert found.verdict == "unusable"
    assert "set size, such as size=64" in found.problems[0]
    assert found.image_sizes == {"8x8": 40, "8x12": 1}
    assert check(root, size=8).verdict == "usable"


def test_a_folder_that_may_not_be_read(root, monkeypatch):
    def refuse(*_, **__):
        raise PermissionError(13, "Permission denied", str(root))

    monkeypatch.setattr(inspection, "find_source", refuse)  # the superuser may read everything
    found = check(root)
    assert found.problems[0].startswith(f"{str(root)!r}: Permission denied; check the path")
    assert found.decoded == 40


def arrays(tmp_path, **more):
    images, labels = RNG.integers(0, 256, (40, 6, 5), np.uint8), np.arange(40) % 4
    held = {"x_train": images, "y_train": labels, "x_test": images[:8] // 2, "y_test": labels[:8], **more}
    np.savez(tmp_path / "set.npz", **held)
    return tmp_path / "set.npz"


def test_arrays(tmp_path):
    found = check(arrays(tmp_path))
    assert (found.verdict, found.images, found.image_sizes) == ("usable", 48, {"6x5": 48})
    assert [sum(counts) for counts in found.splits.values()] == [36, 4, 8]
    leaky = np.load(arrays(tmp_path))["x_train"][:8]
    found = check(arrays(tmp_path, x_train=np.concatenate([leaky] * 5), x_test=leaky))
    assert counted(found)["test_in_train"] == 8


@pytest.mark.parametrize(
    ("more", "sentence", "decoded"),
    [
        ({"y_test": np.arange(8)}, "test labels of data set", 48),
        ({"x_test": np.full((8, 6, 5), np.nan)}, "not finite", 40),
        ({"x_train": np.full((40, 6, 5), np.nan)}, "not finite", 8),
        ({"x_train": np.array([[1], [2, 3]] * 20, dtype=object)}, "never unpickled", 0),
        ({"x_test": np.zeros((8, 6, 5, 3), np.uint8)}, "differ in channels", 48),
    ],
)
def test_arrays_that_do_not_fit(tmp_path, more, sentence, decoded):
    found = check(arrays(tmp_path, **more))
    assert (found.verdict, found.decoded) == ("unusable", decoded)
    assert sentence in found.problems[0]


def test_a_file_that_is_no_npz(tmp_path):
    (tmp_path / "set.npz").write_bytes(b"nothing like it")
    assert check(tmp_path / "set.npz").problems[0].endswith("write it with numpy.savez")


def test_incomplete_records(monkeypatch):
    def read():
        yield Example("train[0]", np.zeros((4, 4, 1), np.uint8), 0)
        raise IndexError("list index out of range")

    source = Source("set", "here", {}, ("a", "b"), {"train": Pool(2, read)})
    monkeypatch.setattr(inspection, "find_source", lambda _: source)
    found = check("set")
    assert (
        found.problems[0]
        == "the train split of data set 'set' cannot be read (list index out of range); create it again"
    )
    assert found.images == 1


def test_embedded_sets():
    found = inspect(DataConfig("digits"))
    assert [sum(counts) for counts in found.splits.values()] == [1137, 300, 360]
    assert found.verdict == "usable"
    assert inspect(DataConfig("glyphs", images=200, classes=4)).decoded == 200


@pytest.mark.parametrize(
    ("config", "message"),
    [
        (DataConfig("no_such_set"), "not a known data set"),
        (DataConfig("./no/such/folder"), "does not exist"),
        (DataConfig("digits", size=0), "size=0: must be from"),
        (DataConfig("digits", validation=float("nan")), "validation=nan"),
    ],
)
def test_bad_configs_are_refused(config, message):
    with pytest.raises(InputError, match=message):
        inspect(config)


@pytest.mark.real
def test_a_tfds_set(real_data):
    found = inspect(DataConfig("cats_vs_dogs", data_dir=str(real_data)))
    assert found.verdict == "unusable"
    assert "set size, such as size=64" in found.problems[0]
    found = inspect(DataConfig("cats_vs_dogs", data_dir=str(real_data), size=32))
    assert (found.verdict, found.decoded) == ("usable", 800)
    assert {split: sum(counts) for split, counts in found.splits.items()} == {
        "train": 576, "validation": 64, "test": 160
    }  # fmt: skip


@pytest.mark.real
def test_damaged_records(real_data, tmp_path):
    folder = tmp_path / "cats_vs_dogs" / "4.0.1"
    shutil.copytree(real_data / "cats_vs_dogs" / "4.0.1", folder, copy_function=shutil.copyfile)
    records = next(folder.glob("*train*"))
    data = records.read_bytes()
    records.write_bytes(data[: len(data) // 2])
    found = inspect(DataConfig("cats_vs_dogs", data_dir=str(tmp_path), size=32))
    assert found.verdict == "unusable"
    assert "is damaged" in found.problems[0]


def save(path, value=100, *, mode="L", **options):
    image = Image.fromarray(np.full((6, 6), value, np.uint8))
    image = Image.fromarray(np.full((6, 6), 16 * value, np.uint16)) if mode == "I;16" else image.convert(mode)
    image.save(path, **options)


@pytest.mark.parametrize(
    ("name", "mode", "options", "kinds"),
    [
        ("plain.png", "RGB", {}, ()),
        ("jpeg.png", "RGB", {"format": "jpeg"}, ("wrongly_named",)),
        ("upper.JPG", "RGB", {"format": "jpeg"}, ()),
        ("several.jpg", "RGB", {"format": "mpo", "save_all": True, "append_images": [Image.new("RGB", (6, 6))]},
         ("several_frames",)),
        ("inks.jpeg", "CMYK", {"format": "jpeg"}, ("cmyk",)),
        ("palette.png", "P", {}, ("palette",)),
        ("wide.png", "I;16", {}, ("sixteen_bits", "few_levels")),
        ("clear.png", "RGBA", {}, ("transparent",)),
    ],
)  # fmt: skip
def test_peculiar_images_are_read_and_described(tmp_path, name, mode, options, kinds):
    save(tmp_path / name, mode=mode, **options)
    image = scan_file(tmp_path, "train", name, 1)
    assert (image.kinds, image.shape, image.reason) == (kinds, (6, 6, 3), "")


def test_equal_pixels_have_equal_digests_whatever_the_file(tmp_path):
    for name in ("a.png", "b.bmp", "c.tiff"):
        save(tmp_path / name, 77)
    save(tmp_path / "d.png", 78)
    digests = [scan_file(tmp_path, "train", name, 0).digest for name in ("a.png", "b.bmp", "c.tiff", "d.png")]
    assert len(set(digests[:3])) == 1
    assert digests[3] not in digests[:3]
    flat, tall = (scan_example("train", Example("x", np.zeros(s, np.uint8), 0)) for s in ((2, 8, 1), (8, 2, 1)))
    assert flat.digest != tall.digest


def test_bad_images_have_a_kind_and_a_reason(tmp_path):
    (tmp_path / "text.png").write_text("hello")
    image = scan_file(tmp_path, "test", "text.png", 1)
    assert (image.kinds, image.shape, image.digest) == (("not_an_image",), (), b"")
    assert image.reason.startswith("it is not an image")
    assert scan_example("train", Example("x", BadImage("torn"), 0)).kinds == ("damaged",)
