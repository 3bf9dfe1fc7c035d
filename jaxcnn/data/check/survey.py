"""What lies in an image folder and what its files are, without an end at the first thing that is wrong."""

from __future__ import annotations

import hashlib
import os
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np

from jaxcnn.data.dataset import BadImage, Example
from jaxcnn.data.decode import decode_image, read_header
from jaxcnn.data.sources.folder import EXTENSIONS, SPLIT_FOLDERS

EXTENSION_FORMATS = {
    ".png": "PNG",
    ".jpg": "JPEG",
    ".jpeg": "JPEG",
    ".jpe": "JPEG",
    ".bmp": "BMP",
    ".gif": "GIF",
    ".webp": "WEBP",
    ".tif": "TIFF",
    ".tiff": "TIFF",
    ".ppm": "PPM",
    ".pgm": "PPM",
    ".pbm": "PPM",
}


class Listed(NamedTuple):
    """An image file: its path below the root, the pool its folder belongs to (train, validation, test), its class."""

    name: str
    pool: str
    label: int


class Survey(NamedTuple):
    """The files of an image folder, and the names of what is noted or passed over, by kind."""

    class_names: tuple[str, ...]
    files: tuple[Listed, ...]
    noted: dict[str, list[str]]


class Seen(NamedTuple):
    """What one image turned out to be.

    Args:
        name: As its source names it.
        pool: train, validation or test.
        label: Its class.
        kinds: Keys of `jaxcnn.data.check.inspection.KINDS`.
        reason: Why it cannot be decoded; "" where it can.
        shape: (H, W, C) as stored; empty where it cannot be decoded.
        digest: SHA-256 of its shape and pixels; likewise.
    """

    name: str
    pool: str
    label: int
    kinds: tuple[str, ...] = ()
    reason: str = ""
    shape: tuple[int, ...] = ()
    digest: bytes = b""


def survey(root: Path) -> Survey:
    """List an image folder as `jaxcnn.data.sources.folder` does, in its order, but refuse nothing.

    Args:
        root: The folder: root/class/*.png, or root/train/class/*.png beside root/test and root/val.
    """
    noted: dict[str, list[str]] = defaultdict(list)
    inner = _folders(root, root, noted)
    splits = {folder: SPLIT_FOLDERS.get(folder.name.lower()) for folder in inner}
    pools = [(folder, "train") for folder in inner]
    if any(pool == "train" and _holds_folders(folder) for folder, pool in splits.items()):
        pools = [(part, pool) for folder, pool in splits.items() if pool for part in _folders(root, folder, noted)]
    pools.sort(key=lambda pair: pair[1] != "train")  # what repeats a training image names it as the first
    class_names = tuple(sorted({folder.name for folder, _ in pools}))
    labels = {name: label for label, name in enumerate(class_names)}
    files = []
    for folder, pool in pools:
        # As `jaxcnn.data.sources.folder` sorts: the division into splits goes by the place in this order.
        found = sorted(_walk(root, folder, noted), key=lambda name: name.replace(os.sep, "\0"))
        files += [Listed(name, pool, labels[folder.name]) for name in found]
    return Survey(class_names, tuple(files), {kind: names for kind, names in noted.items() if names})


def _folders(root: Path, folder: Path, noted: dict[str, list[str]]) -> list[Path]:
    """The visible folders in one, sorted; what else lies there is noted."""
    try:
        entries = sorted(folder.iterdir(), key=lambda path: path.name)
        folders = [path for path in entries if path.is_dir() and not path.name.startswith(".")]
    except OSError:
        noted["closed_folder"].append(_below(root, folder))
        return []
    for path in entries:
        if path not in folders:
            noted[_passed_over(path.name) or "outside"].append(_below(root, path))
    return folders


def _holds_folders(folder: Path) -> bool:
    try:
        return any(path.is_dir() and not path.name.startswith(".") for path in folder.iterdir())
    except OSError:
        return False


def _walk(root: Path, folder: Path, noted: dict[str, list[str]]) -> Iterator[str]:
    """Image files at any depth, below the root; symbolic links followed except to folders met before."""
    seen = {os.path.realpath(parent) for parent in folder.parents}

    def closed(error: OSError) -> None:
        noted["closed_folder"].append(_below(root, error.filename))

    for here, inner, files in os.walk(folder, followlinks=True, onerror=closed):
        real = os.path.realpath(here)
        if real in seen:
            noted["link_loop"].append(_below(root, here))
            inner.clear()
            continue
        seen.add(real)
        noted["hidden"] += [_below(root, os.path.join(here, name)) for name in sorted(inner) if name.startswith(".")]
        inner[:] = sorted(name for name in inner if not name.startswith("."))
        for name in sorted(files):
            below = _below(root, os.path.join(here, name))
            if kind := _passed_over(name):
                noted[kind].append(below)
            else:
                yield below


def _below(root: Path, path: str | Path) -> str:
    return os.path.relpath(path, root)


def _passed_over(name: str) -> str:
    """The kind of a file that is not read; "" where it is."""
    if name.startswith("."):
        return "hidden"
    return "" if os.path.splitext(name)[1].lower() in EXTENSIONS else "other_file"


def examine(root: Path, listed: Listed) -> Seen:
    """Read one file of an image folder, header and pixels."""
    odd = ("odd_name",) if is_odd(listed.name) else ()
    try:
        header = read_header(root / listed.name)
        pixels = decode_image(root / listed.name, 3)
    except BadImage as error:
        return Seen(*listed, (*odd, getattr(error, "kind", "damaged")), str(error))
    extension = os.path.splitext(listed.name)[1].lower()
    is_format = "JPEG" if header.format == "MPO" else header.format
    noted = {
        "wrongly_named": EXTENSION_FORMATS.get(extension, is_format) != is_format,
        "cmyk": header.mode == "CMYK",
        "palette": header.mode in ("P", "PA"),
        "sixteen_bits": header.sixteen_bits,
        "transparent": header.transparent,
        "several_frames": header.frames,
    }
    kinds = (*odd, *(kind for kind, holds in noted.items() if holds))
    return Seen(*listed, kinds, "", pixels.shape, digest(pixels))


def examine_example(pool: str, example: Example) -> Seen:
    """The same of an image that a source has decoded."""
    if isinstance(example.image, BadImage):
        kind = getattr(example.image, "kind", "damaged")
        return Seen(example.name, pool, example.label, (kind,), str(example.image))
    return Seen(example.name, pool, example.label, (), "", example.image.shape, digest(example.image))


def digest(image: np.ndarray) -> bytes:
    """SHA-256 of an image's shape and pixels."""
    whole = hashlib.sha256(repr(image.shape).encode())
    whole.update(np.ascontiguousarray(image).data)
    return whole.digest()


def is_odd(name: str) -> bool:
    """Whether a path is awkward to print or to type: not printable as text, or a part begins or ends oddly."""
    parts = name.split(os.sep)
    return not name.isprintable() or any(part.startswith(("-", " ")) or part.endswith(" ") for part in parts)
