"""Several local processes at one study; they share nothing but its folder."""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
import threading
import time
import traceback
from collections.abc import Callable
from multiprocessing.process import BaseProcess
from pathlib import Path

from jaxcnn.errors import InputError
from jaxcnn.study.plan import Plan
from jaxcnn.study.work import FamilyFunction, work
from jaxcnn.train.interrupt import Interrupted, graceful

POLL_SECONDS = 0.5
BAD_INPUT, FAILED, STOPPED = 2, 1, 130


def work_together(
    plan: Plan, directory: Path, family: FamilyFunction | None, count: int, refresh: Callable[[], None]
) -> None:
    """Start worker processes and wait until nothing is left to do.

    Each gets its share of the cores: small networks gain little from a second core, and a study has many runs.

    Args:
        plan: The study.
        directory: Its folder.
        family: The user's own family; the workers import it, so it must be a function of a module or script.
        count: Processes.
        refresh: Called about twice a second.

    Raises:
        InputError: A worker refused its input; its own sentence.
        RuntimeError: A worker failed; its traceback went to stderr.
        Interrupted: SIGINT or SIGTERM arrived; the runs under way are saved as far as their checkpoints go.
    """
    _check_importable(family)
    context = multiprocessing.get_context("spawn")
    messages = context.SimpleQueue()
    workers = [
        context.Process(target=_worker, args=(plan, directory, family, place, count, messages), daemon=True)
        for place in range(count)
    ]
    with graceful() as asked:
        for worker in workers:
            worker.start()
        while any(worker.is_alive() for worker in workers):
            if asked() or any(worker.exitcode not in (None, 0) for worker in workers):
                break
            refresh()
            time.sleep(POLL_SECONDS)
        _stop(workers)
    if not messages.empty():
        raise InputError(messages.get())
    if asked() or any(worker.exitcode == STOPPED for worker in workers):
        raise Interrupted("interrupted; finished runs are kept, and the same command goes on from there")
    if any(worker.exitcode for worker in workers):
        raise RuntimeError("a worker of the study failed; what it said stands above")


def _stop(workers: list[BaseProcess]) -> None:
    """Ask every worker that still runs to save and stop, and wait for it."""
    for worker in workers:
        if worker.is_alive() and worker.pid:
            os.kill(worker.pid, signal.SIGINT)
    for worker in workers:
        worker.join()


def _worker(
    plan: Plan, directory: Path, family: FamilyFunction | None, place: int, count: int, messages: object
) -> None:
    # A process group of its own: Ctrl-C in the terminal reaches the parent, which passes it on once.
    os.setpgid(0, 0)
    _die_with_parent()
    if hasattr(os, "sched_setaffinity"):
        own = sorted(os.sched_getaffinity(0))[place::count]
        if own:
            os.sched_setaffinity(0, own)
    try:
        work(plan, directory, family=family, place=place / count)
    except InputError as error:
        messages.put(str(error))  # type: ignore[attr-defined]
        sys.exit(BAD_INPUT)
    except KeyboardInterrupt:
        sys.exit(STOPPED)
    except BaseException:
        traceback.print_exc()
        sys.exit(FAILED)


def _die_with_parent() -> None:
    """End when the parent is gone, even one that was killed: nobody would see what this process does."""
    parent = os.getppid()

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(POLL_SECONDS)
        os._exit(STOPPED)

    threading.Thread(target=watch, daemon=True).start()


def _check_importable(family: FamilyFunction | None) -> None:
    if family is None:
        return
    module = sys.modules.get(family.__module__)
    found = module
    for part in family.__qualname__.split("."):
        found = getattr(found, part, None)
    if found is not family or (family.__module__ == "__main__" and not hasattr(module, "__file__")):
        raise InputError(
            f"family={family.__qualname__}: worker processes cannot import it; define it at the top of a script or "
            "module, or give workers=1"
        )
