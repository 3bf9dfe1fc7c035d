"""Batches as functions of (seed, step)."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jaxcnn.data.batches import batch_indices, batches, epoch_order, normalize, steps_per_epoch, take
from jaxcnn.errors import InputError

RECORDED = [0, 8, 6, 7, 1, 9, 3, 2, 5, 4]

sizes = st.integers(1, 200)
seeds = st.integers(0, 2**32)


@st.composite
def plans(draw):
    batch_size = draw(st.integers(1, 64))
    return draw(sizes), batch_size, draw(st.integers(1, batch_size)), draw(seeds), draw(st.integers(0, 3))


@settings(deadline=None)
@given(plan=plans(), shuffle=st.booleans())
def test_an_epoch_visits_every_index_once_over_all_shards(plan, shuffle):
    n, batch_size, count, seed, epoch = plan
    steps, seen = steps_per_epoch(n, batch_size), []
    for step in range(epoch * steps, (epoch + 1) * steps):
        parts = [
            batch_indices(n, batch_size, seed=seed, step=step, shuffle=shuffle, shard=(i, count)) for i in range(count)
        ]
        assert sum(len(indices) for indices, _ in parts) == batch_size
        seen += [index for indices, mask in parts for index in indices[mask == 1]]
        whole = batch_indices(n, batch_size, seed=seed, step=step, shuffle=shuffle)
        np.testing.assert_array_equal(np.concatenate([indices for indices, _ in parts]), whole[0])
        np.testing.assert_array_equal(np.concatenate([mask for _, mask in parts]), whole[1])
    assert sorted(seen) == list(range(n))


@settings(deadline=None)
@given(n=sizes, batch_size=st.integers(1, 64), seed=seeds, step=st.integers(0, 1000))
def test_a_batch_is_a_function_of_seed_and_step(n, batch_size, seed, step):
    first = batch_indices(n, batch_size, seed=seed, step=step)
    np.random.default_rng(0).random(3)
    second = batch_indices(n, batch_size, seed=seed, step=step)
    order = epoch_order(n, seed, step // steps_per_epoch(n, batch_size))
    third = batch_indices(n, batch_size, seed=seed, step=step, order=order)
    for other in (second, third):
        np.testing.assert_array_equal(first[0], other[0])
        np.testing.assert_array_equal(first[1], other[1])
    assert (first[0].dtype, first[1].dtype) == (np.int32, np.float32)
    assert first[0].min() >= 0
    assert first[0].max() < n


def test_the_last_batch_is_padded_and_masked():
    indices, mask = batch_indices(5, 3, seed=0, step=1, shuffle=False)
    assert indices.tolist() == [3, 4, 0]
    assert mask.tolist() == [1, 1, 0]


def test_orders_differ_between_epochs_and_seeds():
    orders = {epoch_order(100, seed, epoch).tobytes() for seed in range(5) for epoch in range(5)}
    assert len(orders) == 25


def test_the_order_is_the_recorded_one():
    # A change here means that resumed runs and recorded seeds no longer see the batches they saw.
    assert epoch_order(10, 3, 1).tolist() == RECORDED


def test_the_order_is_uniform():
    first = np.bincount([epoch_order(5, seed, 0)[0] for seed in range(1000)], minlength=5)
    assert first.min() > 150  # of 200 expected; the standard deviation is 13


@pytest.mark.parametrize(
    ("kwargs", "message"),
    [
        ({"n": 0}, "n=0"),
        ({"batch_size": 0}, "batch_size=0"),
        ({"shard": (2, 2)}, r"shard=\(2, 2\)"),
        ({"shard": (0, 5)}, r"shard=\(0, 5\)"),
        ({"step": -1}, "step=-1"),
        ({"seed": -1}, "seed=-1"),
    ],
)
def test_bad_numbers_are_refused(kwargs, message):
    with pytest.raises(InputError, match=message):
        batch_indices(**({"n": 10, "batch_size": 4, "seed": 0, "step": 0} | kwargs))


def test_batches_iterate_epochs_as_batch_indices_says():
    split = {"images": np.arange(10, dtype=np.uint8).reshape(10, 1, 1, 1), "labels": np.arange(10, dtype=np.int32)}
    found = list(batches(split, 4, seed=1, start=1, stop=7, shard=(1, 2)))
    assert len(found) == 6
    for step, batch in enumerate(found, start=1):
        indices, mask = batch_indices(10, 4, seed=1, step=step, shard=(1, 2))
        np.testing.assert_array_equal(batch["labels"], indices)
        np.testing.assert_array_equal(batch["images"].ravel(), indices)
        np.testing.assert_array_equal(batch["mask"], mask)
    assert len(list(batches(split, 4, start=1))) == 2  # to the end of the epoch


def test_take_keeps_order_repeats_and_dtypes():
    split = {"images": np.arange(8, dtype=np.uint8).reshape(4, 2, 1, 1), "labels": np.arange(4, dtype=np.int32)}
    got = take(split, np.array([3, 0, 3], np.int32))
    assert got["labels"].tolist() == [3, 0, 3]
    assert got["images"].ravel().tolist() == [6, 7, 0, 1, 6, 7]
    assert (got["images"].dtype, got["labels"].dtype) == (np.uint8, np.int32)


@pytest.mark.parametrize("jit", [False, True])
def test_normalize_equals_numpy(jit):
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (4, 5, 6, 3), np.uint8)
    mean, std = rng.random(3, np.float32), rng.random(3, np.float32) + np.float32(0.1)
    function = jax.jit(normalize) if jit else normalize
    expected = (images / 255.0 - mean) / std
    got = function(images, mean, std)
    assert got.dtype == jnp.float32
    np.testing.assert_allclose(got, expected, rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(function(images.astype(np.float32), mean, std), expected, rtol=1e-5, atol=1e-5)


@settings(deadline=None)
@given(plan=plans(), shuffle=st.booleans())
def test_even_batches_differ_by_one_example_and_visit_every_index_once(plan, shuffle):
    n, batch_size, count, seed, epoch = plan
    steps = steps_per_epoch(n, batch_size)
    options = {"seed": seed, "shuffle": shuffle, "even": True}
    seen, sizes = [], []
    for step in range(epoch * steps, (epoch + 1) * steps):
        indices, mask = batch_indices(n, batch_size, step=step, **options)
        parts = [batch_indices(n, batch_size, step=step, shard=(i, count), **options) for i in range(count)]
        np.testing.assert_array_equal(np.concatenate([part[0] for part in parts]), indices)
        np.testing.assert_array_equal(np.concatenate([part[1] for part in parts]), mask)
        assert len(indices) == batch_size
        seen += indices[mask == 1].tolist()
        sizes.append(int(mask.sum()))
    assert seen == epoch_order(n, seed, epoch, shuffle).tolist()
    assert max(sizes) - min(sizes) <= 1
    if n % batch_size == 0 or n < batch_size:
        whole = [batch_indices(n, batch_size, seed=seed, step=epoch * steps, shuffle=shuffle, even=e) for e in (0, 1)]
        np.testing.assert_array_equal(whole[0][0], whole[1][0])
