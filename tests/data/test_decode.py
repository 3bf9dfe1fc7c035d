"""Every kind of image file to uint8; what is refused, as what kind, and at what cost; no file raises but BadImage."""

import functools
import io
import os
import pickle
import struct
import subprocess
import sys
import warnings
import zlib
from concurrent.futures import ThreadPoolExecutor
from unittest import mock

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageOps
from PIL.PngImagePlugin import PngInfo

from jaxcnn.data import decode
from jaxcnn.data.check import KINDS, header_kinds
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
    assert "several_frames" in header_kinds(data)
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
    assert header_kinds(encoded(wide)) == ["sixteen_bits"]
    assert "sixteen_bits" in header_kinds(sixteen_bit_rgb(np.zeros((2, 2, 3), np.uint16), (1, 1, 1)))
    assert header_kinds(encoded(colour().convert("RGBA"), "tiff"), ".png") == ["wrongly_named", "transparent"]
    assert header_kinds(encoded(colour().convert("CMYK"), "jpeg"), ".jpg") == ["cmyk"]
    with pytest.raises(BadImage, match="not an image"):
        header_kinds(b"hello")


def test_resizing_to_a_square_or_to_height_and_width():
    data = encoded(colour())
    assert decode_image(data, 3, 8).shape == (8, 8, 3)
    assert decode_image(data, 3, (5, 7)).shape == (5, 7, 3)
    expected = np.asarray(colour().resize((8, 8), Image.Resampling.BILINEAR))
    np.testing.assert_array_equal(decode_image(data, 3, 8), expected)
    np.testing.assert_array_equal(resize_array(np.asarray(colour()), 8), expected)
    assert resize_array(np.zeros((4, 4, 10), np.uint8), 6).shape == (6, 6, 10)


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


@functools.cache
def samples():
    """Small files of every format that is read, in many modes."""
    rng = np.random.default_rng(0)
    rgb = Image.fromarray(rng.integers(0, 256, (12, 16, 3), np.uint8))
    grey, turned, palette = rgb.convert("L"), rgb.rotate(90), rgb.quantize(16)
    wide = Image.fromarray(rng.integers(0, 65536, (12, 16)).astype(np.uint16))
    exif = Image.Exif()
    exif[0x0112] = 6
    more = {"save_all": True, "append_images": [turned]}
    made = [
        *(encoded(image) for image in (rgb, grey.convert("1"), wide, rgb.convert("RGBA"))),
        *(encoded(palette, transparency=key) for key in (3, bytes(16))),
        *(encoded(image, transparency=7) for image in (grey, wide)),
        *(encoded(rgb, kind, **more) for kind in ("png", "gif", "webp", "tiff", "mpo")),
        *(encoded(rgb, "jpeg", progressive=step, exif=exif) for step in (False, True)),
        *(encoded(rgb.convert("CMYK"), kind) for kind in ("jpeg", "tiff")),
        *(encoded(image, "bmp") for image in (rgb, palette, grey.convert("1"))),
        *(encoded(rgb.convert("RGBA"), "webp", lossless=exact) for exact in (False, True)),
        *(encoded(rgb, "tiff", compression=name) for name in (None, "tiff_lzw", "tiff_deflate", "jpeg")),
        *(encoded(image, "ppm") for image in (rgb, grey, grey.convert("1"))),
        encoded(wide, "tiff"), encoded(grey.convert("1"), "tiff", compression="group4"), b"P2 3 2 255\n1 2 3 4 5 6\n",
    ]  # fmt: skip
    for data in made:
        assert decode_image(data, 3).size
    return made


@st.composite
def spoiled(draw):
    data = bytearray(draw(st.sampled_from(samples())))
    for _ in range(draw(st.integers(1, 6))):
        near = draw(st.sampled_from([32, 200, 10**9]))  # headers are where it hurts
        at = draw(st.integers(0, max(0, min(len(data), near) - 1)))
        patch = draw(st.binary(min_size=1, max_size=4) | st.sampled_from([b"\0" * 4, b"\xff" * 4, b"\x7f\xff\xff\xff"]))
        change = draw(st.sampled_from(["overwrite", "overwrite", "insert", "delete", "cut"]))
        data[at : at + len(patch) if change in ("overwrite", "delete") else at] = b"" if change == "delete" else patch
        if change == "cut":
            del data[at:]
    return bytes(data)


def outcome(attempt):
    """What a call returns, or the BadImage it raises; anything else is raised."""
    try:
        return attempt()
    except BadImage as error:
        return error


