"""An image folder: root/class/*.png, or root/train/class/*.png beside root/test and root/val; or a CSV of labels."""

import csv
import functools
import hashlib
import os
import re
import unicodedata
from array import array
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from jaxcnn.data.cache import load_or_compute
from jaxcnn.data.dataset import BadImage, Example, Pool, Source, fit_identity
from jaxcnn.data.decode import decode_image, is_grey, ordered_map
from jaxcnn.data.messages import one_line
from jaxcnn.errors import InputError
from jaxcnn.spec import Size

UNREAD = "heic heif jp2 j2k jxl tga ico psd svg dib exr dng cr2 cr3 nef arw dcm"
FORMATS_BY_EXTENSION = {
    **{f".{name}": name.upper() for name in ("png", "bmp", "gif", "webp", "tiff", "avif")},
    **dict.fromkeys((".jpg", ".jpeg", ".jpe", ".jfif", ".jif", ".jfi"), "JPEG"),
    **dict.fromkeys((".ppm", ".pgm", ".pbm", ".pnm"), "PPM"),
    ".tif": "TIFF",
    ".apng": "PNG",
    **{f".{name}": name.upper() for name in UNREAD.split()},
}
"""Extensions of image files -> formats in Pillow's names; unread ones are refused by name, so that no image is left out
silently. Files with other extensions are ignored."""

SPLIT = re.compile(
    r"(?P<more>.*[\W_])?(?:(?P<train>train(?:ing)?)|(?P<validation>val|valid|validation|validate|dev|eval)|"
    r"(?P<test>test(?:ing)?))[\W_]*(?:set|data|images?|imgs?|split|samples?)?\d*"
)
"""Names of folders that hold a split: train, Testing, training_set, test1. With more in front, as in seg_train, a name
looks like one but may be a class."""

Listing = tuple[tuple[str, ...], dict[str, tuple["Names", np.ndarray]], list[str]]
"""The class names; the paths below the root and labels int32 (N,) of each split; and the reasons why `folder_source`
refuses the images, one sentence each."""

Note = Callable[[str, str], object]
"""(kind of `jaxcnn.data.check.KINDS`, path below the root): called for each file or folder that is ignored."""


class Names:
    """File names end to end in one block of bytes; a list of strings takes several times the memory."""

    def __init__(self):
        self.block, self.ends = bytearray(), array("q", [0])

    def append(self, name: str) -> None:
        """Add a name at the end."""
        self.block += os.fsencode(name)
        self.ends.append(len(self.block))

    def __len__(self) -> int:
        return len(self.ends) - 1

    def __iter__(self) -> Iterator[str]:
        return map(self.__getitem__, range(len(self)))

    def __getitem__(self, index: int) -> str:
        if not 0 <= index < len(self):
            raise IndexError(index)
        return os.fsdecode(bytes(self.block[self.ends[index] : self.ends[index + 1]]))


def folder_source(name: str, root: Path, size: Size | None = None, fit: str = "squash") -> Source:
    """Return an image folder as a source.

    Each folder below the root (or below its train, val and test folders) is a class, with images at any depth; symbolic
    links are followed. If all training images are greyscale, images have one channel, otherwise three. Hidden files and
    files without an image's extension are ignored. Names of classes that differ in their Unicode form only are equal.
    A folder without class folders, a class without training images, splits with different classes, and folders that
    look like splits in the place of classes are refused. Instead of a folder, `root` may be a CSV file (`list_table`).
    """
    classes, listings, problems = list_folder(root)
    root = root.parent if root.is_file() else root
    if problems:
        raise InputError(problems[0])
    files = {split: [len(paths), _digest(root, paths, labels)] for split, (paths, labels) in listings.items()}
    identity = {"folder": str(root.resolve()), "files": files, "size": size} | fit_identity(fit)

    def all_grey() -> np.ndarray:
        return np.array(all(ordered_map(is_grey, (os.path.join(root, path) for path in listings["train"][0]))))

    @functools.cache
    def count_channels() -> int:  # not called if the decoded images are cached
        return 1 if load_or_compute(name, "grey", identity, all_grey) else 3

    readers = {split: _Reader(str(root), *listing, count_channels, size, fit) for split, listing in listings.items()}
    pools = {split: Pool(len(r.labels), r.read, r.at, lambda _, r=r: r.labels, r.paths) for split, r in readers.items()}
    return Source(name, str(root), identity, classes, pools)


