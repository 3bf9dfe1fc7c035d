"""Image folders: layouts, odd files, and every way in which one can be wrong."""

import os
from collections import defaultdict
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from jaxcnn.data.cache import entry_path
from jaxcnn.data.check import inspect
from jaxcnn.data.loading import load
from jaxcnn.data.sources import folder as module
from jaxcnn.data.sources.folder import Names, folder_source, list_folder
from jaxcnn.errors import InputError
from jaxcnn.spec import DataConfig


def save(path, value=100, *, mode="L", size=(10, 10), **options):
    path.parent.mkdir(parents=True, exist_ok=True)
    noise = np.random.default_rng(value).integers(-30, 30, (size[1], size[0]))
    Image.fromarray((value + noise).clip(0, 255).astype(np.uint8)).convert(mode).save(path, **options)


@pytest.fixture
def root(tmp_path):
    """Two classes of twelve grey images: dark and light."""
    for i in range(12):
        save(tmp_path / "set" / "dark" / f"{i}.png", 40 + i)
        save(tmp_path / "set" / "light" / f"{i}.png", 200 + i)
    return tmp_path / "set"


def read(root, **kwargs):
    return load(DataConfig(str(root), **kwargs))


def own_splits(root, count=6, **options):
    """A folder with its own training and test split, and the options of each split's images."""
    for split in options:
        for label in "ab":
            for i in range(count):
                save(root.parent / "own" / split / label / f"{i}.png", 60 + i, **options[split])
    return root.parent / "own"


def test_classes_are_folders_and_splits_are_made(root):
    data = read(root)
    assert data.class_names == ("dark", "light")
    assert data.image_shape == (10, 10, 1)
    assert data.sizes == {"train": 17, "validation": 2, "test": 5}
    test = data.load_test()
    for split in (data.train, data.validation, test):
        brightness = split["images"].astype(float).mean(axis=(1, 2, 3))
        np.testing.assert_array_equal(brightness > 128, split["labels"] == 1)
    everything = np.concatenate([data.train["images"], data.validation["images"], test["images"]])
    assert len({image.tobytes() for image in everything}) == 24
    assert data.skipped == ()


@pytest.mark.parametrize(
    "names",
    [("train", "val", "test"), ("Training", "valid", "Testing"), ("training_set", "Validation Set", "test_set"),
     ("train-images", "dev", "TestData"), ("train2017", "val2017", "test1")],
)  # fmt: skip
def test_split_folders_with_common_names_are_splits_not_classes(root, names):
    data = read(own_splits(root, 3, **{name: {} for name in names}))
    assert data.class_names == ("a", "b")
    assert (data.sizes, data.split_by) == ({"train": 6, "validation": 6, "test": 6}, "index")
    assert len(data.load_test()["labels"]) == 6


def placed(root, **options):
    """The split of each image, by its pixels."""
    data = read(root, **options)
    splits = {"train": data.train, "validation": data.validation, "test": data.load_test()}
    return {image.tobytes(): split for split, each in splits.items() for image in each["images"]}


def test_an_added_image_moves_no_other(root):
    before = placed(root)
    for i in range(12, 40):
        save(root / "dark" / f"{i}.png", 90 + i)
    save(root / "dark" / "bad.png")
    (root / "dark" / "bad.png").write_bytes(b"")
    with pytest.warns(UserWarning, match="skipped 1 files"):
        after = placed(root, on_bad="skip")
    assert len(after) == 24 + 28
    assert after.items() >= before.items()


def test_classes_in_two_unicode_forms_are_one_across_splits(root):
    for split, name in (("train", "caf\u00e9"), ("train", "b"), ("test", "cafe\u0301")):
        for i in range(6):
            save(root.parent / "own" / split / name / f"{i}.png", 60 + i)
    assert read(root.parent / "own", validation=0.2).class_names == ("b", "caf\u00e9")


def test_files_of_every_image_extension_are_read_or_refused(root):
    save(root / "dark" / "a.jfif", 41, format="jpeg")
    save(root / "dark" / "b.avif", 42)
    assert sum(read(root).sizes.values()) == 26
    (root / "dark" / "c.heic").write_bytes(b"\0\0\0\x18ftypheic")
    with pytest.raises(InputError, match=r"dark/c.heic in data set .* not an image in a format that is read: PNG"):
        read(root)


def test_a_class_may_be_called_train(root):
    for i in range(5):
        save(root.parent / "vehicles" / "train" / f"{i}.png")
        save(root.parent / "vehicles" / "car" / f"{i}.png")
    assert read(root.parent / "vehicles", validation=0.3).class_names == ("car", "train")


