"""The fixed choice of validation, test and smaller training sets."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jaxcnn.data.splits import (
    channel_statistics,
    content_hash,
    covering_prefix,
    divide,
    stratified_order,
    validation_hash,
)  # fmt: skip
from jaxcnn.errors import InputError

RECORDED, RECORDED_HASH = [20, 25, 43, 45, 47, 57], "31c1acb9b2186d25"
BY_NAME = [0, 2, 8, 11, 16, 17, 18, 25, 27, 35, 38, 41, 44, 50, 56, 57]

label_lists = st.lists(st.integers(0, 6), min_size=1, max_size=300).map(np.array)


def division(labels, *, validation=0.1, train_size=None, own=frozenset({"train", "test"}), carve=None):
    return divide(labels, validation=validation, train_size=train_size, own=own, carve=carve or {})


@settings(deadline=None)
@given(labels=label_lists, share=st.floats(0, 1))
def test_every_prefix_of_the_order_is_stratified(labels, share):
    order = stratified_order(labels)
    assert sorted(order) == list(range(len(labels)))
    k = int(share * len(labels))
    counts, got = np.bincount(labels, minlength=7), np.bincount(labels[order[:k]], minlength=7)
    bound = 1 + len(np.unique(labels)) * counts / len(labels) / 2
    assert (np.abs(got - counts * k / len(labels)) <= bound + 1e-9).all()


@settings(deadline=None)
@given(classes=st.integers(1, 20), each=st.integers(1, 20), share=st.floats(0, 1))
def test_classes_of_one_size_stay_within_one_image(classes, each, share):
    labels = np.arange(classes * each) % classes
    k = int(share * len(labels))
    got = np.bincount(labels[stratified_order(labels)[:k]], minlength=classes)
    assert np.abs(got - k / classes).max() < 1


@settings(deadline=None)
@given(labels=label_lists, data=st.data())
def test_train_sizes_are_nested_and_cover_all_classes(labels, data):
    classes = len(np.unique(labels))
    small = data.draw(st.integers(classes, len(labels)))
    large = data.draw(st.integers(small, len(labels)))
    chosen = covering_prefix(labels, small)
    assert len(chosen) == small == len(set(chosen))
    assert len(np.unique(labels[chosen])) == classes
    assert set(chosen) <= set(covering_prefix(labels, large))


@settings(deadline=None)
@given(labels=label_lists.filter(lambda x: len(x) >= 20), own=st.sets(st.sampled_from(["test", "validation"])))
def test_the_splits_are_disjoint_and_together_everything(labels, own):
    parts = division(labels, validation=0.25, own=frozenset(own))
    assert sorted(np.concatenate(list(parts.values()))) == list(range(len(labels)))
    assert (len(parts["test"]) == 0) == ("test" in own)
    assert (len(parts["validation"]) == 0) == ("validation" in own)


def test_the_choice_depends_on_nothing_but_the_labels():
    labels = np.arange(1000) % 10
    before = division(labels)
    np.random.default_rng(0).random(7)
    after = division(labels.astype(np.int32))
    for split, indices in before.items():
        np.testing.assert_array_equal(indices, after[split])
    smaller = division(labels, train_size=100)
    np.testing.assert_array_equal(smaller["validation"], before["validation"])
    assert set(smaller["train"]) <= set(before["train"])


def test_the_choice_is_the_recorded_one():
    # Recorded when the split was first frozen: a change here invalidates every stored result.
    chosen = division(np.arange(60) % 3)["validation"]
    assert chosen.tolist() == RECORDED
    assert validation_hash(np.arange(60)[chosen] % 3, chosen, 60).startswith(RECORDED_HASH)


def test_validation_hash_sees_indices_labels_and_total():
    indices, labels = np.array([1, 5]), np.array([0, 1])
    hashes = {
        validation_hash(labels, indices, 10),
        validation_hash(labels, indices, 11),
        validation_hash(labels, indices + 1, 10),
        validation_hash(labels[::-1], indices, 10),
    }
    assert len(hashes) == 4
    assert validation_hash(labels.astype(np.int32), indices.astype(np.int32), 10) in hashes


@pytest.mark.parametrize(
    ("kwargs", "message"),
    [
        ({"validation": 0.001}, "validation=0.001 of 60 images leaves 0 for validation"),
        ({"validation": 0.999}, "leaves 60 for validation and 0 for training"),
        ({"train_size": 61}, "train_size=61: must be from 3 .* to 54 .*; leave it out to use all"),
        ({"train_size": 2}, "train_size=2: must be from 3 .* to 54"),
    ],
)
def test_impossible_divisions_are_refused(kwargs, message):
    with pytest.raises(InputError, match=message):
        division(np.arange(60) % 3, **kwargs)
    with pytest.raises(InputError, match="too few to take a test split"):
        division(np.array([0, 1]), validation=0.5, own=frozenset({"train"}))


def test_channel_statistics_equal_numpys_and_a_constant_channel_has_unit_std():
    images = np.random.default_rng(0).integers(0, 256, (3000, 5, 4, 3), np.uint8)
    mean, std = channel_statistics(images)
    scaled = images.astype(np.float64) / 255
    np.testing.assert_allclose(mean, scaled.mean(axis=(0, 1, 2)), rtol=1e-6)
    np.testing.assert_allclose(std, scaled.std(axis=(0, 1, 2)), rtol=1e-6)
    assert mean.dtype == std.dtype == np.float32
    mean, std = channel_statistics(np.full((4, 2, 2, 1), 51, np.uint8))
    np.testing.assert_allclose(mean, [0.2], rtol=1e-6)
    np.testing.assert_array_equal(std, [1.0])


def test_a_division_by_name_depends_on_each_name_alone():
    names = [f"{'ab'[i % 2]}/{i}.png" for i in range(2000)]
    labels = np.arange(2000) % 2

    def by_name(keep, **kwargs):
        options = {"validation": 0.1, "train_size": None, "own": frozenset({"train"}), "carve": {}} | kwargs
        parts = divide(labels[keep], names=[names[i] for i in keep], **options)
        return {names[keep[i]]: split for split, chosen in parts.items() for i in chosen}

    whole = by_name(np.arange(2000))
    counts = {split: list(whole.values()).count(split) for split in ("train", "validation", "test")}
    # Binomial: 400 +- 18 test images, 160 +- 12 for validation.
    assert abs(counts["test"] - 400) < 4 * 18
    assert abs(counts["validation"] - 160) < 4 * 12
    assert len(whole) == 2000
    half = by_name(np.random.default_rng(0).permutation(2000)[:1000])
    assert half.items() <= whole.items()
    more = by_name(np.arange(2000), validation=0.3)
    assert {name for name in more if more[name] == "test"} == {name for name in whole if whole[name] == "test"}
    assert set(by_name(np.arange(2000), own=frozenset({"train", "test"})).values()) == {"train", "validation"}


def test_a_division_by_name_leaves_no_split_without_a_class_that_has_three_images():
    labels = np.repeat(np.arange(200), 3)
    parts = divide(labels, 0.1, None, frozenset({"train"}), {}, [f"{i}.png" for i in range(600)])
    for chosen in parts.values():
        assert np.bincount(labels[chosen], minlength=200).tolist() == [1] * 200


def test_the_division_by_name_is_the_recorded_one():
    # A change here makes training images of existing runs test images.
    names, labels = [f"{'ab'[i % 2]}/{i}.png" for i in range(60)], np.arange(60) % 2
    assert divide(labels, 0.1, None, frozenset({"train"}), {}, names)["test"].tolist() == BY_NAME


def test_the_hash_of_a_split_sees_pixels_labels_and_order():
    images, labels = np.arange(48, dtype=np.uint8).reshape(4, 3, 4, 1), np.arange(4)
    changed = images.copy()
    changed[3, 2, 3, 0] += 1
    splits = [(images, labels), (changed, labels), (images, labels[::-1]), (images[::-1], labels)]
    assert len({content_hash({"images": i, "labels": np.ascontiguousarray(k)}) for i, k in splits}) == 4
