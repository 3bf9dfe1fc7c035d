"""A folder of images and masks: root/images/a.jpg beside root/masks/a.png, or both below train, val and test."""

import hashlib
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np

from jaxcnn.data.cache import load_or_compute
from jaxcnn.data.dataset import BadImage, Example, Pool, Source, fit_identity
from jaxcnn.data.decode import decode_image, is_grey, ordered_map, upright_size
from jaxcnn.data.masks import MaskClasses, decode_mask, mask_classes, present_values
from jaxcnn.data.sources.folder import Note, list_images, split_named
from jaxcnn.errors import InputError
from jaxcnn.spec import Size

IMAGE_FOLDERS = ("images", "image", "imgs", "img")
MASK_FOLDERS = ("masks", "mask", "annotations", "segmentation", "labels", "gt")
"""Names of the folders of images and of their masks, in any case."""
SUFFIXES = ("", "_mask", "_label", "_gt")
"""What the name of a mask may have more than that of its image, before the extension."""
CLASS_FILE = "classes.txt"
"""File beside them that names the classes: the n-th line is the name of value n - 1."""
NO_MASK = "it has no mask of the same name in the folder of masks"


class Pairs(NamedTuple):
    """The images of a split, as paths below the root, each with the path of its mask, "" where it has none."""

    images: tuple[str, ...]
    masks: tuple[str, ...]


def _inner(folder: Path, names: Sequence[str]) -> Path | None:
    """Return the first of these folders that is inside a folder."""
    try:
        inner = {path.name.lower(): path for path in sorted(folder.iterdir()) if path.is_dir()}
    except OSError:
        return None
    return next((inner[name] for name in names if name in inner), None)


def has_mask_folders(root: Path) -> bool:
    """Return whether a folder, or its training folder, has one folder of images and one of masks."""
    return bool(_places(root))


def _places(root: Path) -> dict[str, tuple[Path, Path]]:
    """Return the folders of images and of masks of each split; no splits: all are "train"."""
    images, masks = _inner(root, IMAGE_FOLDERS), _inner(root, MASK_FOLDERS)
    if images and masks and any(list_images(root, masks, lambda *_: None)):
        both = {path.name: path for path in images.iterdir() if path.is_dir() and split_named(path.name)}
        if any(split_named(name) == "train" for name in both):  # images/train beside masks/train
            return {split_named(name) or "": (path, masks / name) for name, path in both.items()}
        return {"train": (images, masks)}
    try:
        splits = {split: path for path in root.iterdir() if path.is_dir() and (split := split_named(path.name))}
    except OSError:
        return {}
    found = {split: (_inner(path, IMAGE_FOLDERS), _inner(path, MASK_FOLDERS)) for split, path in splits.items()}
    places = {split: (images, masks) for split, (images, masks) in found.items() if images and masks}
    return places if "train" in places and any(list_images(root, places["train"][1], lambda *_: None)) else {}


def list_pairs(root: Path, note: Note = lambda kind, path: None) -> dict[str, Pairs]:
    """List the images of a folder by split, each with its mask; masks without an image are reported to `note`."""
    splits = {}
    for split, (images, masks) in sorted(_places(root).items(), key=lambda item: item[0] != "train"):
        files = list_images(root, images, note)
        known = {_stem(root, masks, path): path for path in list_images(root, masks, note)}
        found = []
        for path in files:
            stem = _stem(root, images, path)
            found.append(next((known.pop(stem + end) for end in SUFFIXES if stem + end in known), ""))
        for path in known.values():
            note("orphan_mask", path)
        splits[split] = Pairs(tuple(files), tuple(found))
    return splits


def _stem(root: Path, folder: Path, path: str) -> str:
    return os.path.splitext(os.path.relpath(os.path.join(root, path), folder))[0]


def masks_source(
    name: str, root: Path, size: Size | None = None, fit: str = "squash", ignore: Sequence[int] | None = None
) -> Source:
    """Return a folder of images and masks as a source.

    Images lie below `images`, masks of the same names below `masks`, both in the root or in each of its folders train,
    val and test. A mask is a greyscale, palette or bitmap file; its values are the classes, named by the lines of
    classes.txt if there is one; 255 is the label of pixels without a class, as are the values in `ignore`.

    Raises:
        InputError: There are no images, or the values of the masks are not classes.
    """
    listings = list_pairs(root)
    if not listings["train"].images:
        raise InputError(f"folder {str(root)!r} has no training images beside its masks; add some")
    names, ignored = read_class_names(root), tuple(ignore or ())
    files = {split: [len(pairs.images), _digest(root, pairs)] for split, pairs in listings.items()}
    identity = {"masks": str(root.resolve()), "files": files, "size": size} | fit_identity(fit)
    paths = [os.path.join(root, path) for path in listings["train"].masks if path]
    present, key = None, [str(root.resolve()), files["train"]]
    if names is None:
        present = load_or_compute(name, "mask-values", key, lambda: present_values(paths))
    classes = mask_classes(name, names, present, ignored)
    identity |= {"table": classes.table.tolist()}

    def all_grey() -> np.ndarray:
        return np.array(all(ordered_map(is_grey, (os.path.join(root, path) for path in listings["train"].images))))

    channels = 1 if load_or_compute(name, "grey", key, all_grey) else 3
    pools = {}
    for split, pairs in listings.items():
        reader = _Reader(str(root), pairs, classes, channels, size, fit)
        pools[split] = Pool(len(pairs.images), reader.read, reader.at, names=pairs.images)
    return Source(name, str(root), identity, classes.names, pools, target="mask")


def read_class_names(root: Path) -> list[str] | None:
    """Return the lines of classes.txt, or None where there is no such file.

    Raises:
        InputError: It cannot be read, is empty or names a class twice.
    """
    file = root / CLASS_FILE
    if not file.is_file():
        return None
    try:
        names = [line.strip() for line in file.read_text(encoding="utf-8-sig").splitlines() if line.strip()]
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{str(file)!r} cannot be read ({error}); save it in UTF-8, one name a line") from None
    if not names or len(set(names)) < len(names):
        raise InputError(f"{str(file)!r} must name each class once, one a line; the first line names the value 0")
    return names


def _digest(root: Path, pairs: Pairs) -> str:
    """Return the SHA-256 of paths, sizes in bytes and times of change: equal digests, equal contents."""
    digest = hashlib.sha256()
    for path in (*pairs.images, *pairs.masks):
        try:
            status = os.stat(os.path.join(root, path))
            size, time = status.st_size, status.st_mtime_ns
        except OSError:
            size, time = -1, 0
        digest.update(b"%b\0%d %d\n" % (os.fsencode(path), size, time))
    return digest.hexdigest()


@dataclass
class _Reader:
    """Decodes the image and mask files of a split; picklable."""

    root: str
    pairs: Pairs
    classes: MaskClasses
    channels: int
    size: Size | None
    fit: str

    def read(self) -> Iterator[Example]:
        return ordered_map(self.at, range(len(self.pairs.images)), batch=8)

    def at(self, index: int) -> Example:
        path, mask = self.pairs.images[index], self.pairs.masks[index]
        try:
            file = os.path.join(self.root, path)
            image = decode_image(file, self.channels, self.size, self.fit)
            if not mask:
                raise BadImage(NO_MASK, "missing_mask")
            where = os.path.join(self.root, mask)
            return Example(path, image, decode_mask(where, self.classes, upright_size(file), self.size, self.fit))
        except BadImage as reason:
            return Example(path, reason, 0)
