"""Arrays in .npz files: the names and types that are understood, and those that are not."""

import pickle
import struct
import zipfile

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jaxcnn.data.loading import load
from jaxcnn.data.sources import npz
from jaxcnn.data.sources.npz import npz_source
from jaxcnn.errors import InputError
from jaxcnn.spec import DataConfig

IMAGES = np.random.default_rng(0).integers(0, 256, (40, 6, 5), np.uint8)
LABELS = np.arange(40) % 4


def read(tmp_path, *, size=None, **arrays):
    path = tmp_path / "set.npz"
    np.savez_compressed(path, **arrays)
    return load(DataConfig(str(path), size=size))


def test_a_plain_pair_is_divided(tmp_path):
    data = read(tmp_path, images=IMAGES, labels=LABELS)
    assert data.sizes == {"train": 29, "validation": 3, "test": 8}
    assert data.image_shape == (6, 5, 1)
    assert data.class_names == ("0", "1", "2", "3")
    known = {image.tobytes(): label for image, label in zip(IMAGES, LABELS, strict=True)}
    for split in (data.train, data.validation, data.load_test()):
        assert all(
            known[image.tobytes()] == label for image, label in zip(split["images"], split["labels"], strict=True)
        )


@pytest.mark.parametrize(
    "keys", [("x_train", "y_train", "x_test", "y_test"), ("train_images", "train_labels", "test_images", "test_labels")]
)
def test_kerass_and_medmnists_names(tmp_path, keys):
    arrays = dict(zip(keys, (IMAGES, LABELS[:, None], IMAGES[:8], LABELS[:8, None]), strict=True))
    data = read(tmp_path, **arrays)
    assert data.sizes == {"train": 36, "validation": 4, "test": 8}
    np.testing.assert_array_equal(data.load_test()["images"][..., 0], IMAGES[:8])


def test_own_validation_and_class_names(tmp_path):
    data = read(
        tmp_path,
        x_train=IMAGES,
        y_train=LABELS,
        x_val=IMAGES[:6],
        y_val=LABELS[:6],
        class_names=np.array(["a", "b", "c", "d", "e"]),
    )
    assert data.sizes == {"train": 32, "validation": 6, "test": 8}
    assert data.class_names == ("a", "b", "c", "d", "e")


@pytest.mark.parametrize("dtype", [np.int64, np.float32, np.float64])
def test_other_number_types(tmp_path, dtype):
    images = IMAGES.astype(dtype) / (255 if np.dtype(dtype).kind == "f" else 1)
    data = read(
        tmp_path, x_train=images.astype(dtype), y_train=LABELS.astype(float), x_test=images.astype(dtype), y_test=LABELS
    )
    np.testing.assert_array_equal(data.load_test()["images"][..., 0], IMAGES)


