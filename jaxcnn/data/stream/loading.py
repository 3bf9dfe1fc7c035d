"""A source opened for streaming: labels first, then a sample of its images."""

from __future__ import annotations

import hashlib

import numpy as np

from jaxcnn.data.cache import bar, refused, remembered
from jaxcnn.data.dataset import BadImage, Example, Pool, Source, Split
from jaxcnn.data.splits import channel_statistics, covering_prefix
from jaxcnn.data.stream.examples import Examples
from jaxcnn.data.stream.images import StreamedImages
from jaxcnn.errors import InputError

SAMPLE = 4096
"""Training images at most that the statistics of a streamed set are taken from."""

CHUNK_BYTES = 2**25


def open_pool(source: Source, split: str, *, on_bad: str = "refuse", progress: bool = False) -> Split:
    """One split of a source with images that are decoded when they are indexed.

    Args:
        source: The data set.
        split: A key of `source.pools`.
        on_bad: What an image that cannot be decoded does when it is met.
        progress: Show a progress bar on standard error while labels are read.

    Raises:
        InputError: The source is in memory anyway, or its first image cannot be used.
    """
    pool = source.pools[split]
    if pool.at is None or pool.labels is None:
        raise InputError(
            f"stream=True: data set {source.name!r} is held in memory as a whole, so there is nothing to stream; "
            f"leave stream out (it is for image folders and TFDS sets)"
        )
    with bar(f"reading the {split} labels", pool.length, progress) as advance:
        labels = pool.labels(advance)
    first = _first(source, split, pool, on_bad)
    shape: tuple[int, int, int] = first.image.shape  # type: ignore[union-attr]
    places = np.arange(pool.length, dtype=np.int32)
    images: object = StreamedImages(Examples(source.name, pool.at, places, labels, shape, first.name, on_bad))
    return {"images": images, "labels": labels}  # type: ignore[dict-item]


def _first(source: Source, split: str, pool: Pool, on_bad: str) -> Example:
    """The first example that can be decoded: its shape is what all are held to."""
    assert pool.at is not None
    for index in range(pool.length):
        example = pool.at(index)
        if not isinstance(example.image, BadImage):
            return example
        if on_bad == "refuse":
            raise refused(source.name, example.name, example.image)
    raise InputError(f"the {split} split of data set {source.name!r} has no image that can be decoded; check it")


def sampled_statistics(source: Source, train: Split, on_bad: str) -> tuple[np.ndarray, np.ndarray, int]:
    """Mean and standard deviation of each channel over a stratified sample of the training images, and its size.

    The sample is a function of the labels. Over all n training images a mean of m of them is uncertain by the spread of
    the images' own means times sqrt((1 - m / n) / m): about 0.002 for photographs and 4,096 of them.

    Args:
        source: The data set.
        train: Its streamed training split.
        on_bad: As it was opened with.
    """
    images, labels = train["images"], train["labels"]
    assert isinstance(images, StreamedImages)
    chosen = np.arange(len(labels)) if len(labels) <= SAMPLE else covering_prefix(labels, SAMPLE)
    sample = images.only(chosen)

    def measure() -> np.ndarray:
        chunk = max(1, CHUNK_BYTES // (sample.nbytes // len(sample)))
        return np.stack(channel_statistics(sample, chunk))  # type: ignore[arg-type]

    which = hashlib.sha256(sample.examples.places.astype("<i8").tobytes()).hexdigest()
    mean, std = remembered(source.name, "statistics", [source.identity, on_bad, which], measure)
    return mean, std, len(chosen)
