"""Files that the processes of a study share: claims, so that no two train the same run, and the journal.

The system drops a claim when its process dies. The journal, one line
per finished run, only records: nothing depends on it.
"""

import json
import os
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from jaxcnn.errors import InputError
from jaxcnn.runtime.files import locked

FOLDER = "claims"
JOURNAL = "journal.jsonl"
WAIT_SECONDS = 0.05


@contextmanager
def claim(directory: Path, name: str) -> Iterator[bool]:
    """Hold the claim of a name while the block lasts.

    It is an advisory lock on a file (flock), which the system releases when the process ends, however it ends: nothing
    has to be cleaned up after a killed worker. The name is, for example, a run's path within the study.

    Yields:
        False if another process holds it; nothing is held then.

    Raises:
        InputError: The system, or the folder's file system, has no such locks.
    """
    folder = directory / FOLDER
    folder.mkdir(parents=True, exist_ok=True)
    with ExitStack() as stack:
        try:
            file = folder / (name.replace("/", "~") + ".lock")
            claimed = stack.enter_context(locked(file, os.O_RDWR | os.O_CREAT))
        except ImportError:
            raise InputError(f"out={directory}: studies need flock; use Linux or macOS") from None
        except OSError as error:
            if error.filename is not None:  # It could not be opened; an error of locking names no file.
                raise
            raise InputError(
                f"out={directory}: its file system cannot lock files ({error.strerror}); put the study on a local "
                "disk or on NFS 4"
            ) from None
        yield claimed


def note(directory: Path, path: str) -> None:
    """Record a run that this process has finished."""
    _append(directory / JOURNAL, {"finished": path, "process": os.getpid(), "time": time.time()})


def entries(directory: Path) -> list[dict[str, Any]]:
    """Read all complete lines."""
    file, found = directory / JOURNAL, []
    for line in file.read_text(encoding="utf-8", errors="replace").splitlines() if file.exists() else ():
        try:
            entry = json.loads(line)
        except (ValueError, RecursionError):
            continue
        if isinstance(entry, dict) and isinstance(entry.get("finished"), str):
            found.append(entry)
    return found


def complete_journal(directory: Path, paths: Sequence[str]) -> None:
    """Add finished runs whose process was killed before it wrote their line: process null, time of the result."""
    known = {entry["finished"] for entry in entries(directory)}
    for path in paths:
        while path not in known:
            with claim(directory, path) as claimed:
                known = {entry["finished"] for entry in entries(directory)}
                if claimed and path not in known:
                    when = (directory / path / "result.json").stat().st_mtime
                    _append(directory / JOURNAL, {"finished": path, "process": None, "time": when})
                    break
            if not claimed:
                time.sleep(WAIT_SECONDS)  # The process that holds the claim is about to write the line.


def _append(file: Path, entry: dict[str, Any]) -> None:
    # One write, which begins on a new line whatever a kill left before it.
    torn = file.exists() and not file.read_bytes().endswith(b"\n")
    with file.open("a", encoding="utf-8") as journal:
        journal.write("\n" * torn + json.dumps(entry) + "\n")
