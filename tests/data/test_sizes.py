"""Rectangular sizes: an image is height x width wherever a size is read."""

import numpy as np
import pytest
from PIL import Image

from jaxcnn.data import load
from jaxcnn.data.check import inspect
from jaxcnn.data.decode import decode_image, resize_array
from jaxcnn.data.sources.catalog import find_source
from jaxcnn.errors import InputError
from jaxcnn.records import as_record, from_record
from jaxcnn.spec import DataConfig

SIZE = (6, 10)


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    """Two classes of fifteen images, 12 pixels high and 16 wide."""
    root = tmp_path_factory.mktemp("photos")
    for number in range(30):
        file = root / "ab"[number % 2] / f"{number:02}.png"
        file.parent.mkdir(exist_ok=True)
        Image.fromarray(np.random.default_rng(number).integers(0, 256, (12, 16, 3), np.uint8)).save(file)
    return root


@pytest.mark.parametrize("fit", ["squash", "crop", "pad"])
def test_folders_streams_and_arrays_get_the_same_rectangles(photos, tmp_path, fit):
    loaded = load(DataConfig(str(photos), size=SIZE, fit=fit))
    assert loaded.image_shape == (*SIZE, 3)
    streamed = load(DataConfig(str(photos), size=SIZE, fit=fit, stream=True))
    np.testing.assert_array_equal(streamed.train["images"][:], loaded.train["images"])
    files = sorted(photos.rglob("*.png"))
    expected = np.stack([decode_image(file, 3, SIZE, fit) for file in files])
    every = np.concatenate([split["images"] for split in (loaded.train, loaded.validation, loaded.load_test())])
    assert {image.tobytes() for image in every} == {image.tobytes() for image in expected}
    stored = [np.asarray(Image.open(file)) for file in files]
    np.testing.assert_array_equal([resize_array(image, SIZE, fit) for image in stored], expected)
    np.savez(tmp_path / "set.npz", images=np.stack(stored), labels=np.arange(30) % 2)
    assert load(DataConfig(str(tmp_path / "set.npz"), size=SIZE, fit=fit)).image_shape == (*SIZE, 3)


def test_the_first_number_is_the_height():
    image = np.zeros((4, 8, 1), np.uint8)
    image[:, 4:] = 200  # black left half, light right half
    for fit, shape in (("squash", (8, 4)), ("pad", (8, 4)), ("crop", (2, 8))):
        assert resize_array(image, shape, fit).shape == (*shape, 1)
    padded = resize_array(image, (8, 4), "pad")[..., 0]
    assert (padded[:3] == 0).all()
    assert (padded[3:5, 2:] > 100).all()
    assert (padded[5:] == 0).all()


@pytest.mark.parametrize("name", ["digits", "glyphs"])
def test_built_in_sets_have_rectangles(name):
    data = load(DataConfig(name, size=(16, 24), images=200))
    assert data.image_shape == (16, 24, 1)
    assert data.train["images"].any(axis=(0, 3)).sum() > 200  # more than half of the pixels are used


def test_digits_are_padded_to_rectangles():
    images = load(DataConfig("digits", size=(8, 12), fit="pad")).train["images"]
    np.testing.assert_array_equal(images[:, :, 2:10], load("digits").train["images"])
    assert not images[:, :, :2].any()
    assert not images[:, :, 10:].any()


def test_glyphs_of_a_rectangle_are_drawn_on_its_shorter_side():
    square, wide = (next(find_source(DataConfig("glyphs", size=size)).pools["train"].read()) for size in (20, (20, 30)))
    middle = wide.image[:, 5:25].astype(int)
    assert np.corrcoef(middle.ravel(), square.image.astype(int).ravel())[0, 1] > 0.9  # the noise is another


@pytest.mark.real
def test_emnist_is_stored_on_its_side_and_its_rectangles_are_upright(real_data):
    for fit in ("squash", "crop", "pad"):
        pools = [find_source(DataConfig("emnist/letters", size=s, fit=fit)).pools for s in (None, (20, 30))]
        for index in range(3):
            whole, small = (pool["train"].at(index).image for pool in pools)
            assert small.shape == (20, 30, 1)
            assert np.abs(resize_array(whole, (20, 30), fit).astype(int) - small).max() <= 2  # rounded twice


def test_a_square_is_one_number_and_records_hold_it_as_before():
    assert DataConfig(size=(28, 28)) == DataConfig(size=28)
    assert as_record(DataConfig(size=28))["size"] == 28
    record = as_record(DataConfig(size=SIZE))
    assert record["size"] == [6, 10]
    for size in (None, 28, [6, 10], [28, 28]):
        config = from_record(DataConfig, record | {"size": size})
        assert from_record(DataConfig, as_record(config)) == config
        assert hash(config) is not None
    assert from_record(DataConfig, record) == DataConfig(size=SIZE)
    with pytest.raises(InputError, match="size='x' is not a value of that field"):
        from_record(DataConfig, record | {"size": "x"})


@pytest.mark.parametrize(
    ("size", "message"),
    [
        ((0, 8), r"size=\(0, 8\): must be from 1 to 4096"),
        ((8, 5000), r"size=\(8, 5000\): must be from 1 to 4096"),
        ((8, 9, 10), r"size=\(8, 9, 10\): give one number, or a height and a width"),
        ((), r"size=\(\): give one number, or a height and a width"),
        ("96x160", "size='96x160': give one number, or a height and a width"),
        ((8.5, 9), r"size=\(8.5, 9\): give one number, or a height and a width"),
    ],
)
def test_what_is_no_size_is_refused(size, message):
    with pytest.raises(InputError, match=message):
        load(DataConfig("digits", size=size))
    with pytest.raises(InputError, match=message):
        inspect(DataConfig("digits", size=size))


def test_the_check_allows_images_of_many_sizes_with_one(photos, tmp_path):
    Image.new("RGB", (9, 9), "red").save(photos / "a" / "odd.png")
    try:
        with pytest.raises(InputError, match=r"00.png is 12x16, a/odd.png is 9x9 pixels\)"):
            load(DataConfig(str(photos)))
        assert inspect(DataConfig(str(photos))).verdict == "unusable"
        assert inspect(DataConfig(str(photos), size=SIZE)).verdict == "usable"
    finally:
        (photos / "a" / "odd.png").unlink()


def test_the_remedy_for_a_test_split_of_another_size_is_the_size_of_the_training_images(tmp_path):
    rng = np.random.default_rng(0)
    arrays = {f"x_{split}": rng.integers(0, 256, (20, *shape), np.uint8) for split, shape in
              (("train", (6, 10)), ("test", (10, 6)))}  # fmt: skip
    np.savez(tmp_path / "set.npz", **arrays, y_train=np.arange(20) % 2, y_test=np.arange(20) % 2)
    with pytest.raises(InputError, match=r"set size, such as size=\(6, 10\), to resize both"):
        load(DataConfig(str(tmp_path / "set.npz")))
