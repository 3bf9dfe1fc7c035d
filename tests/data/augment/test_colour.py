"""Colour changes against Pillow and matplotlib, operation by operation."""

import jax
import jax.numpy as jnp
import matplotlib.colors
import numpy as np
import pytest
from PIL import ImageEnhance, ImageOps

from jaxcnn.data.augment import colour
from jaxcnn.data.augment.colour import color_jitter
from tests.data.augment.pictures import GREY, IMAGES, array, floats, pillow

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


def test_jitter_draws_each_change_on_its_own():
    """Factors of brightness, alone, are uniform between 1 - s and 1 + s."""
    images = np.full((2000, 1, 1, 1), 100, np.float32)
    off = {"contrast": 0.0, "saturation": 0.0, "hue": 0.0}
    got = np.asarray(color_jitter(jax.random.key(0), images, brightness=0.4, **off)).ravel()
    np.testing.assert_allclose(np.quantile(got, [0.0, 0.25, 0.5, 0.75, 1.0]), [60, 80, 100, 120, 140], atol=3)
