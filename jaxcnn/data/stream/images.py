"""`StreamedImages` takes the place of an array of images in a split and decodes images when they are indexed."""

import math
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, Self

import numpy as np

from jaxcnn.data.dataset import BadImage, Example, Source, Split
from jaxcnn.data.decode import ordered_map
from jaxcnn.data.messages import bad_image, no_images, progress_bar, sizes_differ
from jaxcnn.errors import InputError

Map = Callable[[Callable[[Any], Any], Iterable[Any]], Iterable[Any]]


class StreamedImages:
    """The images of a split, decoded when they are indexed, in place of a uint8 array (N, H, W, C).

    The first axis is indexed by a number, a slice, an array of numbers of any shape or a mask. Prefetching
    (`read_ahead`) changes how long that takes, never the result. Pickling keeps all but the prefetched images.

    Args:
        source: Name of the data set as the user wrote it.
        at: Decodes the example at an index of the pool.
        places: int32 (N,), indices of the split's examples in the pool.
        labels: int32 (N,).
        image_shape: (H, W, C) of every image.
        first: Name of the image with that shape, for errors.
        on_bad: Action on an image that cannot be decoded: refuse, or skip (the next image of its class replaces it).
    """

    dtype, ndim = np.dtype(np.uint8), 4

    def __init__(
        self, source: str, at: Callable[[int], Example], places: np.ndarray, labels: np.ndarray,
        image_shape: tuple[int, int, int], first: str, on_bad: str,
    ):  # fmt: skip
        self.source, self.at, self.places, self.labels = source, at, places, labels
        self.image_shape, self.first, self.on_bad = image_shape, first, on_bad
        self.find_prefetched: Callable[[np.ndarray], tuple[np.ndarray, np.ndarray, list[str]]] | None = None
        self._warned: set[str] = set()

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | {"find_prefetched": None, "_warned": set()}

    @property
    def shape(self) -> tuple[int, int, int, int]:
        """(N, H, W, C)."""
        return len(self), *self.image_shape

    @property
    def nbytes(self) -> int:
        """Bytes of all images together once they are decoded."""
        return math.prod(self.shape)

    def __len__(self) -> int:
        return len(self.places)

    def __getitem__(self, key: Any) -> np.ndarray:
        positions = _positions(key, len(self))
        flat = positions.reshape(-1)
        if self.find_prefetched is not None:
            images, rows, reasons = self.find_prefetched(flat)
        else:
            images, rows, reasons = np.empty((0, *self.image_shape), np.uint8), np.full(len(flat), -1), []
        missing = rows < 0
        if not missing.any():
            result = images[rows]
        else:
            # Padding repeats an index: each image is decoded once.
            unique, inverse = np.unique(flat[missing], return_inverse=True)
            decoded, more = self.decode(unique, in_threads)
            result, reasons = np.empty((len(flat), *self.image_shape), np.uint8), reasons + more
            result[~missing], result[missing] = images[rows[~missing]], decoded[inverse]
        for reason in dict.fromkeys(reasons):
            if reason not in self._warned:
                self._warned.add(reason)
                warnings.warn(f"skipped {reason}; the next image of its class replaces it", stacklevel=2)
        return result.reshape(*positions.shape, *self.image_shape)

    def __array__(self, dtype: Any = None, copy: Any = None) -> np.ndarray:
        raise InputError(
            f"the images of data set {self.source!r} are streamed and cannot become one array of {len(self):,}; "
            f"index those that are needed, as in images[:100], or load the set without stream"
        )

    def select(self, indices: np.ndarray) -> Self:
        """Return the images at indices int (K,) as streamed images."""
        return type(self)(
            self.source, self.at, self.places[indices], self.labels[indices], self.image_shape, self.first, self.on_bad
        )

    def decode(self, positions: np.ndarray, over: Map = map) -> tuple[np.ndarray, list[str]]:
        """Decode the images at positions int (K,), mapping over them by `map` or `in_threads`.

        Returns:
            uint8 (K, H, W, C), and a sentence about each file that was replaced.

        Raises:
            InputError: An image cannot be decoded (refuse), no image of its class can (skip), or one has another shape.
        """
        images, reasons = np.empty((len(positions), *self.image_shape), np.uint8), []
        for row, (image, skipped) in enumerate(over(self._decode_one, positions)):
            images[row] = image
            reasons += skipped
        return images, reasons

    def _decode_one(self, position: np.integer) -> tuple[np.ndarray, list[str]]:
        """Decode the image at a position, or its replacement, and report the skipped ones."""
        skipped = []
        for candidate in self._candidates(int(position)):
            name, image, _ = self.at(int(self.places[candidate]))
            if not isinstance(image, BadImage):
                if image.shape != self.image_shape:
                    raise sizes_differ(self.source, self.first, self.image_shape, name, image.shape)
                return image, skipped
            if self.on_bad == "refuse":
                raise bad_image(self.source, name, image)
            skipped.append(f"{name}: {image}")
        raise InputError(
            f"data set {self.source!r} has no image of class {self.labels[position]} that can be decoded "
            f"({skipped[0]}); check its files"
        )

    def _candidates(self, position: int) -> Iterator[int]:
        """Yield a position, the later ones of its class in stored order, then the earlier ones."""
        yield position
        same_class = np.flatnonzero(self.labels == self.labels[position])
        after = int(np.searchsorted(same_class, position)) + 1
        yield from map(int, np.roll(same_class, -after)[:-1])


