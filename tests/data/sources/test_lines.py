"""Lines composed of digits: seeded, of characters that no other split has."""

import numpy as np
import pytest

from jaxcnn.data import load
from jaxcnn.data.sources.lines import MOST, compose
from jaxcnn.errors import InputError
from jaxcnn.spec import DataConfig

CONFIG = DataConfig("lines:digits", images=60, size=(24, 160))


def test_lines_have_texts_and_fixed_splits():
    data = load(CONFIG)
    assert data.sizes == {"train": 42, "validation": 6, "test": 12}
    assert data.image_shape == (24, 160, 1)
    assert data.class_names == tuple("0123456789")
    labels = data.train["labels"]
    assert labels.shape == (42, MOST)
    counts = (labels >= 0).sum(axis=1)
    assert counts.min() >= 3
    assert len(np.unique(counts)) > 3
    assert (np.diff((labels >= 0).astype(int), axis=1) <= 0).all()  # padding is at the end
    again = load(DataConfig("lines:digits", images=120, size=(24, 160)))
    np.testing.assert_array_equal(again.train["images"][:42], data.train["images"])
    other = load(DataConfig("lines:digits", images=60, size=(24, 160), data_seed=1))
    assert not np.array_equal(other.train["images"], data.train["images"])


def test_ink_follows_the_text():
    """Squares of one size: a line has as many columns of ink as characters times their width."""
    square = np.zeros((10, 10, 1), np.uint8)
    square[2:8, 3:7] = 255
    for seed in range(20):
        line, text = compose(np.random.default_rng(seed), [square], np.array([5]), (32, 256))
        count = int((text >= 0).sum())
        assert set(text[:count].tolist()) == {5}
        assert 4 <= count <= MOST
        width = (line[..., 0] > 100).any(axis=0).sum() / count
        assert 32 * 0.72 * 0.4 * 0.7 < width < 32 * 0.72 * 0.4 * 1.4


@pytest.mark.parametrize(
    ("name", "size", "message"),
    [
        ("lines:digits", 8, "lines need 16 pixels"),
        ("lines:glyph_scenes", (32, 256), "not of one character each"),
        ("lines:digtis", (32, 256), "did you mean digits"),
    ],
)
def test_what_makes_no_lines_is_refused(name, size, message):
    with pytest.raises(InputError, match=message):
        load(DataConfig(name, images=60, size=size))


def test_lines_need_the_head_reader():
    from jaxcnn.run import run
    from jaxcnn.spec import ModelSpec, RunConfig

    with pytest.raises(InputError, match="has a line of characters for each image"):
        run(RunConfig(ModelSpec("resnet", 8, 2), CONFIG, epochs=1), progress=False)
