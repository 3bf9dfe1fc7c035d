"""Local worker processes; they share nothing but the study's folder."""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
import time
import traceback
from collections.abc import Callable, Sequence
from multiprocessing.connection import wait
from multiprocessing.process import BaseProcess
from pathlib import Path

from jaxcnn.errors import InputError
from jaxcnn.runtime.processes import SIGNALS, exit_with_parent, quiet_start
from jaxcnn.runtime.signals import Interrupted, graceful
from jaxcnn.study.execution.worker import FamilyFunction, work
from jaxcnn.study.plan import Plan

POLL_SECONDS, STOP_SECONDS = 0.5, 30
BAD_INPUT, FAILED, STOPPED = 2, 1, 130
RESUME = "interrupted; finished runs are kept; run the same command again to resume"
FAILURE = "a worker of the study failed; see its traceback above"


def work_locally(
    plan: Plan, directory: Path, family: FamilyFunction | None, count: int, refresh: Callable[[], None]
) -> None:
    """Start worker processes and wait until all runs are finished.

    Each gets its share of the cores: small networks gain little from a second core, and a study has many runs.

    Args:
        plan: The study.
        directory: Its folder.
        family: The user-defined family; the workers import it, so it must be `importable`.
        count: Number of processes.
        refresh: Called about twice a second.

    Raises:
        InputError: A worker refused its input, with its message; or the system ended one.
        RuntimeError: A worker failed; its traceback is on stderr.
        Interrupted: SIGINT or SIGTERM arrived; the current runs are saved up to their last checkpoints.
    """
    context = multiprocessing.get_context("spawn")
    messages = context.SimpleQueue()
    workers = [
        context.Process(target=_worker, args=(plan, directory, family, number, count, messages), daemon=True)
        for number in range(count)
    ]
    with graceful() as interrupted:
        try:
            with quiet_start(import_main=family is not None and family.__module__ == "__main__"):
                for worker in workers:
                    worker.start()
            while any(worker.is_alive() for worker in workers):
                if interrupted() or any(worker.exitcode not in (None, 0) for worker in workers):
                    break
                refresh()
                wait([worker.sentinel for worker in workers if worker.is_alive()], POLL_SECONDS)
        finally:
            first_codes = [worker.exitcode for worker in workers]
            _stop(workers)
        stopped = interrupted()
    if not messages.empty():
        raise InputError(messages.get())
    _judge(first_codes, [worker.exitcode for worker in workers], stopped)


def _judge(first_codes: Sequence[int | None], codes: Sequence[int | None], interrupted: bool) -> None:
    """Raise the error that the workers' exit codes stand for.

    Args:
        first_codes: Exit codes before the remaining workers (None) were stopped.
        codes: Exit codes of all workers.
        interrupted: A signal arrived here.
    """
    if interrupted or (STOPPED in codes and not any(code not in (None, 0, STOPPED) for code in first_codes)):
        raise Interrupted(RESUME, resumable=True)
    if killed := [-code for code in first_codes if code is not None and code < 0]:
        raise InputError(
            f"workers={len(codes)}: the system ended one of them by signal {killed[0]}, perhaps for lack of memory; "
            "finished runs are kept; run the same command again, with fewer workers if memory is short"
        )
    if any(codes):
        raise RuntimeError(FAILURE)


def _stop(workers: Sequence[BaseProcess]) -> None:
    """Interrupt the workers that still run, wait until they have saved, and kill those that do not end in time."""
    started = [worker for worker in workers if worker.pid is not None]
    for worker in started:
        if worker.is_alive():
            os.kill(worker.pid or 0, signal.SIGINT)
    deadline = time.monotonic() + STOP_SECONDS
    for worker in started:
        worker.join(max(deadline - time.monotonic(), 0))
        if worker.is_alive():
            worker.kill()  # A study can be resumed after any kill.
            worker.join()


def _worker(
    plan: Plan, directory: Path, family: FamilyFunction | None, number: int, count: int, messages: object
) -> None:
    os.setpgid(0, 0)  # Ctrl-C in the terminal reaches the parent alone, which passes it on once.
    exit_with_parent(STOPPED)
    try:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, SIGNALS)
        if hasattr(os, "sched_setaffinity") and (share := sorted(os.sched_getaffinity(0))[number::count]):
            os.sched_setaffinity(0, share)
        work(plan, directory, family=family, worker=(number, count))
        signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)  # Nothing is left to interrupt.
    except InputError as error:
        messages.put(str(error))  # type: ignore[attr-defined]
        sys.exit(BAD_INPUT)
    except KeyboardInterrupt:
        sys.exit(STOPPED)
    except BaseException:
        traceback.print_exc()
        sys.exit(FAILED)


def importable(family: FamilyFunction | None) -> bool:
    """Return whether a worker process can import a family: a function at the top of a module or of a script's file."""
    if family is None:
        return True
    name, module = getattr(family, "__qualname__", ""), sys.modules.get(getattr(family, "__module__", ""))
    value: object = module
    for part in name.split("."):
        value = getattr(value, part, None)
    return value is family and (family.__module__ != "__main__" or hasattr(module, "__file__"))


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
