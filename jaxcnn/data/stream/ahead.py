"""`read_ahead`: the batches of the coming steps are decoded while the devices compute."""

from __future__ import annotations

import math
import pickle
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import numpy as np

from jaxcnn.data.batches import steps_per_epoch
from jaxcnn.data.stream.images import StreamedImages, is_streamed
from jaxcnn.data.stream.processes import WORKER_BUFFER, Decoding, decoding, default_threads
from jaxcnn.data.stream.steps import REMEMBERED_ORDERS, Order, Steps
from jaxcnn.errors import InputError

PROCESS_BYTES, ALLOWANCE = 250 * 2**20, 32 * 2**20
"""What a worker process takes before it holds an image: Python, NumPy, Pillow, JAX (unused) and grain, measured. And
what allocators keep for the threads that freed it."""

LOOK_AHEAD = 3
"""Batches in which something that is not at hand is looked for: equal batches one after another use up only one."""


@contextmanager
def read_ahead(
    split: Mapping[str, Any],
    *,
    batch_size: int,
    seed: int = 0,
    start: int = 0,
    stop: int | None = None,
    shuffle: bool = True,
    shard: tuple[int, int] = (0, 1),
    workers: int = 0,
    threads: int | None = None,
) -> Iterator[None]:
    """Decode the batches of steps start .. stop - 1 ahead of whoever takes them from `split` in this block, in order.

    Indexing gives the same images with and without it, and with any number of workers; what is asked for out of order
    is decoded then and there. A split that is not streamed is left alone. No script needs an
    `if __name__ == "__main__"` for it, and nothing is left running when the block ends.

    Args:
        split: As `load` gives it; its batches are those of `batches` with the same arguments.
        batch_size: Examples a step, over all hosts together.
        seed: Of the order.
        start: First step; not 0 where a run goes on.
        stop: Step after the last; None: the end of the epoch in which `start` lies.
        shuffle: False keeps the stored order (evaluation).
        shard: (index, count): this host's part of each batch.
        workers: Processes that decode; 0: threads of this one.
        threads: Without workers: how many; None: one a core, 8 at most.

    Raises:
        InputError: A number is out of range.
    """
    least = {"batch_size": (batch_size, 1), "seed": (seed, 0), "start": (start, 0), "workers": (workers, 0)}
    least["threads"] = (1 if threads is None else threads, 1)
    for name, (value, minimum) in least.items():
        if value < minimum:
            raise InputError(f"{name}={value}: must be at least {minimum}")
    if not is_streamed(split):
        yield
        return
    images: StreamedImages = split["images"]
    per_epoch = steps_per_epoch(len(images), batch_size)
    stop = (start // per_epoch + 1) * per_epoch if stop is None else stop
    steps = Steps(images.examples, Order(batch_size, seed, start, stop, shuffle, shard))
    if not steps.count:
        yield
        return
    before = images.ahead
    with decoding(steps, workers, default_threads() if threads is None else threads) as coming:
        ahead = images.ahead = Ahead(steps, coming)
        try:
            yield
        finally:
            images.ahead = before
            ahead.drop()


class Ahead:
    """The batch at hand, and the way to the next one.

    Args:
        steps: The batches.
        coming: The same, decoded one after another.
    """

    def __init__(self, steps: Steps, coming: Decoding):
        self.steps, self.coming = steps, coming
        self.number, self.held = -1, np.zeros(0, np.int32)
        self.images = np.empty((0, *steps.examples.shape), np.uint8)
        self.lock = threading.Lock()

    def find(self, positions: np.ndarray) -> tuple[np.ndarray, np.ndarray, list[str]]:
        """Where images lie in the batch at hand, or in a coming one that holds more of them: then that is at hand.

        It must hold at least half of them, and a later one than the next must also consist of them by half, so that
        what was asked for out of order does not use up batches.

        Args:
            positions: int (K,).

        Returns:
            Images (B, H, W, C), the row of each position among them or -1, sentences about files passed over.
        """
        unique, inverse = np.unique(positions, return_inverse=True)
        with self.lock:
            rows, skipped = _rows(self.held, unique), []
            if (rows < 0).any():
                number = self._coming(unique, max(len(unique) / 2, float((rows >= 0).sum()) + 1))
                skipped = [reason for _ in range(self.number, number) for reason in self._advance()]
                rows = _rows(self.held, unique)
            return self.images, rows[inverse], skipped

    def drop(self) -> None:
        """Let go of the batch at hand, which an error's traceback would keep with its shared memory."""
        self.held, self.images = self.held[:0], np.empty((0, *self.steps.examples.shape), np.uint8)

    def _coming(self, unique: np.ndarray, enough: float) -> int:
        """Which batch is to be at hand: the one that is, unless a coming one holds enough of some positions."""
        for number in range(self.number + 1, min(self.number + 1 + LOOK_AHEAD, self.steps.count)):
            indices = self.steps.indices(number)
            least = enough if number == self.number + 1 else max(enough, len(indices) / 2)
            if (_rows(indices, unique) >= 0).sum() >= least:
                return number
        return self.number

    def _advance(self) -> list[str]:
        batch = self.coming.batch(self.number + 1)
        self.number += 1
        self.images = np.asarray(batch["images"])  # no longer grain's own kind of array
        self.held = self.steps.indices(self.number) if len(self.images) else np.zeros(0, np.int32)
        return list(batch["skipped"])


def _rows(held: np.ndarray, unique: np.ndarray) -> np.ndarray:
    """The row of each of some positions among sorted ones, -1 where it is not there."""
    if not len(held):
        return np.full(len(unique), -1)
    rows = np.searchsorted(held, unique).clip(max=len(held) - 1)
    return np.where(held[rows] == unique, rows, -1)


def resident_bytes_bound(
    split: Mapping[str, Any], *, batch_size: int, workers: int = 0, threads: int | None = None
) -> int:
    """Bytes that reading ahead takes at most, in all processes together, beyond what a process without it has.

    Args:
        split: A streamed split.
        batch_size: Examples a step.
        workers: Processes that decode.
        threads: Without workers: how many; None: as `read_ahead` chooses.

    Returns:
        The index of names and labels and the order of some epochs, once a process; the batches that wait or are under
        way; the workers themselves; and what allocators keep. While a file is decoded its pixels as stored come on
        top, one file at a time in each thread or worker.
    """
    images: StreamedImages = split["images"]
    batch = batch_size * math.prod(images.examples.shape)
    # int32 orders, and one more as int64 while it is drawn.
    index = len(pickle.dumps(images.examples)) + (4 * REMEMBERED_ORDERS + 8) * len(images)
    # At hand; taken from it, now and in the step before; and one that was freed and is kept by the allocator.
    here = 4 * batch + ALLOWANCE
    if not workers:
        # Under way, and the one that is waited for.
        return index + here + ((default_threads() if threads is None else threads) + 1) * batch
    # On each side of a worker's queue one buffer and one batch in hand, and the one being copied into shared memory.
    return (1 + workers) * index + here + workers * ((2 * WORKER_BUFFER + 3) * batch + PROCESS_BYTES)
