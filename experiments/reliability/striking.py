"""One process of a campaign: started, left alone or struck by a signal at a moment, and judged by how it ended."""

import os
import signal
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from moments import ENDING, STARTING

from jaxcnn.cli import entry

RESUMABLE: int = getattr(entry, "RESUMABLE", 130)
"""Exit code of a command that a signal stopped after it had saved."""
INTERRUPTED: int = getattr(entry, "INTERRUPTED", 130)
"""Of one that had nothing to save yet."""

BAD_INPUT = 2
STOP_SECONDS = 60
"""After a signal that asks, a process has so long."""


class Strike(NamedTuple):
    """What is done to a process.

    Args:
        delay: Seconds after its start.
        number: The signal.
        to: process, worker (one of its workers) or all (it and its workers, as a scheduler or a lack of memory does).
    """

    delay: float
    number: signal.Signals
    to: str


class Job(NamedTuple):
    """A command as a process of its own.

    Args:
        command: Its words.
        environment: Its variables.
        log: Where what it prints goes.
        phase: From the time of its start to what it is doing, by the files it has written.
    """

    command: Sequence[str]
    environment: Mapping[str, str]
    log: Path
    phase: Callable[[float], str]


def run(job: Job, limit: float) -> dict[str, Any]:
    """Let a command run to its end: its exit code (None: it did not end), its time and its last line."""
    begun = time.perf_counter()
    process = _start(job)
    try:
        code = process.wait(limit)
    except subprocess.TimeoutExpired:
        code = None
    finally:
        _end(process)
    return {"code": code, "seconds": time.perf_counter() - begun, "said": last_line(job.log)}


def strike(job: Job, blow: Strike) -> dict[str, Any] | None:
    """Start a command and strike it; what came of it, or None where it ended of itself with success before.

    Returns:
        struck (False: it had failed of itself before), signal, to, delay, phase, code (None: it did not stop), verdict,
        and the last line that it printed.
    """
    started, process = time.time(), _start(job)
    try:
        try:
            code = process.wait(blow.delay)
        except subprocess.TimeoutExpired:
            pass
        else:
            if code == 0:
                return None
            return _report(job, blow, "", code, f"wrong: exit code {code} of itself") | {"struck": False}
        target, phase = _targets(process.pid, blow.to), job.phase(started)
        for pid in target.pids:
            try:
                os.kill(pid, blow.number)
            except ProcessLookupError:
                continue
        try:
            code = process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            code = None
        if blow.number == signal.SIGKILL and target.to != "worker":
            if code == 0:
                return None  # It had ended when the signal came.
            phase = job.phase(started)
        said = job.log.read_text(errors="replace")
        return _report(
            job, blow._replace(to=target.to), phase, code, verdict(code, blow.number, target.to, phase, said)
        )
    finally:
        _end(process)


def verdict(code: int | None, number: signal.Signals, to: str, phase: str, said: str) -> str:
    """How a process took a signal: "finished", "killed", "resumable", or, where it should not have, "wrong: ...".

    Args:
        code: Its exit code; None: it did not stop.
        number: The signal.
        to: Who was struck.
        phase: What it was doing.
        said: All that it printed.
    """
    if code is None:
        return f"wrong: it did not stop within {STOP_SECONDS} s"
    # A signal that asks kills too where Python itself starts or ends: there is nothing to save yet, or nothing left to.
    if code == -number and (number == signal.SIGKILL or phase in (STARTING, ENDING)):
        return "killed"
    if "Traceback" in said:
        return "wrong: a traceback"
    if code == 0:
        return "finished"
    if code == RESUMABLE and number != signal.SIGKILL:
        return "resumable"
    if code == INTERRUPTED and number != signal.SIGKILL and phase in (STARTING, ENDING):
        return "killed"
    if number == signal.SIGKILL and to == "worker" and code in (BAD_INPUT, RESUMABLE):
        return "resumable"
    return f"wrong: exit code {code}"


def last_line(log: Path) -> str:
    """The last line of a file that says anything."""
    lines = [line for line in log.read_text(errors="replace").splitlines() if line.strip()]
    return lines[-1].replace(str(log.with_suffix("")), "OUT")[:400] if lines else ""


class _Target(NamedTuple):
    pids: tuple[int, ...]
    to: str


def _targets(pid: int, to: str) -> _Target:
    workers = [child for child in children(pid) if "spawn_main" in _command_line(child)]
    if to == "worker" and workers:
        return _Target((workers[pid % len(workers)],), to)
    return _Target((pid, *children(pid)), to) if to == "all" else _Target((pid,), "process")


def children(pid: int) -> tuple[int, ...]:
    """Processes that a process has started (Linux; none elsewhere)."""
    found: list[int] = []
    for task in Path(f"/proc/{pid}/task").glob("*/children"):
        try:
            found += [int(child) for child in task.read_text().split()]
        except OSError:
            continue
    return tuple(found)


def _command_line(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/cmdline").read_text()
    except OSError:
        return ""


def _start(job: Job) -> subprocess.Popen[bytes]:
    with job.log.open("wb") as log:
        # A session of its own: Ctrl-C in the campaign's terminal is for the campaign.
        return subprocess.Popen(
            job.command,
            env=dict(job.environment),
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )


def _end(process: subprocess.Popen[bytes]) -> None:
    """Nobody is left behind, whatever happened here; workers end with their parent."""
    if process.poll() is None:
        process.kill()
        process.wait()


def _report(job: Job, blow: Strike, phase: str, code: int | None, judged: str) -> dict[str, Any]:
    return {
        "struck": True, "signal": blow.number.name, "to": blow.to, "delay": round(blow.delay, 3), "phase": phase,
        "code": code, "verdict": judged, "said": last_line(job.log),
    }  # fmt: skip
