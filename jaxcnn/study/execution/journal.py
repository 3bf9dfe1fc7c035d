"""journal.jsonl: a line for every run of a study as it finishes, by whom and when; nothing is decided by it."""

from __future__ import annotations

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
    """Write that this process has just finished a run."""
    _append(directory / FILE, {"finished": path, "process": os.getpid(), "time": time.time()})


def entries(directory: Path) -> list[dict[str, Any]]:
    """All lines but one that a kill tore, or that is no entry."""
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
    """Add the runs whose process was killed between a run's end and its line: process null, time of the result.

    Args:
        directory: The study's folder.
        paths: Of all its finished runs.
    """
    known = {entry.get("finished") for entry in entries(directory)}
    for path in paths:
        while path not in known:
            with claim(directory, path) as mine:  # Who holds it is about to write the line.
                known = {entry.get("finished") for entry in entries(directory)}
                if mine and path not in known:
                    when = (directory / path / "result.json").stat().st_mtime
                    _append(directory / FILE, {"finished": path, "process": None, "time": when})
                    break
            if not mine:
                time.sleep(WAIT_SECONDS)


def _append(file: Path, entry: dict[str, Any]) -> None:
    # One write of one line that begins on a new one, whatever a kill left before it.
    torn = file.exists() and not file.read_bytes().endswith(b"\n")
    with file.open("a", encoding="utf-8") as journal:
        journal.write("\n" * torn + json.dumps(entry) + "\n")
