"""Changes of pixels against Pillow and matplotlib, operation by operation; settings that switch a change off."""

from functools import partial
from types import SimpleNamespace

import jax
import jax.numpy as jnp
import matplotlib.colors
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageEnhance, ImageOps

from jaxcnn.data.augment import color_jitter, colour, cutout, randaugment, resized_crop
from jaxcnn.data.augment.randaugment import OPERATIONS, augment_one, operate
from jaxcnn.data.augment.resized import box, cut
from jaxcnn.data.augment.warp import rotation, shear_x, shear_y, shift_x, shift_y, warp
from jaxcnn.errors import InputError

RNG = np.random.default_rng(0)
SMOOTH = np.linspace(20, 200, 24)[:, None, None] + np.linspace(-15, 40, 20)[None, :, None] * np.array([1, -0.5, 0.3])
PHOTO = np.clip(SMOOTH + RNG.normal(0, 12, SMOOTH.shape), 0, 255).astype(np.uint8)  # (24, 20, 3), shades and noise
NOISE = RNG.integers(0, 256, (24, 20, 3)).astype(np.uint8)
GREY = PHOTO[..., :1]
IMAGES = {"photo": PHOTO, "noise": NOISE, "grey": GREY}


def floats(image):
    return jnp.asarray(image, jnp.float32)


def pillow(image):
    return Image.fromarray(image[..., 0] if image.shape[-1] == 1 else image)


def array(picture):
    values = np.asarray(picture, np.float32)
    return values[..., None] if values.ndim == 2 else values


ENHANCE = {
    "brightness": ImageEnhance.Brightness,
    "contrast": ImageEnhance.Contrast,
    "saturation": ImageEnhance.Color,
    "sharpness": ImageEnhance.Sharpness,
}


@pytest.mark.parametrize("image", IMAGES)
@pytest.mark.parametrize("name", ENHANCE)
@pytest.mark.parametrize("factor", [0.0, 0.3, 0.73, 1.0, 1.27, 1.9])
def test_enhancements_agree_with_pillow(name, image, factor):
    ours = getattr(colour, name)(floats(IMAGES[image]), factor)
    theirs = array(ENHANCE[name](pillow(IMAGES[image])).enhance(factor))
    # Pillow rounds the image it blends with and cuts the blend's fraction off.
    np.testing.assert_allclose(ours, theirs, atol=1.0 + 0.51 * abs(1 - factor))


@pytest.mark.parametrize("image", IMAGES)
def test_tables_agree_with_pillow(image):
    values, picture = floats(IMAGES[image]), pillow(IMAGES[image])
    for bits in range(4, 9):
        np.testing.assert_array_equal(colour.posterize(values, bits), array(ImageOps.posterize(picture, bits)))
    for threshold in (0.0, 100.5, 178.5, 255.0):
        expected = array(ImageOps.solarize(picture, threshold))
        np.testing.assert_array_equal(colour.solarize(values, threshold), expected)
    np.testing.assert_allclose(colour.autocontrast(values), array(ImageOps.autocontrast(picture)), atol=1.001)
    np.testing.assert_array_equal(colour.equalize(values), array(ImageOps.equalize(picture)))


@pytest.mark.parametrize("levels", [1, 2, 3, 40, 256])
@pytest.mark.parametrize("side", [4, 17, 40])
def test_equalize_agrees_with_pillow_however_few_pixels_or_levels(levels, side):
    image = np.random.default_rng(levels).integers(0, levels, (side, side, 1)).astype(np.uint8)
    np.testing.assert_array_equal(colour.equalize(floats(image)), array(ImageOps.equalize(pillow(image))))


def test_flat_images_stay():
    flat = jnp.full((8, 8, 3), 77.0)
    for change in (colour.autocontrast, colour.equalize):
        np.testing.assert_array_equal(change(flat), flat)


