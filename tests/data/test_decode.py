"""Every kind of image file to uint8, and what cannot be read."""

import io
import struct
import zlib

import numpy as np
import pytest
from PIL import Image, ImageOps
from PIL.PngImagePlugin import PngInfo

from jaxcnn.data.dataset import BadImage
from jaxcnn.data.decode import decode_image, is_grey, ordered_map, read_header, resize_array

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


def blocks(*colours, mode="RGB"):
    """Squares of 16 pixels, one a colour, side by side: what JPEG keeps."""
    image = Image.new(mode, (16 * len(colours), 16))
    for i, one in enumerate(colours):
        image.paste(one, (16 * i, 0, 16 * i + 16, 16))
    return image


def test_cmyk_colours_of_a_jpeg_as_adobe_stores_them():
    inks = {
        (0, 255, 255, 0): (255, 0, 0),
        (255, 0, 0, 0): (0, 255, 255),
        (0, 0, 0, 255): (0, 0, 0),
        (0,) * 4: (255,) * 3,
    }
    data = encoded(blocks(*inks, mode="CMYK"), "jpeg", quality=95)
    assert b"Adobe" in data
    got = decode_image(data, 3)[8, 8::16].astype(int)
    assert np.abs(got - np.array(list(inks.values()))).max() < 6
    lossless = decode_image(encoded(blocks(*inks, mode="CMYK"), "tiff"), 3)[8, 8::16]
    np.testing.assert_array_equal(lossless, np.array(list(inks.values())))


def test_ycck_jpeg():
    # Adobe's Technical Note 5116: transform 2 stores C, M and Y as YCbCr, and K as it is, all of it inverted.
    cyan_magenta_yellow = blocks((0, 255, 255), (255, 0, 0), (128, 128, 128)).convert("YCbCr")
    inverted = [band.point(lambda value: 255 - value) for band in cyan_magenta_yellow.split()]
    stored = Image.merge("CMYK", [*inverted, Image.new("L", cyan_magenta_yellow.size, 0)])
    data = bytearray(encoded(stored, "jpeg", quality=95))
    data[data.index(b"Adobe") + 11] = 2
    got = decode_image(bytes(data), 3)[8, 8::16].astype(int)
    assert np.abs(got - [(255, 0, 0), (0, 255, 255), (127, 127, 127)]).max() < 8


@pytest.mark.parametrize("opacity", [3, bytes([255, 255, 255, 0])])
def test_a_palettes_transparent_colour_shows_white(opacity):
    image = Image.new("P", (4, 4))
    image.putpalette([10, 10, 10, 80, 80, 80, 160, 160, 160, 0, 0, 0])
    image.putdata([0, 1, 2, 3] * 4)
    got = decode_image(encoded(image, transparency=opacity), 1)[0, :, 0]
    assert got.tolist() == [10, 80, 160, 255]


@pytest.mark.parametrize(
    ("image", "key", "expected"),
    [
        (Image.fromarray(np.array([[0, 7, 9]], np.uint8)), 7, [0, 255, 9]),
        (Image.fromarray(np.array([[0, 0x1234, 0x1235]], np.uint16)), 0x1234, [0, 255, 0x12]),
        (Image.fromarray(np.array([[0, 0x1234, 0x1235]], np.uint16)), 0, [255, 0x12, 0x12]),
        (Image.fromarray(np.array([[True, False, True]])), 0, [255, 255, 255]),
    ],
)
def test_a_grey_pngs_transparent_level_shows_white(image, key, expected):
    assert decode_image(encoded(image, transparency=key), 1)[0, :, 0].tolist() == expected


def sixteen_bit_rgb(pixels, key):
    """A PNG with 16 bits a channel and a transparent colour, which Pillow does not write."""
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in pixels)
    header = struct.pack(">IIBBBBB", pixels.shape[1], pixels.shape[0], 16, 2, 0, 0, 0)
    chunks = [b"IHDR" + header, b"tRNS" + struct.pack(">3H", *key), b"IDAT" + zlib.compress(rows), b"IEND"]
    packed = (struct.pack(">I", len(c) - 4) + c + struct.pack(">I", zlib.crc32(c)) for c in chunks)
    return b"\x89PNG\r\n\x1a\n" + b"".join(packed)


def test_sixteen_bit_colours_and_their_transparent_one():
    pixels = np.array([[(0x1200, 0x3400, 0x5600), (0xFFFF, 0x8000, 0x0100)]], np.uint16)
    got = decode_image(sixteen_bit_rgb(pixels, (0x1200, 0x3400, 0x5600)), 3)
    assert got.tolist() == [[[255, 255, 255], [255, 128, 1]]]


@pytest.mark.parametrize("kind", ["gif", "webp", "png", "tiff"])
def test_an_animation_gives_its_first_frame(kind):
    frames = [Image.new("RGB", (8, 8), shade) for shade in ((250, 0, 0), (0, 250, 0), (0, 0, 250))]
    options = {"lossless": True} if kind == "webp" else {}
    data = encoded(frames[0], kind, save_all=True, append_images=frames[1:], **options)
    assert read_header(data).frames
    got = decode_image(data, 3)
    assert got.shape == (8, 8, 3)
    assert (got == [250, 0, 0]).all()


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


@pytest.mark.parametrize("orientation", range(1, 9))
def test_every_orientation_is_pillows(orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    data = encoded(colour(), exif=exif)
    expected = np.asarray(ImageOps.exif_transpose(Image.open(io.BytesIO(data))))
    np.testing.assert_array_equal(decode_image(data, 3), expected)


def test_damaged_tags_do_not_spoil_the_pixels():
    torn = b"Exif\0\0II*\0\x08\0\0\0\x05\0\x12\x01\x03\0\x01\0\0\0"
    got = decode_image(encoded(colour(), "jpeg", exif=torn), 3)
    np.testing.assert_array_equal(got, decode_image(encoded(colour(), "jpeg"), 3))
    text = PngInfo()
    text.add_text("Raw profile type exif", "\nexif\n  4\nno hexadecimal")
    data = encoded(colour(), pnginfo=text)
    with Image.open(io.BytesIO(data)) as image, pytest.raises(ValueError, match="hexadecimal"):
        image.getexif()
    np.testing.assert_array_equal(decode_image(data, 3), np.asarray(colour()))


def test_headers():
    wide = Image.fromarray(GRADIENT.astype(np.uint16) * 257)
    assert read_header(encoded(wide)) == ("PNG", "I;16", True, False, False)
    assert read_header(sixteen_bit_rgb(np.zeros((2, 2, 3), np.uint16), (1, 1, 1))).sixteen_bits
    assert read_header(encoded(colour().convert("RGBA"), "tiff")) == ("TIFF", "RGBA", False, True, False)
    assert read_header(encoded(colour().convert("CMYK"), "jpeg")) == ("JPEG", "CMYK", False, False, False)
    with pytest.raises(BadImage, match="not an image"):
        read_header(b"hello")


def test_resizing_to_a_square_or_to_height_and_width():
    data = encoded(colour())
    assert decode_image(data, 3, 8).shape == (8, 8, 3)
    assert decode_image(data, 3, (5, 7)).shape == (5, 7, 3)
    expected = np.asarray(colour().resize((8, 8), Image.Resampling.BILINEAR))
    np.testing.assert_array_equal(decode_image(data, 3, 8), expected)
    np.testing.assert_array_equal(resize_array(np.asarray(colour()), 8), expected)
    assert resize_array(np.zeros((4, 4, 10), np.uint8), 6).shape == (6, 6, 10)


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