def test_resizing(tmp_path):
    assert read(tmp_path, images=IMAGES, labels=LABELS, size=12).image_shape == (12, 12, 1)


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"pictures": IMAGES}, "has the arrays pictures; name them images and labels"),
        ({"images": IMAGES}, "name them images and labels"),
        ({"images": IMAGES, "labels": LABELS[:-1]}, "40 images in 'images' and 39 labels in 'labels'"),
        ({"x_train": IMAGES, "y_train": LABELS, "x_test": IMAGES}, "has the array 'x_test' but lacks 'y_test'"),
        ({"images": IMAGES, "labels": LABELS - 1}, "contains the label -1, out of range"),
        ({"images": IMAGES, "labels": LABELS * 2}, "none equal to 1; number the classes from 0 without gaps"),
        ({"images": IMAGES, "labels": LABELS + 0.5}, "labels must be whole numbers"),
        ({"images": IMAGES, "labels": np.eye(40)}, "labels must be whole numbers"),
        ({"images": IMAGES, "labels": LABELS, "class_names": np.array(["a", "b"])}, "contain 2, outside 0..1"),
        ({"images": IMAGES, "labels": LABELS * 0}, "single class"),
        ({"images": IMAGES.astype(np.int32) * 2, "labels": LABELS}, "integers in 0..255 or floats in 0..1"),
        ({"images": IMAGES.astype(np.float32), "labels": LABELS}, "integers in 0..255 or floats in 0..1"),
        ({"images": IMAGES.astype(complex), "labels": LABELS}, "complex128; save integers"),
        ({"images": IMAGES[:, 0], "labels": LABELS}, "must be (N, H, W)"),
        ({"images": np.zeros((40, 3, 8, 8), np.uint8), "labels": LABELS}, "channels first"),
        ({"images": IMAGES[:0], "labels": LABELS[:0]}, "has no images"),
        ({"images": IMAGES, "labels": LABELS + np.float32("nan")}, "labels must be whole numbers"),
        ({"images": IMAGES, "labels": LABELS + np.float32("inf")}, "labels must be whole numbers"),
        ({"images": IMAGES, "labels": LABELS + 1e300}, "contains the label 1e+300, out of range"),
        ({"images": IMAGES, "labels": LABELS.astype(np.uint64) + np.uint64(2**63)}, "out of range"),
        ({"images": IMAGES, "labels": LABELS.astype(str)}, "labels must be whole numbers"),
        ({"images": IMAGES, "labels": np.int64(3)}, "40 images in 'images' and 0 labels"),
        ({"images": IMAGES.astype(str), "labels": LABELS}, "<U3; save integers"),
        ({"images": IMAGES.astype("datetime64[s]"), "labels": LABELS}, "save integers in 0..255"),
        ({"images": np.where(np.arange(40)[:, None, None] == 7, np.nan, IMAGES / 255), "labels": LABELS}, "in image 7"),
        ({"images": np.where(IMAGES == 0, np.inf, IMAGES / 255), "labels": LABELS}, "not finite"),
        ({"images": IMAGES, "labels": LABELS, "class_names": np.array("abcd")}, "one string for each class"),
        ({"images": IMAGES, "labels": LABELS, "class_names": np.array([None] * 4)}, "object array"),
        (
            {"images": np.array([IMAGES[0], IMAGES[0, :3]] * 20, dtype=object), "labels": LABELS},
            "object array, which is never unpickled",
        ),
    ],
)
def test_arrays_that_do_not_fit(tmp_path, arrays, message):
    with pytest.raises(InputError) as error:
        read(tmp_path, **arrays)
    assert message in str(error.value)


def test_a_test_label_that_training_lacks(tmp_path):
    with pytest.raises(InputError, match=r"test labels .* contain 4, outside 0..3"):
        read(tmp_path, x_train=IMAGES, y_train=LABELS, x_test=IMAGES, y_test=LABELS + 1)


def test_a_test_split_of_another_form_is_found_before_training(tmp_path):
    train = {"x_train": IMAGES, "y_train": LABELS, "y_test": LABELS}
    with pytest.raises(InputError, match=r"'x_test' .* float32 in 0.0..2\d\d.0; save integers in 0..255"):
        read(tmp_path, **train, x_test=IMAGES.astype(np.float32))
    with pytest.raises(InputError, match=r"the test images of data set .* have shape"):
        read(tmp_path, **train, x_test=IMAGES[:, 1:])


@pytest.mark.parametrize("content", [b"", b"nothing like a zip file"])
def test_a_file_that_is_no_npz(tmp_path, content):
    with pytest.raises(InputError, match="does not exist"):
        load(DataConfig(str(tmp_path / "set.npz")))
    (tmp_path / "set.npz").write_bytes(content)
    with pytest.raises(InputError, match=r"cannot be read as an .npz file"):
        load(DataConfig(str(tmp_path / "set.npz")))


def test_a_damaged_npz(tmp_path):
    np.savez(tmp_path / "set.npz", images=IMAGES, labels=LABELS)
    data = bytearray((tmp_path / "set.npz").read_bytes())
    data[400:500] = bytes(100)
    (tmp_path / "set.npz").write_bytes(bytes(data))
    with pytest.raises(InputError, match=r"array 'images' of .* cannot be read"):
        load(DataConfig(str(tmp_path / "set.npz")))