@given(data=spoiled() | st.binary(max_size=200), channels=st.sampled_from([1, 3]), size=st.sampled_from([None, 8]))
@settings(max_examples=400, deadline=None)
def test_any_bytes_give_an_image_or_a_bad_image(data, channels, size):
    with mock.patch.object(decode, "MAX_PIXELS", 2**18):  # quick; the claims of the limit itself are tested below
        for attempt in (lambda: decode_image(data, channels, size), lambda: header_kinds(data)):
            got = outcome(attempt)
            if isinstance(got, BadImage):
                assert got.kind in KINDS["bad"]
                assert str(got).isprintable()
            elif isinstance(got, np.ndarray):
                assert (got.dtype, got.ndim, got.shape[2]) == (np.uint8, 3, channels)
                assert 0 < got.size <= 3 * 2**18
    assert decode.QUIET not in warnings.filters


def patched(data, *changes):
    changed = bytearray(data)
    for at, patch in changes:
        changed[at : at + len(patch)] = patch
    return bytes(changed)


def giants(side=60_000):
    """Files of a few hundred bytes that claim side x side pixels: name -> bytes."""
    rgb = Image.new("RGB", (16, 16))
    png, jpeg, tiff = encoded(rgb), encoded(rgb, "jpeg"), encoded(rgb, "tiff")
    header = b"IHDR" + struct.pack(">II", side, side) + png[24:29]
    frame = jpeg.index(b"\xff\xc0") + 5
    entries = [tiff.index(struct.pack("<H", tag), 8) for tag in (256, 257)]  # width and height
    return {
        "png": patched(png, (12, header), (29, struct.pack(">I", zlib.crc32(header)))),
        "jpeg": patched(jpeg, (frame, struct.pack(">HH", side, side))),
        "gif": patched(encoded(rgb, "gif"), (6, struct.pack("<HH", side, side))),
        "bmp": patched(encoded(rgb, "bmp"), (18, struct.pack("<ii", side, side))),
        "tiff": patched(tiff, *((at + 2, struct.pack("<HII", 4, 1, side)) for at in entries)),
        "ppm": f"P6 {side} {side} 255\n".encode() + bytes(100),
        "webp": patched(
            encoded(rgb, "webp", lossless=True), (21, struct.pack("<I", 0x0FFFFFFF))
        ),  # its most: 16,384 x 16,384
    }


@pytest.mark.parametrize("side", [60_000, 9_600])  # the second: more than our limit, where Pillow would only warn
@pytest.mark.parametrize("kind", ["png", "jpeg", "gif", "bmp", "tiff", "ppm", "webp"])
def test_giant_claims_are_refused_by_the_header(kind, side):
    with pytest.raises(BadImage, match="suspiciously large") as error:
        decode_image(giants(side)[kind], 3, 32)
    assert error.value.kind == "huge"


def test_giant_claims_take_no_memory(tmp_path):
    for kind, data in giants().items():
        (tmp_path / kind).write_bytes(data)
    code = (
        "import resource, sys, pathlib\nfrom PIL import Image; Image.init()\n"
        "from jaxcnn.data.decode import decode_image\nfrom jaxcnn.data.dataset import BadImage\n"
        "peak = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_maxrss\nbefore, refused = peak(), 0\n"
        "for path in pathlib.Path(sys.argv[1]).iterdir():\n"
        "    try: decode_image(path, 3)\n    except BadImage: refused += 1\n"
        "print(refused, (peak() - before) // 1024)"
    )
    done = subprocess.run([sys.executable, "-c", code, str(tmp_path)], capture_output=True, text=True, check=True)
    refused, megabytes = map(int, done.stdout.split())
    assert refused == 7
    assert megabytes < 32


def test_a_claim_that_so_few_bytes_cannot_hold():
    with pytest.raises(BadImage, match=r"bytes cannot contain the 8,000 x 8,000 pixels") as error:
        decode_image(giants(8_000)["png"], 3)
    assert error.value.kind == "damaged"
    blank = encoded(Image.new("1", (8_000, 1_000)))  # as well compressed as a PNG can be
    assert len(blank) < 2_000
    assert decode_image(blank, 1, 8).shape == (8, 8, 1)


@pytest.mark.parametrize(
    ("kind", "length"), [("png", 120), ("jpeg", 400), ("gif", 400), ("bmp", 400), ("webp", 60), ("ppm", 60)]
)
def test_truncated_files_say_so(kind, length):
    image = Image.fromarray(np.random.default_rng(1).integers(0, 256, (32, 32, 3), np.uint8))
    with pytest.raises(BadImage, match="cannot be decoded") as error:
        decode_image(encoded(image, kind)[:length], 3)
    assert error.value.kind == "truncated"


