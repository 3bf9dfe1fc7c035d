"""Augmentations against NumPy, the laws that all of them keep, and their independence of the batch."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxcnn.data.augment import AUGMENTATIONS, crop, crop_padding, example_keys, flip, make_augment, translate
from jaxcnn.errors import InputError

SHAPES = [(16, 8, 8, 1), (12, 32, 32, 3), (6, 28, 20, 1)]


def images_of(shape, dtype="uint8"):
    return np.random.default_rng(0).integers(1, 256, shape).astype(dtype)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("dtype", ["uint8", "float32"])
def test_flip_mirrors_the_examples_whose_keys_say_so(shape, dtype):
    images, key = images_of(shape, dtype), jax.random.key(3)
    got = np.asarray(jax.jit(flip)(key, images))
    expected = images.copy()
    for i in range(shape[0]):
        if jax.random.bernoulli(jax.random.fold_in(key, i)):
            expected[i] = expected[i, :, ::-1]
    np.testing.assert_array_equal(got, expected)
    assert got.dtype == images.dtype


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("dtype", ["uint8", "float32"])
def test_crop_cuts_a_window_of_the_padded_image(shape, dtype):
    images, key = images_of(shape, dtype), jax.random.key(5)
    got = np.asarray(jax.jit(crop)(key, images))
    n, height, width, _ = shape
    pads = crop_padding(height), crop_padding(width)
    padded = np.pad(images, ((0, 0), (pads[0],) * 2, (pads[1],) * 2, (0, 0)))
    limits = jnp.array([2 * pads[0] + 1, 2 * pads[1] + 1], jnp.int32)
    offsets = set()
    for i in range(n):
        y, x = np.asarray(jax.random.randint(jax.random.fold_in(key, i), (2,), 0, limits, jnp.int32))
        np.testing.assert_array_equal(got[i], padded[i, y : y + height, x : x + width])
        offsets.add((int(y), int(x)))
    assert len(offsets) > 1
    assert got.dtype == images.dtype


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("dtype", ["uint8", "float32"])
def test_translate_shifts_with_reflected_edges(shape, dtype):
    images, key = images_of(shape, dtype), jax.random.key(6)
    got = np.asarray(jax.jit(translate)(key, images))
    n, height, width, _ = shape
    pads = [{8: 1, 20: 1, 28: 2, 32: 2}[side] for side in (height, width)]
    padded = np.pad(images, ((0, 0), (pads[0],) * 2, (pads[1],) * 2, (0, 0)), mode="reflect")
    shifts = set()
    for i in range(n):
        found = [
            (y, x)
            for y in range(2 * pads[0] + 1)
            for x in range(2 * pads[1] + 1)
            if np.array_equal(got[i], padded[i, y : y + height, x : x + width])
        ]
        assert len(found) == 1
        shifts.update(found)
    assert len(shifts) > 1
    assert got.dtype == images.dtype


def test_crop_reaches_both_extremes_and_stays_uniform():
    images = np.zeros((3000, 8, 8, 1), np.uint8)
    images[:, 4, 4] = 255
    where = np.argwhere(np.asarray(crop(jax.random.key(0), images))[..., 0])
    assert set(where[:, 1]) == set(where[:, 2]) == {3, 4, 5}
    assert np.bincount(where[:, 1])[3:].min() > 850  # of 1000 expected


def test_padding_is_four_pixels_at_32():
    assert [crop_padding(side) for side in (4, 8, 28, 32, 64)] == [1, 1, 4, 4, 8]


def test_half_of_many_examples_are_flipped():
    images = np.broadcast_to(np.array([0, 255], np.uint8).reshape(1, 1, 2, 1), (4000, 1, 2, 1))
    flipped = np.asarray(flip(jax.random.key(1), images))[:, 0, 0, 0] == 255
    assert abs(flipped.mean() - 0.5) < 0.04


def assert_alike(ours, theirs):
    """Equal but for the last bit of float32, which may round a pixel in a thousand to the next whole value."""
    difference = np.abs(np.asarray(ours, np.float64) - np.asarray(theirs, np.float64))
    if np.issubdtype(np.asarray(ours).dtype, np.integer):
        assert difference.max() <= 1
        assert (difference > 0).mean() < 1e-3
    else:
        assert difference.max() < 0.01


JITTED = {name: jax.jit(function) for name, function in AUGMENTATIONS.items()}


@pytest.mark.parametrize("name", sorted(AUGMENTATIONS))
@pytest.mark.parametrize(("shape", "dtype"), list(zip(SHAPES, ("uint8", "float32", "uint8"), strict=True)))
def test_shape_type_and_range_are_kept(name, shape, dtype):
    images = images_of(shape, dtype)
    got = JITTED[name](jax.random.key(11), images, 0)
    assert (got.shape, got.dtype) == (images.shape, images.dtype)
    assert bool(jnp.isfinite(got.astype(jnp.float32)).all())
    assert float(got.min()) >= 0
    assert float(got.max()) <= 255
    assert not np.array_equal(got, images)


@pytest.mark.parametrize("name", sorted(AUGMENTATIONS))
def test_an_example_does_not_depend_on_its_batch(name):
    images, key, function = images_of((12, 32, 32, 3)), jax.random.key(7), JITTED[name]
    whole = np.asarray(function(key, images, 0))
    assert_alike(whole[:6], function(key, images[:6], 0))
    assert_alike(whole[6:], function(key, images[6:], 6))
    assert not np.array_equal(whole, function(jax.random.key(8), images, 0))
    exact = np.asarray(function(key, images.astype("float32"), 0))
    assert np.abs(exact - whole.astype("float32")).max() <= 0.501  # whole numbers are those rounded


@pytest.mark.parametrize("names", [("flip", "crop"), ("resized_crop", "randaugment")])
def test_devices_that_share_a_batch_agree_with_one(names):
    images, key = images_of((16, 8, 8, 1)), jax.random.key(2)
    augment = make_augment(names)
    assert augment is not None
    each = 16 // jax.device_count()

    def part(block):
        return augment(key, block, jax.lax.axis_index("d").astype(jnp.uint32) * each)

    blocks = images.reshape(jax.device_count(), each, 8, 8, 1)
    assert_alike(jax.pmap(part, axis_name="d")(blocks).reshape(images.shape), jax.jit(augment)(key, images))


def test_make_augment_applies_in_order_with_separate_keys():
    images, key = images_of((6, 8, 8, 1)), jax.random.key(4)
    augment = make_augment(("crop", "flip"))
    assert augment is not None
    expected = flip(jax.random.fold_in(key, 1), crop(jax.random.fold_in(key, 0), images))
    np.testing.assert_array_equal(augment(key, images), expected)


def test_no_names_no_augmentation():
    assert make_augment(()) is None


def test_an_unknown_name_is_refused():
    with pytest.raises(InputError, match="augment='mirror' is unknown; choose from color_jitter, crop, cutout"):
        make_augment(("flip", "mirror"))


def test_raw_keys_work_too():
    assert example_keys(jax.random.PRNGKey(0), 3).shape == (3, 2)