def in_threads(function: Callable[[Any], Any], items: Iterable[Any]) -> Iterable[Any]:
    """Map over threads, in chunks small enough that each thread gets some."""
    todo = list(items)
    return ordered_map(function, todo, batch=min(64, -(-len(todo) // 16))) if len(todo) > 1 else map(function, todo)


def is_streamed(split: Mapping[str, Any]) -> bool:
    """Return whether a split's images are decoded when indexed; they cannot be put on a device as a whole.

    >>> is_streamed({"images": np.ones((2, 8, 8, 1))})
    False
    """
    return isinstance(split.get("images"), StreamedImages)


def open_split(source: Source, split: str, *, on_bad: str = "refuse", progress: bool = False) -> Split:
    """Return one split of a source with streamed images; labels are read, with a progress bar on standard error."""
    pool = source.pools[split]
    if pool.at is None or pool.labels is None:
        raise InputError(
            f"stream=True: data set {source.name!r} is held in memory as a whole, so there is nothing to stream; "
            f"leave stream out (it is for image folders and TFDS sets)"
        )
    with progress_bar(f"reading the {split} labels", pool.length, progress) as advance:
        labels = pool.labels(advance)
    for example in map(pool.at, range(pool.length)):  # the first image that can be decoded gives the shape of all
        if isinstance(example.image, BadImage):
            if on_bad == "refuse":
                raise bad_image(source.name, example.name, example.image)
            continue
        shape: Any = example.image.shape
        places = np.arange(pool.length, dtype=np.int32)
        images: Any = StreamedImages(source.name, pool.at, places, labels, shape, example.name, on_bad)
        return {"images": images, "labels": labels}
    raise no_images(source.name, split)


def _positions(key: Any, length: int) -> np.ndarray:
    """Return the positions, int64 of any shape, that NumPy would take from an axis of this length."""
    if isinstance(key, slice):
        return np.arange(*key.indices(length))
    try:
        indices = np.asarray(key)
    except ValueError:  # (slice, 0) and the like, of unequal lengths
        indices = np.array(None)
    if indices.dtype == bool and indices.shape == (length,):
        return np.flatnonzero(indices)
    if indices.dtype.kind not in "iu" and indices.size:
        raise IndexError("streamed images are indexed by number, slice, integers or a mask; index the result further")
    if indices.size and not -length <= indices.min() <= indices.max() < length:
        raise IndexError(f"index {indices.min()}..{indices.max()} is out of range for {length} streamed images")
    return np.where(indices < 0, indices + length, indices).astype(np.int64)
