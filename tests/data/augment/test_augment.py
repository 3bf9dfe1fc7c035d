"""The laws that all augmentations keep, and their independence of the batch."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxcnn.data.augment import AUGMENTATIONS, example_keys, make_augment
from jaxcnn.errors import InputError
from tests.data.augment.pictures import NOISE, PHOTO, images_of

SHAPES = [(16, 8, 8, 1), (12, 32, 32, 3), (6, 28, 20, 1)]


def assert_alike(ours, theirs):
    """Equal but for the last bit of float32, which may round a pixel in a thousand to the next whole value."""
    difference = np.abs(np.asarray(ours, np.float64) - np.asarray(theirs, np.float64))
    if np.issubdtype(np.asarray(ours).dtype, np.integer):
        assert difference.max() <= 1
        assert (difference > 0).mean() < 1e-3
    else:
        assert difference.max() < 0.01


JITTED = {name: jax.jit(function) for name, function in AUGMENTATIONS.items()}


@pytest.mark.slow
@pytest.mark.parametrize("name", sorted(AUGMENTATIONS))
@pytest.mark.parametrize(
    ("shape", "dtype"),
    [
        (SHAPES[0], "uint8"),
        pytest.param(SHAPES[1], "float32", marks=pytest.mark.slow),
        pytest.param(SHAPES[2], "uint8", marks=pytest.mark.slow),
    ],
)
def test_shape_type_and_range_are_kept(name, shape, dtype):
    images = images_of(shape, dtype)
    got = JITTED[name](jax.random.key(11), images, 0)
    assert (got.shape, got.dtype) == (images.shape, images.dtype)
    assert bool(jnp.isfinite(got.astype(jnp.float32)).all())
    assert float(got.min()) >= 0
    assert float(got.max()) <= 255
    assert not np.array_equal(got, images)


SLOW = ("elastic", "randaugment", "resized_crop", "zoom")
NAMES = [pytest.param(name, marks=pytest.mark.slow) if name in SLOW else name for name in sorted(AUGMENTATIONS)]


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_an_example_does_not_depend_on_its_batch(name):
    images, key, function = images_of((12, 32, 32, 3)), jax.random.key(7), JITTED[name]
    whole = np.asarray(function(key, images, 0))
    assert_alike(whole[:6], function(key, images[:6], 0))
    assert_alike(whole[6:], function(key, images[6:], 6))
    assert not np.array_equal(whole, function(jax.random.key(8), images, 0))
    exact = np.asarray(function(key, images.astype("float32"), 0))
    assert np.abs(exact - whole.astype("float32")).max() <= 0.501  # whole numbers are those rounded


@pytest.mark.slow
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
    crop, flip = AUGMENTATIONS["crop"], AUGMENTATIONS["flip"]
    expected = flip(jax.random.fold_in(key, 1), crop(jax.random.fold_in(key, 0), images))
    np.testing.assert_array_equal(augment(key, images), expected)


def test_names():
    assert make_augment(()) is None
    with pytest.raises(InputError, match="augment='mirror' is unknown; choose from affine, color_jitter, crop"):
        make_augment(("flip", "mirror"))


def test_raw_keys_work_too():
    assert example_keys(jax.random.PRNGKey(0), 3).shape == (3, 2)


@pytest.mark.parametrize("dtype", ["uint8", "float32"])
def test_settings_that_change_nothing(dtype):
    images, key = jnp.asarray(np.stack([PHOTO, NOISE])[:, :20], dtype), jax.random.key(1)
    for function, off in (
        (AUGMENTATIONS["resized_crop"], {"scale": (1.0, 1.0), "ratio": (1.0, 1.0)}),
        (AUGMENTATIONS["cutout"], {"share": 0.0}),
        (AUGMENTATIONS["randaugment"], {"count": 0}),
    ):
        np.testing.assert_array_equal(jax.jit(partial(function, **off))(key, images), images)
    nothing = dict.fromkeys(("brightness", "contrast", "saturation", "hue"), 0.0)
    still = jax.jit(partial(AUGMENTATIONS["color_jitter"], **nothing))(key, images)
    np.testing.assert_allclose(np.asarray(still, np.float32), np.asarray(images, np.float32), atol=1e-3)