class Trap:
    """Unpickling it would write a file."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return (open, (str(self.path), "w"))


def test_a_pickle_is_never_read(tmp_path):
    trap = np.array([Trap(tmp_path / "sprung")] * 40, dtype=object)
    np.savez(tmp_path / "set.npz", images=IMAGES, labels=trap)
    with pytest.raises(InputError, match="never unpickled"):
        load(DataConfig(str(tmp_path / "set.npz")))
    raw = pickle.dumps(Trap(tmp_path / "sprung"))
    with zipfile.ZipFile(tmp_path / "raw.npz", "w") as archive:
        for name in ("images.npy", "labels.npy"):
            archive.writestr(name, raw)
    with pytest.raises(InputError, match="cannot be read"):
        load(DataConfig(str(tmp_path / "raw.npz")))
    assert not (tmp_path / "sprung").exists()


def with_header(path, shape, dtype, data):
    """A file whose images claim a shape and type of their own."""
    header = repr({"descr": dtype, "fortran_order": False, "shape": shape}).encode() + b"\n"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("images.npy", b"\x93NUMPY\x01\x00" + struct.pack("<H", len(header)) + header + data)
        with archive.open("labels.npy", "w") as file:
            np.save(file, LABELS)


@pytest.mark.parametrize(
    ("shape", "dtype"),
    [
        ((40, 10**9, 10**9), "|u1"),
        ((40, 6, 6), "|u1"),
        ((40, 6, 4), "|u1"),
        ((40, -6, -5), "|u1"),
        ((40, 6, 5), "<f8"),
        ((40, 6, 5), "|O"),
        ((40, 6, 5), "nonsense"),
        ((40, True, 5.5), "|u1"),
        ("wide", "|u1"),
    ],
)
def test_headers_that_claim_what_the_file_does_not_hold(tmp_path, shape, dtype):
    with_header(tmp_path / "set.npz", shape, dtype, IMAGES.tobytes())
    with pytest.raises(InputError, match="array 'images' of"):
        load(DataConfig(str(tmp_path / "set.npz")))


def test_an_array_that_expands_without_measure(tmp_path, monkeypatch):
    np.savez_compressed(tmp_path / "set.npz", images=np.zeros((4000, 64, 64), np.uint8), labels=np.arange(4000) % 2)
    assert npz_source("set", tmp_path / "set.npz").pools["train"].length == 4000
    monkeypatch.setattr(npz, "BOMB_BYTES", 2**20)
    with pytest.raises(InputError, match=r"expands from [\d,]+ to 16,384,000 bytes.*uncompressed"):
        npz_source("set", tmp_path / "set.npz")
    np.savez(tmp_path / "set.npz", images=np.zeros((4000, 64, 64), np.uint8), labels=np.arange(4000) % 2)
    assert npz_source("set", tmp_path / "set.npz").pools["train"].length == 4000


@pytest.fixture(scope="module")
def originals(tmp_path_factory):
    """The bytes of a stored, a compressed and a fuller file, and a path to write spoiled ones to."""
    folder, made = tmp_path_factory.mktemp("npz"), []
    for save, more in ((np.savez, {}), (np.savez_compressed, {}), (np.savez, {"class_names": np.array(list("abcd"))})):
        save(folder / "set.npz", images=IMAGES[:8], labels=LABELS[:8], **more)
        made.append((folder / "set.npz").read_bytes())
    return made, folder / "set.npz"


@given(data=st.data())
@settings(max_examples=200, deadline=None)
def test_any_bytes_are_read_or_refused_in_a_sentence(originals, data):
    made, path = originals
    content = bytearray(data.draw(st.sampled_from(made)))
    for _ in range(data.draw(st.integers(1, 4))):
        at = data.draw(st.integers(0, len(content) - 1) | st.integers(max(0, len(content) - 300), len(content) - 1))
        content[at : at + 1] = data.draw(st.binary(min_size=1, max_size=1) | st.just(bytes([content[at] ^ 1])))
    path.write_bytes(bytes(content[: data.draw(st.none() | st.integers(0, len(content)))]))
    try:
        examples = [example for pool in npz_source("set", path).pools.values() for example in pool.read()]
    except InputError as error:
        assert "\n" not in str(error)  # noqa: PT017
    else:
        assert all(example.image.dtype == np.uint8 for example in examples)
