"""Decode the batches of coming steps with grain, in threads of this process or in worker processes."""

import multiprocessing
import os
import signal
import sys
import threading
import time
import warnings
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from multiprocessing import resource_tracker
from multiprocessing.connection import wait
from multiprocessing.process import BaseProcess
from types import ModuleType
from typing import Any

import numpy as np

from jaxcnn.data.batches import batch_indices
from jaxcnn.data.stream.images import StreamedImages
from jaxcnn.errors import InputError

WORKER_BUFFER = 1
"""Batches that wait in a worker's queue, and as many again on this side of it."""

MAX_THREADS, START_SECONDS, STOP_SECONDS = 8, 10, 5
SIGNALS = {signal.SIGINT, signal.SIGTERM}

_starting = threading.Lock()


@dataclass(frozen=True, eq=False)
class Steps:
    """The batches of steps start .. stop - 1 as a sequence; element k is a function of (seed, start + k).

    Args:
        images: Images of the split.
        batch_size: As in `jaxcnn.data.batches`, like all arguments up to `shard`.
        tail: Number of elements without images after the last batch.
    """

    images: StreamedImages
    batch_size: int
    seed: int
    start: int
    stop: int
    shuffle: bool
    shard: tuple[int, int]
    tail: int = 0

    @property
    def count(self) -> int:
        """Number of batches."""
        return max(0, self.stop - self.start)

    def __len__(self) -> int:
        return self.count + self.tail

    def indices(self, k: int) -> np.ndarray:
        """Return the positions of element k, int32, sorted, each once."""
        order: Any = {"seed": self.seed, "step": self.start + k, "shuffle": self.shuffle, "shard": self.shard}
        return np.unique(batch_indices(len(self.images), self.batch_size, **order)[0])

    def __getitem__(self, index: int) -> dict[str, Any]:
        """Return the images at `indices(index)`, and sentences about skipped files.

        There are no images if one of them cannot be used: the consumer decodes them again and gets the error.
        """
        if index < self.count:
            with suppress(InputError):
                images, skipped = self.images.decode(self.indices(index))
                return {"images": images, "skipped": skipped}
        return {"images": np.empty((0, *self.images.image_shape), np.uint8), "skipped": []}


def default_threads() -> int:
    """Return the number of threads that decode if there are no processes: one per core, at most 8."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return min(MAX_THREADS, cores or 1)


@contextmanager
def decode_steps(steps: Steps, workers: int, threads: int) -> Iterator[Callable[[int], dict[str, Any]]]:
    """Decode batches ahead of their use, in `workers` processes or, if that is 0, in threads.

    Yields:
        A function that returns the batch of a number; numbers must be taken in order. All threads and processes have
        ended when the block ends.
    """
    if workers and multiprocessing.current_process().daemon:
        warnings.warn(
            f"workers={workers}: this process is itself a worker, which must not start others; threads decode instead",
            stacklevel=4,
        )
        workers = 0
    parts, processes = _start_processes(steps, min(workers, steps.count)) if workers else _start_threads(steps, threads)

    def batch(number: int) -> dict[str, Any]:
        try:
            return next(parts[number % len(parts)])
        except Exception:
            codes = [process.exitcode for process in processes]
            signals = [-code for code in codes if code is not None and code < 0]
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


def _start_threads(steps: Steps, threads: int) -> tuple[list[Any], list[BaseProcess]]:
    grain = _import_grain()
    options = grain.ReadOptions(num_threads=threads, prefetch_buffer_size=threads)
    batches: Any = iter(grain.MapDataset.source(steps).to_iter_dataset(options))
    batches.start_prefetch()
    return [batches], []


def _start_processes(steps: Steps, workers: int) -> tuple[list[Any], list[BaseProcess]]:
    """Start workers; the n-th iterator gives every `workers`-th batch, starting with the n-th."""
    grain = _import_grain()
    # Grain keeps the last batch of an iterator that has come to its end: none does, with more elements than wait.
    endless = grain.MapDataset.source(replace(steps, tail=workers * (2 * WORKER_BUFFER + 3)))
    one = grain.MultiprocessingOptions(num_workers=1, per_worker_buffer_size=WORKER_BUFFER)
    # A process decodes one batch after another: the processes are the parallelism.
    here = grain.ReadOptions(num_threads=0, prefetch_buffer_size=0)
    slices = [endless[index::workers].to_iter_dataset(here) for index in range(workers)]
    parts: list[Any] = [iter(part.mp_prefetch(one, worker_init_fn=init_worker)) for part in slices]
    with _starting, _isolate_children():
        before = _grain_processes()
        for part in parts:
            part.get_state()  # creates the iterator, which is otherwise created with the first batch
            part.start_prefetch()
        # Threads start the processes: wait until they have, while `_isolate_children` is in effect.
        deadline = time.monotonic() + START_SECONDS
        while len(_grain_processes() - before) < workers and time.monotonic() < deadline:
            time.sleep(0.01)
        return parts, list(_grain_processes() - before)


def _grain_processes() -> set[BaseProcess]:
    return {process for process in multiprocessing.active_children() if process.name.startswith("grain")}


@contextmanager
def _isolate_children() -> Iterator[None]:
    """Start processes that ignore Ctrl-C and SIGTERM and do not import the main script.

    Threads and processes started here inherit the blocked signals: a worker ends when it is told to, or with its
    parent. A script without an `if __name__ == "__main__"` would start again in each process that imports it.
    """
    resource_tracker.ensure_running()  # its start unblocks the signals
    main = sys.modules["__main__"]
    sys.modules["__main__"] = ModuleType("__main__")
    previous = signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)
    try:
        yield
    finally:
        sys.modules["__main__"] = main
        signal.pthread_sigmask(signal.SIG_SETMASK, previous)


def init_worker(index: int, count: int) -> None:
    """Prepare a worker process (number `index` of `count`) and end it when its parent ends."""
    _import_grain()
    parent = multiprocessing.parent_process()
    assert parent is not None

    def watch() -> None:
        # A pipe that only the parent holds open: it closes even if the parent is killed.
        wait([parent.sentinel])
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()
