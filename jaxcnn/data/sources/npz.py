"""Arrays in an .npz file: images and labels, or x_train, y_train, x_test and y_test."""

import functools
import math
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from jaxcnn.data.dataset import Example, Pool, Source, fit_identity
from jaxcnn.data.decode import resize_array
from jaxcnn.data.messages import one_line
from jaxcnn.errors import InputError
from jaxcnn.spec import Size

SHORT_NAMES = {"train": "train", "validation": "val", "test": "test"}
KEYS = (
    {"train": ("images", "labels")},
    {split: (f"x_{short}", f"y_{short}") for split, short in SHORT_NAMES.items()},
    {split: (f"{short}_images", f"{short}_labels") for split, short in SHORT_NAMES.items()},
)
"""Names of the arrays of each split: a plain pair, Keras' names, MedMNIST's names."""

BOMB_BYTES, BOMB_RATIO = 2**30, 200
"""An array is refused if it is larger than both this size and this multiple of its compressed size."""

READERS = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}


def npz_source(name: str, path: Path, size: Size | None = None, fit: str = "squash") -> Source:
    """Return an .npz file as a source.

    Images are (N, H, W) or (N, H, W, C): integers 0..255, or floats 0..1, which are scaled. Labels are whole numbers
    (N,) or (N, 1) from 0; an array "class_names" may name them. Files that need pickle are refused, and so are arrays
    that are damaged, do not fit, claim more than the file contains, or expand excessively.
    """
    file = _File(name, path)
    try:
        with zipfile.ZipFile(path) as archive:
            present = {entry.removesuffix(".npy") for entry in archive.namelist()}
    except Exception as error:  # a damaged directory is reported in many ways
        reason = one_line(error)
        raise InputError(f"{name!r} cannot be read as an .npz file ({reason}); write it with numpy.savez") from None
    keys = next((keys for keys in KEYS if set(keys["train"]) <= present), None)
    if keys is None:
        raise InputError(
            f"{name!r} has the arrays {', '.join(sorted(present)) or 'none'}; "
            f"name them images and labels, or x_train, y_train, x_test and y_test"
        )
    pools = {}
    for split, pair in keys.items():
        missing = set(pair) - present
        if len(missing) == 1:
            there = (set(pair) & present).pop()
            raise InputError(f"{name!r} has the array {there!r} but lacks {missing.pop()!r}; save both")
        if not missing:
            pools[split] = Pool(file.count(*pair), functools.partial(file.read, *pair, size, fit))
    status = path.stat()
    identity: dict[str, Any] = {"npz": str(path.resolve()), "bytes": status.st_size, "mtime_ns": status.st_mtime_ns}
    identity |= {"size": size} | fit_identity(fit)
    return Source(name, str(path), identity, file.class_names(keys["train"][1], present), pools)


