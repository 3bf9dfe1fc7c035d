"""Decoded images as memory-mapped .npy files, so that a data set is decoded once.

An entry is a folder named after a hash of the source's identity. It is written under another name and renamed, so that
an interrupted run leaves nothing that looks like an entry; one that was damaged later is noticed and written anew.
"""

from __future__ import annotations

import hashlib
import json
import re
import shutil
import uuid
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

import numpy as np

from jaxcnn.data.dataset import BadImage, Pool, Source, Split
from jaxcnn.errors import InputError
from jaxcnn.files import cache_dir

FORMAT = 1
"""Raise it when decoding changes, so that entries of older versions are not read."""

CHECKED_ROWS = 2048
"""Images of an entry that its checksum covers, evenly spread: all of a small set, a sample of a large one."""


class Decoded(NamedTuple):
    """A split's arrays, mapped from disk, and the files that were skipped with reasons."""

    split: Split
    skipped: tuple[str, ...]


def entry_path(source: Source, split: str, on_bad: str = "refuse") -> Path:
    """Where the decoded arrays of one split of a source lie, or will."""
    key = json.dumps([FORMAT, split, on_bad, source.identity], sort_keys=True, default=str)
    slug = re.sub(r"[^A-Za-z0-9]+", "_", Path(source.name).name)[:40].strip("_") or "set"
    return cache_dir() / "data" / f"{slug}-{split}-{hashlib.sha256(key.encode()).hexdigest()[:20]}"


def decoded(source: Source, split: str, *, on_bad: str = "refuse", progress: bool = False) -> Decoded:
    """The arrays of one split, from the cache or decoded now and cached.

    Args:
        source: The data set.
        split: A key of `source.pools`.
        on_bad: refuse or skip: what an image that cannot be decoded does.
        progress: Show a progress bar on standard error while decoding.

    Raises:
        InputError: An image cannot be decoded (refuse), images differ in size, or the cache cannot be written.
    """
    path = entry_path(source, split, on_bad)
    if (found := _read(path)) is not None:
        return found
    try:
        temporary = path.parent / f".{path.name}-{uuid.uuid4().hex}"  # not mkdtemp: caches may be shared
        temporary.mkdir(parents=True)
    except OSError as error:
        raise InputError(
            f"the cache folder {str(path.parent)!r} cannot be written ({error.strerror}); "
            f"set JAXCNN_CACHE to a folder that can"
        ) from None
    try:
        _write(temporary, source, split, on_bad, progress)
        _install(temporary, path)
    except OSError as error:
        raise InputError(
            f"writing the cache entry {str(path)!r} failed ({error}); free some space there or set JAXCNN_CACHE"
        ) from None
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    found = _read(path)
    if found is None:
        raise InputError(f"the cache entry {str(path)!r} cannot be read back; check that disk or set JAXCNN_CACHE")
    return found


def _install(temporary: Path, path: Path) -> None:
    """Put a finished entry in its place; whoever comes second keeps what the first one wrote."""
    if path.exists() and _read(path) is None:
        discarded = path.parent / f".{path.name}-{uuid.uuid4().hex}"
        path.rename(discarded)
        shutil.rmtree(discarded, ignore_errors=True)
    try:
        temporary.rename(path)
    except OSError:
        if _read(path) is None:
            raise


def _read(path: Path) -> Decoded | None:
    """The entry, or None where it is missing or damaged."""
    try:
        meta = json.loads((path / "meta.json").read_text())
        images = np.load(path / "images.npy", mmap_mode="r", allow_pickle=False)
        labels = np.load(path / "labels.npy", allow_pickle=False)
        if meta["checksum"] != _checksum(images, labels) or meta["shape"] != list(images.shape):
            return None
        return Decoded({"images": images, "labels": labels}, tuple(meta["skipped"]))
    except (OSError, ValueError, KeyError, TypeError, EOFError):
        return None


def _checksum(images: np.ndarray, labels: np.ndarray) -> int:
    rows = np.unique(np.linspace(0, len(images) - 1, min(len(images), CHECKED_ROWS)).astype(np.int64))
    value = zlib.crc32(labels.tobytes())
    for row in rows:
        value = zlib.crc32(np.ascontiguousarray(images[row]).data, value)
    return value


def _write(folder: Path, source: Source, split: str, on_bad: str, progress: bool) -> None:
    pool, labels, skipped = source.pools[split], [], []
    shape, first = None, ""
    with (folder / "images.npy").open("w+b") as file, _bar(source.name, split, pool, progress) as advance:
        for example in pool.read():
            if isinstance(example.image, BadImage):
                if on_bad == "refuse":
                    raise _refused(source, example.name, example.image)
                skipped.append(f"{example.name}: {example.image}")
            else:
                if shape is None:
                    shape, first = example.image.shape, example.name
                    _header(file, (pool.length, *shape))
                elif example.image.shape != shape:
                    raise _sizes_differ(source, first, shape, example.name, example.image.shape)
                # Plain writes, not a writable memory map: on a full disk the latter kills the process.
                file.write(np.ascontiguousarray(example.image).data)
                labels.append(example.label)
            advance()
        if shape is None:
            raise InputError(
                f"the {split} split of data set {source.name!r} has no image that can be decoded; check it"
            )
        _header(file, (len(labels), *shape))
    np.save(folder / "labels.npy", np.asarray(labels, np.int32), allow_pickle=False)
    images = np.load(folder / "images.npy", mmap_mode="r", allow_pickle=False)
    meta = {"checksum": _checksum(images, np.asarray(labels, np.int32)), "shape": images.shape, "skipped": skipped}
    (folder / "meta.json").write_text(json.dumps({**meta, "identity": source.identity}, default=str))


def _header(file: BinaryIO, shape: tuple[int, ...]) -> None:
    """(Re)write the .npy header: NumPy pads it so that a shorter count fits in the same bytes."""
    file.seek(0)
    contents: dict[str, Any] = {"descr": "|u1", "fortran_order": False, "shape": shape}
    np.lib.format.write_array_header_1_0(file, contents)


def _refused(source: Source, name: str, reason: BadImage) -> InputError:
    return InputError(
        f"{name} in data set {source.name!r} cannot be used: {reason}; remove or replace it, "
        f"or set on_bad='skip' to leave such files out with a warning"
    )


def _sizes_differ(source: Source, first: str, shape: tuple[int, ...], name: str, other: tuple[int, ...]) -> InputError:
    return InputError(
        f"images of data set {source.name!r} differ in size ({first} is {shape[1]}x{shape[0]} pixels, {name} is "
        f"{other[1]}x{other[0]}); set size, such as size=64, to resize all of them to one"
    )


@contextmanager
def _bar(name: str, split: str, pool: Pool, progress: bool) -> Iterator[Any]:
    """Yield a function to call after each image; with a progress bar where one is wanted."""
    if not progress:
        yield lambda: None
        return
    from rich.console import Console
    from rich.progress import Progress

    console = Console(stderr=True)
    with Progress(console=console, transient=True, disable=not console.is_terminal) as bars:
        task = bars.add_task(f"decoding {Path(name).name} {split}", total=pool.length)
        yield lambda: bars.advance(task)
