"""Grain at work on the coming batches, in threads of this process or in processes of its own."""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
import threading
import time
import warnings
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from multiprocessing import resource_tracker
from multiprocessing.connection import wait
from multiprocessing.process import BaseProcess
from types import ModuleType
from typing import Any, NamedTuple

from jaxcnn.data.stream.steps import Steps
from jaxcnn.errors import InputError

WORKER_BUFFER = 1
"""Batches that wait in a worker's queue, and as many again on this side of it."""

MOST_THREADS, START_SECONDS, STOP_SECONDS = 8, 10, 5
SIGNALS = {signal.SIGINT, signal.SIGTERM}

_starting = threading.Lock()


class Decoding(NamedTuple):
    """Batches under way: grain's iterators, each over every so manieth batch, and the processes behind them."""

    parts: list[Any]
    processes: list[BaseProcess]

    def batch(self, number: int) -> dict[str, Any]:
        """The batch of that number; they are to be taken in order."""
        try:
            return next(self.parts[number % len(self.parts)])
        except Exception:
            codes = [process.exitcode for process in self.processes]
            signals = [-code for code in codes if code is not None and code < 0]
            if not signals:
                raise
        raise InputError(
            f"workers={len(self.processes)}: the system ended a process that decodes images by signal {signals[0]}, "
            f"for want of memory or of shared memory (/dev/shm); give fewer workers, or 0 for threads"
        )


def default_threads() -> int:
    """Threads that decode where no processes do: one a core, 8 at most."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return min(MOST_THREADS, cores or 1)


@contextmanager
def decoding(steps: Steps, workers: int, threads: int) -> Iterator[Decoding]:
    """Decode the batches ahead of who takes them, until the block ends; nothing is left running then.

    Args:
        steps: The batches.
        workers: Processes; 0: threads.
        threads: How many, without processes.
    """
    if workers and multiprocessing.current_process().daemon:
        warnings.warn(
            f"workers={workers}: this process is itself a worker, which may not start others; threads decode instead",
            stacklevel=4,
        )
        workers = 0
    found = _processes(steps, min(workers, steps.count)) if workers else _threads(steps, threads)
    try:
        yield found
    finally:
        try:
            with ThreadPoolExecutor(len(found.parts)) as pool:  # each waits until its process has ended
                list(pool.map(lambda part: part.close(), found.parts))
        finally:
            for process in found.processes:  # a second Ctrl-C may have come between
                process.join(STOP_SECONDS)
                if process.is_alive():
                    process.kill()
                    process.join()


def _grain() -> ModuleType:
    """grain, with nothing in its way: it reads absl's flags, and few programs parse those."""
    import grain
    from absl import flags

    if not flags.FLAGS.is_parsed():
        flags.FLAGS.mark_as_parsed()
    return grain


def _threads(steps: Steps, threads: int) -> Decoding:
    grain = _grain()
    options = grain.ReadOptions(num_threads=threads, prefetch_buffer_size=threads)
    batches: Any = iter(grain.MapDataset.source(steps).to_iter_dataset(options))
    batches.start_prefetch()
    return Decoding([batches], [])


def _processes(steps: Steps, workers: int) -> Decoding:
    grain = _grain()
    # Grain keeps the last batch of an iterator that has come to its end: none does, with more elements than wait.
    endless = grain.MapDataset.source(Steps(steps.examples, steps.order, tail=workers * (2 * WORKER_BUFFER + 3)))
    one = grain.MultiprocessingOptions(num_workers=1, per_worker_buffer_size=WORKER_BUFFER)
    # A process decodes one batch after another: the processes are the parallelism.
    here = grain.ReadOptions(num_threads=0, prefetch_buffer_size=0)
    slices = [endless[index::workers].to_iter_dataset(here) for index in range(workers)]
    parts: list[Any] = [iter(part.mp_prefetch(one, worker_init_fn=begin)) for part in slices]
    with _starting, _quiet_start():
        before = _workers()
        for part in parts:
            part.get_state()  # makes what is behind it, which otherwise begins with the first batch
            part.start_prefetch()
        # Threads start the processes: wait until they have, else those would see what `_quiet_start` hides.
        deadline = time.monotonic() + START_SECONDS
        while len(_workers() - before) < workers and time.monotonic() < deadline:
            time.sleep(0.01)
        return Decoding(parts, list(_workers() - before))


def _workers() -> set[BaseProcess]:
    return {process for process in multiprocessing.active_children() if process.name.startswith("grain")}


@contextmanager
def _quiet_start() -> Iterator[None]:
    """Start processes that hear neither Ctrl-C nor SIGTERM, and that do not import the main script.

    Threads and processes started here inherit the blocked signals: a worker ends when it is told to, or with its
    parent. A script without an `if __name__ == "__main__"` would begin anew in each process that imported it.
    """
    resource_tracker.ensure_running()  # the first time it unblocks the signals
    main = sys.modules["__main__"]
    sys.modules["__main__"] = ModuleType("__main__")
    previous = signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)
    try:
        yield
    finally:
        sys.modules["__main__"] = main
        signal.pthread_sigmask(signal.SIG_SETMASK, previous)


def begin(index: int, count: int) -> None:
    """What a worker process does first.

    Args:
        index: Which of the workers it is.
        count: How many there are.
    """
    _grain()
    parent = multiprocessing.parent_process()
    assert parent is not None

    def watch() -> None:
        # A pipe that only the parent holds open: it tells of a parent that was killed, too.
        wait([parent.sentinel])
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()
