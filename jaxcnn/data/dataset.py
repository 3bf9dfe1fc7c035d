"""What a source offers and what a loaded data set is: the shapes that the rest of `data` passes around."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple

import numpy as np

Split = dict[str, np.ndarray]
"""Arrays with one leading length: "images" uint8 (N, H, W, C) and "labels" int32 (N,)."""


class BadImage(Exception):
    """An image that cannot be decoded; the message is the reason, without the file's name."""


class Example(NamedTuple):
    """One image as a source yields it: uint8 (H, W, C), or the reason why there is none."""

    name: str
    image: np.ndarray | BadImage
    label: int


class Pool(NamedTuple):
    """The examples behind one split of a source, and the ways to read them.

    Args:
        length: How many.
        read: All of them, in stored order.
        at: One of them alone, by its place in that order; picklable, so that other processes may have it. None where
            the source is in memory anyway.
        labels: int32 (length,), of all of them, without an image being decoded; calls its argument once a label that
            had to be read. None likewise.
    """

    length: int
    read: Callable[[], Iterator[Example]]
    at: Callable[[int], Example] | None = None
    labels: Callable[[Callable[[], object]], np.ndarray] | None = None


class Source(NamedTuple):
    """A data set before it is decoded.

    Args:
        name: As the user wrote it.
        where: Folder or file it is read from, or the package that draws it.
        identity: JSON-able; equal identities decode to equal arrays, so it is the key of the cache.
        class_names: One a label.
        pools: "train", and "validation" and "test" where the source has its own.
        carve: Number of images taken from "train" for "validation" or "test" where that number is fixed.
    """

    name: str
    where: str
    identity: dict[str, Any]
    class_names: tuple[str, ...]
    pools: Mapping[str, Pool]
    carve: Mapping[str, int] = {}


class Dataset(NamedTuple):
    """A data set with its splits fixed: in memory, mapped into it, or with images that are decoded when indexed.

    Args:
        name: As the user wrote it.
        train: Training split.
        validation: Validation split, disjoint from `train`.
        load_test: Reads the test split. Protocols call it once, at the end.
        class_names: One a label; the labels are 0 .. len(class_names) - 1.
        image_shape: (H, W, C).
        mean: float32 (C,), of the training split's pixels scaled to [0, 1].
        std: float32 (C,), likewise; 1 for a channel that never changes, so that dividing by it is safe.
        validation_hash: SHA-256 over which images are the validation split.
        sizes: Number of images of "train", "validation" and "test".
        skipped: Files of the training and validation splits that were skipped, each with its reason.
        where: Folder or file it was read from, or the package that drew it.
        sampled: Number of training images that `mean` and `std` were taken from; None: all of them.
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
