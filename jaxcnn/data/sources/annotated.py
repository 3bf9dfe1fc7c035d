"""Images with boxes in annotation files: what the readers of COCO, VOC and YOLO files return, as a source."""

import hashlib
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from jaxcnn.data.boxes import objects
from jaxcnn.data.cache import load_or_compute
from jaxcnn.data.dataset import BadImage, Example, Pool, Source, fit_identity
from jaxcnn.data.decode import decode_image, is_grey, ordered_map, size_pair, upright_size
from jaxcnn.errors import InputError
from jaxcnn.spec import Size


class Annotated(NamedTuple):
    """One image of an annotated set.

    Args:
        file: Path of the image below the root.
        boxes: float64 (m, 4) corners (ymin, xmin, ymax, xmax), in pixels or, where `relative`, as shares of the image.
        labels: (m,) int.
        crowd: (m,) bool: objects that count neither way.
        size: Height and width that the annotation tells of the image; None: it does not.
        relative: The boxes are shares of the image.
        problem: Reason and kind of what makes the annotation unusable; None: nothing.
        segments: The outline of each object, in the form of the file; empty where the set has none.
    """

    file: str
    boxes: np.ndarray
    labels: np.ndarray
    crowd: np.ndarray
    size: tuple[int, int] | None = None
    relative: bool = False
    problem: tuple[str, str] | None = None
    segments: tuple[Any, ...] = ()


class AnnotatedSet(NamedTuple):
    """A whole set: names of the classes, the images of each split, the files that were read for it, and a hint.

    `hint` ends the error for a box that cannot be: how its numbers may have been meant. `draw` (image, (height, width))
    returns the map of instances of an image; None: the set has boxes only.
    """

    class_names: tuple[str, ...]
    splits: Mapping[str, Sequence[Annotated]]
    files: Sequence[Path]
    hint: str
    draw: Callable[[Annotated, tuple[int, int]], np.ndarray] | None = None


def annotated(file: str, boxes: object = (), labels: object = (), crowd: object = None, **more: object) -> Annotated:
    """Return an `Annotated` from lists."""
    numbers = np.asarray(labels, np.int64).reshape(-1)
    flags = np.zeros(len(numbers), bool) if crowd is None else np.asarray(crowd, bool).reshape(-1)
    return Annotated(file, np.asarray(boxes, np.float64).reshape(-1, 4), numbers, flags, **more)  # type: ignore[arg-type]


def annotated_source(
    name: str, root: Path, read: AnnotatedSet, size: Size | None = None, fit: str = "squash"
) -> Source:
    """Return an annotated set as a source; images have one channel if all training images are grey.

    Raises:
        InputError: There are no classes or no training images.
    """
    if not read.class_names:
        raise InputError(f"data set {name!r}: its annotations name no class; add at least one")
    if not read.splits.get("train"):
        raise InputError(f"data set {name!r}: its annotations name no training image; check the files in {str(root)!r}")
    digest = hashlib.sha256()
    images = [os.path.join(root, one.file) for its in read.splits.values() for one in its]
    for path in (*map(str, read.files), *images):
        try:
            status = os.stat(path)
            digest.update(b"%b\0%d %d\n" % (os.fsencode(path), status.st_size, status.st_mtime_ns))
        except OSError:
            digest.update(b"%b\0-\n" % os.fsencode(path))
    identity = {"boxes": str(root.resolve()), "files": digest.hexdigest(), "size": size} | fit_identity(fit)
    identity |= {} if read.draw is None else {"instances": True}
    train = [os.path.join(root, one.file) for one in read.splits["train"]]

    def all_grey() -> np.ndarray:
        return np.array(all(ordered_map(is_grey, train)))

    channels = 1 if load_or_compute(name, "grey", [str(root.resolve()), digest.hexdigest()], all_grey) else 3
    pools = {}
    for split, its in read.splits.items():
        reader = _Reader(str(root), its, channels, size, fit, read.hint, read.draw)
        pools[split] = Pool(len(its), reader.read, reader.at, names=[one.file for one in its])
    return Source(name, str(root), identity, read.class_names, pools, target="boxes")


@dataclass
class _Reader:
    """Decodes the images of a split and places their boxes; picklable."""

    root: str
    images: Sequence[Annotated]
    channels: int
    size: Size | None
    fit: str
    hint: str
    draw: Callable[[Annotated, tuple[int, int]], np.ndarray] | None

    def read(self) -> Iterator[Example]:
        return ordered_map(self.at, range(len(self.images)), batch=8)

    def at(self, index: int) -> Example:
        one = self.images[index]
        try:
            if one.problem is not None:
                raise BadImage(*one.problem)
            path = os.path.join(self.root, one.file)
            image, original = decode_image(path, self.channels, self.size, self.fit), upright_size(path)
            if one.size is not None and one.size != original:
                raise BadImage(
                    f"its boxes are for an image of {one.size[0]}x{one.size[1]} pixels, and it has "
                    f"{original[0]}x{original[1]}", "box_size",
                )  # fmt: skip
            boxes = one.boxes * np.tile(original, 2) if one.relative else one.boxes
            its = objects(
                boxes, one.labels, original, crowd=one.crowd, sides=size_pair(self.size), fit=self.fit, hint=self.hint,
                instances=None if self.draw is None else self.draw(one, original),
            )  # fmt: skip
            return Example(one.file, image, its)
        except BadImage as reason:
            return Example(one.file, reason, 0)
