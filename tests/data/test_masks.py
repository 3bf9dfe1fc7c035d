"""What the values of mask files mean; folders of images and masks; every wrong file is named."""

import numpy as np
import pytest
from PIL import Image

from jaxcnn.data import inspect, load
from jaxcnn.data.dataset import BadImage
from jaxcnn.data.masks import decode_mask, mask_classes, present_values, read_mask
from jaxcnn.data.sources.catalog import find_source
from jaxcnn.errors import InputError
from jaxcnn.spec import DataConfig

H, W = 12, 16


def values(*present):
    found = np.zeros(256, bool)
    found[list(present)] = True
    return found


def write(root, count=20, split="", mask=lambda i: None, classes=3, suffix=""):
    """Images of random colours, and masks of `classes` values; `mask(i)` may replace one."""
    rng = np.random.default_rng(len(split))
    for kind in ("images", "masks"):
        (root / split / kind).mkdir(parents=True, exist_ok=True)
    for i in range(count):
        Image.fromarray(rng.integers(0, 255, (H, W, 3), np.uint8)).save(root / split / "images" / f"{i:02}.png")
        own = mask(i)
        own = rng.integers(0, classes, (H, W)).astype(np.uint8) if own is None else own
        if own is not False:
            Image.fromarray(own).save(root / split / "masks" / f"{i:02}{suffix}.png")
    return root


def test_values_become_classes():
    classes = mask_classes("x", None, values(0, 1, 2, 255), ())
    assert classes.names == ("0", "1", "2")
    assert classes.table[[0, 1, 2, 3, 255]].tolist() == [0, 1, 2, -1, 255]
    assert mask_classes("x", None, values(0, 1, 2), (2,)).names == ("0", "1")


def test_named_values_and_those_without_a_class():
    classes = mask_classes("x", ["sky", "void", "road"], None, (1,))
    assert classes.names == ("sky", "road")
    assert classes.table[[0, 1, 2, 255]].tolist() == [0, 255, 1, 255]
    assert (classes.table[3:255] == -1).all()
    assert mask_classes("x", None, values(0, 255), ()).table[[0, 255]].tolist() == [0, 1]  # a bitmap saved as 0 and 255
    assert mask_classes("x", None, values(1, 2, 255), ()).names == ("1", "2")  # TFDS' pets count from 1


def test_values_with_gaps_are_refused():
    with pytest.raises(InputError, match=r"values 0, 63, 127; number the classes from 0"):
        mask_classes("x", None, values(0, 63, 127), ())
    with pytest.raises(InputError, match="no class beside those in ignore"):
        mask_classes("x", None, values(0, 255), (0, 255))


@pytest.mark.parametrize("mode", ["1", "L", "P", "RGB", "LA", "I;16"])
def test_modes_of_mask_files(mode, tmp_path):
    wanted = np.random.default_rng(0).integers(0, 2, (H, W)).astype(np.uint8)
    if mode == "I;16":
        picture = Image.fromarray(wanted.astype(np.uint16))
    elif mode == "P":
        picture = Image.fromarray(wanted).convert("P")
        picture.putpalette([200, 10, 10, 10, 200, 10])
        picture = Image.frombytes("P", (W, H), wanted.tobytes())
        picture.putpalette([200, 10, 10, 10, 200, 10])
    elif mode == "1":
        picture = Image.fromarray(wanted.astype(bool))
    else:
        picture = Image.fromarray(wanted).convert(mode)
    picture.save(tmp_path / "mask.png")
    np.testing.assert_array_equal(read_mask(tmp_path / "mask.png"), wanted)


@pytest.mark.parametrize(
    ("change", "kind", "words"),
    [
        (lambda p: Image.fromarray(np.full((H, W), 7, np.uint8)).save(p), "mask_values", "value 7"),
        (lambda p: Image.fromarray(np.zeros((H, W + 1), np.uint8)).save(p), "mask_size", "12x17 pixels"),
        (lambda p: Image.new("RGB", (W, H), (1, 2, 3)).save(p), "mask_values", "in colour"),
        (lambda p: Image.fromarray(np.full((H, W), 900, np.uint16)).save(p), "mask_values", "outside 0..255"),
        (lambda p: Image.new("F", (W, H), 0.5).save(p.with_suffix(".tiff")), "mask_values", "outside"),
        (lambda p: p.write_bytes(b""), "mask_damaged", "empty"),
        (lambda p: p.write_bytes(p.read_bytes()[:40]), "mask_damaged", "mask is unusable"),
        (lambda p: p.write_text("no mask"), "mask_damaged", "not an image"),
    ],
)  # fmt: skip
def test_a_wrong_mask_is_refused_with_its_reason(change, kind, words, tmp_path):
    path = tmp_path / "mask.png"
    Image.fromarray(np.zeros((H, W), np.uint8)).save(path)
    change(path)
    path = path.with_suffix(".tiff") if path.with_suffix(".tiff").exists() else path
    with pytest.raises(BadImage, match=words) as error:
        decode_mask(path, mask_classes("x", ["a", "b"], None, ()), (H, W))
    assert error.value.kind == kind


def test_values_that_occur_leave_out_unreadable_files(tmp_path):
    Image.fromarray(np.array([[0, 5]], np.uint8)).save(tmp_path / "a.png")
    (tmp_path / "b.png").write_text("no")
    assert np.flatnonzero(present_values([tmp_path / "a.png", tmp_path / "b.png"])).tolist() == [0, 5]


