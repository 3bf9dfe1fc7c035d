"""The lenient walk through an image folder: the files and the order of the strict one, and what it notes beside."""

import os

import numpy as np
import pytest
from PIL import Image

from jaxcnn.data.check import survey as module
from jaxcnn.data.check.survey import Listed, examine, examine_example, is_odd, survey
from jaxcnn.data.dataset import BadImage, Example
from jaxcnn.data.sources.folder import folder_source
from jaxcnn.data.sources.opening import shown


def save(path, value=100, *, mode="L", **options):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.full((6, 6), value, np.uint8)).convert(mode).save(path, **options)


def write_bytes_name(folder, name):
    """A file with a name that is no UTF-8."""
    try:
        with open(os.path.join(os.fsencode(folder), name), "wb") as file:
            file.write((folder / "0.png").read_bytes())
    except OSError:
        pytest.skip("this file system takes only names that are text")


@pytest.fixture
def root(tmp_path):
    for i in range(3):
        for label in ("a", "b"):
            save(tmp_path / "set" / label / f"{i}.png", 10 * i)
    return tmp_path / "set"


def test_it_lists_what_the_strict_walk_lists_in_its_order(root):
    save(root / "a" / "sub-x" / "1.png")
    save(root / "a" / "sub" / "2.png")
    save(root / "a" / "sub.png")
    save(root / "b" / "ünïcödé 雪.PNG")
    save(root / "b" / "line\nend.png")
    write_bytes_name(root / "a", b"\xff\xfe.png")
    os.symlink(root / "a" / "0.png", root / "b" / "link.png")
    os.symlink(root / "nowhere", root / "b" / "dangling.png")
    os.symlink(root, root / "b" / "up")
    strict = folder_source("set", root).pools["train"]
    examples = list(strict.read())
    found = survey(root)
    assert [(file.name, file.label) for file in found.files] == [(each.name, each.label) for each in examples]
    assert found.class_names == ("a", "b")
    assert found.noted == {"link_loop": ["b/up"]}


def test_split_folders(root):
    for split in ("train", "val", "TEST"):
        for label in ("a", "c") if split == "train" else ("a", "d"):
            save(root.parent / "own" / split / label / "1.png")
    save(root.parent / "own" / "more" / "x" / "1.png")  # what the strict walk refuses
    found = survey(root.parent / "own")
    assert found.class_names == ("a", "c", "d")
    assert sorted(found.files) == [
        Listed("TEST/a/1.png", "test", 0),
        Listed("TEST/d/1.png", "test", 2),
        Listed("train/a/1.png", "train", 0),
        Listed("train/c/1.png", "train", 1),
        Listed("val/a/1.png", "validation", 0),
        Listed("val/d/1.png", "validation", 2),
    ]
    assert [file.pool for file in found.files][:2] == ["train", "train"]


def test_what_is_passed_over_is_noted(root):
    save(root / "loose.png")
    save(root / ".git" / "x.png")
    save(root / "a" / ".hidden" / "x.png")
    (root / "a" / ".DS_Store").write_text("x")
    (root / "a" / "notes.txt").write_text("x")
    (root / "README").write_text("x")
    noted = survey(root).noted
    assert {kind: sorted(names) for kind, names in noted.items()} == {
        "outside": ["loose.png"],
        "hidden": [".git", "a/.DS_Store", "a/.hidden"],
        "other_file": ["README", "a/notes.txt"],
    }
    assert len(survey(root).files) == 6


def test_folders_that_may_not_be_listed(root, monkeypatch):
    (root / "a" / "closed").mkdir()
    scandir = os.scandir

    def refuse(path):
        if str(path).endswith("closed"):
            raise PermissionError(13, "Permission denied", str(path))
        return scandir(path)

    monkeypatch.setattr(os, "scandir", refuse)  # the superuser may list everything
    assert survey(root).noted == {"closed_folder": ["a/closed"]}

    def refuse_root(_):
        raise PermissionError(13, "Permission denied", str(root))

    monkeypatch.setattr(module.Path, "iterdir", refuse_root)
    assert survey(root) == ((), (), {"closed_folder": ["."]})


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
        ("wide.png", "I;16", {}, ("sixteen_bits",)),
        ("clear.png", "RGBA", {}, ("transparent",)),
        ("-dash.png", "L", {}, ("odd_name",)),
        ("tab\there.pgm", "L", {}, ("odd_name",)),
    ],
)  # fmt: skip
def test_an_image_is_read_and_what_is_peculiar_is_said(tmp_path, name, mode, options, kinds):
    save(tmp_path / name, mode=mode, **options)
    seen = examine(tmp_path, Listed(name, "train", 1))
    assert (seen.kinds, seen.shape, seen.reason) == (kinds, (6, 6, 3), "")


def test_equal_pixels_have_equal_digests_whatever_the_file(tmp_path):
    for name in ("a.png", "b.bmp", "c.tiff"):
        save(tmp_path / name, 77)
    save(tmp_path / "d.png", 78)
    digests = [examine(tmp_path, Listed(name, "train", 0)).digest for name in ("a.png", "b.bmp", "c.tiff", "d.png")]
    assert len(set(digests[:3])) == 1
    assert digests[3] not in digests[:3]
    flat, tall = (examine_example("train", Example("x", np.zeros(s, np.uint8), 0)) for s in ((2, 8, 1), (8, 2, 1)))
    assert flat.digest != tall.digest


def test_bad_images_have_a_kind_and_a_reason(tmp_path):
    (tmp_path / "text.png").write_text("hello")
    seen = examine(tmp_path, Listed("text.png", "test", 1))
    assert (seen.kinds, seen.shape, seen.digest) == (("not_an_image",), (), b"")
    assert seen.reason.startswith("it is not an image")
    assert examine_example("train", Example("x", BadImage("torn"), 0)).kinds == ("damaged",)


@pytest.mark.parametrize(
    "name", ["-x.png", " x.png", "x ", "a/-x", "a\nb", "a\x1b[31m", "\udcff.png", "a\u00a0b", "\u202eb"]
)
def test_odd_names_are_shown_on_one_printable_line(name):
    assert is_odd(name)
    assert shown(name).isprintable()
    shown(name).encode()


@pytest.mark.parametrize("name", ["x.png", "a b.png", "ünïcödé", "雪/🐈.png", "train-2/x"])
def test_ordinary_names_are_shown_as_they_are(name):
    assert not is_odd(name)
    assert shown(name) == name