def test_odd_files_among_good_ones_are_all_read(root):
    save(root / "dark" / "UPPER.PNG", 41)
    save(root / "dark" / "deep" / "er" / "nested.png", 42)
    save(root / "dark" / "palette.png", 43, mode="P")
    save(root / "dark" / "rgba.png", 44, mode="RGBA")
    save(root / "dark" / "cmyk.jpg", 45, mode="CMYK")
    save(root / "light" / "gif.gif", 200)
    Image.fromarray(np.full((10, 10), 51400, np.uint16)).save(root / "light" / "wide.png")
    save(root.parent / "elsewhere" / "linked.png", 201)
    os.symlink(root.parent / "elsewhere" / "linked.png", root / "light" / "link.png")
    os.symlink(root.parent / "elsewhere", root / "light" / "folder")
    os.symlink(root, root / "light" / "loop")  # must not be walked for ever
    (root / "light" / "notes.txt").write_text("not an image")
    (root / "light" / ".hidden.png").write_text("not an image")
    (root / ".git").mkdir()
    data = read(root)
    assert data.image_shape == (10, 10, 3)
    test = data.load_test()
    labels = np.concatenate([data.train["labels"], data.validation["labels"], test["labels"]])
    dark = 12 + 5
    assert np.bincount(labels)[0] == dark
    for split in (data.train, data.validation, test):
        for image, label in zip(split["images"], split["labels"], strict=True):
            assert (image.mean() > 128) == (label == 1)


def test_grey_splits_follow_the_training_split(root):
    data = read(own_splits(root, train={"mode": "RGB"}, test={"mode": "L"}), validation=0.2)
    assert data.image_shape == (10, 10, 3)
    assert data.load_test()["images"].shape == (12, 10, 10, 3)


BAD = {
    "empty.png": (b"", "the file is empty"),
    "text.png": (b"hello", "not an image"),
    "cut.jpg": (None, "cannot be decoded"),
}


