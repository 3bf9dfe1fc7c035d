"""Child processes that start without signals, end with their parent or survive an abort, and cores they keep to."""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
import threading
import traceback
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from importlib import import_module
from multiprocessing import resource_tracker
from multiprocessing.connection import wait
from pathlib import Path
from types import ModuleType
from typing import Any

from jaxcnn.errors import InputError
from jaxcnn.runtime.backend import collect_rarely
from jaxcnn.runtime.files import locked

SIGNALS = {signal.SIGINT, signal.SIGTERM}

_own_cores = ExitStack()  # Locks that last as long as this process.


@contextmanager
def quiet_start(*, import_main: bool = False) -> Iterator[None]:
    """Start child processes, inside the block, that do not receive SIGINT and SIGTERM.

    A child inherits the blocked signals and may unblock them when it is ready (`signal.pthread_sigmask`). Signals to
    this process arrive when the block ends. With `import_main`, spawned children import the main script: needed only
    where they unpickle something defined in it, as a script without `if __name__ == "__main__"` would run again.
    """
    resource_tracker.ensure_running()  # Its first start unblocks the signals.
    main = sys.modules["__main__"]
    if not import_main:
        sys.modules["__main__"] = ModuleType("__main__")
    previous = signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)
    try:
        yield
    finally:
        sys.modules["__main__"] = main
        signal.pthread_sigmask(signal.SIG_SETMASK, previous)


def call_by_name(module: str, name: str, *args: Any) -> None:
    """Import a module and call one of its functions, as a child process begins, with few collections of garbage.

    A function that is pickled for a child brings its imports first, and the collections that they cause.
    """
    collect_rarely()
    getattr(import_module(module), name)(*args)


def exit_with_parent(code: int) -> None:
    """Make this child process (of `multiprocessing`) exit with a code once its parent has ended or was killed."""
    parent = multiprocessing.parent_process()
    assert parent is not None
    _exit_after(lambda: wait([parent.sentinel]), code)  # A pipe that only the parent holds open.


def _exit_after(wait_for_end: Callable[[], object], code: int) -> None:
    def watch() -> None:
        wait_for_end()
        os._exit(code)

    threading.Thread(target=watch, daemon=True).start()


def attempt(task: Callable[[], Any]) -> tuple[str, Any]:
    """Call a function in a child process: exceptions would lose their class on the way to the parent.

    Returns:
        ("done", its value), ("refused", message of an InputError), ("failed", traceback) or ("interrupted", "an
        interrupt").
    """
    try:
        return "done", task()
    except InputError as error:
        return "refused", str(error)
    except KeyboardInterrupt:
        return "interrupted", "an interrupt"
    except Exception:
        return "failed", traceback.format_exc()


def raise_failure(kind: str, value: Any) -> None:
    """Raise in the parent what ended a child's `attempt`: InputError, or RuntimeError with its traceback on stderr."""
    if kind == "refused":
        raise InputError(value)
    if kind == "failed":
        sys.stderr.write(value)
        raise RuntimeError("a worker process failed; see its traceback above")


def keep_to_cores(count: int, folder: Path) -> None:
    """Restrict this process to some cores, where possible to cores that no other process locked in the same folder.

    XLA starts one thread per core that its process may use, and the number of threads changes how sums round: so the
    number of cores is exact even where cores have to be shared. Call this before JAX's backend starts. A process with
    no more cores than that is left alone, as is one on a system without CPU affinity. `folder`, on this machine, has
    one lock file per core; the system drops the locks when the process ends.
    """
    if not hasattr(os, "sched_setaffinity") or len(os.sched_getaffinity(0)) <= count:
        return
    cores, own = sorted(os.sched_getaffinity(0)), list[int]()
    with suppress(OSError):
        folder.mkdir(mode=0o700, exist_ok=True)
    for core in cores:
        with suppress(OSError), ExitStack() as stack:
            file = folder / f"{core}.lock"
            if len(own) < count and stack.enter_context(locked(file, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW)):
                _own_cores.push(stack.pop_all())
                own.append(core)
    others = [core for core in cores if core not in own]
    start = os.getpid() % len(others)
    os.sched_setaffinity(0, [*own, *others[start:], *others[:start]][:count])


def supervise(resumable: int) -> None:
    """Continue in a child process; this one forwards signals, waits, and explains an abort in one sentence.

    When one of several hosts dies, JAX aborts the others from C++, where Python cannot catch it. What was saved is
    whole, and all hosts can be started again: `resumable` is the exit code that says so.
    """
    read_end, write_end = os.pipe()
    child = os.fork()
    if not child:
        os.close(write_end)
        # Out of the terminal's process group: Ctrl-C reaches the parent, which forwards it once.
        os.setpgid(0, 0)
        _exit_after(lambda: os.read(read_end, 1), resumable)  # Returns when the parent ends, even if it is killed.
        return
    os.close(read_end)
    for number in SIGNALS:
        signal.signal(number, lambda number, frame: os.kill(child, number))
    code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    if code == -signal.SIGABRT:
        print(
            "jaxcnn: another host of the run has ended or cannot be reached, so JAX stopped this one; start all hosts "
            "again: the run resumes from its last checkpoint",
            file=sys.stderr,
        )
        os._exit(resumable)
    sys.stderr.flush()
    os._exit(code if code >= 0 else 128 - code)
