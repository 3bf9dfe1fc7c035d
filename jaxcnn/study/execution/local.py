"""Local worker processes; they share nothing but the study's folder."""

import multiprocessing
import os
import signal
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from functools import partial
from importlib import import_module
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any, NamedTuple

from jaxcnn.errors import InputError
from jaxcnn.runtime.processes import SIGNALS, attempt, call_by_name, exit_with_parent, quiet_start, raise_failure
from jaxcnn.runtime.signals import Interrupted, graceful, interruptible
from jaxcnn.study.execution.given import Given, importable
from jaxcnn.study.execution.worker import work
from jaxcnn.study.plan import Plan

POLL_SECONDS, STOP_SECONDS = 0.5, 30


class Workers(NamedTuple):
    """Worker processes that import jaxcnn and wait for their study."""

    processes: Sequence[BaseProcess]
    pipes: Sequence[Connection]  #: To each of them: (plan, directory, given).
    messages: Any  #: A queue of their answers.


@contextmanager
def started_workers(given: Given, count: int) -> Iterator[Workers]:
    """Start `count` worker processes, which import jaxcnn while the caller matches budgets; stop them at the end.

    On two cores the main job ends 2 s earlier than with processes that start when its plan is ready.
    """
    context = multiprocessing.get_context("spawn")
    messages, ends = context.SimpleQueue(), [context.Pipe(duplex=False) for _ in range(count)]
    begin = partial(call_by_name, __name__, _serve.__name__)
    workers = [
        context.Process(target=begin, args=(end, number, count, messages), daemon=True)
        for number, (end, _) in enumerate(ends)
    ]
    try:
        with quiet_start(import_main=any(each.__module__ == "__main__" for _, each in given.functions)):
            for worker, (end, _) in zip(workers, ends, strict=True):
                worker.start()
                end.close()
        yield Workers(workers, [pipe for _, pipe in ends], messages)
    finally:
        for worker in workers:
            if worker.is_alive():  # Those that have begun were stopped gently by `work_locally`.
                worker.kill()
                worker.join()


def work_locally(workers: Workers, plan: Plan, directory: Path, given: Given, refresh: Callable[[], None]) -> None:
    """Let worker processes train all runs of a study; call `refresh` about twice a second.

    Each has its share of the cores: small networks gain little from a second core, and a study has many runs. They
    import user-defined functions, so these must be `importable`.

    Raises:
        InputError: A worker refused its input, with its message; or the system ended one.
        RuntimeError: A worker failed; its traceback is on stderr.
        Interrupted: SIGINT or SIGTERM arrived; the current runs are saved up to their last checkpoints.
    """
    answers: list[tuple[str, Any]] = []
    with graceful() as interrupted:
        try:
            for pipe in workers.pipes:
                with suppress(BrokenPipeError):  # It has ended, and its exit code says how.
                    pipe.send((plan, directory, given))
            while any(worker.is_alive() for worker in workers.processes):
                if interrupted() or any(worker.exitcode for worker in workers.processes):
                    break
                refresh()
                wait([worker.sentinel for worker in workers.processes if worker.is_alive()], POLL_SECONDS)
                _receive(workers.messages, answers)
        finally:
            codes = [worker.exitcode for worker in workers.processes]
            _stop(workers.processes)
        _receive(workers.messages, answers)
        judge(answers, codes, interrupted=interrupted())


def judge(answers: Sequence[tuple[str, Any]], codes: Sequence[int | None], *, interrupted: bool) -> None:
    """Raise the error that ended a study's local workers, if any.

    Args:
        answers: Values that the workers sent (see `attempt`).
        codes: Exit codes of all workers before the remaining ones (None) were stopped.
        interrupted: Whether a signal arrived here.
    """
    for answer in answers:
        raise_failure(*answer)
    killed = [-code for code in codes if code is not None and code < 0]
    if interrupted or (not killed and any(kind == "interrupted" for kind, _ in answers)):
        raise Interrupted(resumable=True)
    if killed:
        raise InputError(
            f"workers={len(codes)}: the system ended one of them by signal {killed[0]}, perhaps for lack of memory; "
            "finished runs are kept; run the same command again, with fewer workers if memory is short"
        )
    if any(codes):
        raise RuntimeError("a worker of the study failed to start; see its message above")


def _receive(messages: Any, answers: list[tuple[str, Any]]) -> None:
    while not messages.empty():
        answers.append(messages.get())


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


def _serve(pipe: Connection, number: int, count: int, messages: Any) -> None:
    os.setpgid(0, 0)  # Ctrl-C in the terminal reaches the parent alone, which passes it on once.
    exit_with_parent(1)
    if hasattr(os, "sched_setaffinity") and (share := sorted(os.sched_getaffinity(0))[number::count]):
        os.sched_setaffinity(0, share)
    import_module("orbax.checkpoint")
    try:
        plan, directory, given = pipe.recv()
    except EOFError:  # There is no study.
        sys.exit()

    def task() -> None:
        with interruptible():
            signal.pthread_sigmask(signal.SIG_UNBLOCK, SIGNALS)
            work(plan, directory, given=given, worker=(number, count))
            signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)  # Nothing is left to interrupt.

    kind, value = attempt(task)
    signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)
    messages.put((kind, value))
    # Nothing is left to do: an exit that takes JAX down costs time, and an abort on that way would count as a death.
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(kind != "done")


def check_workers(given: Given, count: int) -> None:
    """Refuse functions that workers cannot import, and a script that starts a study while a worker imports it.

    Raises:
        InputError: Several workers and a lambda, a function inside a function, or one typed at a prompt.
        SystemExit: In a worker, before its work: its script has no `if __name__ == "__main__"`.
    """
    if getattr(multiprocessing.current_process(), "_inheriting", False):
        raise SystemExit(
            'jaxcnn: workers import the script that defines their family; put the study under if __name__ == "__main__"'
            ", or give workers=1"
        )
    for name, function in given.functions if count > 1 else ():
        if not importable(function):
            raise InputError(
                f"{name}={getattr(function, '__qualname__', function)}: worker processes cannot import it; define it "
                "at the top of a script or module, or give workers=1"
            )
