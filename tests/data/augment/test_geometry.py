"""Geometric augmentations against NumPy and Pillow."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from jaxcnn.data.augment.geometry import (
    affine,
    crop,
    crop_and_resize,
    crop_padding,
    cutout,
    flip,
    random_box,
    rotation,
    translate,
    warp,
)
from tests.data.augment.pictures import IMAGES, PHOTO, array, floats, images_of, pillow

SHAPES = [(16, 8, 8, 1), (12, 32, 32, 3), (6, 28, 20, 1)]


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


SIZE = PHOTO.shape[:2]
WARPS = {
    "shear_x": (lambda s: affine(b=0.3 * s), lambda s: (1, 0.3 * s, 0, 0, 1, 0)),
    "shear_y": (lambda s: affine(d=0.3 * s), lambda s: (1, 0, 0, 0.3 * s, 1, 0)),
    "shift_x": (lambda s: affine(c=9.3 * s), lambda s: (1, 0, 9.3 * s, 0, 1, 0)),
    "shift_y": (lambda s: affine(f=9.3 * s), lambda s: (1, 0, 0, 0, 1, 9.3 * s)),
    "rotation": (lambda s: rotation(30.0 * s, SIZE), None),
}


@pytest.mark.parametrize("image", IMAGES)
@pytest.mark.parametrize("name", WARPS)
@pytest.mark.parametrize("strength", [-0.9, 0.0, 0.3, 1.0])
def test_warps_agree_with_pillow(name, image, strength):
    ours, theirs = WARPS[name]
    picture = pillow(IMAGES[image])
    if theirs is None:
        expected = picture.rotate(30.0 * strength, Image.Resampling.NEAREST)
    else:
        expected = picture.transform(picture.size, Image.Transform.AFFINE, theirs(strength), Image.Resampling.NEAREST)
    got = np.asarray(warp(floats(IMAGES[image]), ours(jnp.float32(strength))))
    differ = np.any(got != array(expected), axis=-1)
    assert differ.sum() <= 3  # of 480 pixels: Pillow computes places in 16 bits


def test_warps_leave_black_behind():
    got = np.asarray(warp(jnp.full((6, 6, 1), 9.0), affine(c=2.0)))[..., 0]
    np.testing.assert_array_equal(got, np.tile([9.0, 9.0, 9.0, 9.0, 0.0, 0.0], (6, 1)))


CUT = jax.jit(crop_and_resize)


@pytest.mark.parametrize("image", IMAGES)
@pytest.mark.parametrize("corner", [(0, 0, 24, 20), (3, 5, 10, 7), (0, 13, 24, 7), (20, 0, 1, 20), (23, 19, 1, 1)])
def test_resizing_agrees_with_pillow(image, corner):
    top, left, height, width = corner
    ours = CUT(floats(IMAGES[image]), *(jnp.int32(number) for number in corner))
    part = pillow(IMAGES[image]).crop((left, top, left + width, top + height))
    theirs = array(part.resize((20, 24), Image.Resampling.BILINEAR))
    np.testing.assert_allclose(ours, theirs, atol=1.01)  # Pillow rounds after rows and after columns


BOXES = jax.jit(
    jax.vmap(random_box, in_axes=(0, None, None, None, None)), static_argnums=(1, 2, 3, 4)
)  # many draws of one size of image


@settings(max_examples=12, deadline=None)
@given(st.sampled_from([(32, 32), (24, 20), (8, 64)]), st.integers(0, 2**31 - 1))
def test_boxes_lie_within_the_image(size, seed):
    keys = jax.random.split(jax.random.key(seed), 200)
    top, left, height, width = (np.asarray(part) for part in BOXES(keys, *size, (0.08, 1.0), (3 / 4, 4 / 3)))
    assert min(top.min(), left.min()) >= 0
    assert min(height.min(), width.min()) >= 1
    assert (top + height).max() <= size[0]
    assert (left + width).max() <= size[1]


def test_boxes_have_the_published_areas_and_shapes():
    keys = jax.random.split(jax.random.key(0), 4000)
    top, left, height, width = (np.asarray(part) for part in BOXES(keys, 224, 224, (0.08, 1.0), (3 / 4, 4 / 3)))
    area, ratio = height * width / 224**2, width / height
    assert area.min() > 0.07
    assert 0.74 < ratio.min() < 0.76
    assert 1.31 < ratio.max() < 1.35
    assert abs(np.median(np.log(ratio))) < 0.02  # upright and lying boxes are as likely
    small = area < 0.5  # there hardly any draw is refused: uniform
    np.testing.assert_allclose(np.quantile(area[small], [0.25, 0.5, 0.75]), [0.185, 0.29, 0.395], atol=0.02)
    free = (height < 200) & (width < 200)
    np.testing.assert_allclose((top / np.maximum(224 - height, 1))[free].mean(), 0.5, atol=0.02)
    np.testing.assert_allclose((left / np.maximum(224 - width, 1))[free].mean(), 0.5, atol=0.02)


def test_a_long_image_without_a_valid_box_keeps_its_middle():
    """torchvision's rule: the largest box of a valid shape, centred."""
    top, left, height, width = (int(part) for part in random_box(jax.random.key(0), 8, 64, (0.9, 1.0), (3 / 4, 4 / 3)))
    assert (top, left, height, width) == (0, 26, 8, 11)


def test_cutout_blackens_a_square_of_half_the_side():
    images = np.full((300, 32, 32, 3), 200, np.uint8)
    got = np.asarray(cutout(jax.random.key(0), images))
    assert set(np.unique(got)) == {0, 200}
    black = (got == 0).all(axis=-1)
    np.testing.assert_array_equal(black[..., None], (got == 0).any(axis=-1, keepdims=True))
    rows, columns = black.any(axis=2).sum(axis=1), black.any(axis=1).sum(axis=1)
    np.testing.assert_array_equal(black.sum(axis=(1, 2)), rows * columns)  # one rectangle
    assert rows.max() == columns.max() == 16  # DeVries and Taylor: 16 of CIFAR-10's 32
    assert rows.min() == columns.min() == 8  # a centre on the edge leaves half
    assert 0.4 < (rows == 16).mean() < 0.65  # 17 of 32 centres
