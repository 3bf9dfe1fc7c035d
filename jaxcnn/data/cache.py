"""Decoded images as memory-mapped .npy files, so that a data set is decoded once.

An entry is a folder named after a hash of the source's identity. It is written under another name and renamed, so that
an interrupted run leaves nothing that looks like an entry; one that was damaged later is noticed and written anew.
What else is costly to learn of a source (labels, statistics) lies beside them, in small files.
"""

from __future__ import annotations

import hashlib
import json
import re
import shutil
import uuid
import zipfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

import numpy as np

from jaxcnn.data.dataset import BadImage, Source, Split
from jaxcnn.data.sources.opening import shown
from jaxcnn.errors import InputError
from jaxcnn.runtime.files import cache_dir, in_one_move

FORMAT = 2
"""Raise it when decoding changes, so that entries of older versions are not read."""

DAMAGE = (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile)
"""What an .npz file raises that is missing or damaged: it knows its checksums."""

CHECKED_ROWS = 2048
"""Images of an entry that its checksum covers, evenly spread: all of a small set, a sample of a large one."""


class Decoded(NamedTuple):
    """A split's arrays, mapped from disk, and the files that were skipped with reasons."""

    split: Split
    skipped: tuple[str, ...]


def entry_path(source: Source, split: str, on_bad: str = "refuse") -> Path:
    """Where the decoded arrays of one split of a source lie, or will."""
    return _place(source.name, split, [FORMAT, split, on_bad, source.identity])


def remembered(name: str, what: str, key: object, make: Callable[[], np.ndarray]) -> np.ndarray:
    """A small array that is a function of `key`, from the cache or made now.

    A cache that cannot be written costs the time to make it again, no more.

    Args:
        name: The data set, as the user wrote it.
        what: What the array says of it, one word.
        key: JSON-able; equal keys, equal arrays.
        make: Makes it.
    """
    path = _place(name, what, [FORMAT, what, key]).with_suffix(".npz")
    with suppress(*DAMAGE), path.open("rb") as file, np.load(file, allow_pickle=False) as held:
        return held["array"]
    array = make()
    with suppress(OSError):
        path.parent.mkdir(parents=True, exist_ok=True)
        with in_one_move(path) as partial, partial.open("wb") as file:
            np.savez(file, array=array)
    return array


def _place(name: str, what: str, key: object) -> Path:
    digest = hashlib.sha256(json.dumps(key, sort_keys=True, default=str).encode()).hexdigest()[:20]
    slug = re.sub(r"[^A-Za-z0-9]+", "_", Path(name).name)[:40].strip("_") or "set"
    return cache_dir() / "data" / f"{slug}-{what}-{digest}"


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
    doing = f"decoding {Path(source.name).name} {split}"
    with (folder / "images.npy").open("w+b") as file, bar(doing, pool.length, progress) as advance:
        for example in pool.read():
            if isinstance(example.image, BadImage):
                if on_bad == "refuse":
                    raise refused(source.name, example.name, example.image)
                skipped.append(f"{shown(example.name)}: {example.image}")
            else:
                if shape is None:
                    shape, first = example.image.shape, example.name
                    _header(file, (pool.length, *shape))
                elif example.image.shape != shape:
                    raise sizes_differ(source.name, first, shape, example.name, example.image.shape)
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


def refused(source: str, name: str, reason: BadImage) -> InputError:
    """The sentence about an image of a data set that cannot be decoded."""
    return InputError(
        f"{shown(name)} in data set {source!r} cannot be used: {reason}; remove or replace it, "
        f"or set on_bad='skip' to leave such files out with a warning"
    )


def sizes_differ(source: str, first: str, shape: tuple[int, ...], name: str, other: tuple[int, ...]) -> InputError:
    """The sentence about two images of a data set, with their shapes (H, W, C)."""
    return InputError(
        f"images of data set {source!r} differ in size ({shown(first)} is {shape[1]}x{shape[0]} pixels, {shown(name)} "
        f"is {other[1]}x{other[0]}); set size, such as size=64, to resize all of them to one"
    )


@contextmanager
def bar(doing: str, total: int, progress: bool = True) -> Iterator[Callable[[], object]]:
    """Yield a function to call after each of `total` examples; with a progress bar where one is wanted.

    Args:
        doing: What takes the time: the bar's label.
        total: How often it will be called.
        progress: Show the bar, on standard error.
    """
    if not progress:
        yield lambda: None
        return
    from rich.console import Console
    from rich.progress import Progress

    console = Console(stderr=True)
    with Progress(console=console, transient=True, disable=not console.is_terminal) as bars:
        task = bars.add_task(doing, total=total)
        yield lambda: bars.advance(task)
