"""PyTorch's `.pth` files, both layouts, without PyTorch: the pickle is read as data, and nothing in it is called.

Python's own unpickler calls functions that the file names. Here each instruction of the pickle is interpreted, and of
all functions only three have a meaning, those that put tensors and ordered mappings together; any other name is
refused. Layouts: torch/serialization.py of PyTorch 2 (zip archive since 1.6; before that, pickles in a row, then data).
"""

from __future__ import annotations

import io
import math
import pickletools
import zipfile
from collections.abc import Callable, Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple

import ml_dtypes
import numpy as np
from numpy.lib.stride_tricks import as_strided

from jaxcnn.errors import InputError, printable

DTYPES: Mapping[str, np.dtype] = {
    name: np.dtype(kind)
    for name, kind in {
        "FloatStorage": "<f4", "DoubleStorage": "<f8", "HalfStorage": "<f2", "BFloat16Storage": ml_dtypes.bfloat16,
        "LongStorage": "<i8", "IntStorage": "<i4", "ShortStorage": "<i2", "CharStorage": "i1", "ByteStorage": "u1",
        "BoolStorage": "?",
    }.items()
}  # fmt: skip
"""Types of values by the class of their storage, in the module torch."""
CALLS = ("collections OrderedDict", "torch._utils _rebuild_tensor_v2", "torch._utils _rebuild_parameter")
"""The functions that a pickle may name."""
LEGACY_MAGIC = 0x1950A86A20F9469CFC6C
MOST_VALUES = 1_000_000
"""Largest number of instructions of a pickle; a ResNet-152 has 20,000."""
WRAPPERS = ("state_dict", "model")
"""Keys under which checkpoints keep the weights beside other things."""


class _Name(NamedTuple):
    """A name in the pickle, "module name", that stands for a function or a class."""

    name: str


class _Storage(NamedTuple):
    """Reference to the memory of tensors."""

    key: str
    dtype: np.dtype
    length: int


class _Tensor(NamedTuple):
    """A part of a storage; offset and strides in values."""

    storage: _Storage
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]


def read_pth(path: Path | str) -> dict[str, np.ndarray]:
    """Return the arrays of a `.pth` file by name, read-only; values that are no tensors are left out.

    A checkpoint that keeps its weights under `state_dict` or `model` gives those.

    Raises:
        InputError: The file is cut or damaged, is no such file, or holds anything but tensors and plain values.

    >>> read_pth("resnet18-f37072fd.pth")["fc.bias"].shape  # doctest: +SKIP
    (1000,)
    """
    path = Path(path)
    try:
        tree, fetch = _read_zip(path) if zipfile.is_zipfile(path) else _read_legacy(path)
        for key in WRAPPERS:
            if isinstance(tree, dict) and isinstance(tree.get(key), dict):
                tree = tree[key]
        if not isinstance(tree, dict):
            raise _Wrong(f"it holds a {type(tree).__name__}, not tensors by name")
        found = {str(name): _view(each, fetch) for name, each in tree.items() if isinstance(each, _Tensor)}
        if not found:
            raise _Wrong("it holds no tensors by name")
        return found
    except _Wrong as error:
        reason = str(error)
    # zipfile says NotImplementedError to a compression that it does not know.
    except (OSError, ValueError, KeyError, IndexError, TypeError, AttributeError, ArithmeticError, EOFError,
            MemoryError, RecursionError, NotImplementedError, zipfile.BadZipFile) as error:  # fmt: skip
        reason = f"it is cut or damaged ({printable(str(error))[:80]})"
    raise InputError(
        f"weights={str(path)!r}: not a readable .pth file, {reason}; get the file again, or save model.state_dict()"
    )


class _Wrong(Exception):
    """What is wrong with a file, in words."""


