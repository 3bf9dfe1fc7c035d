"""Run a command as a process, or kill it after a delay, and judge how it ended."""

import os
import signal
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

from jaxcnn.cli.entry import BAD_INPUT, INTERRUPTED, RESUMABLE
from tests.campaigns.phase import ENDING, STARTING

STOP_SECONDS = 60
"""Time that a process has to stop after a signal."""


class Job(NamedTuple):
    """A command to run as a process.

    Args:
        command: Its words.
        environment: Its environment variables.
        log: File for stdout and stderr.
        phase: Start time, in seconds since the epoch -> the phase it is in, judged by the files it has written.
    """

    command: Sequence[str]
    environment: Mapping[str, str]
    log: Path
    phase: Callable[[float], str]


def run(job: Job, limit: float) -> dict[str, Any]:
    """Run a command; return its exit code (None: killed after `limit` seconds), seconds and last line of output."""
    start = time.perf_counter()
    process = _start(job)
    try:
        code = _wait(process, limit)
    finally:
        _end(process)
    return {"code": code, "seconds": time.perf_counter() - start, "output": last_line(job.log)}


def kill(job: Job, delay: float, number: signal.Signals, target: str) -> dict[str, Any] | None:
    """Start a command and send it a signal.

    Args:
        job: The command.
        delay: Seconds from its start to the signal.
        number: The signal.
        target: process, worker (one worker process) or all (the process and its workers, as a scheduler does).

    Returns:
        sent (False: the command failed before), signal, target, delay, phase, code (None: it did not stop), verdict
        and the last line of output; None where the command finished before the signal.
    """
    started, process = time.time(), _start(job)
    report = {"sent": False, "signal": number.name, "target": target, "delay": round(delay, 3), "phase": ""}
    try:
        code = _wait(process, delay)
        if code == 0:
            return None
        if code is not None:
            judged = f"wrong: exit code {code} without a signal"
            return {**report, "code": code, "verdict": judged, "output": last_line(job.log)}
        pids, target = _targets(process.pid, target)
        phase = job.phase(started)
        for pid in pids:
            with suppress(ProcessLookupError):
                os.kill(pid, number)
        code = _wait(process, STOP_SECONDS)
        if number == signal.SIGKILL and target != "worker":
            if code == 0:
                return None  # it had finished when the signal arrived
            phase = job.phase(started)
        judged = verdict(code, number, target, phase, job.log.read_text(errors="replace"))
        report |= {"sent": True, "target": target, "phase": phase}
        return {**report, "code": code, "verdict": judged, "output": last_line(job.log)}
    finally:
        _end(process)


def verdict(code: int | None, number: signal.Signals, target: str, phase: str, output: str) -> str:
    """Judge how a process reacted to a signal: "finished", "killed", "resumable" or "wrong: REASON".

    Args:
        code: Exit code; None: it did not stop.
        number: The signal.
        target: process, worker or all.
        phase: What the process was doing.
        output: All that it printed.
    """
    if code is None:
        return f"wrong: still running {STOP_SECONDS} s after the signal"
    # Python's own start and end are not covered by jaxcnn's signal handlers; nothing is lost then.
    if code == -number and (number == signal.SIGKILL or phase in (STARTING, ENDING)):
        return "killed"
    if "Traceback" in output:
        return "wrong: a traceback"
    if code == 0:
        return "finished"
    if code == RESUMABLE and number != signal.SIGKILL:
        return "resumable"
    if code == INTERRUPTED and number != signal.SIGKILL and phase in (STARTING, ENDING):
        return "killed"
    if number == signal.SIGKILL and target == "worker" and code in (BAD_INPUT, RESUMABLE):
        return "resumable"
    return f"wrong: exit code {code}"


def last_line(log: Path) -> str:
    """Return the last line of a file that is not blank, at most 400 characters."""
    lines = [line for line in log.read_text(errors="replace").splitlines() if line.strip()]
    return lines[-1].replace(str(log.with_suffix("")), "OUT")[:400] if lines else ""


def _targets(pid: int, target: str) -> tuple[tuple[int, ...], str]:
    """Return the processes to signal, and which target they are: without workers it is the process."""
    workers = [child for child in _children(pid) if "spawn_main" in _read(Path(f"/proc/{child}/cmdline"))]
    if target == "worker" and workers:
        return (workers[pid % len(workers)],), target
    return ((pid, *_children(pid)), target) if target == "all" else ((pid,), "process")


def _children(pid: int) -> list[int]:
    return [int(child) for task in Path(f"/proc/{pid}/task").glob("*/children") for child in _read(task).split()]


def _read(file: Path) -> str:
    try:
        return file.read_text()
    except OSError:
        return ""


def _start(job: Job) -> subprocess.Popen[bytes]:
    # A session of its own keeps Ctrl-C in the campaign's terminal away from it.
    with job.log.open("wb") as log:
        return subprocess.Popen(job.command, env=dict(job.environment), stdin=subprocess.DEVNULL, stdout=log,
                                stderr=log, start_new_session=True)  # fmt: skip


def _wait(process: subprocess.Popen[bytes], seconds: float) -> int | None:
    try:
        return process.wait(seconds)
    except subprocess.TimeoutExpired:
        return None


def _end(process: subprocess.Popen[bytes]) -> None:
    if process.poll() is None:  # workers end with their parent
        process.kill()
        process.wait()