def list_table(file: Path) -> Listing:
    """List the images that a CSV file names, in its order.

    Its columns are `file` (a path below the CSV file's folder), `label` (the name of the class) and, if there are
    splits, `split` (train, validation or test).
    """
    rows, splits, problems = dict[str, tuple[str, str]](), ["train"], []
    try:
        with file.open(newline="", encoding="utf-8-sig") as text:
            table = csv.DictReader(text, strict=True)
            names = {str(name).strip().lower(): name for name in table.fieldnames or ()}
            if not {"file", "label"} <= names.keys():
                problems.append(f"it has the columns {', '.join(names) or 'none'}; name two of them file and label")
            for row in () if problems else table:
                cells = {key: (row[names[key]] or "").strip() for key in ("file", "label", "split") if key in names}
                path, label, split = cells["file"], cells["label"], cells.get("split", "train")
                path, known = os.path.normpath(path), split_named(split)
                if os.path.isabs(path) or path.startswith(".") or not label or path in rows or known is None:
                    problems.append(
                        f"line {table.line_num} (file {path!r}, label {label!r}, split {split!r}) is not usable; give "
                        f"each file below the CSV file's folder once, with a label, and train, validation or test"
                    )
                    break
                rows[path] = unicodedata.normalize("NFC", label), known
                splits += [] if known in splits else [known]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        problems.append(f"it cannot be read ({one_line(error)}); save it as CSV in UTF-8")
    if not rows and not problems:
        problems.append("it names no images; add a line for each")
    found = {label for label, _ in rows.values()}
    numbers = all(map(str.isdecimal, found))
    ordered = sorted(found, key=lambda name: (int(name) if numbers else 0, name))
    labels = {name: label for label, name in enumerate(ordered)}
    untrained = sorted(found - {label for label, split in rows.values() if split == "train"})
    if untrained:
        problems.append(f"class {untrained[0]!r} has no training image; add some, or remove its other images")
    listings = {split: (Names(), array("i")) for split in splits}
    for path, (label, split) in rows.items():
        listings[split][0].append(path)
        listings[split][1].append(labels[label])
    arrays = {split: (names, np.array(its, np.int32)) for split, (names, its) in listings.items()}
    return tuple(labels), arrays, [f"{str(file)!r}: {problem}" for problem in problems]


def list_folder(root: Path, note: Note = lambda kind, path: None) -> Listing:
    """List the images of a folder, as far as its structure allows, and report all that is ignored to `note`."""
    if root.is_file():
        return list_table(root)
    problems = []

    def note_problem(kind: str, path: str) -> None:
        if kind == "closed_folder":
            problems.append(f"folder {os.path.join(root, path)!r} cannot be read; check its permissions")
        note(kind, path)

    inner = _subfolders(root, root, note_problem)
    named = [(split, folder) for folder in inner if (split := split_named(folder.name))]
    has_splits = any(split == "train" and _subfolders(root, folder, lambda kind, path: None) for split, folder in named)
    if has_splits:
        others = ", ".join(repr(folder.name) for folder in inner if not split_named(folder.name))
        if others:
            problems.append(f"folder {str(root)!r} has a train folder and also {others}; move these into train")
        if len(dict(named)) != len(named):
            twice = ", ".join(folder.name for _, folder in named)
            problems.append(f"folder {str(root)!r} names one split twice ({twice}); keep one of each")
        parts = [(split, folder, _subfolders(root, folder, note_problem)) for split, folder in named]
        problems += [
            f"split folder {str(folder)!r} has no class folders; sort its images into folders like those of the "
            f"training folder, or move it elsewhere"
            for _, folder, within in parts
            if not within
        ]
        folders = [(split, part) for split, _, within in parts for part in within]
        folders.sort(key=lambda pair: pair[0] != "train")  # a repeated image is a repeat of the training image
    else:
        folders = [("train", folder) for folder in inner]
        if inner and all(SPLIT.fullmatch(folder.name.lower()) for folder in inner):
            shown = ", ".join(repr(folder.name) for folder in inner)
            problems.append(
                f"the folders of {str(root)!r} look like splits, not classes ({shown}); name them train, validation "
                f"and test, with one folder per class in each, as in train/cat/1.png"
            )
    if not folders:
        problems.append(f"folder {str(root)!r} has no class folders; sort its images into one folder per class")
    labels = {name: label for label, name in enumerate(sorted({_class_name(folder) for _, folder in folders}))}
    listings = {split: (Names(), array("i")) for split in ("train", *(dict(named) if has_splits else ()))}
    trained = {_class_name(folder) for split, folder in folders if split == "train"}
    seen = dict[tuple[str, str], Path]()
    for split, folder in folders:
        images = list_images(root, folder, note)
        problems += _misplaced(root, folder, images, alone=split == "train" and len(trained) == 1)
        twin = seen.setdefault((split, _class_name(folder)), folder)
        if twin != folder:
            problems.append(
                f"class folders {str(twin)!r} and {str(folder)!r} have names that look alike and differ in their "
                f"Unicode form only; move the images of one into the other"
            )
        if _class_name(folder) not in trained:
            problems.append(f"class folder {str(folder)!r} is not in the training folder; add it there or remove it")
        if split == "train" and not images:
            problems.append(f"class folder {str(folder)!r} has no images; add some or remove the folder")
        for path in images:
            listings[split][0].append(path)
            listings[split][1].append(labels[_class_name(folder)])
    arrays = {split: (names, np.array(its, np.int32)) for split, (names, its) in listings.items()}
    return tuple(labels), arrays, problems


