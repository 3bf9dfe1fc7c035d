"""Masks and images are resized alike, by the numbers that Pillow uses, and masks come back."""

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from PIL import Image, ImageOps

from jaxcnn.data.decode import resize_array, resize_mask
from jaxcnn.data.fit import restore_mask, shown

FITS = ("squash", "crop", "pad")
sides = st.tuples(st.integers(1, 60), st.integers(1, 60))


@given(sides, sides)
def test_padding_is_where_pillow_puts_it(original, target):
    """Oracle: ImageOps.pad of a white image on black."""
    white = Image.new("L", (original[1], original[0]), 255)
    padded = np.asarray(ImageOps.pad(white, (target[1], target[0]), color=0))
    assume(padded.any())  # a long image may keep no row at all
    (top, left, bottom, right), expected = shown(original, target, "pad").target, np.zeros(target, np.uint8)
    expected[top:bottom, left:right] = 255
    np.testing.assert_array_equal(padded, expected)


@given(st.tuples(st.integers(2, 60), st.integers(2, 60)), st.tuples(st.integers(2, 60), st.integers(2, 60)))
def test_cropping_is_where_pillow_does_it(original, target):
    """Oracle: ImageOps.fit of a ramp; its means are those of the region that is shown.

    The triangle treats both sides alike, which BOX does not where a pixel lies between two.
    """
    ramp = np.broadcast_to(np.arange(original[1], dtype=np.float32), original)
    method = Image.Resampling.BILINEAR
    picture = ImageOps.fit(Image.fromarray(np.ascontiguousarray(ramp)), (target[1], target[0]), method)
    top, left, bottom, right = shown(original, target, "crop").source
    assert np.asarray(picture).mean() == pytest.approx((left + right - 1) / 2, abs=1e-4)
    assert (bottom - top) / (right - left) == pytest.approx(target[0] / target[1], rel=1e-9)


@pytest.mark.parametrize("fit", FITS)
@given(sides, sides)
def test_a_mask_comes_back_in_the_shape_of_the_image(fit, original, target):
    restored = restore_mask(np.full(target, 3, np.uint8), original, fit)
    assert restored.shape == original
    assert set(np.unique(restored)) <= ({3, 255} if fit == "crop" else {3})
    assert (restored == 3).any()


@pytest.mark.parametrize("fit", ["squash", "pad"])
@given(st.integers(1, 8), st.integers(1, 8), st.integers(1, 4), st.integers(0, 2**32 - 1))
def test_there_and_back_is_the_identity(fit, height, width, factor, seed):
    """A mask that is enlarged by a whole factor, between bars or not, comes back exactly."""
    mask = np.random.default_rng(seed).integers(0, 5, (height, width)).astype(np.uint8)
    size = (height * factor, width * factor) if fit == "squash" else (max(height, width) * factor,) * 2
    resized = resize_mask(mask, size, fit)
    assert resized.shape == size
    np.testing.assert_array_equal(restore_mask(resized, mask.shape, fit), mask)


@pytest.mark.parametrize("fit", FITS)
@pytest.mark.parametrize("size", [(20, 30), (64, 64), (17, 90)])
def test_a_mask_and_its_image_stay_together(fit, size):
    """Two halves of an image, one black: after resizing the mask still says which pixel is in which half."""
    mask = np.zeros((40, 60), np.uint8)
    mask[:, 23:] = 1
    image = resize_array((200 * mask + 20)[..., None], size, fit)[..., 0]
    resized = resize_mask(mask, size, fit)
    assert set(np.unique(resized)) <= {0, 1, 255}
    clear = (image < 30) | (image > 210)  # a pixel on the edge is a mean of both
    padding = resized == 255
    np.testing.assert_array_equal(image[padding], 0)
    np.testing.assert_array_equal((image > 210)[clear & ~padding], (resized == 1)[clear & ~padding])
    assert clear.mean() > 0.9