def _read_zip(path: Path) -> tuple[Any, Callable[[_Storage], np.ndarray]]:
    archive = zipfile.ZipFile(path)
    entries = {entry.filename: entry for entry in archive.infolist()}
    pickles = [name for name in entries if name.count("/") == 1 and name.endswith("/data.pkl")]
    if len(pickles) != 1:
        raise _Wrong("the archive has no data.pkl")
    folder = pickles[0].partition("/")[0]
    # Entries are stored as they are; compressed or overlapping ones could unpack to more than any memory.
    sizes = sum(entry.file_size for entry in entries.values())
    if any(entry.compress_type for entry in entries.values()) or sizes > path.stat().st_size:
        raise _Wrong("the archive is compressed or its entries overlap")
    if f"{folder}/byteorder" in entries and archive.read(f"{folder}/byteorder") != b"little":
        raise _Wrong("its bytes are in big-endian order")

    read = lru_cache(maxsize=None)(archive.read)  # several tensors may share a storage

    def fetch(storage: _Storage) -> np.ndarray:
        return np.frombuffer(read(f"{folder}/data/{storage.key}"), storage.dtype, storage.length)

    return _interpret(io.BytesIO(archive.read(pickles[0]))), fetch


def _read_legacy(path: Path) -> tuple[Any, Callable[[_Storage], np.ndarray]]:
    content = path.read_bytes()
    stream = io.BytesIO(content)
    if not content.startswith(b"\x80\x02\x8a") or _interpret(stream) != LEGACY_MAGIC or _interpret(stream) != 1001:
        raise _Wrong("it is neither of PyTorch's two layouts")
    if _interpret(stream).get("little_endian") is not True:
        raise _Wrong("its bytes are in big-endian order")
    tree, keys, starts = _interpret(stream), _interpret(stream), dict[str, int]()
    lengths = {each.storage.key: each.storage for each in _tensors(tree)}
    for key in keys:
        count, storage = stream.read(8), lengths[_as(str, key)]
        if count != storage.length.to_bytes(8, "little"):
            raise _Wrong("it is cut or damaged (the lengths of its storages do not fit together)")
        starts[key] = stream.tell()
        stream.seek(storage.length * storage.dtype.itemsize, io.SEEK_CUR)

    def fetch(storage: _Storage) -> np.ndarray:
        return np.frombuffer(content, storage.dtype, storage.length, starts[storage.key])

    return tree, fetch


def _tensors(tree: Any) -> list[_Tensor]:
    """Return the tensors in a tree of mappings and lists; a tree that holds itself ends in a RecursionError."""
    if isinstance(tree, _Tensor):
        return [tree]
    if type(tree) in (list, tuple, dict):
        return [each for item in (tree.values() if type(tree) is dict else tree) for each in _tensors(item)]
    return []


def _view(tensor: _Tensor, fetch: Callable[[_Storage], np.ndarray]) -> np.ndarray:
    """Return a tensor as a view of its storage, after a check that it lies within."""
    storage, offset, shape, strides = tensor
    numbers = (offset, *shape, *strides)
    plain = all(type(number) is int and number >= 0 for number in numbers) and len(shape) == len(strides) <= 32
    last = offset + sum((size - 1) * stride for size, stride in zip(shape, strides, strict=True)) if plain else 0
    count = math.prod(shape) if plain else 0
    if not plain or count > storage.length or (count and last >= storage.length):
        raise _Wrong(f"a tensor of shape {printable(str(shape))[:60]} does not fit into its storage")
    values = fetch(storage)[offset:]
    size = storage.dtype.itemsize
    return as_strided(values, shape, [stride * size for stride in strides] if count else None, writeable=False)


