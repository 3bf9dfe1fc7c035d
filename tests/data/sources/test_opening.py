"""What is refused, as what kind, and at what cost; and that no file makes decoding raise anything but BadImage."""

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
from PIL import Image

from jaxcnn.data.dataset import BadImage
from jaxcnn.data.decode import decode_image, is_grey, read_header
from jaxcnn.data.sources import opening
from jaxcnn.data.sources.opening import Undecodable

KINDS = {"empty", "dangling", "unreadable", "not_an_image", "truncated", "damaged", "huge", "unsupported"}


def encoded(image, kind="png", **options):
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


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
    with mock.patch.object(opening, "MAX_PIXELS", 2**18):  # quick; the claims of the limit itself are tested below
        for attempt in (lambda: decode_image(data, channels, size), lambda: read_header(data)):
            got = outcome(attempt)
            if isinstance(got, BadImage):
                assert isinstance(got, Undecodable)
                assert got.kind in KINDS
                assert str(got).isprintable()
            elif isinstance(got, np.ndarray):
                assert (got.dtype, got.ndim, got.shape[2]) == (np.uint8, 3, channels)
                assert 0 < got.size <= 3 * 2**18
    assert opening.QUIET not in warnings.filters


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
    with pytest.raises(Undecodable, match="suspiciously large") as error:
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
    with pytest.raises(Undecodable, match=r"bytes cannot hold the 8,000 x 8,000 pixels") as error:
        decode_image(giants(8_000)["png"], 3)
    assert error.value.kind == "damaged"
    blank = encoded(Image.new("1", (8_000, 1_000)))  # as well compressed as a PNG can be
    assert len(blank) < 2_000
    assert decode_image(blank, 1, 8).shape == (8, 8, 1)


CUT = {
    "png": (slice(0, 120), "truncated"),
    "jpeg": (slice(0, 400), "truncated"),
    "gif": (slice(0, 400), "truncated"),
    "bmp": (slice(0, 400), "truncated"),
    "webp": (slice(0, 60), "truncated"),
    "ppm": (slice(0, 60), "truncated"),
}


@pytest.mark.parametrize("kind", sorted(CUT))
def test_files_cut_off_say_so(kind):
    image = Image.fromarray(np.random.default_rng(1).integers(0, 256, (32, 32, 3), np.uint8))
    part, expected = CUT[kind]
    with pytest.raises(Undecodable, match="cannot be decoded") as error:
        decode_image(encoded(image, kind)[part], 3)
    assert error.value.kind == expected


def damaged_png():
    data = encoded(Image.fromarray(np.random.default_rng(0).integers(0, 256, (12, 16, 3), np.uint8)))
    return patched(data, (60, bytes(30)))


@pytest.mark.parametrize(
    ("data", "kind", "message"),
    [
        (b"", "empty", "0 bytes"),
        (b"not an image at all", "not_an_image", "not an image of a kind that is read: PNG"),
        (
            b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n",
            "not_an_image",
            "not an image",
        ),  # never given to a program
        (damaged_png(), "damaged", "cannot be decoded"),
        (b"\x89PNG\r\n\x1a\n", "truncated", "cut off: its header is damaged"),
        (encoded(Image.new("F", (4, 4)), "tiff"), "unsupported", "floating point"),
    ],
)
def test_bad_images_say_why(data, kind, message):
    with pytest.raises(Undecodable, match=message) as error:
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
        with pytest.raises(Undecodable) as error:
            decode_image(tmp_path / f"{name}.png", 3)
        assert error.value.kind == expected.get(name, "unreadable"), name
        assert str(tmp_path) not in str(error.value)


def test_a_file_that_may_not_be_read(tmp_path, monkeypatch):
    (tmp_path / "a.png").write_bytes(encoded(Image.new("L", (4, 4))))

    def refuse(*_):
        raise PermissionError(13, "Permission denied", "a.png")

    monkeypatch.setattr(opening, "open", refuse, raising=False)  # the superuser may read everything
    with pytest.raises(Undecodable, match=r"cannot be decoded \(Permission denied\)") as error:
        decode_image(tmp_path / "a.png", 3)
    assert error.value.kind == "unreadable"
    assert is_grey(tmp_path / "a.png")


def test_a_disk_that_fails_while_it_is_read(tmp_path, monkeypatch):
    (tmp_path / "a.png").write_bytes(encoded(Image.new("L", (4, 4))))

    class Failing(io.BytesIO):
        def read(self, *_):
            raise OSError(5, "Input/output error")

    monkeypatch.setattr(opening, "open", lambda *_: Failing(b"xx"), raising=False)
    with pytest.raises(Undecodable, match="Input/output error") as error:
        decode_image(tmp_path / "a.png", 3)
    assert error.value.kind == "unreadable"


def test_bad_images_travel_between_processes():
    again = pickle.loads(pickle.dumps(Undecodable("it is torn", "truncated")))
    assert (str(again), again.kind) == ("it is torn", "truncated")


def test_nothing_is_warned_of_and_other_warnings_stay():
    torn_exif = encoded(Image.new("L", (4, 4)), "jpeg", exif=b"Exif\0\0II*\0\x08\0\0\0\x05\0\x12\x01\x03\0\x01\0\0\0")
    with warnings.catch_warnings(record=True) as caught, ThreadPoolExecutor(4) as pool:
        warnings.simplefilter("always")
        before = list(warnings.filters)
        list(pool.map(lambda _: decode_image(torn_exif, 1), range(50)))
        warnings.warn("ours", stacklevel=1)
        assert list(warnings.filters) == before
    assert [str(each.message) for each in caught] == ["ours"]
