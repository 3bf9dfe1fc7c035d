"""Every kind of image file to uint8, and what cannot be read."""

import io
import struct
import zlib

import numpy as np
import pytest
from PIL import Image

from jaxcnn.data.dataset import BadImage
from jaxcnn.data.decode import decode_image, is_grey, ordered_map, resize_array

GRADIENT = np.tile(np.arange(0, 240, 15, dtype=np.uint8), (12, 1))  # 12 rows, 16 columns


def encoded(image, kind="png", **options):
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def colour(*, size=(16, 12)):
    return Image.fromarray(np.random.default_rng(0).integers(0, 256, (size[1], size[0], 3), np.uint8))


def test_grey_and_rgb_png_are_exact():
    np.testing.assert_array_equal(decode_image(encoded(Image.fromarray(GRADIENT)), 1)[..., 0], GRADIENT)
    image = colour()
    got = decode_image(encoded(image), 3)
    np.testing.assert_array_equal(got, np.asarray(image))
    assert got.dtype == np.uint8


def test_a_path_gives_what_its_bytes_give(tmp_path):
    (tmp_path / "a.PNG").write_bytes(encoded(colour()))
    np.testing.assert_array_equal(decode_image(tmp_path / "a.PNG", 3), decode_image(encoded(colour()), 3))


def test_grey_spreads_over_three_channels_and_colour_weighs_into_one():
    got = decode_image(encoded(Image.fromarray(GRADIENT)), 3)
    np.testing.assert_array_equal(got, np.repeat(GRADIENT[..., None], 3, axis=-1))
    grey = decode_image(encoded(colour()), 1)[..., 0].astype(float)
    expected = np.asarray(colour(), float) @ [0.299, 0.587, 0.114]  # ITU-R 601, as Pillow documents for "L"
    assert np.abs(grey - expected).max() <= 1


def test_palette_and_one_bit():
    image = colour().quantize(16)
    np.testing.assert_array_equal(decode_image(encoded(image), 3), np.asarray(image.convert("RGB")))
    bits = Image.fromarray(GRADIENT > 100)
    np.testing.assert_array_equal(decode_image(encoded(bits), 1)[..., 0], np.where(GRADIENT > 100, 255, 0))


def test_sixteen_bits_keep_the_upper_eight():
    wide = GRADIENT.astype(np.uint16) * 257
    np.testing.assert_array_equal(decode_image(encoded(Image.fromarray(wide)), 1)[..., 0], GRADIENT)
    np.testing.assert_array_equal(decode_image(encoded(Image.fromarray(wide), "tiff"), 3)[..., 1], GRADIENT)


def test_cmyk_jpeg_is_close_to_its_rgb():
    smooth = Image.fromarray(np.repeat(GRADIENT[..., None], 3, axis=-1))
    got = decode_image(encoded(smooth.convert("CMYK"), "jpeg", quality=95), 3)
    assert np.abs(got.astype(int) - np.asarray(smooth)).mean() < 6


@pytest.mark.parametrize("mode", ["RGBA", "LA"])
def test_transparency_shows_white(mode):
    image = Image.new(mode, (4, 4), (0,) * len(mode))  # black, but wholly transparent
    assert (decode_image(encoded(image), 3) == 255).all()
    opaque = Image.new(mode, (4, 4), (0,) * (len(mode) - 1) + (255,))
    assert (decode_image(encoded(opaque), 1) == 0).all()


def test_the_cameras_orientation_is_applied():
    exif = Image.Exif()
    exif[0x0112] = 6  # the camera was turned: rotate by 90 degrees clockwise to see it upright
    data = encoded(Image.fromarray(GRADIENT), "jpeg", exif=exif, quality=95)
    got = decode_image(data, 1)[..., 0]
    assert got.shape == (16, 12)
    assert np.abs(got.astype(int) - np.rot90(GRADIENT, -1)).max() < 8


def test_resizing_to_a_square_or_to_height_and_width():
    data = encoded(colour())
    assert decode_image(data, 3, 8).shape == (8, 8, 3)
    assert decode_image(data, 3, (5, 7)).shape == (5, 7, 3)
    expected = np.asarray(colour().resize((8, 8), Image.Resampling.BILINEAR))
    np.testing.assert_array_equal(decode_image(data, 3, 8), expected)
    np.testing.assert_array_equal(resize_array(np.asarray(colour()), 8), expected)
    assert resize_array(np.zeros((4, 4, 10), np.uint8), 6).shape == (6, 6, 10)


def damaged_png():
    data = bytearray(encoded(colour()))
    data[60:90] = bytes(30)
    return bytes(data)


def bomb():
    """A PNG that claims 60,000 x 60,000 pixels."""
    header = struct.pack(">IIBBBBB", 60_000, 60_000, 8, 0, 0, 0, 0)
    chunks = [b"IHDR" + header, b"IDAT" + zlib.compress(bytes(1000)), b"IEND"]
    packed = (struct.pack(">I", len(c) - 4) + c + struct.pack(">I", zlib.crc32(c)) for c in chunks)
    return b"\x89PNG\r\n\x1a\n" + b"".join(packed)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "0 bytes"),
        (b"not an image at all", "not an image"),
        (encoded(colour(), "jpeg")[:200], "cannot be decoded|not an image"),
        (encoded(colour())[:120], "cannot be decoded"),
        (damaged_png(), "cannot be decoded|not an image"),
        (bomb(), "suspiciously large"),
        (encoded(Image.fromarray(GRADIENT.astype(np.float32)), "tiff"), "floating point"),
    ],
)
def test_bad_images_say_why(data, message):
    with pytest.raises(BadImage, match=message):
        decode_image(data, 3)


def test_a_missing_file_is_a_bad_image(tmp_path):
    with pytest.raises(BadImage, match="cannot be decoded"):
        decode_image(tmp_path / "none.png", 3)


def test_is_grey_reads_headers(tmp_path):
    for name, image in {"grey.png": Image.fromarray(GRADIENT), "colour.png": colour()}.items():
        image.save(tmp_path / name)
    (tmp_path / "broken.png").write_bytes(b"x")
    assert [is_grey(tmp_path / f"{name}.png") for name in ("grey", "colour", "broken")] == [True, False, True]


def test_ordered_map_keeps_the_order_and_passes_errors_on():
    assert list(ordered_map(lambda x: x * x, range(1000), batch=7)) == [x * x for x in range(1000)]
    assert list(ordered_map(str, [])) == []
    with pytest.raises(ZeroDivisionError):
        list(ordered_map(lambda x: 1 // x, [1, 0], batch=1))
