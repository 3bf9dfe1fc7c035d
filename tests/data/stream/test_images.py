"""Streamed images index as the array would, and decode what is asked for and nothing else."""

from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jaxcnn.data.dataset import BadImage, Example
from jaxcnn.data.stream.images import StreamedImages, is_streamed
from jaxcnn.errors import InputError

N, SHAPE = 12, (3, 4, 2)
ARRAY = np.random.default_rng(0).integers(0, 256, (N, *SHAPE), np.uint8)
LABELS = np.array([0, 0, 0, 0, 1, 1, 1, 1, 2, 2, 2, 2], np.int32)


class Stored:
    """Images as a source would decode them, that counts what it was asked for."""

    def __init__(self, bad=(), other=()):
        self.bad, self.other, self.asked = bad, other, Counter()

    def __call__(self, index):
        self.asked[index] += 1
        image = BadImage("torn") if index in self.bad else ARRAY[index]
        return Example(f"image {index}", image[:2] if index in self.other else image, int(LABELS[index]))


def streamed(stored=None, places=None, on_bad="refuse"):
    places = np.arange(N) if places is None else np.asarray(places)
    return StreamedImages("set", stored or Stored(), places, LABELS[places], SHAPE, "image 0", on_bad)


numbers = st.integers(-N, N - 1)
keys = st.one_of(
    numbers,
    st.slices(N),
    st.lists(numbers, max_size=20).map(lambda values: np.array(values, np.int32)),
    st.lists(st.lists(numbers, min_size=2, max_size=2), min_size=1, max_size=4).map(np.array),
    st.lists(st.booleans(), min_size=N, max_size=N).map(np.array),
)


@settings(deadline=None)
@given(key=keys)
def test_they_index_as_the_array_does(key):
    found = streamed()[key]
    np.testing.assert_array_equal(found, ARRAY[key])
    assert found.dtype == np.uint8


@settings(deadline=None)
@given(first=st.lists(st.integers(0, N - 1), min_size=1, unique=True), data=st.data())
def test_a_part_of_a_part(first, data):
    second = np.array(data.draw(st.lists(st.integers(0, len(first) - 1), min_size=1)))
    part = streamed().select(np.array(first)).select(second)
    np.testing.assert_array_equal(part[:], ARRAY[np.array(first)][second])
    np.testing.assert_array_equal(part.labels, LABELS[np.array(first)][second])


def test_it_looks_like_the_array():
    images = streamed()
    assert (images.shape, images.ndim, images.dtype, images.nbytes, len(images)) == (
        ARRAY.shape, ARRAY.ndim, ARRAY.dtype, ARRAY.nbytes, len(ARRAY),
    )  # fmt: skip
    assert is_streamed({"images": images})
    assert not is_streamed({"images": ARRAY})
    np.testing.assert_array_equal(np.stack(list(images)), ARRAY)


def test_an_index_decodes_its_images_once_each():
    stored = Stored()
    streamed(stored)[np.array([3, 7, 3, 3])]
    assert stored.asked == {3: 1, 7: 1}


@pytest.mark.parametrize("key", [N, -N - 1, np.array([0, N]), [-N - 1]])
def test_indices_out_of_range(key):
    with pytest.raises(IndexError, match="out of range for 12 streamed images"):
        streamed()[key]


@pytest.mark.parametrize("key", [None, (slice(None), 0), ..., 0.5, "images", np.ones(3, bool), True])
def test_keys_that_are_no_index(key):
    with pytest.raises(IndexError, match="indexed by number"):
        streamed()[key]


def test_they_refuse_to_become_an_array():
    with pytest.raises(InputError, match=r"'set' are streamed .* one array of 12; .* images\[:100\]"):
        np.asarray(streamed())


def test_a_bad_image_is_refused_when_it_is_indexed():
    images = streamed(Stored(bad={5}))
    images[:5]
    with pytest.raises(InputError, match=r"image 5 in data set 'set' cannot be used: torn; .*on_bad='skip'"):
        images[4:8]


def test_the_next_image_of_its_class_and_split_replaces_a_bad_one():
    places = [0, 2, 3, 4, 6, 9]  # 3 is followed by 0; 6 by 4, for 7 belongs to another split
    images = streamed(Stored(bad={2, 3, 6}), places, on_bad="skip")
    with pytest.warns(UserWarning, match="replaces it") as told:
        found = images[:]
    np.testing.assert_array_equal(found, ARRAY[[0, 0, 0, 4, 4, 9]])
    messages = sorted(str(warning.message).partition(";")[0] for warning in told)
    assert messages == [f"skipped image {i}: torn" for i in (2, 3, 6)]
    np.testing.assert_array_equal(images[:], found)  # and no warning again


@settings(deadline=None)
@given(bad=st.sets(st.integers(0, N - 1)))
def test_a_replacement_has_the_label_and_can_be_decoded(bad):
    images = streamed(Stored(bad=bad), on_bad="skip")
    for position in range(N):
        alike = [i for i in range(N) if LABELS[i] == LABELS[position] and i not in bad]
        if alike:
            image, reasons = images.decode(np.array([position]))
            expected = min(alike, key=lambda i: (i - position) % N)
            np.testing.assert_array_equal(image[0], ARRAY[expected])
            assert bool(reasons) == (position in bad)
        else:
            with pytest.raises(InputError, match=f"no image of class {LABELS[position]} that can be decoded"):
                images.decode(np.array([position]))


@pytest.mark.parametrize("on_bad", ["refuse", "skip"])
def test_another_shape_is_refused_with_the_remedy(on_bad):
    with pytest.raises(InputError, match=r"image 0 is 3x4, image 9 is 2x4 pixels\); set size, such as size=64"):
        streamed(Stored(other={9}), on_bad=on_bad)[8:]
