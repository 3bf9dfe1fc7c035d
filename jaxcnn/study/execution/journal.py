"""journal.jsonl: one line per finished run of a study, with process and time. It records; nothing depends on it."""

import json
import os
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from jaxcnn.study.execution.locks import claim

FILE = "journal.jsonl"
WAIT_SECONDS = 0.05


def note(directory: Path, path: str) -> None:
    """Record a run that this process has finished."""
    _append(directory / FILE, {"finished": path, "process": os.getpid(), "time": time.time()})


def entries(directory: Path) -> list[dict[str, Any]]:
    """Read all complete lines."""
    file, found = directory / FILE, []
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
                    _append(directory / FILE, {"finished": path, "process": None, "time": when})
                    break
            if not claimed:
                time.sleep(WAIT_SECONDS)  # The process that holds the claim is about to write the line.


def _append(file: Path, entry: dict[str, Any]) -> None:
    # One write, which begins on a new line whatever a kill left before it.
    torn = file.exists() and not file.read_bytes().endswith(b"\n")
    with file.open("a", encoding="utf-8") as journal:
        journal.write("\n" * torn + json.dumps(entry) + "\n")
