"""An image folder: root/class/*.png, or root/train/class/*.png beside root/test and root/val."""

from __future__ import annotations

import functools
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np

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


class File(NamedTuple):
    """An image file: its path below the root, its class and what identifies its contents."""

    name: str
    label: int
    bytes: int
    mtime_ns: int


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
    files = {split: _files(root, folder, classes) for split, folder in layout.items()}
    for label, class_name in enumerate(classes):
        if not any(file.label == label for file in files["train"]):
            raise InputError(
                f"class folder {str(layout['train'] / class_name)!r} has no images; add some or remove the folder"
            )
    identity = {"folder": str(root.resolve()), "files": {k: [*map(list, v)] for k, v in files.items()}, "size": size}
    channels = _Channels(root, files["train"])
    pools = {
        split: Pool(len(found), functools.partial(_read, root, found, channels, size)) for split, found in files.items()
    }
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


def _files(root: Path, folder: Path, classes: tuple[str, ...]) -> list[File]:
    labels = {name: label for label, name in enumerate(classes)}
    found = []
    for class_name in _subfolders(folder):
        if class_name not in labels:
            raise InputError(
                f"folder {str(folder / class_name)!r} is a class that the training folder lacks; "
                f"add it there or remove it"
            )
        for path in sorted(_images(folder / class_name)):
            try:
                status = path.stat()
                found.append(File(str(path.relative_to(root)), labels[class_name], status.st_size, status.st_mtime_ns))
            except OSError:  # a dangling link: listed, and refused or skipped like any other bad file
                found.append(File(str(path.relative_to(root)), labels[class_name], -1, 0))
    return found


def _images(folder: Path) -> Iterator[Path]:
    """Image files at any depth. Links that lead back up are not followed: they would add other classes, without end."""
    seen = {os.path.realpath(parent) for parent in folder.parents}
    for here, inner, files in os.walk(folder, followlinks=True):
        real = os.path.realpath(here)
        if real in seen:
            inner.clear()
            continue
        seen.add(real)
        inner[:] = sorted(name for name in inner if not name.startswith("."))
        for file in files:
            if os.path.splitext(file)[1].lower() in EXTENSIONS and not file.startswith("."):
                yield Path(here, file)


class _Channels:
    """1 or 3, judged from the headers of the training images when first asked: a cached set never asks."""

    def __init__(self, root: Path, files: list[File]):
        self.paths = [root / file.name for file in files]

    @functools.cached_property
    def count(self) -> Literal[1, 3]:
        return 1 if all(ordered_map(is_grey, self.paths)) else 3


def _read(root: Path, files: list[File], channels: _Channels, size: int | None) -> Iterator[Example]:
    def example(file: File) -> Example:
        image: np.ndarray | BadImage
        try:
            image = decode_image(root / file.name, channels.count, size)
        except BadImage as reason:
            image = reason
        return Example(file.name, image, file.label)

    channels.count  # noqa: B018  before the threads start, so that it is found once
    return ordered_map(example, files, batch=16)
