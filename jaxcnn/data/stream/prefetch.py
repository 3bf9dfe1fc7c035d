"""`read_ahead`: prefetch the batches of coming steps while the devices compute."""

import math
import pickle
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import numpy as np

from jaxcnn.data.batches import CACHED_ORDERS, steps_per_epoch
from jaxcnn.data.stream.images import StreamedImages, is_streamed
from jaxcnn.data.stream.workers import WORKER_BUFFER, Steps, decode_steps, default_threads
from jaxcnn.errors import require

PROCESS_BYTES, ALLOWANCE = 250 * 2**20, 32 * 2**20
"""Memory of a worker process without images: Python, NumPy, Pillow, JAX (unused) and grain, measured; and memory that
allocators keep for the threads that freed it."""

LOOK_AHEAD = 3
"""Coming batches that are searched for an image: equal batches one after another use up only one."""


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
    """Prefetch the batches of steps start .. stop - 1 while the block takes them from `split`, in order.

    Indexing gives the same images with and without it, and with any number of workers; images that are indexed out of
    order are decoded directly. A split that is not streamed is not affected. Scripts need no
    `if __name__ == "__main__"` for it, and all workers have ended when the block ends.

    Args:
        split: A split of `load`.
        batch_size: As in `jaxcnn.data.batches`, like all arguments up to `shard`.
        workers: Number of processes that decode; 0: threads of this process.
        threads: Number of threads without workers; None: one per core, at most 8.

    Raises:
        InputError: A number is out of range.
    """
    require(batch_size >= 1, "batch_size", batch_size, "must be at least 1")
    require(threads is None or threads >= 1, "threads", threads, "must be at least 1")
    for name, value in {"seed": seed, "start": start, "workers": workers}.items():
        require(value >= 0, name, value, "must be at least 0")
    if not is_streamed(split):
        yield
        return
    images: StreamedImages = split["images"]
    per_epoch = steps_per_epoch(len(images), batch_size)
    stop = (start // per_epoch + 1) * per_epoch if stop is None else stop
    steps = Steps(images, batch_size, seed, start, stop, shuffle, shard)
    if not steps.count:
        yield
        return
    before = images.find_prefetched
    with decode_steps(steps, workers, default_threads() if threads is None else threads) as get_batch:
        prefetcher = _Prefetcher(steps, get_batch)
        images.find_prefetched = prefetcher.find
        try:
            yield
        finally:
            images.find_prefetched = before
            prefetcher.drop()


class _Prefetcher:
    """The current batch of decoded images, and access to the coming ones by `get_batch`, in order."""

    def __init__(self, steps: Steps, get_batch: Callable[[int], dict[str, Any]]):
        self.steps, self.get_batch = steps, get_batch
        self.number, self.positions = -1, np.zeros(0, np.int32)
        self.images = np.empty((0, *steps.images.image_shape), np.uint8)
        self.lock = threading.Lock()

    def find(self, positions: np.ndarray) -> tuple[np.ndarray, np.ndarray, list[str]]:
        """Find images in the current batch, or advance to a coming batch that contains more of them.

        That batch must contain at least half of them, and if it is not the next one, at least half of it must be among
        them, so that indexing out of order does not use up batches.

        Args:
            positions: int (K,).

        Returns:
            Images (B, H, W, C), the row of each position among them or -1, sentences about skipped files.
        """
        unique, inverse = np.unique(positions, return_inverse=True)
        with self.lock:
            rows, skipped = _rows(self.positions, unique), []
            if (rows < 0).any():
                number = self._choose(unique, max(len(unique) / 2, float((rows >= 0).sum()) + 1))
                while self.number < number:
                    skipped += self._advance()
                rows = _rows(self.positions, unique)
            return self.images, rows[inverse], skipped

    def drop(self) -> None:
        """Release the current batch: an error's traceback would keep it with its shared memory."""
        self.positions, self.images = self.positions[:0], np.empty((0, *self.steps.images.image_shape), np.uint8)

    def _choose(self, unique: np.ndarray, enough: float) -> int:
        """Return the number of the first coming batch with enough of the positions, or of the current one."""
        for number in range(self.number + 1, min(self.number + 1 + LOOK_AHEAD, self.steps.count)):
            indices = self.steps.indices(number)
            least = enough if number == self.number + 1 else max(enough, len(indices) / 2)
            if (_rows(indices, unique) >= 0).sum() >= least:
                return number
        return self.number

    def _advance(self) -> list[str]:
        batch = self.get_batch(self.number + 1)
        self.number += 1
        self.images = np.asarray(batch["images"])  # no longer grain's own kind of array
        self.positions = self.steps.indices(self.number) if len(self.images) else np.zeros(0, np.int32)
        return list(batch["skipped"])


def _rows(positions: np.ndarray, unique: np.ndarray) -> np.ndarray:
    """Return the row of each of some positions among sorted ones, or -1."""
    if not len(positions):
        return np.full(len(unique), -1)
    rows = np.searchsorted(positions, unique).clip(max=len(positions) - 1)
    return np.where(positions[rows] == unique, rows, -1)


def resident_bytes_bound(
    split: Mapping[str, Any], *, batch_size: int, workers: int = 0, threads: int | None = None
) -> int:
    """Return the largest number of bytes that prefetching adds to the memory of all processes together.

    It is the sum of the index of names and labels and the order of some epochs, once per process; the batches that wait
    or are being decoded; the workers themselves; and memory kept by allocators. Pixels as stored come on top while a
    file is decoded, one file at a time in each thread or worker. The arguments are those of `read_ahead`.
    """
    images: StreamedImages = split["images"]
    batch = batch_size * math.prod(images.image_shape)
    # int32 orders, and one more as int64 while it is drawn.
    index = len(pickle.dumps(images)) + (4 * CACHED_ORDERS + 8) * len(images)
    # The current batch; copies of it, now and in the step before; and one that was freed but is kept by the allocator.
    here = 4 * batch + ALLOWANCE
    if not workers:
        # Batches being decoded, and the one that is waited for.
        return index + here + ((default_threads() if threads is None else threads) + 1) * batch
    # On each side of a worker's queue one buffer and one batch in hand, and the one being copied into shared memory.
    return (1 + workers) * index + here + workers * ((2 * WORKER_BUFFER + 3) * batch + PROCESS_BYTES)
