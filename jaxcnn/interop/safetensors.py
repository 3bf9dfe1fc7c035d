"""`.safetensors` files: a header of JSON, then the values of all arrays in one piece; nothing can be executed.

Format: https://github.com/huggingface/safetensors (README, "Format").
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from pathlib import Path

import ml_dtypes
import numpy as np

from jaxcnn.errors import InputError, printable

DTYPES: Mapping[str, np.dtype] = {
    name: np.dtype(kind)
    for name, kind in {
        "F32": "<f4", "F64": "<f8", "F16": "<f2", "BF16": ml_dtypes.bfloat16, "I64": "<i8", "I32": "<i4", "I16": "<i2",
        "I8": "i1", "U8": "u1", "BOOL": "?",
    }.items()
}  # fmt: skip
LARGEST_HEADER = 100_000_000
"""Bytes; the limit of the format's own library."""


def read_safetensors(path: Path | str) -> dict[str, np.ndarray]:
    """Return the arrays of a `.safetensors` file by name, read-only.

    Raises:
        InputError: The file is cut or damaged, or is no such file.

    >>> read_safetensors("model.safetensors")["fc.bias"].shape  # doctest: +SKIP
    (1000,)
    """
    path = Path(path)
    try:
        with path.open("rb") as stream:
            length = int.from_bytes(stream.read(8), "little")
            if length > min(path.stat().st_size, LARGEST_HEADER):
                raise ValueError("the header is longer than the file")
            header, data = json.loads(stream.read(length)), stream.read()
        header.pop("__metadata__", None)
        return {name: _array(data, **entry) for name, entry in header.items()}
    except (OSError, ValueError, KeyError, TypeError, AttributeError, MemoryError, RecursionError) as error:
        raise InputError(
            f"weights={str(path)!r}: not a readable .safetensors file, it is cut or damaged "
            f"({printable(str(error))[:80]}); get the file again"
        ) from None


def _array(data: bytes, dtype: str, shape: list[int], data_offsets: list[int]) -> np.ndarray:
    kind, (start, end) = DTYPES[dtype], data_offsets
    if not all(type(number) is int and number >= 0 for number in (*shape, start, end)) or len(shape) > 32:
        raise ValueError("sizes must be whole numbers")
    if end > len(data) or end - start != math.prod(shape) * kind.itemsize:
        raise ValueError(f"shape {str(shape)[:40]} does not fit its bytes")
    return np.frombuffer(data, kind, math.prod(shape), start).reshape(shape)
