"""Drawn characters: deterministic, nested, varied and recognisable."""

import numpy as np
import pytest

from jaxcnn.data.loading import load
from jaxcnn.data.sources.glyphs import SAME, alphabet, draw, draw_normalised, glyphs_source
from jaxcnn.errors import InputError
from jaxcnn.spec import DataConfig


def test_drawing_is_a_function_of_the_seed():
    first, again, other = (draw(alphabet(5), 40, seed=seed, size=28) for seed in (3, 3, 4))
    np.testing.assert_array_equal(first, again)
    assert not np.array_equal(first, other)
    assert (first.shape, first.dtype) == ((40, 28, 28, 1), np.uint8)


def test_a_larger_set_begins_with_the_smaller_one():
    np.testing.assert_array_equal(draw(alphabet(5), 30, seed=0, size=20), draw(alphabet(5), 60, seed=0, size=20)[:30])


def test_images_differ_and_hold_ink():
    images = draw(alphabet(10), 200, seed=0, size=28)
    assert len({image.tobytes() for image in images}) == 200
    assert images.max(axis=(1, 2, 3)).min() > 100
    centre = images[:, 7:21, 7:21].astype(float).mean()
    assert centre > 2 * images[:, :3].astype(float).mean()


def test_classes_come_in_a_readable_order_without_look_alikes():
    characters = alphabet(400)
    assert "".join(characters[:36]) == "ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789"
    assert len(set(characters)) == 400
    assert not set("coszvwxАВОοс") & set(characters)  # shaped like a capital, or Cyrillic and Greek twins
    drawings = np.stack([draw_normalised(character).ravel() for character in characters])
    smaller = np.minimum(drawings[:, None], drawings).sum(axis=-1)
    overlap = smaller / np.maximum(drawings[:, None], drawings).sum(axis=-1)
    np.fill_diagonal(overlap, 0)
    assert overlap.max() <= SAME
    assert alphabet(50) == characters[:50]


def test_more_than_a_thousand_classes():
    assert len(alphabet(1000)) == 1000


def test_a_linear_model_reads_them():
    data = load(DataConfig("glyphs", images=1500))
    train, validation = (
        np.c_[split["images"].reshape(len(split["labels"]), -1) / 255, np.ones(len(split["labels"]))]
        for split in (data.train, data.validation)
    )
    ridge = train.T @ train + 30 * np.eye(train.shape[1])
    weights = np.linalg.solve(ridge, train.T @ np.eye(10)[data.train["labels"]])
    assert (np.argmax(validation @ weights, axis=1) == data.validation["labels"]).mean() > 0.5  # chance is 0.1


def test_load_gives_the_asked_classes_sizes_and_shape():
    data = load(DataConfig("glyphs", classes=40, images=1000, size=32, data_seed=5))
    assert data.sizes == {"train": 720, "validation": 80, "test": 200}
    assert data.image_shape == (32, 32, 1)
    assert data.class_names == alphabet(40)
    assert len(np.unique(data.train["labels"])) == 40


@pytest.mark.parametrize(
    ("kwargs", "message"),
    [
        ({"size": 8}, "size=8: must be at least 16"),
        ({"classes": 1}, "classes=1: must be from 2 to"),
        ({"classes": 10**6, "images": 10**8}, "classes=1000000: must be from 2 to"),
        ({"images": 50}, "images=50: must be at least 100 for 10 classes"),
        ({"seed": -1}, "data_seed=-1"),
    ],
)
def test_bad_numbers_are_refused(kwargs, message):
    with pytest.raises(InputError, match=message):
        glyphs_source(**kwargs)