@dataclass(frozen=True)
class _File:
    """An .npz file and the name under which errors report it."""

    name: str
    path: Path

    def error(self, key: str, problem: str) -> InputError:
        return InputError(f"array {key!r} of {self.name!r} {problem}")

    @contextmanager
    def reading(self, key: str) -> Iterator[None]:
        """Turn all that zipfile, zlib, struct and NumPy raise for a damaged array into one error."""
        try:
            yield
        except InputError:
            raise
        except Exception as error:
            raise self.error(key, f"cannot be read ({one_line(error)}); save the file again") from None

    def shape(self, key: str) -> tuple[int, ...]:
        """Return an array's shape after checking that its header agrees with the file's contents."""
        with self.reading(key), zipfile.ZipFile(self.path) as archive:
            entry = archive.getinfo(f"{key}.npy")
            with archive.open(entry) as file:
                shape, _, dtype = READERS[np.lib.format.read_magic(file)](file)
                size = entry.file_size - file.tell()
        if dtype.hasobject:
            raise self.error(key, "is an object array, which is never unpickled; save it as an array of numbers")
        if min(shape, default=0) < 0 or math.prod(shape) * dtype.itemsize != size:
            raise self.error(key, f"claims the shape {shape} of {dtype} but has {size:,} bytes; save the file again")
        packed = entry.compress_size
        if size > max(BOMB_BYTES, BOMB_RATIO * packed):
            raise self.error(key, f"expands from {packed:,} to {size:,} bytes; if that is right, save it uncompressed")
        return shape

    def count(self, images: str, labels: str) -> int:
        """Return the common length of images and labels, from the headers alone."""
        lengths = [next(iter(self.shape(key)), 0) for key in (images, labels)]
        if lengths[0] != lengths[1]:
            raise InputError(
                f"{self.name!r} has {lengths[0]} images in {images!r} and {lengths[1]} labels in {labels!r}; "
                f"save one label per image"
            )
        if lengths[0] == 0:
            raise self.error(images, "has no images; save at least a few of each class")
        return lengths[0]

    def array(self, key: str) -> np.ndarray:
        self.shape(key)
        with self.reading(key), zipfile.ZipFile(self.path) as archive, archive.open(f"{key}.npy") as file:
            return np.lib.format.read_array(file, allow_pickle=False)

    def labels(self, key: str) -> np.ndarray:
        labels = self.array(key)
        if labels.ndim == 2 and labels.shape[1] == 1:
            labels = labels[:, 0]
        floats = labels.dtype.kind == "f" and np.isfinite(labels).all() and (labels == np.floor(labels)).all()
        if labels.ndim != 1 or not (labels.dtype.kind in "iub" or floats):
            raise self.error(key, f"is {labels.dtype} {labels.shape}; labels must be whole numbers of shape (N,)")
        if len(labels) and (labels.min() < 0 or labels.max() > 1_000_000):
            worst = labels.min() if labels.min() < 0 else labels.max()
            raise self.error(key, f"contains the label {worst}, out of range; number the classes from 0")
        return labels.astype(np.int64)

    def class_names(self, key: str, present: set[str]) -> tuple[str, ...]:
        if "class_names" in present:
            names = self.array("class_names")
            if names.ndim != 1 or names.dtype.kind not in "USiu":
                raise self.error("class_names", f"is {names.dtype} {names.shape}; save one string for each class")
            return tuple(name.decode("utf-8", "replace") if isinstance(name, bytes) else str(name) for name in names)
        labels = self.labels(key)
        classes = int(labels.max()) + 1
        empty = np.setdiff1d(np.arange(classes), labels)
        if len(empty):
            raise self.error(
                key,
                f"has labels up to {classes - 1} but none equal to {empty[0]}; "
                f"number the classes from 0 without gaps, or add an array class_names",
            )
        return tuple(str(i) for i in range(classes))

    def images(self, key: str) -> np.ndarray:
        """Return images uint8 (N, H, W, C)."""
        images = self.array(key)
        if images.ndim == 3:
            images = images[..., None]
        if images.ndim != 4 or 0 in images.shape:
            raise self.error(key, f"has shape {images.shape}; images must be (N, H, W) or (N, H, W, C)")
        if images.shape[1] in (1, 3) and images.shape[-1] not in (1, 3, 4):
            raise self.error(key, f"has shape {images.shape}, channels first; use numpy.moveaxis(images, 1, -1)")
        if images.dtype == np.uint8:
            return images
        if images.dtype.kind == "f" and not np.isfinite(images).all():
            first = int(np.argmin(np.isfinite(images).all(axis=(1, 2, 3))))
            raise self.error(key, f"is not finite (NaN or infinity) in image {first}; replace it by numbers in 0..1")
        if images.dtype.kind in "iu" and images.min() >= 0 and images.max() <= 255:
            return images.astype(np.uint8)
        if images.dtype.kind == "b" or (images.dtype.kind == "f" and images.min() >= 0 and images.max() <= 1):
            return np.rint(images.astype(np.float32) * 255).astype(np.uint8)
        bounds = f" in {images.min()}..{images.max()}" if images.dtype.kind in "iuf" else ""
        raise self.error(key, f"is {images.dtype}{bounds}; save integers in 0..255 or floats in 0..1")

    def read(self, images: str, labels: str, size: Size | None, fit: str) -> Iterator[Example]:
        for i, (image, label) in enumerate(zip(self.images(images), self.labels(labels), strict=True)):
            yield Example(f"{images}[{i}]", resize_array(image, size, fit), int(label))