def damaged_png():
    data = encoded(Image.fromarray(np.random.default_rng(0).integers(0, 256, (12, 16, 3), np.uint8)))
    return patched(data, (60, bytes(30)))


@pytest.mark.parametrize(
    ("data", "kind", "message"),
    [
        (b"", "empty", "0 bytes"),
        (b"not an image at all", "not_an_image", "not an image in a format that is read: PNG"),
        (
            b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n",
            "not_an_image",
            "not an image",
        ),  # never given to a program
        (damaged_png(), "damaged", "cannot be decoded"),
        (b"\x89PNG\r\n\x1a\n", "truncated", "truncated: its header is damaged"),
        (encoded(Image.new("F", (4, 4)), "tiff"), "unsupported", "floating point"),
    ],
)
def test_bad_images_say_why(data, kind, message):
    with pytest.raises(BadImage, match=message) as error:
        decode_image(data, 3)
    assert error.value.kind == kind


def test_paths_that_are_no_files(tmp_path):
    os.symlink(tmp_path / "none", tmp_path / "dangling.png")
    os.symlink("circle.png", tmp_path / "circle.png")
    os.mkfifo(tmp_path / "pipe.png")  # opening it would wait for ever
    (tmp_path / "folder.png").mkdir()
    (tmp_path / "empty.png").write_bytes(b"")
    expected = {"dangling": "dangling", "circle": "dangling", "empty": "empty"}
    for name in ("dangling", "circle", "pipe", "folder", "empty", "missing"):
        with pytest.raises(BadImage) as error:
            decode_image(tmp_path / f"{name}.png", 3)
        assert error.value.kind == expected.get(name, "unreadable"), name
        assert str(tmp_path) not in str(error.value)


def test_files_that_may_not_be_read_and_disks_that_fail(tmp_path, monkeypatch):
    (tmp_path / "a.png").write_bytes(encoded(Image.new("L", (4, 4))))

    class Failing(io.BytesIO):
        def read(self, *_):
            raise OSError(5, "Input/output error")

    def refuse(*_):
        raise PermissionError(13, "Permission denied", "a.png")

    for opened, message in (
        (refuse, r"cannot be decoded \(Permission denied\)"),
        (lambda *_: Failing(b"xx"), "output"),
    ):
        monkeypatch.setattr(decode, "open", opened, raising=False)  # the superuser may read everything
        with pytest.raises(BadImage, match=message) as error:
            decode_image(tmp_path / "a.png", 3)
        assert error.value.kind == "unreadable"
        assert is_grey(tmp_path / "a.png")


def test_bad_images_travel_between_processes():
    again = pickle.loads(pickle.dumps(BadImage("it is torn", "truncated")))
    assert (str(again), again.kind) == ("it is torn", "truncated")


def test_pillow_is_silent_and_other_warnings_stay():
    torn_exif = encoded(Image.new("L", (4, 4)), "jpeg", exif=b"Exif\0\0II*\0\x08\0\0\0\x05\0\x12\x01\x03\0\x01\0\0\0")
    with warnings.catch_warnings(record=True) as caught, ThreadPoolExecutor(4) as pool:
        warnings.simplefilter("always")
        before = list(warnings.filters)
        list(pool.map(lambda _: decode_image(torn_exif, 1), range(50)))
        warnings.warn("ours", stacklevel=1)
        assert list(warnings.filters) == before
    assert [str(each.message) for each in caught] == ["ours"]


def striped():
    """An image twice as wide as high: a left, a middle and a right part of 3, 6 and 3 columns."""
    pixels = np.full((6, 12), 200, np.uint8)
    pixels[:, :3], pixels[:, 9:] = 50, 100
    return pixels


def test_an_image_of_another_shape_is_squashed_cropped_or_padded():
    stream = io.BytesIO()
    Image.fromarray(striped()).save(stream, "PNG")
    squashed, cropped, padded = (decode_image(stream.getvalue(), 1, 6, fit) for fit in ("squash", "crop", "pad"))
    assert squashed.shape == cropped.shape == padded.shape == (6, 6, 1)
    assert (squashed[:, 0] < 60).all()
    assert (squashed[:, 5] < 110).all()
    assert (cropped == 200).all()
    assert (padded[[0, 5]] == 0).all()
    np.testing.assert_array_equal(padded[2, :, 0], squashed[2, :, 0])
    for fit, whole in (("squash", squashed), ("crop", cropped), ("pad", padded)):
        np.testing.assert_array_equal(resize_array(striped()[..., None], 6, fit), whole)
