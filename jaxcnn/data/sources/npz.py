"""Arrays in an .npz file: images and labels, or x_train, y_train, x_test and y_test."""

from __future__ import annotations

import math
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from jaxcnn.data.dataset import Example, Pool, Source
from jaxcnn.data.decode import resize_array
from jaxcnn.errors import InputError

KEYS = (
    {"train": ("images", "labels")},
    {
        "train": ("x_train", "y_train"),
        "validation": ("x_val", "y_val"),
        "test": ("x_test", "y_test"),
    },
    {
        "train": ("train_images", "train_labels"),
        "validation": ("val_images", "val_labels"),
        "test": ("test_images", "test_labels"),
    },
)
"""Ways to name the arrays: the plain pair, Keras' names, MedMNIST's names."""

BOMB_BYTES, BOMB_RATIO = 2**30, 200
"""An array of more bytes than this, compressed to less than one byte in so many, is refused: images never are."""

READERS = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}


def npz_source(name: str, path: Path, size: int | None = None) -> Source:
    """An .npz file as a source.

    Images are (N, H, W) or (N, H, W, C): integers 0..255, or floats 0..1, which are scaled. Labels are whole numbers
    (N,) or (N, 1) from 0; an array "class_names" may name them. Files that need pickle are refused, and so is what is
    damaged, claims more than it holds or expands without measure.

    Args:
        name: As the user wrote it.
        path: The file.
        size: Resize to size x size pixels; None: as stored.

    Raises:
        InputError: The file cannot be read or its arrays do not fit.
    """
    present = _array_names(name, path)
    keys = next((keys for keys in KEYS if set(keys["train"]) <= present), None)
    if keys is None:
        raise InputError(
            f"{name!r} has the arrays {', '.join(sorted(present)) or 'none'}; "
            f"name them images and labels, or x_train, y_train, x_test and y_test"
        )
    for pair in keys.values():
        if len(missing := set(pair) - present) == 1:
            there = (set(pair) & present).pop()
            raise InputError(f"{name!r} has the array {there!r} but lacks {missing.pop()!r}; save both")
    pairs = {split: pair for split, pair in keys.items() if set(pair) <= present}
    status = path.stat()
    identity = {"npz": str(path.resolve()), "bytes": status.st_size, "mtime_ns": status.st_mtime_ns, "size": size}
    counts = {split: _length(name, path, pair) for split, pair in pairs.items()}
    pools = {
        split: Pool(counts[split], lambda pair=pair: _read(name, path, pair, size)) for split, pair in pairs.items()
    }
    return Source(name, str(path), identity, _class_names(name, path, pairs["train"][1], present), pools)


def _array_names(name: str, path: Path) -> set[str]:
    try:
        with zipfile.ZipFile(path) as archive:
            return {entry.removesuffix(".npy") for entry in archive.namelist()}
    except Exception as error:  # a damaged directory is reported in many ways
        reason = _reason(error)
        raise InputError(f"{name!r} cannot be read as an .npz file ({reason}); write it with numpy.savez") from None


@contextmanager
def _reading(name: str, key: str) -> Iterator[None]:
    """Whatever zipfile, zlib, struct and NumPy raise for a damaged array becomes one sentence."""
    try:
        yield
    except InputError:
        raise
    except Exception as error:
        raise InputError(f"array {key!r} of {name!r} cannot be read ({_reason(error)}); save the file anew") from None


def _reason(error: Exception) -> str:
    return " ".join(str(error).split())[:200] or type(error).__name__


def _header(name: str, path: Path, key: str) -> tuple[int, ...]:
    """An array's shape, once its header is known to agree with what the file holds."""
    with _reading(name, key), zipfile.ZipFile(path) as archive:
        entry = archive.getinfo(f"{key}.npy")
        with archive.open(entry) as file:
            shape, _, dtype = READERS[np.lib.format.read_magic(file)](file)
            held = entry.file_size - file.tell()
    if dtype.hasobject:
        raise InputError(
            f"array {key!r} of {name!r} is an object array, which is never unpickled; "
            f"save it as a rectangular array of numbers"
        )
    if min(shape, default=0) < 0 or math.prod(shape) * dtype.itemsize != held:
        raise InputError(
            f"array {key!r} of {name!r} cannot be read (it claims the shape {shape} of {dtype} and holds {held:,} "
            f"bytes); save the file anew"
        )
    if held > max(BOMB_BYTES, BOMB_RATIO * entry.compress_size):
        raise InputError(
            f"array {key!r} of {name!r} expands from {entry.compress_size:,} to {held:,} bytes, which no images do; "
            f"if they are meant, write them with numpy.savez, uncompressed"
        )
    return shape