def split_named(name: str) -> str | None:
    """Return the split of which a folder's name is a common name: "test" for Testing; None for any other name."""
    match = SPLIT.fullmatch(name.lower())
    return None if match is None or match["more"] else match.lastgroup


def _class_name(folder: Path) -> str:
    return unicodedata.normalize("NFC", folder.name)


def _misplaced(root: Path, folder: Path, images: list[str], alone: bool) -> Iterator[str]:
    """Yield why a folder is no class: it holds splits, or, as the only one, the folders of the classes."""
    cut = len(os.path.join(folder.relative_to(root), ""))
    firsts = {path[cut:].partition(os.sep)[0] for path in images if os.sep in path[cut:]}
    if not firsts or any(os.sep not in path[cut:] for path in images):
        return
    shown = ", ".join(repr(name) for name in sorted(firsts)[:3])
    if all(SPLIT.fullmatch(name.lower()) for name in firsts):
        yield (
            f"class folder {str(folder)!r} holds splits ({shown}); put the splits above the classes, as in "
            f"train/{folder.name}/1.png"
        )
    elif alone and len(firsts) > 1:
        yield (
            f"folder {str(folder.parent)!r} holds the single class folder {folder.name!r}, and the classes seem to lie "
            f"inside it ({shown}); name {str(folder)!r}, or move them up"
        )


def _subfolders(root: Path, folder: Path, note: Note) -> list[Path]:
    """Return the visible folders in a folder, sorted by name, and report all else in it to `note`."""
    try:
        entries = sorted(folder.iterdir(), key=lambda path: path.name)
        folders = [path for path in entries if path.is_dir() and not path.name.startswith(".")]
    except OSError:
        note("closed_folder", os.path.relpath(folder, root))
        return []
    for path in set(entries) - set(folders):
        note(_ignored_kind(path.name) or "outside", os.path.relpath(path, root))
    return folders


def list_images(root: Path, folder: Path, note: Note) -> list[str]:
    """Return the image files at any depth of a folder below the root, as paths below the root, sorted part by part.

    Symbolic links are followed, except to folders that were visited before or contain this one: they would add other
    classes, without end.
    """
    top = os.path.join(root, folder.relative_to(root))
    cut = len(os.path.join(root, ""))
    seen, images = {os.path.realpath(parent) for parent in Path(top).parents}, []
    for here, inner, files in os.walk(
        top, followlinks=True, onerror=lambda error: note("closed_folder", str(error.filename)[cut:])
    ):
        real = os.path.realpath(here)
        if real in seen:
            note("link_loop", here[cut:])
            inner.clear()
            continue
        seen.add(real)
        for name in [name for name in inner if name.startswith(".")]:
            note("hidden", os.path.join(here, name)[cut:])
        inner[:] = sorted(name for name in inner if not name.startswith("."))
        for name in files:
            path = os.path.join(here, name)[cut:]
            if kind := _ignored_kind(name):
                note(kind, path)
            else:
                images.append(path)
    # As `sorted` puts paths, part by part: the separator comes before any character. Recorded splits depend on it.
    images.sort(key=lambda path: path.replace(os.sep, "\0"))
    return images


def _ignored_kind(name: str) -> str:
    """Return why a file is ignored ("hidden" or "other_file"), or "" for an image file."""
    if name.startswith("."):
        return "hidden"
    return "" if os.path.splitext(name)[1].lower() in FORMATS_BY_EXTENSION else "other_file"


def _digest(root: Path, paths: Names, labels: np.ndarray) -> str:
    """Return the SHA-256 of paths, labels, sizes in bytes and times of change: equal digests, equal contents."""
    digest = hashlib.sha256()
    for path, label in zip(paths, labels, strict=True):
        try:
            status = os.stat(os.path.join(root, path))
            size, time = status.st_size, status.st_mtime_ns
        except OSError:  # a broken link: listed, and refused or skipped like any other bad file
            size, time = -1, 0
        digest.update(b"%b\0%d %d %d\n" % (os.fsencode(path), label, size, time))
    return digest.hexdigest()


@dataclass
class _Reader:
    """Decodes the image files of a split; picklable."""

    root: str
    paths: Names
    labels: np.ndarray
    count_channels: Callable[[], int]
    size: Size | None
    fit: str = "squash"

    def read(self) -> Iterator[Example]:
        self.count_channels()  # before the threads start, so that it is computed once
        return ordered_map(self.at, range(len(self.labels)), batch=16)

    def at(self, index: int) -> Example:
        path, label = self.paths[index], int(self.labels[index])
        try:
            file = os.path.join(self.root, path)
            return Example(path, decode_image(file, self.count_channels(), self.size, self.fit), label)
        except BadImage as reason:
            return Example(path, reason, label)

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | {"count_channels": functools.partial(int, self.count_channels())}
