"""`load` as a whole: splits, statistics, sentences for what is wrong, and the light imports."""

import json
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image
from sklearn.datasets import load_digits

from jaxcnn.data.loading import info, load
from jaxcnn.errors import InputError
from jaxcnn.spec import DataConfig


def test_digits_are_scikit_learns():
    data, reference = load(DataConfig("digits")), load_digits()
    assert data.sizes == {"train": 1137, "validation": 300, "test": 360}
    assert data.image_shape == (8, 8, 1)
    known = {np.rint(image * 255 / 16).astype(np.uint8).tobytes() for image in reference["images"]}
    splits = (data.train, data.validation, data.load_test())
    assert sum(len(split["labels"]) for split in splits) == 1797
    for split in splits:
        assert split["images"].dtype == np.uint8
        assert split["labels"].dtype == np.int32
        assert all(image.tobytes() in known for image in split["images"])
        counts = np.bincount(split["labels"], minlength=10)
        expected = np.bincount(reference["target"]) * len(split["labels"]) / 1797
        assert np.abs(counts - expected).max() <= 2
    counts = sum(np.bincount(split["labels"], minlength=10) for split in splits)
    np.testing.assert_array_equal(counts, np.bincount(reference["target"]))


def test_the_digits_validation_split_is_the_recorded_one():
    # A change here invalidates every stored result on the digits.
    assert load(DataConfig("digits")).validation_hash == RECORDED


def test_nothing_but_the_asked_field_changes_the_splits():
    base = load(DataConfig("glyphs", images=400))
    smaller = load(DataConfig("glyphs", images=400, train_size=50))
    assert smaller.validation_hash == base.validation_hash
    assert smaller.sizes == {"train": 50, "validation": 32, "test": 80}
    np.testing.assert_array_equal(smaller.validation["images"], base.validation["images"])
    np.testing.assert_array_equal(smaller.load_test()["images"], base.load_test()["images"])
    pixels = {image.tobytes() for image in base.train["images"]}
    assert {image.tobytes() for image in smaller.train["images"]} < pixels
    other = load(DataConfig("glyphs", images=400, validation=0.3))
    assert other.validation_hash != base.validation_hash
    assert other.sizes["validation"] == 96


def test_statistics_are_those_of_the_training_split():
    data = load(DataConfig("digits", train_size=100))
    scaled = data.train["images"] / 255.0
    np.testing.assert_allclose(data.mean, scaled.mean(axis=(0, 1, 2)), rtol=1e-6)
    np.testing.assert_allclose(data.std, scaled.std(axis=(0, 1, 2)), rtol=1e-6)
    assert load(DataConfig("digits", size=16)).image_shape == (16, 16, 1)


def test_info_is_json():
    described = json.loads(json.dumps(info(DataConfig("digits"))))
    assert described["sizes"] == {"train": 1137, "validation": 300, "test": 360}
    assert described["image_shape"] == [8, 8, 1]
    assert described["classes"] == 10
    assert described["where"] == "scikit-learn"
    assert described["validation_hash"] == RECORDED


@pytest.mark.parametrize(
    ("kwargs", "message"),
    [
        ({"validation": 0.0}, "validation=0.0: must be a share between 0 and 1"),
        ({"validation": 1.0}, "validation=1.0: must be a share"),
        ({"validation": float("nan")}, "validation=nan: must be a share"),
        ({"train_size": 0}, "train_size=0: must be at least 1"),
        ({"train_size": 1138}, "train_size=1138: must be from 10 .* to 1137 "),
        ({"train_size": 9}, "train_size=9: must be from 10 "),
        ({"size": 0}, "size=0: must be from 1 to 4096"),
        ({"classes": -1}, "classes=-1: must be at least 2"),
        ({"classes": 1}, "classes=1: must be at least 2"),
        ({"images": -1}, "images=-1: must be from 20 to 2147483648"),
        ({"images": 10**22}, "images=10000000000000000000000: must be from 20"),
        ({"workers": -1}, "workers=-1: must be at least 0"),
        ({"data_seed": -1}, "data_seed=-1: must be at least 0"),
        ({"on_bad": "ignore"}, "on_bad='ignore': choose refuse or skip"),
    ],
)
def test_bad_fields_are_refused_in_one_sentence(kwargs, message):
    with pytest.raises(InputError, match=message) as error:
        load(DataConfig("digits", **kwargs))
    assert "\n" not in str(error.value)