@pytest.mark.parametrize("layout", ["plain", "splits above", "splits below", "suffix"])
def test_layouts_of_folders(layout, tmp_path):
    if layout == "splits above":
        for split, count in (("train", 10), ("val", 4), ("test", 5)):
            write(tmp_path, count, split)
        sizes = {"train": 10, "validation": 4, "test": 5}
    elif layout == "splits below":
        write(tmp_path, 10)
        for kind in ("images", "masks"):
            (tmp_path / kind / "train").mkdir()
            (tmp_path / kind / "test").mkdir()
            for path in list((tmp_path / kind).glob("*.png")):
                path.rename(tmp_path / kind / ("test" if path.name < "03" else "train") / path.name)
        sizes = {"train": 6, "validation": 1, "test": 3}
    else:
        write(tmp_path, 20, suffix="_mask" if layout == "suffix" else "")
        sizes = None
    (tmp_path / "classes.txt").write_text("sky\nroad\ncar\n")
    data = load(DataConfig(str(tmp_path)))
    assert data.class_names == ("sky", "road", "car")
    assert data.image_shape == (H, W, 3)
    assert data.train["labels"].shape[1:] == (H, W)
    assert data.train["labels"].dtype == np.uint8
    assert sum(data.sizes.values()) == 20 if sizes is None else data.sizes == sizes
    assert inspect(DataConfig(str(tmp_path))).verdict == "usable"


def test_images_and_masks_belong_together_and_sizes_follow(tmp_path):
    write(tmp_path, 20, mask=lambda i: np.full((H, W), i % 3, np.uint8))
    first = np.asarray(Image.open(tmp_path / "images" / "07.png"))
    data = load(DataConfig(str(tmp_path)))
    everything = [data.train, data.validation, data.load_test()]
    labels = [mask for split in everything for image, mask in zip(split["images"], split["labels"], strict=True)
              if (image == first).all()]  # fmt: skip
    assert [np.unique(mask).tolist() for mask in labels] == [[7 % 3]]
    small = load(DataConfig(str(tmp_path), size=(8, 4), fit="pad"))
    assert small.train["labels"].shape[1:] == (8, 4)
    assert (small.train["labels"] == 255).any()
    ignored = load(DataConfig(str(tmp_path), ignore=(2,)))
    assert ignored.class_names == ("0", "1")
    assert (ignored.train["labels"] == 255).any()


def test_check_reports_each_kind(tmp_path):
    def mask(i):
        same, wide = (lambda value: np.full((H, W), value, np.uint8)), np.zeros((H, W + 2), np.uint8)
        return {3: False, 4: wide, 5: same(9), 6: same(255)}.get(i)

    write(tmp_path, 30, mask=mask)
    (tmp_path / "classes.txt").write_text("a\nb\nc\n")
    (tmp_path / "masks" / "08.png").write_bytes(b"torn")
    Image.fromarray(np.zeros((H, W), np.uint8)).save(tmp_path / "masks" / "lonely.png")
    found = inspect(DataConfig(str(tmp_path)))
    assert found.verdict == "flawed"
    assert (found.target, found.images, found.decoded) == ("mask", 30, 26)
    expected = {"missing_mask": "03.png", "mask_size": "04.png", "mask_values": "05.png", "unlabelled": "06.png",
                "mask_damaged": "08.png", "orphan_mask": "lonely.png"}  # fmt: skip
    for kind, name in expected.items():
        assert [text.partition(":")[0].rpartition("/")[2] for text in found.findings[kind].names] == [name], kind
    with pytest.raises(InputError, match=r"03.png in data set .* cannot be used: it has no mask"):
        load(DataConfig(str(tmp_path)))
    with pytest.warns(UserWarning, match="skipped 4 files"):
        data = load(DataConfig(str(tmp_path), on_bad="skip"))
    assert sum(data.sizes.values()) == 26


def test_sets_that_cannot_be_used_are_one_sentence(tmp_path):
    with pytest.raises(InputError, match="single class in its training masks"):
        load(DataConfig(str(write(tmp_path / "one", mask=lambda i: np.zeros((H, W), np.uint8)))))
    with pytest.raises(InputError, match="kept in memory; leave stream out"):
        load(DataConfig(str(write(tmp_path / "stream")), stream=True))
    twice = write(tmp_path / "twice")
    (twice / "classes.txt").write_text("a\na\n")
    with pytest.raises(InputError, match="each class once"):
        load(DataConfig(str(twice)))
    with pytest.raises(InputError, match="has no masks; leave it out"):
        load(DataConfig(str(_classes(tmp_path)), ignore=(1,)))
    with pytest.raises(InputError, match="values of masks are from 0 to 255"):
        load(DataConfig(str(tmp_path / "stream"), ignore=(256,)))


def _classes(root):
    for name in ("cat", "dog"):
        (root / "photos" / name).mkdir(parents=True)
        for i in range(5):
            Image.new("L", (4, 4), 10 * i).save(root / "photos" / name / f"{i}.png")
    return root / "photos"


@pytest.mark.real
def test_camvid_and_membranes(real_data):
    camvid = load(DataConfig("camvid", data_dir=str(real_data), size=(45, 60)))
    assert camvid.sizes == {"train": 367, "validation": 101, "test": 233}
    assert camvid.class_names[0] == "Sky"
    assert len(camvid.class_names) == 11
    assert set(np.unique(camvid.train["labels"])) == {*range(11), 255}
    membranes = load(DataConfig("isbi_membrane", data_dir=str(real_data), size=64))
    assert (membranes.class_names, membranes.sizes["test"]) == (("membrane", "interior"), 6)
    assert find_source(DataConfig("camvid", data_dir=str(real_data), ignore=())).class_names[-1] == "Unlabelled"
