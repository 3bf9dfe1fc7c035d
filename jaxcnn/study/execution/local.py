"""Several local processes at one study; they share nothing but its folder."""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
import threading
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from multiprocessing.connection import wait
from multiprocessing.process import BaseProcess
from pathlib import Path
from types import ModuleType

from jaxcnn.errors import InputError
from jaxcnn.runtime.signals import Interrupted, graceful
from jaxcnn.study.execution.worker import FamilyFunction, work
from jaxcnn.study.plan import Plan

POLL_SECONDS, STOP_SECONDS = 0.5, 30
BAD_INPUT, FAILED, STOPPED = 2, 1, 130
SIGNALS = {signal.SIGINT, signal.SIGTERM}


def work_together(
    plan: Plan, directory: Path, family: FamilyFunction | None, count: int, refresh: Callable[[], None]
) -> None:
    """Start worker processes and wait until nothing is left to do.

    Each gets its share of the cores: small networks gain little from a second core, and a study has many runs.

    Args:
        plan: The study.
        directory: Its folder.
        family: The user's own family; the workers import it, so it must be `importable`.
        count: Processes.
        refresh: Called about twice a second.

    Raises:
        InputError: A worker refused its input; its own sentence. Or the system ended one.
        RuntimeError: A worker failed; its traceback went to stderr.
        Interrupted: SIGINT or SIGTERM arrived; the runs under way are saved as far as their checkpoints go.
    """
    context = multiprocessing.get_context("spawn")
    messages = context.SimpleQueue()
    workers = [
        context.Process(target=_worker, args=(plan, directory, family, place, count, messages), daemon=True)
        for place in range(count)
    ]
    with graceful() as asked:
        try:
            with _quiet_start(family):
                for worker in workers:
                    worker.start()
            while any(worker.is_alive() for worker in workers):
                if asked() or any(worker.exitcode not in (None, 0) for worker in workers):
                    break
                refresh()
                wait([worker.sentinel for worker in workers if worker.is_alive()], POLL_SECONDS)
        finally:  # Whatever happened here, nobody is left behind.
            ended = [worker.exitcode for worker in workers]
            _stop(workers)
        stopped = asked()
    if not messages.empty():
        raise InputError(messages.get())
    _judge(ended, [worker.exitcode for worker in workers], stopped)


def _judge(ended: Sequence[int | None], codes: Sequence[int | None], stopped: bool) -> None:
    """Raise what the workers' exit codes say: those that ended by themselves, and all of them."""
    if stopped or (STOPPED in codes and not any(code not in (None, 0, STOPPED) for code in ended)):
        raise Interrupted(
            "interrupted; finished runs are kept, and the same command goes on from there", resumable=True
        )
    if killed := [-code for code in ended if code is not None and code < 0]:
        raise InputError(
            f"workers={len(codes)}: the system ended one of them by signal {killed[0]}, perhaps for want of memory; "
            "finished runs are kept; run the same again, with fewer workers where memory is short"
        )
    if any(codes):
        raise RuntimeError("a worker of the study failed; what it said stands above")


@contextmanager
def _quiet_start(family: FamilyFunction | None) -> Iterator[None]:
    """Start processes that hear no Ctrl-C until they are ready for one, and that import the main script only at need.

    Signals stay blocked in a child until `_worker` lets them in; here they arrive when the block ends. The main script
    is imported by a child only where the family is defined in it: a script without an `if __name__ == "__main__"` would
    begin the study again.
    """
    main = sys.modules["__main__"]
    if family is None or family.__module__ != "__main__":
        sys.modules["__main__"] = ModuleType("__main__")
    previous = signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)
    try:
        yield
    finally:
        sys.modules["__main__"] = main
        signal.pthread_sigmask(signal.SIG_SETMASK, previous)


def _stop(workers: Sequence[BaseProcess]) -> None:
    """Ask every worker that still runs to save and stop, wait for it, and end one that does not."""
    running = [worker for worker in workers if worker.pid is not None]
    for worker in running:
        if worker.is_alive():
            os.kill(worker.pid or 0, signal.SIGINT)
    deadline = time.monotonic() + STOP_SECONDS
    for worker in running:
        worker.join(max(deadline - time.monotonic(), 0))
        if worker.is_alive():
            worker.kill()  # A study goes on after any kill.
            worker.join()


def _worker(
    plan: Plan, directory: Path, family: FamilyFunction | None, place: int, count: int, messages: object
) -> None:
    # A process group of its own: Ctrl-C in the terminal reaches the parent, which passes it on once.
    os.setpgid(0, 0)
    _die_with_parent()
    try:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, SIGNALS)
        if hasattr(os, "sched_setaffinity"):
            own = sorted(os.sched_getaffinity(0))[place::count]
            if own:
                os.sched_setaffinity(0, own)
        work(plan, directory, family=family, place=place / count)
        signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)  # nothing is left to be interrupted
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
    parent = multiprocessing.parent_process()
    assert parent is not None

    def watch() -> None:
        # A pipe that only the parent holds open: it tells of a parent that died before this process looked, too.
        wait([parent.sentinel])
        os._exit(STOPPED)

    threading.Thread(target=watch, daemon=True).start()


def importable(family: FamilyFunction | None) -> bool:
    """Whether a worker process can import a family: a function at the top of a module or of a script that is a file."""
    if family is None:
        return True
    name, module = getattr(family, "__qualname__", ""), sys.modules.get(getattr(family, "__module__", ""))
    found: object = module
    for part in name.split("."):
        found = getattr(found, part, None)
    return found is family and (family.__module__ != "__main__" or hasattr(module, "__file__"))


def check_workers(family: FamilyFunction | None, count: int) -> None:
    """Refuse a family that workers cannot import, and a script that starts a study while a worker imports it.

    Raises:
        InputError: Several workers and a lambda, a function inside a function, or one typed at a prompt.
        SystemExit: In a worker, before its work: its script has no `if __name__ == "__main__"`.
    """
    if getattr(multiprocessing.current_process(), "_inheriting", False):
        raise SystemExit(
            'jaxcnn: workers import the script that defines their family; put the study under if __name__ == "__main__"'
            ", or give workers=1"
        )
    if count > 1 and not importable(family):
        raise InputError(
            f"family={getattr(family, '__qualname__', family)}: worker processes cannot import it; define it at the "
            "top of a script or module, or give workers=1"
        )
