"""Real data sets in TFDS' format, read without TensorFlow: published counts, exact pixels, upright letters."""

import hashlib
import importlib.util
import shutil

import numpy as np
import pytest

from jaxcnn.data.boxes import boxes_of
from jaxcnn.data.cache import load_or_decode
from jaxcnn.data.loading import load
from jaxcnn.data.sources.catalog import find_source, names
from jaxcnn.data.sources.glyphs import draw_normalised
from jaxcnn.errors import InputError
from jaxcnn.spec import DataConfig

pytestmark = pytest.mark.real


def config(real_data, name, **kwargs):
    return DataConfig(name, data_dir=str(real_data), **kwargs)


def test_tensorflow_is_not_needed():
    assert importlib.util.find_spec("tensorflow") is None


@pytest.mark.slow
@pytest.mark.parametrize("name", ["mnist", "fashion_mnist"])
def test_counts_and_shapes_are_the_published_ones(real_data, name):
    # 60,000 + 10,000: LeCun et al. 1998; Xiao et al. 2017, arXiv:1708.07747.
    data = load(config(real_data, name))
    assert data.sizes == {"train": 54_000, "validation": 6_000, "test": 10_000}
    assert data.image_shape == (28, 28, 1)
    test = data.load_test()
    assert len(test["labels"]) == 10_000
    if name == "fashion_mnist":
        assert np.bincount(test["labels"]).tolist() == [1000] * 10
        assert np.bincount(data.train["labels"]).tolist() == [5400] * 10
        assert data.class_names[0] == "T-shirt/top"
    else:  # the test set's digit counts, as listed by LeCun
        assert np.bincount(test["labels"]).tolist() == [980, 1135, 1032, 1010, 982, 892, 958, 1028, 974, 1009]


@pytest.mark.slow
def test_mnist_has_its_published_mean_and_spread(real_data):
    # 0.1307 and 0.3081 over the 60,000 training images: PyTorch's MNIST example.
    images = load_or_decode(find_source(config(real_data, "mnist")), "train")[0]["images"]
    assert abs(images.mean() / 255 - 0.1307) < 5e-5
    assert abs(images.std() / 255 - 0.3081) < 5e-5


def test_cifar10_test_images(real_data):
    data = load_or_decode(find_source(config(real_data, "cifar10")), "test")[0]
    assert data["images"].shape == (10_000, 32, 32, 3)
    assert np.bincount(data["labels"]).tolist() == [1000] * 10  # Krizhevsky 2009


def test_cifar10_declares_its_training_split(real_data):
    source = find_source(config(real_data, "cifar10"))
    assert source.pools["train"].length == 50_000
    assert source.class_names[0] == "airplane"
    assert source.class_names[9] == "truck"


def test_emnist_letters_are_26_classes(real_data):
    data = load(config(real_data, "emnist/letters"))
    assert data.class_names == tuple("ABCDEFGHIJKLMNOPQRSTUVWXYZ")
    labels = np.concatenate([data.train["labels"], data.validation["labels"]])
    assert np.bincount(labels).tolist() == [500] * 26
    assert np.bincount(data.load_test()["labels"]).tolist() == [100] * 26


def test_emnist_letters_are_upright(real_data):
    data = load(config(real_data, "emnist/letters"))
    images, labels = data.train["images"][:, 2:26, 2:26, 0], data.train["labels"]

    def likeness(image, letter):
        drawn = (draw_normalised(character) for character in (letter, letter.lower()))
        return max(np.corrcoef(image.ravel(), character.ravel())[0, 1] for character in drawn)

    for label, letter in enumerate(data.class_names):
        mean = images[labels == label].mean(axis=0)
        if letter not in "AO":  # nearly their own mirror images
            assert likeness(mean, letter) > likeness(mean.T, letter) + 0.03, letter
    foot = images[labels == data.class_names.index("L")].mean(axis=0)
    assert foot[12:].sum() > foot[:12].sum()


def test_cats_vs_dogs_needs_a_size_and_gets_splits(real_data):
    with pytest.raises(InputError, match=r"'cats_vs_dogs' differ in size .* set size, such as size=64"):
        load(config(real_data, "cats_vs_dogs"))
    data = load(config(real_data, "cats_vs_dogs", size=32))
    assert data.sizes == {"train": 576, "validation": 64, "test": 160}
    assert data.image_shape == (32, 32, 3)
    assert data.class_names == ("cat", "dog")
    for split in (data.train, data.validation, data.load_test()):
        assert abs(split["labels"].mean() - 0.5) < 0.02