def spoil(root, name):
    if name == "cut.jpg":
        save(root / "dark" / name, 50, size=(64, 64))
        data = (root / "dark" / name).read_bytes()
        (root / "dark" / name).write_bytes(data[: len(data) // 2])
    else:
        (root / "dark" / name).write_bytes(BAD[name][0])


@pytest.mark.parametrize("name", sorted(BAD))
def test_a_bad_image_is_refused_by_name(root, name):
    spoil(root, name)
    with pytest.raises(InputError, match=f"dark/{name} in data set .* {BAD[name][1]}.*on_bad='skip'"):
        read(root)


def test_bad_images_are_skipped_with_a_warning_each_time(root):
    for name in BAD:
        spoil(root, name)
    os.symlink(root / "nowhere.png", root / "dark" / "dangling.png")
    for _ in range(2):  # decoded, then from the cache
        with pytest.warns(UserWarning, match=r"skipped 4 files of data set .*cut.jpg.*dangling.*empty.*text.png"):
            data = read(root, on_bad="skip")
        assert sorted(text.partition(":")[0] for text in data.skipped) == sorted(
            f"dark/{name}" for name in [*BAD, "dangling.png"]
        )
    assert sum(data.sizes.values()) == 24
    with pytest.raises(InputError, match="cannot be used"):
        read(root)


def test_a_bad_test_split_is_found_before_training(root):
    own = own_splits(root, train={}, test={})
    (own / "test" / "b" / "9.png").write_bytes(b"")
    with pytest.raises(InputError, match=r"test/b/9.png .*\(0 bytes\)"):
        read(own, validation=0.2)
    for label in "ab":
        for file in (own / "test" / label).iterdir():
            file.rename(own / "test" / f"{label}{file.name}")
        (own / "test" / label).rmdir()
    with pytest.raises(InputError, match=r"split folder '.*test' has no class folders; sort its images into folders"):
        read(own, validation=0.2)


def test_sizes_that_differ_need_size(root):
    save(root / "dark" / "wide.png", size=(20, 10))
    with pytest.raises(InputError, match=r"\(height x width: dark/0.png is 10x10, dark/wide.png is 10x20 p.*size=64"):
        read(root)
    assert read(root, size=16).image_shape == (16, 16, 1)


def test_a_test_split_of_another_size_needs_size(root):
    own = own_splits(root, train={"size": (10, 10)}, test={"size": (12, 12)})
    with pytest.raises(InputError, match=r"test images .* shape \(12, 12, 1\) .* \(10, 10, 1\); set size"):
        read(own, validation=0.2)


@pytest.mark.parametrize(
    ("files", "message"),
    [
        (["a/1.png", "b/"], r"class folder '.*b' has no images"),
        (["1.png"], "has no class folders"),
        ([f"only/{i}.png" for i in range(10)], r"single class .*'only'"),
        (["train/a/1.png", "train/b/1.png", "test/c/1.png"], "test/c' is not in the training folder"),
        (["train/a/1.png", "test/a/1.png", "more/a/1.png"], "also 'more'"),
        (["train/a/1.png", "val/a/1.png", "valid/a/1.png"], "names one split twice"),
        (
            ["train/1.png", "test/1.png"],
            r"look like splits, not classes \('test', 'train'\); name them train",
        ),
        (["a_train/a/1.png", "a_train/b/1.png", "a_test/a/1.png"], "look like splits, not classes"),
        (["set/a/1.png", "set/b/1.png"], r"holds the single class folder 'set', .* \('a', 'b'\); name '.*set'"),
        (["train/seg/a/1.png", "train/seg/b/1.png", "test/seg/a/1.png"], "holds the single class folder 'seg'"),
        (["a/train/1.png", "a/test/1.png", "b/train/1.png"], r"class folder '.*a' holds splits \('test', 'train'\)"),
        (["caf\u00e9/1.png", "cafe\u0301/1.png", "b/1.png"], "differ in their Unicode form only; move the images"),
    ],
)
def test_folders_that_are_refused(tmp_path, files, message):
    for name in files:
        if name.endswith("/"):
            (tmp_path / name).mkdir()
        else:
            save(tmp_path / name)
    with pytest.raises(InputError, match=message):
        read(tmp_path)


def test_a_folder_that_does_not_exist():
    with pytest.raises(InputError, match=r"name='./no/such/folder' does not exist"):
        read("./no/such/folder")


def test_files_lie_in_the_order_of_their_paths(tmp_path, monkeypatch):
    # Recorded validation splits depend on it: part by part, as `sorted` puts paths.
    names = [
        "a b/1.png",
        "a-b/1.png",
        "a/1.png",
        "a/b/1.png",
        "a.png",
        "a/!.png",
        "A/1.png",
        "é/1.png",
        "10.png",
        "9.png",
    ]
    for name in names:
        save(tmp_path / "set" / "one" / name)
        save(tmp_path / "set" / "two" / name)
    expected = [str(path.relative_to(tmp_path / "set")) for path in sorted((tmp_path / "set").rglob("*.png"))]
    monkeypatch.chdir(tmp_path / "set")
    for root in (tmp_path / "set", Path("../set"), Path(".")):
        pool = folder_source("set", root).pools["train"]
        assert [pool.at(index).name for index in range(pool.length)] == expected
        assert [example.name for example in pool.read()] == expected
        assert pool.labels(lambda: None).tolist() == [0] * 10 + [1] * 10


def test_a_file_that_changed_is_another_set(root):
    def where():
        return entry_path(folder_source("set", root), "train")

    first = where()
    assert where() == first
    save(root / "dark" / "3.png", 90)
    second = where()
    (root / "dark" / "3.png").rename(root / "dark" / "33.png")
    assert len({first, second, where()}) == 3


def test_names_are_kept_as_they_are():
    names, kept = ["a/1.png", "", "é", os.fsdecode(b"\xff.png"), "x" * 300], Names()
    for name in names:
        kept.append(name)
    assert list(kept) == names
    assert len(kept) == 5
    with pytest.raises(IndexError):
        kept[5]


def listed(root):
    """Class names, (path, split, label) of each file, what is ignored by kind, problems."""
    ignored = defaultdict(list)
    classes, listings, problems = list_folder(root, lambda kind, path: ignored[kind].append(path))
    files = [(path, split, int(label)) for split, each in listings.items() for path, label in zip(*each, strict=True)]
    return classes, files, {kind: sorted(paths) for kind, paths in ignored.items()}, problems


def write_bytes_name(folder, name):
    """A file with a name that is no UTF-8."""
    try:
        with open(os.path.join(os.fsencode(folder), name), "wb") as file:
            file.write((folder / "0.png").read_bytes())
    except OSError:
        pytest.skip("this file system takes only names that are text")


def test_odd_names_and_links_are_listed_in_the_order_in_which_they_are_read(root):
    save(root / "dark" / "sub-x" / "1.png")
    save(root / "dark" / "sub" / "2.png")
    save(root / "dark" / "sub.png")
    save(root / "light" / "ünïcödé 雪.PNG")
    save(root / "light" / "line\nend.png")
    write_bytes_name(root / "dark", b"\xff\xfe.png")
    os.symlink(root / "dark" / "0.png", root / "light" / "link.png")
    os.symlink(root / "nowhere", root / "light" / "dangling.png")
    os.symlink(root, root / "light" / "up")
    classes, files, ignored, problems = listed(root)
    examples = folder_source("set", root).pools["train"].read()
    assert [(path, label) for path, _, label in files] == [(each.name, each.label) for each in examples]
    assert (classes, ignored, problems) == (("dark", "light"), {"link_loop": ["light/up"]}, [])


def test_a_folder_is_listed_in_spite_of_problems(root):
    for split in ("train", "val", "TEST"):
        for label in ("a", "c") if split == "train" else ("a", "d"):
            save(root.parent / "own" / split / label / "1.png")
    save(root.parent / "own" / "more" / "x" / "1.png")
    classes, files, _, problems = listed(root.parent / "own")
    assert classes == ("a", "c", "d")
    assert files == [
        ("train/a/1.png", "train", 0),
        ("train/c/1.png", "train", 1),
        ("TEST/a/1.png", "test", 0),
        ("TEST/d/1.png", "test", 2),
        ("val/a/1.png", "validation", 0),
        ("val/d/1.png", "validation", 2),
    ]
    assert len(problems) == 3
    assert "also 'more'" in problems[0]
    assert all("is not in the training folder" in problem for problem in problems[1:])


def test_what_is_ignored_is_noted(root):
    save(root / "loose.png")
    save(root / ".git" / "x.png")
    save(root / "dark" / ".hidden" / "x.png")
    (root / "dark" / ".DS_Store").write_text("x")
    (root / "dark" / "notes.txt").write_text("x")
    (root / "README").write_text("x")
    _, files, ignored, problems = listed(root)
    assert ignored == {
        "outside": ["loose.png"],
        "hidden": [".git", "dark/.DS_Store", "dark/.hidden"],
        "other_file": ["README", "dark/notes.txt"],
    }
    assert (len(files), problems) == (24, [])


def test_folders_that_may_not_be_listed(root, monkeypatch):
    (root / "dark" / "closed").mkdir()
    scandir = os.scandir

    def refuse(path):
        if str(path).endswith("closed"):
            raise PermissionError(13, "Permission denied", str(path))
        return scandir(path)

    monkeypatch.setattr(os, "scandir", refuse)  # the superuser may list everything
    assert listed(root)[2:] == ({"closed_folder": ["dark/closed"]}, [])

    def refuse_root(_):
        raise PermissionError(13, "Permission denied", str(root))

    monkeypatch.setattr(module.Path, "iterdir", refuse_root)
    assert listed(root)[1:3] == ([], {"closed_folder": ["."]})
    with pytest.raises(InputError, match="cannot be read; check its permissions"):
        folder_source("set", root)


def table(root, *lines):
    (root / "labels.csv").write_text("\n".join(lines) + "\n", encoding="utf-8-sig")
    return root / "labels.csv"


def test_labels_come_from_a_csv_file(root):
    names = [(f"{name}/{i}.png", 10 - i % 2) for name in ("dark", "light") for i in range(12)]
    data = read(table(root, "File, Label", *(f"{path}, {label}" for path, label in names)))
    assert data.class_names == ("9", "10")  # by number
    assert (sum(data.sizes.values()), data.split_by) == (24, "name")
    before = data.validation_hash
    rows = (f"x,{path},{label},{'Testing' if i % 3 == 0 else 'train'}" for i, (path, label) in enumerate(names))
    data = read(table(root, "id,file,label,split", *rows), stream=True)
    assert (data.sizes["test"], data.validation_hash != before) == (8, True)
    assert data.load_test()["labels"].tolist() == [int(path.split("/")[1][:-4]) % 2 == 0 for path, _ in names[::3]]


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        (["name;class", "dark/0.png;a"], "it has the columns name;class; name two of them file and label"),
        (["file,label", "dark/0.png,a", "dark/0.png,b"], r"line 3 \(file 'dark/0.png', label 'b', .* is not usable"),
        (["file,label"], "it names no images"),
        (["file,label", "dark/0.png,a,b,c", "dark/1.png"], "line 3 .* is not usable"),
        (["file,label", "../x.png,a"], "line 2 .* is not usable; give each file below the CSV file's folder once"),
        (["file,label", "dark/0.png,"], "line 2 .* is not usable"),
        (["file,label,split", "dark/0.png,a,other"], "line 2 .*split 'other'.* is not usable"),
        (["file,label,split", "dark/0.png,a,train", "dark/1.png,b,test"], "class 'b' has no training image"),
        (["file,label", "dark/0.png,a", "none.png,b"], "none.png in data set .* cannot be used"),
        (["file,label", '"dark/0.png,a'], "it cannot be read"),
    ],
)
def test_csv_files_that_are_refused(root, lines, message):
    file = table(root, *lines)
    with pytest.raises(InputError, match=message):
        read(file)
    assert inspect(DataConfig(str(file))).verdict in ("unusable", "flawed")
