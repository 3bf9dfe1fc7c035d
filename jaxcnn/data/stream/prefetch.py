"""`read_ahead`: prefetch the batches of coming steps, decoded by grain in threads or in worker processes."""

import math
import multiprocessing
import pickle
import threading
import time
import warnings
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from multiprocessing.process import BaseProcess
from types import ModuleType
from typing import Any

import numpy as np

from jaxcnn.data.batches import CACHED_ORDERS, batch_indices, steps_per_epoch
from jaxcnn.data.stream.images import StreamedImages, is_streamed
from jaxcnn.errors import InputError, require
from jaxcnn.runtime.environment import cores
from jaxcnn.runtime.processes import exit_with_parent, quiet_start

PROCESS_BYTES, ALLOWANCE = 250 * 2**20, 32 * 2**20
"""Memory of a worker process without images: Python, NumPy, Pillow, JAX (unused) and grain, measured; and memory that
allocators keep for the threads that freed it."""

LOOK_AHEAD = 3
"""Coming batches that are searched for an image: equal batches one after another use up only one."""

WORKER_BUFFER = 1
"""Batches that wait in a worker's queue, and as many again on this side of it."""

MAX_THREADS, START_SECONDS, STOP_SECONDS = 8, 10, 5

_starting = threading.Lock()


