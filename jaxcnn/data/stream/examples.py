"""Any image of a split, decoded alone: what a process needs for that, small beside the images."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from functools import partial
from typing import Any, NamedTuple

import numpy as np

from jaxcnn.data.cache import refused, sizes_differ
from jaxcnn.data.dataset import BadImage, Example
from jaxcnn.data.decode import ordered_map
from jaxcnn.errors import InputError

Map = Callable[[Callable[[Any], Any], Iterable[Any]], Iterable[Any]]


class Examples(NamedTuple):
    """The examples of a split, none of them decoded. It can be sent to another process.

    Args:
        source: The data set, as the user wrote it.
        at: Decodes the example at a place of the pool that the split was taken from.
        places: int32 (N,), of the split's examples in that pool.
        labels: int32 (N,).
        shape: (H, W, C) of every image.
        first: Name of the image that told the shape.
        on_bad: What an image that cannot be decoded does: refuse; or skip: the next one of its class stands in.
    """

    source: str
    at: Callable[[int], Example]
    places: np.ndarray
    labels: np.ndarray
    shape: tuple[int, int, int]
    first: str
    on_bad: str

    def only(self, indices: np.ndarray) -> Examples:
        """Some of them, in that order."""
        return self._replace(places=self.places[indices], labels=self.labels[indices])


def decode(examples: Examples, positions: np.ndarray, over: Map = map) -> tuple[np.ndarray, list[str]]:
    """The images at some positions.

    Args:
        examples: Of the split.
        positions: int (K,), 0 .. N - 1.
        over: How a function is mapped over them: `map`, or `in_threads`.

    Returns:
        uint8 (K, H, W, C), and a sentence about each file for which another one stands in.

    Raises:
        InputError: An image cannot be decoded (refuse), none of its class can (skip), or one has another shape.
    """
    images, reasons = np.empty((len(positions), *examples.shape), np.uint8), []
    for row, (image, skipped) in enumerate(over(partial(_usable, examples), positions)):
        images[row] = image
        reasons += skipped
    return images, reasons


def in_threads(function: Callable[[Any], Any], items: Iterable[Any]) -> Iterable[Any]:
    """`map` over threads, in pieces small enough that each of them gets some."""
    todo = list(items)
    return ordered_map(function, todo, batch=min(64, -(-len(todo) // 16))) if len(todo) > 1 else map(function, todo)


def _usable(examples: Examples, position: np.integer) -> tuple[np.ndarray, list[str]]:
    """The image at a position, or the one that stands in for it, and what was passed over."""
    skipped = []
    for candidate in _candidates(examples, int(position)):
        name, image, _ = examples.at(int(examples.places[candidate]))
        if not isinstance(image, BadImage):
            if image.shape != examples.shape:
                raise sizes_differ(examples.source, examples.first, examples.shape, name, image.shape)
            return image, skipped
        if examples.on_bad == "refuse":
            raise refused(examples.source, name, image)
        skipped.append(f"{name}: {image}")
    raise InputError(
        f"data set {examples.source!r} has no image of class {examples.labels[position]} that can be decoded "
        f"({skipped[0]}); check its files"
    )


def _candidates(examples: Examples, position: int) -> Iterator[int]:
    """A position, then the later ones of its class in stored order, then the earlier ones: the label stays true."""
    yield position
    alike = np.flatnonzero(examples.labels == examples.labels[position])
    after = int(np.searchsorted(alike, position)) + 1
    yield from map(int, alike[after:])
    yield from map(int, alike[: after - 1])
