"""Several processes that train one run together (jax.distributed): joining, writing once, agreeing."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TypeVar

import jax
import numpy as np
from jax.experimental import multihost_utils

from jaxcnn.errors import InputError, require

T = TypeVar("T")
JOIN_SECONDS, TOLD_SECONDS, WAIT_SECONDS = 120, 3, 0.1


class HostLost(Exception):
    """Another host of this run has ended; what was saved is whole, and all hosts can be started again."""


def join_hosts(
    hosts: str, count: int | None = None, index: int | None = None, silent_seconds: int = 30,
    on_wait: Callable[[], None] = lambda: None,
) -> None:  # fmt: skip
    """Make this process one of several that train a run together; call it before anything is computed.

    Args:
        hosts: auto (detected on SLURM, Open MPI, Kubernetes and TPU pods), or ADDRESS:PORT of the first host.
        count: How many processes there are; Default: detected.
        index: Which of them this is, from 0; Default: detected.
        silent_seconds: Seconds without a heartbeat after which the others consider a host dead.
        on_wait: Called once if the others are not there within seconds.

    Raises:
        HostLost: Ctrl-C before all have joined.
        InputError: The cluster does not say what is missing, a number is out of range, or the first host does not
            answer.
    """
    port = hosts.rpartition(":")[2]
    if hosts != "auto" and not (port.isdecimal() and 0 < int(port) < 65536):
        raise InputError(f"hosts={hosts!r}: give auto, or the first host as ADDRESS:PORT, such as 10.0.0.1:1234")
    require(count is None or count >= 1, "host_count", count, "must be at least 1")
    last = (count or (index or 0) + 1) - 1
    another = f"must be from 0 to {last}, another for each process"
    require(index is None or 0 <= index <= last, "host_index", index, another)
    busy = "hosts may be silent for 5 seconds at least, and more if busy"
    require(silent_seconds >= 5, "host_timeout", silent_seconds, busy)
    address, refused = None if hosts == "auto" else hosts, list[Exception]()

    def join() -> None:
        try:
            jax.distributed.initialize(
                address, count, index,
                initialization_timeout=JOIN_SECONDS, heartbeat_timeout_seconds=silent_seconds,
                shutdown_timeout_seconds=silent_seconds,
            )  # fmt: skip
        except (ValueError, RuntimeError) as error:
            refused.append(error)

    thread = threading.Thread(target=join, daemon=True)  # It waits outside Python, where no Ctrl-C would reach it.
    thread.start()
    try:
        thread.join(TOLD_SECONDS)
        if thread.is_alive():
            on_wait()
        while thread.is_alive():
            thread.join(WAIT_SECONDS)
    except KeyboardInterrupt:
        raise HostLost("interrupted while it waited for the other hosts; start all hosts again") from None
    if refused:
        reason = " ".join(str(refused[0]).split())[:160]
        raise InputError(
            f"hosts={hosts!r}: this process could not join the others ({reason}); give --hosts ADDRESS:PORT, "
            "--host-count and --host-index, and start all of them within two minutes"
        ) from None


@contextmanager
def others_alive(where: str) -> Iterator[None]:
    """Turn an error of the communication between hosts into `HostLost`: one sentence, with the run's folder `where`."""
    try:
        yield
    except (RuntimeError, ValueError) as error:
        said = " ".join(str(error).split())
        lost = ("gloo", "connection", "coordination", "heartbeat", "deadline", "unavailable", "peer", "task")
        if jax.process_count() == 1 or not any(word in said.lower() for word in lost):
            raise
        raise HostLost(
            f"another host of the run in {where} has ended or cannot be reached ({said[:120]}); start all hosts "
            "again: the run goes on from its last checkpoint"
        ) from error


def first_host() -> bool:
    """Return whether this process writes the files: one of those that train a run together does."""
    return jax.process_index() == 0


def wait_for_hosts(where: str) -> None:
    """Wait until all processes have reached this point."""
    if jax.process_count() > 1:
        multihost_utils.sync_global_devices(where)


def in_turn(work: Callable[[], T]) -> T:
    """Run a function that writes, one process after another: later ones see the files of the first."""
    found: list[T] = []
    for host in range(jax.process_count()):
        if host == jax.process_index():
            found.append(work())
        wait_for_hosts(f"turn {host}")
    return found[0]


def agreed(asked: bool) -> bool:
    """Return whether any process has a true value; all must call this at the same point."""
    if jax.process_count() == 1:
        return asked
    return bool(np.any(multihost_utils.process_allgather(np.array(asked))))