def _length(name: str, path: Path, pair: tuple[str, str]) -> int:
    """Common length of images and labels, from the headers alone."""
    lengths = [next(iter(_header(name, path, key)), 0) for key in pair]
    if lengths[0] != lengths[1]:
        raise InputError(
            f"{name!r} has {lengths[0]} images in {pair[0]!r} and {lengths[1]} labels in {pair[1]!r}; "
            f"save one label an image"
        )
    if lengths[0] == 0:
        raise InputError(f"array {pair[0]!r} of {name!r} holds no images; save at least a few of each class")
    return lengths[0]


def _array(name: str, path: Path, key: str) -> np.ndarray:
    _header(name, path, key)
    with _reading(name, key), zipfile.ZipFile(path) as archive, archive.open(f"{key}.npy") as file:
        return np.lib.format.read_array(file, allow_pickle=False)


def _labels(name: str, path: Path, key: str) -> np.ndarray:
    labels = _array(name, path, key)
    if labels.ndim == 2 and labels.shape[1] == 1:
        labels = labels[:, 0]
    floats = labels.dtype.kind == "f" and np.isfinite(labels).all() and (labels == np.floor(labels)).all()
    if labels.ndim != 1 or not (labels.dtype.kind in "iub" or floats):
        raise InputError(
            f"array {key!r} of {name!r} is {labels.dtype} {labels.shape}; labels must be whole numbers of shape (N,)"
        )
    if len(labels) and (labels.min() < 0 or labels.max() > 1_000_000):
        worst = labels.min() if labels.min() < 0 else labels.max()
        raise InputError(f"array {key!r} of {name!r} holds the label {worst}, out of range; number the classes from 0")
    return labels.astype(np.int64)


def _class_names(name: str, path: Path, key: str, present: set[str]) -> tuple[str, ...]:
    if "class_names" in present:
        names = _array(name, path, "class_names")
        if names.ndim != 1 or names.dtype.kind not in "USiu":
            raise InputError(
                f"array 'class_names' of {name!r} is {names.dtype} {names.shape}; save one string for each class"
            )
        return tuple(value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value) for value in names)
    labels = _labels(name, path, key)
    classes = int(labels.max()) + 1
    empty = np.setdiff1d(np.arange(classes), labels)
    if len(empty):
        raise InputError(
            f"array {key!r} of {name!r} has labels up to {classes - 1} but none equal to {empty[0]}; "
            f"number the classes from 0 without gaps, or add an array class_names"
        )
    return tuple(str(i) for i in range(classes))


def _images(name: str, path: Path, key: str) -> np.ndarray:
    images = _array(name, path, key)
    if images.ndim == 3:
        images = images[..., None]
    if images.ndim != 4 or 0 in images.shape:
        raise InputError(
            f"array {key!r} of {name!r} has shape {images.shape}; images must be (N, H, W) or (N, H, W, C)"
        )
    if images.shape[1] in (1, 3) and images.shape[-1] not in (1, 3, 4):
        raise InputError(
            f"array {key!r} of {name!r} has shape {images.shape}, channels first; "
            f"move them last with numpy.moveaxis(images, 1, -1)"
        )
    if images.dtype == np.uint8:
        return images
    if images.dtype.kind == "f" and not np.isfinite(images).all():
        raise InputError(
            f"array {key!r} of {name!r} holds values that are not finite (NaN or infinity), the first in image "
            f"{int(np.argmin(np.isfinite(images).all(axis=(1, 2, 3))))}; replace them by numbers in 0..1"
        )
    if images.dtype.kind in "iu" and images.min() >= 0 and images.max() <= 255:
        return images.astype(np.uint8)
    if images.dtype.kind == "b" or (images.dtype.kind == "f" and images.min() >= 0 and images.max() <= 1):
        return np.rint(images.astype(np.float32) * 255).astype(np.uint8)
    bounds = f" in {images.min()}..{images.max()}" if images.dtype.kind in "iuf" else ""
    raise InputError(f"array {key!r} of {name!r} is {images.dtype}{bounds}; save integers in 0..255 or floats in 0..1")


def _read(name: str, path: Path, pair: tuple[str, str], size: int | None) -> Iterator[Example]:
    images, labels = _images(name, path, pair[0]), _labels(name, path, pair[1])
    for i, (image, label) in enumerate(zip(images, labels, strict=True)):
        yield Example(f"{pair[0]}[{i}]", resize_array(image, size), int(label))
