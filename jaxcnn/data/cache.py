"""Cache of decoded images as memory-mapped .npy files, so that a data set is decoded once.

An entry is a folder named after a hash of the source's identity. It is written under a temporary name and renamed, so
an interrupted run leaves no partial entry; an entry that was damaged later is detected and rebuilt. Small arrays that
are slow to compute (labels, statistics) are cached beside them.
"""

import hashlib
import json
import re
import shutil
import uuid
import zipfile
import zlib
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from jaxcnn.data.boxes import stack_objects
from jaxcnn.data.dataset import BadImage, Source, Split
from jaxcnn.data.messages import bad_image, no_images, progress_bar, sizes_differ
from jaxcnn.errors import InputError, printable
from jaxcnn.runtime.files import atomic_write, cache_dir

FORMAT = 2
"""Version of the entries. Increase it when decoding changes: entries of older versions are then ignored."""

DAMAGE = (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile)
"""Errors of reading a missing or damaged .npz file, which has checksums."""

CHECKED_ROWS = 2048
"""Images that an entry's checksum covers, evenly spread: all of a small set, a sample of a large one."""


def entry_path(source: Source, split: str, on_bad: str = "refuse") -> Path:
    """Return the folder of the decoded arrays of one split."""
    return _path(source.name, split, [FORMAT, split, on_bad, source.identity])


def load_or_compute(name: str, what: str, key: object, compute: Callable[[], np.ndarray]) -> np.ndarray:
    """Return a small array that is a function of `key`, from the cache or computed now.

    If the cache cannot be written, the array is computed again the next time. `key` consists of plain JSON values;
    `what` names the array of the data set `name`.
    """
    path = _path(name, what, [FORMAT, what, key]).with_suffix(".npz")
    with suppress(*DAMAGE), path.open("rb") as file, np.load(file, allow_pickle=False) as stored:
        return stored["array"]
    array = compute()
    with suppress(OSError):
        path.parent.mkdir(parents=True, exist_ok=True)
        with atomic_write(path) as partial, partial.open("wb") as file:
            np.savez(file, array=array)
    return array


def _path(name: str, what: str, key: object) -> Path:
    digest = hashlib.sha256(json.dumps(key, sort_keys=True, default=str).encode()).hexdigest()[:20]
    slug = re.sub(r"[^A-Za-z0-9]+", "_", Path(name).name)[:40].strip("_") or "set"
    return cache_dir() / "data" / f"{slug}-{what}-{digest}"


def load_or_decode(
    source: Source, split: str, *, on_bad: str = "refuse", progress: bool = False
) -> tuple[Split, tuple[str, ...]]:
    """Return the arrays of one split, memory-mapped from the cache (decoded first), and skipped files with reasons.

    Raises:
        InputError: An image cannot be decoded (refuse), images differ in size, or the cache cannot be written.
    """
    path = entry_path(source, split, on_bad)
    if (entry := _read(path)) is not None:
        return entry
    temporary, damaged = (path.parent / f".{path.name}-{uuid.uuid4().hex}" for _ in range(2))  # caches may be shared
    try:
        temporary.mkdir(parents=True)
        _write(temporary, source, split, on_bad, progress)
        if path.exists() and _read(path) is None:
            path.rename(damaged)
        with suppress(OSError):  # another process may have been faster: its entry stays
            temporary.rename(path)
    except OSError as error:
        raise InputError(
            f"the cache folder {str(path.parent)!r} cannot be written ({error}); free some space there, or set "
            f"JAXCNN_CACHE to another folder"
        ) from None
    finally:
        for folder in (temporary, damaged):
            shutil.rmtree(folder, ignore_errors=True)
    if (entry := _read(path)) is None:
        raise InputError(f"the cache entry {str(path)!r} cannot be read back; check that disk or set JAXCNN_CACHE")
    return entry


def _read(path: Path) -> tuple[Split, tuple[str, ...]] | None:
    """Return an entry, or None if it is missing or damaged."""
    try:
        meta = json.loads((path / "meta.json").read_text())
        images = np.load(path / "images.npy", mmap_mode="r", allow_pickle=False)
        targets = {name: np.load(path / f"{name}.npy", allow_pickle=False) for name in meta.get("arrays", ["labels"])}
        if meta["checksum"] != _checksum(images, targets) or meta["shape"] != list(images.shape):
            return None
        return {"images": images, **targets}, tuple(meta["skipped"])
    except (OSError, ValueError, KeyError, TypeError, EOFError):
        return None


def _checksum(images: np.ndarray, targets: Split) -> int:
    rows = np.unique(np.linspace(0, len(images) - 1, min(len(images), CHECKED_ROWS)).astype(np.int64))
    value = zlib.crc32(targets["labels"].tobytes())
    for name, array in targets.items():
        value = value if name == "labels" else zlib.crc32(array.tobytes(), value)
    for row in rows:
        value = zlib.crc32(np.ascontiguousarray(images[row]).data, value)
    return value


def _write(folder: Path, source: Source, split: str, on_bad: str, progress: bool) -> None:
    pool, labels, skipped = source.pools[split], [], []
    shape, first = None, ""
    label = f"decoding {Path(source.name).name} {split}"
    with (folder / "images.npy").open("w+b") as file, progress_bar(label, pool.length, progress) as advance:
        for example in pool.read():
            if isinstance(example.image, BadImage):
                if on_bad == "refuse":
                    raise bad_image(source.name, example.name, example.image)
                skipped.append(f"{printable(example.name)}: {example.image}")
            else:
                if shape is None:
                    shape, first = example.image.shape, example.name
                    _write_header(file, (pool.length, *shape))
                elif example.image.shape != shape:
                    raise sizes_differ(source.name, first, shape, example.name, example.image.shape)
                # Plain writes, not a writable memory map: on a full disk the latter kills the process.
                file.write(np.ascontiguousarray(example.image).data)
                labels.append(example.label)
            advance()
        if shape is None:
            raise no_images(source.name, split)
        _write_header(file, (len(labels), *shape))
    targets = _stacked(source.target, labels)
    for name, array in targets.items():
        np.save(folder / f"{name}.npy", array, allow_pickle=False)
    images = np.load(folder / "images.npy", mmap_mode="r", allow_pickle=False)
    meta = {"checksum": _checksum(images, targets), "shape": images.shape, "skipped": skipped, "arrays": [*targets]}
    (folder / "meta.json").write_text(json.dumps({**meta, "identity": source.identity}, default=str))


def _stacked(target: str, labels: list[Any]) -> Split:
    """Return the targets of all images as arrays: classes, masks (uint8 already), or objects."""
    if target == "boxes":
        return stack_objects(labels)
    return {"labels": np.stack(labels) if target == "mask" else np.asarray(labels, np.int32)}


def _write_header(file: BinaryIO, shape: tuple[int, ...]) -> None:
    """Write or overwrite the .npy header: NumPy pads it, so that a smaller count fits in the same bytes."""
    file.seek(0)
    contents: dict[str, Any] = {"descr": "|u1", "fortran_order": False, "shape": shape}
    np.lib.format.write_array_header_1_0(file, contents)