@dataclass(frozen=True, eq=False)
class Steps:
    """The batches of steps start .. stop - 1 as a sequence, and `tail` elements without images after the last one."""

    images: StreamedImages
    order: Mapping[str, Any]  # batch_size, seed, shuffle, shard and even of `batch_indices`
    start: int
    stop: int
    tail: int = 0

    @property
    def count(self) -> int:
        """Number of batches."""
        return max(0, self.stop - self.start)

    def __len__(self) -> int:
        return self.count + self.tail

    def indices(self, k: int) -> np.ndarray:
        """Return the positions of element k, int32, sorted, each once."""
        return np.unique(batch_indices(len(self.images), step=self.start + k, **self.order)[0])

    def __getitem__(self, index: int) -> dict[str, Any]:
        """Return the images at `indices(index)` and sentences about skipped files; no images if one cannot be used."""
        if index < self.count:
            with suppress(InputError):  # the consumer decodes them again and gets the error
                images, skipped = self.images.decode(self.indices(index))
                return {"images": images, "skipped": skipped}
        return {"images": np.empty((0, *self.images.image_shape), np.uint8), "skipped": []}


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
    even: bool = False,
    workers: int = 0,
    threads: int | None = None,
) -> Iterator[None]:
    """Prefetch the batches of steps start .. stop - 1 while the block takes them from `split`, in order.

    Indexing gives the same images with and without it, and with any number of workers; images that are indexed out of
    order are decoded directly. A split that is not streamed is not affected. Scripts need no
    `if __name__ == "__main__"` for it, and all workers have ended when the block ends.

    Args:
        split: A split of `load`.
        batch_size: As in `jaxcnn.data.batches`, like all arguments up to `even`.
        workers: Number of processes that decode; 0: threads of this process.
        threads: Number of threads without workers; None: one per core, at most 8.

    Raises:
        InputError: A number is out of range.
    """
    require(threads is None or threads >= 1, "threads", threads, "must be at least 1")
    for name, value in {"seed": seed, "start": start, "workers": workers}.items():
        require(value >= 0, name, value, "must be at least 0")
    if not is_streamed(split):
        yield
        return
    images: StreamedImages = split["images"]
    per_epoch = steps_per_epoch(len(images), batch_size)
    stop = (start // per_epoch + 1) * per_epoch if stop is None else stop
    order = {"batch_size": batch_size, "seed": seed, "shuffle": shuffle, "shard": shard, "even": even}
    steps = Steps(images, order, start, stop)
    if not steps.count:
        yield
        return
    before = images.find_prefetched
    with decode_steps(steps, workers, threads or _default_threads()) as get_batch:
        prefetcher = _Prefetcher(steps, get_batch)
        images.find_prefetched = prefetcher.find
        try:
            yield
        finally:
            images.find_prefetched = before
            del prefetcher.images  # an error's traceback would keep the current batch with its shared memory


def _default_threads() -> int:
    return min(MAX_THREADS, cores())


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

        Returns:
            Images (B, H, W, C), the row of each of the positions int (K,) or -1, sentences about skipped files.
        """
        unique, inverse = np.unique(positions, return_inverse=True)
        with self.lock:
            rows, skipped = _rows(self.positions, unique), []
            if (rows < 0).any():
                number = self._choose(unique, max(len(unique) / 2, float((rows >= 0).sum()) + 1))
                while self.number < number:
                    batch = self.get_batch(self.number + 1)
                    self.number += 1
                    self.images = np.asarray(batch["images"])  # no longer grain's own kind of array
                    indices = self.steps.indices(self.number)
                    self.positions = indices if len(self.images) else indices[:0]
                    skipped += batch["skipped"]
                rows = _rows(self.positions, unique)
            return self.images, rows[inverse], skipped

    def _choose(self, unique: np.ndarray, enough: float) -> int:
        """Return the number of the first coming batch with enough of the positions, or of the current one."""
        for number in range(self.number + 1, min(self.number + 1 + LOOK_AHEAD, self.steps.count)):
            indices = self.steps.indices(number)
            least = enough if number == self.number + 1 else max(enough, len(indices) / 2)
            if (_rows(indices, unique) >= 0).sum() >= least:
                return number
        return self.number


def _rows(positions: np.ndarray, unique: np.ndarray) -> np.ndarray:
    """Return the row of each of some positions among sorted ones, or -1."""
    return np.where(np.isin(unique, positions, assume_unique=True), np.searchsorted(positions, unique), -1)


@contextmanager
def decode_steps(steps: Steps, workers: int, threads: int) -> Iterator[Callable[[int], dict[str, Any]]]:
    """Decode batches ahead of their use, in `workers` processes or, if that is 0, in threads, which end with the block.

    Yield a function that returns the batch of a number; numbers must be taken in order.
    """
    if workers and multiprocessing.current_process().daemon:
        warnings.warn(
            f"workers={workers}: this process is itself a worker, which must not start others; threads decode instead",
            stacklevel=4,
        )
        workers = 0
    if workers:
        parts, processes = _start_processes(steps, min(workers, steps.count))
    else:
        grain = _import_grain()
        options = grain.ReadOptions(num_threads=threads, prefetch_buffer_size=threads)
        parts, processes = [iter(grain.MapDataset.source(steps).to_iter_dataset(options))], []
        parts[0].start_prefetch()

    def batch(number: int) -> dict[str, Any]:
        try:
            return next(parts[number % len(parts)])
        except Exception:
            signals = [-code for process in processes if (code := process.exitcode or 0) < 0]
            if not signals:
                raise
        raise InputError(
            f"workers={len(processes)}: a process that decodes images was killed by signal {signals[0]}, probably for "
            f"lack of memory or of shared memory (/dev/shm); use fewer workers, or 0 for threads"
        )

    try:
        yield batch
    finally:
        try:
            with ThreadPoolExecutor(len(parts)) as pool:  # each waits until its process has ended
                list(pool.map(lambda part: part.close(), parts))
        finally:
            for process in processes:  # a second Ctrl-C may have interrupted the wait
                process.join(STOP_SECONDS)
                if process.is_alive():
                    process.kill()
                    process.join()


def _import_grain() -> ModuleType:
    """Import grain; it reads absl's flags, which few programs parse."""
    import grain
    from absl import flags

    if not flags.FLAGS.is_parsed():
        flags.FLAGS.mark_as_parsed()
    return grain


def _start_processes(steps: Steps, workers: int) -> tuple[list[Any], list[BaseProcess]]:
    """Start workers; the n-th iterator gives every `workers`-th batch, starting with the n-th."""
    grain = _import_grain()
    # Grain keeps the last batch of an iterator that has come to its end: none does, with more elements than wait.
    endless = grain.MapDataset.source(replace(steps, tail=workers * (2 * WORKER_BUFFER + 3)))
    one = grain.MultiprocessingOptions(num_workers=1, per_worker_buffer_size=WORKER_BUFFER)
    # A process decodes one batch after another: the processes are the parallelism.
    here = grain.ReadOptions(num_threads=0, prefetch_buffer_size=0)
    slices = [endless[index::workers].to_iter_dataset(here) for index in range(workers)]
    parts: list[Any] = [iter(part.mp_prefetch(one, worker_init_fn=_init_worker)) for part in slices]
    with _starting, quiet_start():
        before = _grain_processes()
        for part in parts:
            part.get_state()  # creates the iterator, which is otherwise created with the first batch
            part.start_prefetch()
        # Threads start the processes: wait until they have, while `quiet_start` is in effect.
        deadline = time.monotonic() + START_SECONDS
        while len(_grain_processes() - before) < workers and time.monotonic() < deadline:
            time.sleep(0.01)
        return parts, list(_grain_processes() - before)


def _grain_processes() -> set[BaseProcess]:
    return {process for process in multiprocessing.active_children() if process.name.startswith("grain")}


def _init_worker(index: int, count: int) -> None:
    _import_grain()
    exit_with_parent(1)


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
        return index + here + ((threads or _default_threads()) + 1) * batch
    # On each side of a worker's queue one buffer and one batch in hand, and the one being copied into shared memory.
    return (1 + workers) * index + here + workers * ((2 * WORKER_BUFFER + 3) * batch + PROCESS_BYTES)
