"""`StreamedImages`: stands in a split where the array of its images would, and decodes those that are asked for."""

from __future__ import annotations

import math
import warnings
from collections.abc import Mapping
from typing import Any, Protocol

import numpy as np

from jaxcnn.data.stream.examples import Examples, decode, in_threads
from jaxcnn.errors import InputError


class Ahead(Protocol):
    """Who may have decoded images before they are asked for."""

    def find(self, positions: np.ndarray) -> tuple[np.ndarray, np.ndarray, list[str]]:
        """Images, the row of each position int (K,) among them or -1, and sentences about files passed over."""
        ...


class StreamedImages:
    """The images of a split, decoded when they are indexed: in place of a uint8 array (N, H, W, C).

    It is indexed along its first axis: by a number, a slice, an array of numbers of any shape or a mask. Reading ahead
    (`read_ahead`) changes how long that takes and never what it gives.

    Args:
        examples: Of the split.
    """

    dtype, ndim = np.dtype(np.uint8), 4

    def __init__(self, examples: Examples):
        self.examples = examples
        self.ahead: Ahead | None = None
        self._told: set[str] = set()

    @property
    def shape(self) -> tuple[int, int, int, int]:
        """(N, H, W, C)."""
        return len(self), *self.examples.shape

    @property
    def nbytes(self) -> int:
        """Bytes that all images take once they are decoded."""
        return math.prod(self.shape)

    def __len__(self) -> int:
        return len(self.examples.places)

    def __getitem__(self, key: Any) -> np.ndarray:
        positions = _positions(key, len(self))
        flat = positions.reshape(-1)
        images, rows, reasons = self.ahead.find(flat) if self.ahead else (_none(self), np.full(len(flat), -1), [])
        missing = rows < 0
        if not missing.any():
            found = images[rows]
        else:
            # Padding repeats an index: each image is decoded once.
            unique, inverse = np.unique(flat[missing], return_inverse=True)
            decoded, more = decode(self.examples, unique, in_threads)
            found, reasons = np.empty((len(flat), *self.examples.shape), np.uint8), reasons + more
            found[~missing], found[missing] = images[rows[~missing]], decoded[inverse]
        self._tell(reasons)
        return found.reshape(*positions.shape, *self.examples.shape)

    def __array__(self, dtype: Any = None, copy: Any = None) -> np.ndarray:
        raise InputError(
            f"the images of data set {self.examples.source!r} are streamed, and all {len(self):,} were asked for at "
            f"once; index those that are needed, as in images[:100], or load the set without stream"
        )

    def only(self, indices: np.ndarray) -> StreamedImages:
        """Some of the images, int (K,), as streamed images."""
        return StreamedImages(self.examples.only(indices))

    def _tell(self, reasons: list[str]) -> None:
        for reason in dict.fromkeys(reasons):
            if reason not in self._told:
                self._told.add(reason)
                warnings.warn(f"skipped {reason}; the next image of its class stands in for it", stacklevel=3)


def is_streamed(split: Mapping[str, Any]) -> bool:
    """Whether a split's images are decoded when they are asked for: they cannot be laid on a device as a whole."""
    return isinstance(split.get("images"), StreamedImages)


def only(array: Any, indices: np.ndarray) -> Any:
    """Some examples of an array or of streamed images, of which none is decoded."""
    return array.only(indices) if isinstance(array, StreamedImages) else array[indices]


def _none(images: StreamedImages) -> np.ndarray:
    return np.empty((0, *images.examples.shape), np.uint8)


def _positions(key: Any, length: int) -> np.ndarray:
    """What NumPy would take from an axis of this length, as positions int64 of any shape."""
    if isinstance(key, slice):
        return np.arange(*key.indices(length))
    try:
        asked = np.asarray(key)
    except ValueError:  # (slice, 0) and the like, of unequal lengths
        asked = np.array(None)
    if asked.dtype == bool and asked.shape == (length,):
        return np.flatnonzero(asked)
    if asked.dtype.kind not in "iu" and asked.size:
        raise IndexError("streamed images are indexed by number, slice, integers or a mask; index the result further")
    if asked.size and not -length <= asked.min() <= asked.max() < length:
        raise IndexError(f"index {asked.min()}..{asked.max()} is out of range for {length} streamed images")
    return np.where(asked < 0, asked + length, asked).astype(np.int64)