def _interpret(stream: io.BytesIO) -> Any:
    """Return the value of the next pickle of a stream: mappings, lists, numbers, texts, `_Tensor`."""
    stack, marks, memo = list[Any](), list[list[Any]](), dict[int, Any]()

    def popped() -> list[Any]:
        nonlocal stack
        items, stack = stack, marks.pop()
        return items

    for number, (opcode, argument, _) in enumerate(pickletools.genops(stream)):
        name: str = opcode.name
        value: Any = argument
        if number > MOST_VALUES:
            raise _Wrong("its pickle has too many instructions")
        if name in ("PROTO", "FRAME"):
            continue
        if name in ("BINPUT", "LONG_BINPUT"):
            memo[value] = stack[-1]
        elif name == "MEMOIZE":
            memo[len(memo)] = stack[-1]
        elif name in ("BINGET", "LONG_BINGET"):
            stack.append(memo[value])
        elif name in ("BINUNICODE", "SHORT_BINUNICODE", "BININT", "BININT1", "BININT2", "LONG1", "BINFLOAT"):
            stack.append(value)
        elif name in ("NONE", "NEWTRUE", "NEWFALSE"):
            stack.append({"NONE": None, "NEWTRUE": True, "NEWFALSE": False}[name])
        elif name in ("EMPTY_DICT", "EMPTY_LIST", "EMPTY_TUPLE"):
            stack.append({"EMPTY_DICT": dict, "EMPTY_LIST": list, "EMPTY_TUPLE": tuple}[name]())
        elif name == "MARK":
            marks.append(stack)
            stack = []
        elif name == "TUPLE":
            items = popped()
            stack.append(tuple(items))
        elif name in ("TUPLE1", "TUPLE2", "TUPLE3"):
            count = int(name[-1])
            items = [stack.pop() for _ in range(count)]
            stack.append(tuple(items[::-1]))
        elif name in ("APPEND", "APPENDS"):
            items = popped() if name == "APPENDS" else [stack.pop()]
            _as(list, stack[-1]).extend(items)
        elif name in ("SETITEM", "SETITEMS"):
            items = popped() if name == "SETITEMS" else [stack.pop(), stack.pop()][::-1]
            _as(dict, stack[-1]).update(_pairs(zip(items[::2], items[1::2], strict=True)))
        elif name == "GLOBAL":
            stack.append(_named(value))
        elif name == "STACK_GLOBAL":
            last, first = stack.pop(), stack.pop()
            stack.append(_named(f"{first} {last}"))
        elif name == "BINPERSID":
            stack.append(_storage(stack.pop()))
        elif name == "REDUCE":
            arguments = stack.pop()
            stack.append(_made(stack.pop(), arguments))
        elif name == "BUILD":  # attributes of an ordered mapping, such as versions of modules: no weights
            stack.pop()
            _as(dict, stack[-1])
        elif name == "STOP":
            return stack.pop()
        else:
            raise _Wrong(f"its pickle has the instruction {name}, which no weights need")
    raise _Wrong("its pickle has no end")


def _as(kind: type[Any], value: Any) -> Any:
    if type(value) is not kind:
        raise _Wrong(f"its pickle puts items into a {type(value).__name__}")
    return value


def _pairs(items: Any = ()) -> dict[str | int, Any]:
    """Return pairs as a mapping; the hash of a deeply nested key would overflow the stack of the interpreter."""
    pairs = [(key, value) for key, value in items]
    if not all(type(key) in (str, int) for key, _ in pairs):
        raise _Wrong("its pickle has keys that are no names")
    return dict(pairs)


def _named(name: str) -> _Name:
    module, _, last = name.partition(" ")
    if name not in CALLS and not (module == "torch" and last in DTYPES):
        raise _Wrong(f"it holds a {printable(name.replace(' ', '.'))[:80]}, which is not loaded")
    return _Name(name)


def _storage(reference: Any) -> _Storage:
    """Return the storage of ("storage", class, key, device, length), in the old layout followed by None."""
    kind, cls, key, _, length, *view = reference
    dtype = DTYPES[_as(_Name, cls).name.partition(" ")[2]]
    if kind != "storage" or view not in ([], [None]) or type(length) is not int or length < 0:
        raise _Wrong("it has a storage of an unknown kind")
    return _Storage(_as(str, key), dtype, length)


def _made(function: Any, arguments: Any) -> Any:
    """Return what one of `CALLS` makes of its arguments."""
    name, arguments = _as(_Name, function).name, _as(tuple, arguments)
    if name.endswith("OrderedDict"):
        return _pairs(*arguments)
    if name.endswith("_rebuild_tensor_v2"):
        storage, offset, shape, strides = arguments[:4]
        return _Tensor(_as(_Storage, storage), offset, _as(tuple, shape), _as(tuple, strides))
    if name.endswith("_rebuild_parameter"):
        return _as(_Tensor, arguments[0])
    raise _Wrong("its pickle calls a class of storages")