def test_omniglot_has_each_image_once_and_alphabets_of_their_own(real_data):
    """Lake et al. 2015: 20 drawings of each character; small1 and small2 share the 50 of Greek and Latin."""
    data = load(config(real_data, "omniglot", size=28, groups="alphabet"))
    assert sum(data.sizes.values()) == 2720 + 3120 - 1000
    splits = {"train": data.train, "validation": data.validation, "test": data.load_test()}
    labels = {name: set(split["labels"].tolist()) for name, split in splits.items()}
    assert sum(map(len, labels.values())) == len(set.union(*labels.values())) == 242
    assert sum(len(np.unique(each)) for each in data.groups.values()) == 8
    assert np.bincount(np.concatenate([split["labels"] for split in splits.values()])).tolist() == [20] * 242


def test_nuclei_have_a_mask_in_each_box(real_data):
    data = load(config(real_data, "dsb2018_nuclei"))
    assert data.sizes == {"train": 96, "validation": 30, "test": 24}
    split = data.validation
    assert (split["labels"] >= 0).sum() == 1025
    for boxes, labels, instances in zip(split["boxes"], split["labels"], split["instances"], strict=True):
        count = int((labels >= 0).sum())
        found = boxes_of(instances == k + 1 for k in range(count)) / 256
        assert np.abs(found - boxes[:count]).max() <= 1.01 / 256
        assert instances.max() == count


@pytest.mark.slow
def test_smiles_by_directory_and_by_name(real_data):
    by_name = load(config(real_data, "smiles", train_size=100))
    by_folder = load(DataConfig(str(real_data / "smiles" / "1.0.0"), train_size=100))
    assert by_name.sizes == {"train": 100, "validation": 1058, "test": 2584}
    assert by_name.class_names == ("not_smiling", "smiling")
    assert by_name.validation_hash == by_folder.validation_hash
    np.testing.assert_array_equal(by_name.train["images"], by_folder.train["images"])


@pytest.mark.slow
def test_validation_and_training_images_are_disjoint_by_index(real_data):
    data = load(config(real_data, "smiles"))
    pixels = [
        {hashlib.sha256(image.tobytes()).digest() for image in split["images"]}
        for split in (data.train, data.validation)
    ]
    stored = load_or_decode(find_source(config(real_data, "smiles")), "train")[0]["images"]
    repeats = len(stored) - len({hashlib.sha256(image.tobytes()).digest() for image in stored})
    assert len(pixels[0] & pixels[1]) <= repeats  # the source itself holds some images more than once
    assert len(data.train["labels"]) + len(data.validation["labels"]) == len(stored)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("emnist", "choose one that is prepared: emnist/letters"),
    ],
)
def test_sets_for_other_tasks_say_so(real_data, name, message):
    with pytest.raises(InputError, match=message):
        load(config(real_data, name))


def test_names_lists_what_is_prepared(real_data):
    listed = {known.name: known for known in names(str(real_data))}
    assert listed["mnist"].description == "60,000 train, 10,000 test; 28x28x1; 10 classes"
    assert listed["emnist/letters"].description.endswith("26 classes")
    assert {listed[name].state for name in ("mnist", "fashion_mnist", "cifar10", "emnist/letters")} == {"prepared"}


@pytest.fixture
def copied(real_data, tmp_path):
    """A writable copy of the cats and dogs, and the file with their records."""
    folder = tmp_path / "cats_vs_dogs" / "4.0.1"
    folder.mkdir(parents=True)
    for path in (real_data / "cats_vs_dogs" / "4.0.1").iterdir():
        shutil.copyfile(path, folder / path.name)
    return tmp_path, next(folder.glob("*train*"))


@pytest.mark.parametrize("damage", ["half", "empty", "missing", "zeros"])
def test_damaged_records_are_named(copied, damage):
    root, records = copied
    data = records.read_bytes()
    if damage == "missing":
        records.unlink()
    else:
        middle = data[:100_000] + bytes(400) + data[100_400:]
        records.write_bytes({"half": data[: len(data) // 2], "empty": b"", "zeros": middle}[damage])
    with pytest.raises(
        InputError, match=r"split train of data set 'cats_vs_dogs' .* is damaged .*prepare the set again"
    ):
        load(DataConfig("cats_vs_dogs", data_dir=str(root), size=16))


def test_copied_records_read_like_the_original(copied, real_data):
    copy = load(DataConfig("cats_vs_dogs", data_dir=str(copied[0]), size=16))
    original = load(config(real_data, "cats_vs_dogs", size=16))
    np.testing.assert_array_equal(copy.train["images"], original.train["images"])
