"""Records of the data layer: an example, a source with its pools, and a loaded data set."""

from collections.abc import Callable, Container, Iterable, Iterator, Mapping, Sequence
from typing import Any, Literal, NamedTuple

import numpy as np

from jaxcnn.errors import printable

Split = dict[str, np.ndarray]
"""Arrays that share their first dimension: "images" uint8 (N, H, W, C) and "labels", int32 (N,), or masks uint8
(N, H, W), in which 255 is the label of pixels without a class. Sets with boxes have the
arrays of `jaxcnn.data.boxes.ARRAYS`."""

SPLIT_NAMES = {"train": "train", "validation": "validation", "valid": "validation", "val": "validation", "test": "test"}
"""Names of splits in TFDS sets -> names of splits here."""

MAX_CLASSES = 20
"""Number of classes that a line of text lists."""


class BadImage(Exception):
    """An image that cannot be decoded.

    Args:
        reason: Why, without the file's name.
        kind: empty, dangling, unreadable, not_an_image, truncated, damaged, huge or unsupported; missing_mask,
            mask_damaged, mask_size or mask_values; explained in `jaxcnn.data.check.KINDS`.
    """

    def __init__(self, reason: str, kind: str = "damaged"):
        super().__init__(reason)
        self.kind = kind


class Example(NamedTuple):
    """One image of a source: uint8 (H, W, C), or why it or its target cannot be used; its class, mask or `Objects`."""

    name: str
    image: np.ndarray | BadImage
    label: Any


class Pool(NamedTuple):
    """The examples of one split of a source.

    Args:
        length: Number of examples.
        read: Decodes all examples, in stored order.
        at: Decodes the example at an index; picklable. None if the source is in memory anyway.
        labels: Reads all labels, int32 (length,), without decoding images, and calls its argument after each label that
            had to be read. None if the source is in memory anyway.
        names: Names by which validation and test images are chosen from this pool. None: they are chosen by index.
        groups: Reads the group of each example, str (length,), by the name of a feature; raises InputError if there is
            no such feature. None: the source has none.
    """

    length: int
    read: Callable[[], Iterator[Example]]
    at: Callable[[int], Example] | None = None
    labels: Callable[[Callable[[], object]], np.ndarray] | None = None
    names: Iterable[str] | None = None
    groups: Callable[[str], np.ndarray] | None = None


class Source(NamedTuple):
    """A data set before it is decoded.

    Args:
        name: Name as the user wrote it.
        where: Folder or file that is read, or the package that provides the set.
        identity: Cache key, plain JSON values: equal identities decode to equal arrays.
        pools: "train", and "validation" and "test" if the source has these splits.
        carve: Fixed number of images taken from "train" for "validation" or "test".
        target: What is known of each image: a class, a mask with the class of each pixel, boxes, or the characters of a
            line, int32 (L,), -1 after the last.
    """

    name: str
    where: str
    identity: dict[str, Any]
    class_names: tuple[str, ...]
    pools: Mapping[str, Pool]
    carve: Mapping[str, int] = {}
    target: Literal["class", "mask", "boxes", "text"] = "class"


def fit_identity(fit: str) -> dict[str, Any]:
    """Return the part of a source's identity that `DataConfig.fit` adds: none by default, so that older caches hold."""
    return {} if fit == "squash" else {"fit": fit}


class Dataset(NamedTuple):
    """A loaded data set; its images are in memory, memory-mapped, or decoded when indexed (streamed).

    Args:
        name: Name as the user wrote it.
        train: Training split.
        validation: Validation split, disjoint from `train`.
        load_test: Returns the test split. Protocols call it once, at the end.
        class_names: One name per label; labels are 0 .. len(class_names) - 1.
        image_shape: (H, W, C).
        mean: float32 (C,), of the training split's pixels scaled to [0, 1].
        std: float32 (C,), likewise; 1 for a constant channel, so that dividing by it is safe.
        validation_hash: SHA-256 over the choice of the validation split.
        sizes: Number of images of "train", "validation" and "test".
        skipped: Skipped files of the training and validation splits, with reasons.
        where: Folder or file that was read, or the package that provides the set.
        sampled: Number of training images in `mean` and `std`; None: all.
        split_by: How validation and test images were chosen from the training images: by name, by index or by group.
        groups: Group of each image by split, str (N,); empty: the config names no groups.
    """

    name: str
    train: Split
    validation: Split
    load_test: Callable[[], Split]
    class_names: tuple[str, ...]
    image_shape: tuple[int, int, int]
    mean: np.ndarray
    std: np.ndarray
    validation_hash: str
    sizes: dict[str, int]
    skipped: tuple[str, ...] = ()
    where: str = ""
    sampled: int | None = None
    split_by: str = "index"
    groups: Mapping[str, np.ndarray] = {}


def strata(labels: np.ndarray) -> np.ndarray:
    """Return the classes, int (N,), by which examples are divided into splits; all 0 for masks and boxes."""
    return labels if labels.ndim == 1 else np.zeros(len(labels), np.int32)


def target_words(labels_axes: int, arrays: Container[str] = ()) -> str:
    """Return in words what is known of each image, by the axes of its labels and the names of all its arrays."""
    words = {
        0: "one class for each image",
        1: "a line of characters for each image",
        2: "a mask of classes for each image",
    }
    if "boxes" in arrays:
        return "boxes with a mask for each object" if "instances" in arrays else "boxes"
    return words.get(labels_axes, f"labels with {labels_axes} axes for each image")


def class_counts(names: Sequence[str], counts: Sequence[int]) -> str:
    """Return classes with their numbers of images as text: cat (120), dog (80)."""
    shown = [f"{printable(name)} ({count:,})" for name, count in zip(names, counts, strict=True)]
    more = len(shown) - MAX_CLASSES
    return ", ".join(shown[:MAX_CLASSES]) + (f" and {more:,} more" if more > 0 else "")