def test_importing_the_data_layer_loads_nothing_heavy():
    code = (
        "import sys, jaxcnn.data; "
        "print([m for m in ('sklearn', 'PIL', 'matplotlib', 'rich', 'tensorflow_datasets') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


RECORDED = "7c74182af9b912218ed9f5d59c80368e8d70295a45039aec627e3e9629c620dc"


def test_fit_is_part_of_the_cache_and_needs_a_size(tmp_path):
    rng = np.random.default_rng(0)
    for label in ("a", "b"):
        (tmp_path / label).mkdir()
        for number in range(12):
            pixels = rng.integers(0, 256, (8, 16), np.uint8)
            Image.fromarray(pixels).save(tmp_path / label / f"{number}.png")
    loaded = [load(DataConfig(str(tmp_path), size=8, fit=fit)) for fit in ("squash", "crop", "pad", "squash")]
    images = [each.train["images"] for each in loaded]
    np.testing.assert_array_equal(images[0], images[3])
    assert not np.array_equal(images[0], images[1])
    assert (images[2][:, :2] == 0).all()
    assert len({each.validation_hash for each in loaded}) == 1
    with pytest.raises(InputError, match="fit='crop': it needs size, such as size=64"):
        load(DataConfig(str(tmp_path), fit="crop"))


def test_another_division_has_other_validation_images_and_as_many_of_each_class():
    fixed, other, again = (load(DataConfig("digits", split_seed=seed)) for seed in (None, 5, 5))
    assert other.sizes == fixed.sizes
    assert other.validation_hash == again.validation_hash != fixed.validation_hash
    np.testing.assert_array_equal(other.validation["images"], again.validation["images"])
    counts = [np.bincount(each.validation["labels"]) for each in (fixed, other)]
    assert abs(counts[0] - counts[1]).max() <= 1
    # The same images, divided anew; those of the test split stay out.
    pools = [
        sorted(image.tobytes() for each in (data.train, data.validation) for image in each["images"])
        for data in (fixed, other)
    ]
    assert pools[0] == pools[1]
    np.testing.assert_array_equal(other.load_test()["images"], fixed.load_test()["images"])
    np.testing.assert_array_equal(other.mean, fixed.mean)
    for split in (other.train, other.validation):
        for image, label in list(zip(split["images"], split["labels"], strict=True))[::50]:
            assert label in [
                known
                for each in (fixed.train, fixed.validation)
                for known in each["labels"][(each["images"] == image).all((1, 2, 3))]
            ]


@pytest.mark.parametrize("fold", [None, (1, 3, 0)])
def test_another_choice_has_other_training_images_and_the_same_others(fold):
    how = {"name": "digits", "train_size": 100, "fold": fold}
    fixed, other, again = (load(DataConfig(train_seed=seed, **how)) for seed in (None, 5, 5))
    np.testing.assert_array_equal(other.train["images"], again.train["images"])
    kept = {image.tobytes() for image in fixed.train["images"]} & {image.tobytes() for image in other.train["images"]}
    assert len(kept) < 30  # of 100, drawn from about a thousand
    counts = [np.bincount(each.train["labels"]) for each in (fixed, other)]
    assert abs(counts[0] - counts[1]).max() <= 1
    assert other.sizes == fixed.sizes
    assert other.validation_hash == fixed.validation_hash
    np.testing.assert_array_equal(other.load_test()["images"], fixed.load_test()["images"])
    np.testing.assert_array_equal(other.mean, fixed.mean)
    with pytest.raises(InputError, match="train_seed=5: it chooses train_size images; give train_size"):
        load(DataConfig("digits", train_seed=5))


def test_a_division_of_streamed_images_is_that_of_decoded_ones(tmp_path):
    names = [f"{kind}/{number}.png" for kind in "ab" for number in range(30)]
    rng = np.random.default_rng(0)
    for name in names:
        (tmp_path / name).parent.mkdir(exist_ok=True)
        Image.fromarray(rng.integers(0, 255, (4, 4, 3)).astype(np.uint8)).save(tmp_path / name)
    decoded, streamed = (load(DataConfig(str(tmp_path), split_seed=3, stream=stream)) for stream in (False, True))
    assert decoded.validation_hash == streamed.validation_hash
    np.testing.assert_array_equal(decoded.validation["images"], streamed.validation["images"][:])
    np.testing.assert_array_equal(decoded.train["images"], streamed.train["images"][:])
