"""An image folder: root/class/*.png, or root/train/class/*.png beside root/test and root/val."""

from __future__ import annotations

import functools
import hashlib
import os
from array import array
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np

from jaxcnn.data.cache import remembered
from jaxcnn.data.dataset import BadImage, Example, Pool, Source
from jaxcnn.data.decode import decode_image, is_grey, ordered_map
from jaxcnn.errors import InputError

EXTENSIONS = (".png", ".jpg", ".jpeg", ".jpe", ".bmp", ".gif", ".webp", ".tif", ".tiff", ".ppm", ".pgm", ".pbm")

SPLIT_FOLDERS = {
    "train": "train",
    "validation": "validation",
    "valid": "validation",
    "val": "validation",
    "test": "test",
}


class Listing(NamedTuple):
    """The image files of a split, at some tens of bytes a file.

    Args:
        names: Paths below the root, in stored order.
        labels: int32 (N,).
        digest: SHA-256 over names, labels, sizes in bytes and times of change: equal digests, equal contents.
    """

    names: Names
    labels: np.ndarray
    digest: str


def folder_source(name: str, root: Path, size: int | None = None) -> Source:
    """An image folder as a source.

    Each folder below the root (or below its train, val and test folders) is a class; images are found at any depth
    below it, symbolic links followed. Greyscale throughout gives one channel, any colour image gives three. Hidden
    files and files without an image's extension are passed over.

    Args:
        name: As the user wrote it.
        root: The folder.
        size: Resize to size x size pixels; None: as stored.

    Raises:
        InputError: There are no class folders, one has no images, or splits disagree about the classes.
    """
    layout = _split_layout(root)
    classes = tuple(_subfolders(layout["train"]))
    if not classes:
        raise InputError(
            f"folder {str(layout['train'])!r} has no class folders; sort its images into one folder a class"
        )
    listings = {split: _listing(root, folder, classes) for split, folder in layout.items()}
    for class_name, count in zip(classes, np.bincount(listings["train"].labels, minlength=len(classes)), strict=True):
        if not count:
            raise InputError(
                f"class folder {str(layout['train'] / class_name)!r} has no images; add some or remove the folder"
            )
    files = {split: [len(found.names), found.digest] for split, found in listings.items()}
    identity = {"folder": str(root.resolve()), "files": files, "size": size}
    channels = _Channels(name, str(root), listings["train"], identity)
    readers = {split: _Reader(str(root), found, channels, size) for split, found in listings.items()}
    pools = {split: Pool(len(r.labels), r.read, r.at, r.stored_labels) for split, r in readers.items()}
    return Source(name, str(root), identity, classes, pools)


def _subfolders(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir() if path.is_dir() and not path.name.startswith("."))


def _split_layout(root: Path) -> dict[str, Path]:
    """Folder of each split; the root itself as "train" where its folders are classes."""
    inner = _subfolders(root)
    splits = {SPLIT_FOLDERS[name.lower()]: root / name for name in inner if name.lower() in SPLIT_FOLDERS}
    if "train" not in splits or not _subfolders(splits["train"]):
        return {"train": root}
    others = [name for name in inner if name.lower() not in SPLIT_FOLDERS]
    if others:
        raise InputError(
            f"folder {str(root)!r} holds a train folder with classes and also {', '.join(map(repr, others))}; "
            f"move those into train, or out of it"
        )
    if len(inner) != len(splits):
        raise InputError(f"folder {str(root)!r} names one split twice ({', '.join(inner)}); keep one of each")
    return splits


def _listing(root: Path, folder: Path, classes: tuple[str, ...]) -> Listing:
    names, labels, digest = Names(), array("i"), hashlib.sha256()
    numbers = {name: label for label, name in enumerate(classes)}
    for class_name in _subfolders(folder):
        if class_name not in numbers:
            raise InputError(
                f"folder {str(folder / class_name)!r} is a class that the training folder lacks; "
                f"add it there or remove it"
            )
        below, label = str(folder.relative_to(root) / class_name), numbers[class_name]
        # As paths sort, part by part: the separator comes before any character of a name.
        for name in sorted(_images(str(root), below), key=lambda name: name.replace(os.sep, "\0")):
            try:
                status = os.stat(os.path.join(root, name))
                size, time = status.st_size, status.st_mtime_ns
            except OSError:  # a dangling link: listed, and refused or skipped like any other bad file
                size, time = -1, 0
            names.append(name)
            labels.append(label)
            digest.update(b"%b\0%d %d %d\n" % (os.fsencode(name), label, size, time))
    return Listing(names, np.array(labels, np.int32), digest.hexdigest())


def _images(root: str, below: str) -> Iterator[str]:
    """Image files at any depth of root/below, as paths below the root.

    Links that lead back up are not followed: they would add other classes, without end.
    """
    top, cut = os.path.join(root, below), len(os.path.join(root, ""))
    seen = {os.path.realpath(parent) for parent in Path(top).parents}
    for here, inner, files in os.walk(top, followlinks=True):
        real = os.path.realpath(here)
        if real in seen:
            inner.clear()
            continue
        seen.add(real)
        inner[:] = sorted(name for name in inner if not name.startswith("."))
        for file in files:
            if os.path.splitext(file)[1].lower() in EXTENSIONS and not file.startswith("."):
                yield os.path.join(here, file)[cut:]


class Names:
    """File names end to end in one block: a list of as many strings takes several times the memory."""

    def __init__(self):
        self.block, self.ends = bytearray(), array("q", [0])

    def append(self, name: str) -> None:
        """Add one at the end."""
        self.block += os.fsencode(name)
        self.ends.append(len(self.block))

    def __len__(self) -> int:
        return len(self.ends) - 1

    def __getitem__(self, index: int) -> str:
        if not 0 <= index < len(self):
            raise IndexError(index)
        return os.fsdecode(bytes(self.block[self.ends[index] : self.ends[index + 1]]))


class _Channels:
    """1 or 3, judged from the headers of the training images when first asked: a cached set never asks."""

    def __init__(self, name: str, root: str, listing: Listing, identity: dict[str, Any]):
        self.name, self.root, self.listing, self.identity = name, root, listing, identity

    @functools.cached_property
    def count(self) -> Literal[1, 3]:
        return 1 if remembered(self.name, "grey", self.identity, self._grey) else 3

    def _grey(self) -> np.ndarray:
        return np.array(all(ordered_map(is_grey, (os.path.join(self.root, name) for name in self.listing.names))))

    def __getstate__(self) -> dict[str, Any]:
        return {"count": self.count}  # another process needs no more


class _Reader:
    """Decodes the files of a listing, in order or one alone. It can be sent to another process."""

    def __init__(self, root: str, listing: Listing, channels: _Channels, size: int | None):
        self.root, self.names, self.labels = root, listing.names, listing.labels
        self.channels, self.size = channels, size

    def read(self) -> Iterator[Example]:
        """All examples, in stored order."""
        self.channels.count  # noqa: B018  before the threads start, so that it is found once
        return ordered_map(self.at, range(len(self.labels)), batch=16)

    def at(self, index: int) -> Example:
        """The example at a place in that order."""
        name, label = self.names[index], int(self.labels[index])
        try:
            return Example(name, decode_image(os.path.join(self.root, name), self.channels.count, self.size), label)
        except BadImage as reason:
            return Example(name, reason, label)

    def stored_labels(self, advance: Callable[[], object]) -> np.ndarray:
        """int32 (N,): the folders tell them."""
        return self.labels