@pytest.mark.parametrize("turn", [-0.5, -0.1, 0.0, 0.037, 0.1, 0.4])
@pytest.mark.parametrize("image", ["photo", "noise"])
def test_hue_agrees_with_matplotlib(image, turn):
    hsv = matplotlib.colors.rgb_to_hsv(IMAGES[image].astype(np.float64) / 255)
    hsv[..., 0] = (hsv[..., 0] + turn) % 1.0
    expected = 255 * matplotlib.colors.hsv_to_rgb(hsv)
    np.testing.assert_allclose(colour.hue(floats(IMAGES[image]), turn), expected, atol=0.01)


def test_grey_images_have_neither_hue_nor_saturation():
    for change in (colour.hue, colour.saturation):
        np.testing.assert_array_equal(change(floats(GREY), 0.3), floats(GREY))
    shades = floats(np.repeat(GREY, 3, axis=-1))
    np.testing.assert_allclose(colour.hue(shades, 0.3), shades)


SIZE = PHOTO.shape[:2]
WARPS = {
    "shear_x": (lambda s: shear_x(0.3 * s), lambda s: (1, 0.3 * s, 0, 0, 1, 0)),
    "shear_y": (lambda s: shear_y(0.3 * s), lambda s: (1, 0, 0, 0.3 * s, 1, 0)),
    "shift_x": (lambda s: shift_x(9.3 * s), lambda s: (1, 0, 9.3 * s, 0, 1, 0)),
    "shift_y": (lambda s: shift_y(9.3 * s), lambda s: (1, 0, 0, 0, 1, 9.3 * s)),
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
    got = np.asarray(warp(jnp.full((6, 6, 1), 9.0), shift_x(jnp.float32(2.0))))[..., 0]
    np.testing.assert_array_equal(got, np.tile([9.0, 9.0, 9.0, 9.0, 0.0, 0.0], (6, 1)))


CUT = jax.jit(cut)


@pytest.mark.parametrize("image", IMAGES)
@pytest.mark.parametrize("corner", [(0, 0, 24, 20), (3, 5, 10, 7), (0, 13, 24, 7), (20, 0, 1, 20), (23, 19, 1, 1)])
def test_resizing_agrees_with_pillow(image, corner):
    top, left, height, width = corner
    ours = CUT(floats(IMAGES[image]), *(jnp.int32(number) for number in corner))
    part = pillow(IMAGES[image]).crop((left, top, left + width, top + height))
    theirs = array(part.resize((20, 24), Image.Resampling.BILINEAR))
    np.testing.assert_allclose(ours, theirs, atol=1.01)  # Pillow rounds after rows and after columns


BOXES = jax.jit(
    jax.vmap(box, in_axes=(0, None, None, None, None)), static_argnums=(1, 2, 3, 4)
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
    top, left, height, width = (int(part) for part in box(jax.random.key(0), 8, 64, (0.9, 1.0), (3 / 4, 4 / 3)))
    assert (top, left, height, width) == (0, 26, 8, 11)


@pytest.mark.parametrize("dtype", ["uint8", "float32"])
def test_settings_that_change_nothing(dtype):
    images, key = jnp.asarray(np.stack([PHOTO, NOISE])[:, :20], dtype), jax.random.key(1)
    for function, off in (
        (resized_crop, {"scale": (1.0, 1.0), "ratio": (1.0, 1.0)}),
        (cutout, {"share": 0.0}),
        (randaugment, {"count": 0}),
    ):
        np.testing.assert_array_equal(jax.jit(partial(function, **off))(key, images), images)
    nothing = dict.fromkeys(("brightness", "contrast", "saturation", "hue"), 0.0)
    still = jax.jit(partial(color_jitter, **nothing))(key, images)
    np.testing.assert_allclose(np.asarray(still, np.float32), np.asarray(images, np.float32), atol=1e-3)


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


def test_jitter_draws_each_change_on_its_own():
    """Factors of brightness, alone, are uniform between 1 - s and 1 + s."""
    images = np.full((2000, 1, 1, 1), 100, np.float32)
    off = {"contrast": 0.0, "saturation": 0.0, "hue": 0.0}
    got = np.asarray(color_jitter(jax.random.key(0), images, brightness=0.4, **off)).ravel()
    np.testing.assert_allclose(np.quantile(got, [0.0, 0.25, 0.5, 0.75, 1.0]), [60, 80, 100, 120, 140], atol=3)


ALONE = {  # what each operation is at magnitude 9, with a positive sign
    "shear_x": lambda p: p.transform(p.size, Image.Transform.AFFINE, (1, 0.09, 0, 0, 1, 0)),
    "shear_y": lambda p: p.transform(p.size, Image.Transform.AFFINE, (1, 0, 0, 0.09, 1, 0)),
    "translate_x": lambda p: p.transform(p.size, Image.Transform.AFFINE, (1, 0, 0.3 * 150 / 331 * 20, 0, 1, 0)),
    "translate_y": lambda p: p.transform(p.size, Image.Transform.AFFINE, (1, 0, 0, 0, 1, 0.3 * 150 / 331 * 24)),
    "rotate": lambda p: p.rotate(9.0),
    "identity": lambda p: p,
    "brightness": lambda p: ImageEnhance.Brightness(p).enhance(1.27),
    "color": lambda p: ImageEnhance.Color(p).enhance(1.27),
    "contrast": lambda p: ImageEnhance.Contrast(p).enhance(1.27),
    "sharpness": lambda p: ImageEnhance.Sharpness(p).enhance(1.27),
    "posterize": lambda p: ImageOps.posterize(p, 7),
    "solarize": lambda p: ImageOps.solarize(p, 178.5),
    "autocontrast": ImageOps.autocontrast,
    "equalize": ImageOps.equalize,
}
OPERATE = jax.jit(operate, static_argnums=3)


@pytest.mark.parametrize("name", OPERATIONS)
def test_operations_at_magnitude_nine_agree_with_pillow(name):
    got = np.asarray(OPERATE(floats(PHOTO), jnp.int32(OPERATIONS.index(name)), jnp.float32(1.0), 0.3))
    close = np.abs(got - array(ALONE[name](pillow(PHOTO)))).max(axis=-1) <= 1.2
    assert close.mean() > 0.99


def test_randaugment_uses_every_operation_equally_and_both_signs():
    """Each operation of a single round is known by its result."""
    image = floats(PHOTO)
    known = {
        (name, sign): np.asarray(OPERATE(image, jnp.int32(kind), jnp.float32(sign), 0.3))
        for kind, name in enumerate(OPERATIONS)
        for sign in (1, -1)
    }
    images = jnp.broadcast_to(image, (700, *image.shape))
    one = jax.jit(lambda key, images: randaugment(key, images, count=1))
    got, found = np.asarray(one(jax.random.key(0), images)), SimpleNamespace(names=[], pairs=set())
    for picture in got:
        pair = min(known, key=lambda pair: np.abs(known[pair] - picture).max())
        assert np.abs(known[pair] - picture).max() < 0.01
        found.names.append(pair[0])
        found.pairs.add(pair)
    assert min(found.names.count(name) for name in OPERATIONS) > 25  # of 50 expected
    directed = [name for name in OPERATIONS if not np.array_equal(known[name, 1], known[name, -1])]
    assert len(directed) == 9
    assert {(name, sign) for name in directed for sign in (1, -1)} <= found.pairs


def test_one_after_another_is_as_all_together():
    """A CPU takes the one form, accelerators the other."""
    images, keys = floats(np.stack([PHOTO, NOISE] * 8)), jax.random.split(jax.random.key(2), 16)
    change = partial(augment_one, count=2, strength=0.3)
    together = jax.jit(jax.vmap(change))(keys, images)
    in_turn = jax.jit(lambda keys, images: jax.lax.map(lambda one: change(*one), (keys, images)))(keys, images)
    np.testing.assert_allclose(in_turn, together, atol=0.01)


@pytest.mark.parametrize("magnitude", [-1, 31])
def test_magnitudes_that_do_not_exist_are_refused(magnitude):
    with pytest.raises(InputError, match=f"magnitude={magnitude}: must be from 0 to 30"):
        randaugment(jax.random.key(0), jnp.zeros((1, 4, 4, 3)), magnitude=magnitude)
