"""Files of PyTorch and safetensors give the arrays that were saved; hostile ones one sentence, and nothing is run."""

import contextlib
import io
import json
import os
import pickle
import struct
import zipfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jaxcnn.errors import InputError
from jaxcnn.interop import read_pth, read_safetensors

FIXTURES = Path(__file__).parents[1] / "fixtures"
FILES = {"weights.pth": read_pth, "weights_legacy.pth": read_pth, "weights.safetensors": read_safetensors}


@pytest.mark.parametrize("name", FILES)
def test_arrays_are_those_that_were_saved(name):
    found = FILES[name](FIXTURES / name)
    with np.load(FIXTURES / "weights.npz") as stored:
        assert set(found) == set(stored.files)
        for key in stored.files:
            assert found[key].shape == stored[key].shape, key
            np.testing.assert_array_equal(found[key].astype(stored[key].dtype), stored[key], err_msg=key)
    assert [found[name].dtype.name for name in ("bfloat", "half")] == ["bfloat16", "float16"]
    assert not found["plain"].flags.writeable


@pytest.mark.parametrize("name", FILES)
def test_a_cut_file_is_refused(name, tmp_path):
    content, file = (FIXTURES / name).read_bytes(), tmp_path / name
    for length in (0, 1, 7, 9, len(content) // 3, len(content) // 2, len(content) - 1):
        file.write_bytes(content[:length])
        with pytest.raises(InputError, match=r"cut or damaged|neither of PyTorch's"):
            FILES[name](file)


@pytest.mark.parametrize("name", FILES)
@settings(max_examples=40, deadline=None)
@given(data=st.data())
def test_a_damaged_file_is_refused_or_read(name, data, tmp_path_factory):
    content = bytearray((FIXTURES / name).read_bytes())
    for _ in range(data.draw(st.integers(1, 4))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    file = tmp_path_factory.mktemp("damaged") / name
    file.write_bytes(content)
    with contextlib.suppress(InputError):
        FILES[name](file)


class Bomb:
    def __init__(self, function, *arguments):
        self.call = function, arguments

    def __reduce__(self):
        return self.call


def zipped(path, content, **others):
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("archive/data.pkl", content)
        for name, data in others.items():
            archive.writestr(f"archive/{name}", data)
    return path


def tensor(shape, strides, *, key="0", length=4, offset=0):
    """Return the pickle of {"w": tensor}, as PyTorch writes it."""
    out = io.BytesIO()
    pickler = pickle._Pickler(out, 2)

    def put(value):
        pickler.save(value)

    out.write(b"\x80\x02}")
    put("w")
    out.write(b"ctorch._utils\n_rebuild_tensor_v2\n((")
    put("storage")
    out.write(b"ctorch\nFloatStorage\n")
    for value in (key, "cpu", length):
        put(value)
    out.write(b"tQ")
    for value in (offset, shape, strides, False):
        put(value)
    out.write(b"ccollections\nOrderedDict\n)RtRs.")
    return out.getvalue()


def data(path, content, key="0", values=b"\0" * 16):
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("archive/data.pkl", content)
        archive.writestr(f"archive/data/{key}", values)
    return path


def test_the_hostile_tensors_below_are_read_where_they_are_right(tmp_path):
    assert read_pth(data(tmp_path / "right.pth", tensor((2, 2), (2, 1))))["w"].tolist() == [[0, 0], [0, 0]]


@pytest.mark.parametrize("protocol", [0, 1, 2, 4, 5])
@pytest.mark.parametrize("legacy", [False, True])
def test_nothing_in_a_pickle_is_called(tmp_path, legacy, protocol):
    touched = tmp_path / "touched"
    for function, arguments in ((os.system, (f"touch {touched}",)), (eval, (f"open({str(touched)!r}, 'w')",)),
                                (open, (str(touched), "w"))):  # fmt: skip
        content = pickle.dumps({"w": Bomb(function, *arguments)}, protocol)
        file = tmp_path / "bomb.pth"
        if legacy:
            file.write_bytes(b"".join(pickle.dumps(each, 2) for each in (0x1950A86A20F9469CFC6C, 1001)) + content)
        else:
            zipped(file, content)
        with pytest.raises(InputError, match="not a readable") as refused:
            read_pth(file)
        assert "\n" not in str(refused.value)
        assert not touched.exists()


@pytest.mark.parametrize(
    "content",
    [
        tensor((2**40,), (0,)),
        tensor((2**62, 2**62), (1, 1)),
        tensor((4,), (2,)),
        tensor((2,), (1,), offset=3),
        tensor((2,), (-1,), offset=1),
        tensor((2,), (1,), offset=-1),
        tensor((4,), (1,), length=2**60),
        tensor((4,), (1,), key="../../../etc/passwd"),
        tensor((4,), (1,), key="/etc/passwd"),
        b"\x80\x02]" + b"]" * 100_000 + b"a" * 100_000 + b".",
        b"\x80\x02})" + b"\x85" * 150_000 + b"K\x01s.",
        b"\x80\x02}r\xff\xff\xff\x7f.",
        b"\x80\x05\x96" + struct.pack("<Q", 2**40) + b".",
        b"\x80\x02\x8b" + struct.pack("<i", 2**31 - 1) + b".",
        b"\x80\x02]q\x00h\x00a.",
    ],
)
def test_hostile_pickles_are_refused(tmp_path, content):
    with pytest.raises(InputError, match="not a readable"):
        read_pth(data(tmp_path / "hostile.pth", content))


def test_a_compressed_archive_is_refused(tmp_path):
    with zipfile.ZipFile(tmp_path / "bomb.pth", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("archive/data.pkl", tensor((4,), (1,)))
        archive.writestr("archive/data/0", b"\0" * 10_000_000)
    with pytest.raises(InputError, match="compressed"):
        read_pth(tmp_path / "bomb.pth")


@pytest.mark.parametrize(
    "entry",
    [
        {"dtype": "F32", "shape": [2**40], "data_offsets": [0, 16]},
        {"dtype": "F32", "shape": [2, -2], "data_offsets": [0, 16]},
        {"dtype": "F32", "shape": [4], "data_offsets": [0, 2**60]},
        {"dtype": "F32", "shape": [1.5], "data_offsets": [0, 16]},
        {"dtype": "object", "shape": [4], "data_offsets": [0, 16]},
        {"dtype": "F32", "shape": [4], "data_offsets": [16, 0]},
        {"dtype": "F32", "shape": [4]},
        {"dtype": "F32", "shape": [4], "data_offsets": [0, 16], "path": "/etc/passwd"},
        [],
    ],
)
def test_hostile_headers_are_refused(tmp_path, entry):
    header = json.dumps({"w": entry}).encode()
    (tmp_path / "w.safetensors").write_bytes(struct.pack("<Q", len(header)) + header + b"\0" * 16)
    with pytest.raises(InputError, match="cut or damaged"):
        read_safetensors(tmp_path / "w.safetensors")


def test_a_deep_or_endless_header_is_refused(tmp_path):
    for header, length in ((b"[" * 100_000, 100_000), (b"{}", 2**60), (b"{}", 50)):
        (tmp_path / "w.safetensors").write_bytes(struct.pack("<Q", length) + header)
        with pytest.raises(InputError, match="cut or damaged"):
            read_safetensors(tmp_path / "w.safetensors")
