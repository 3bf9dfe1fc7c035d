"""Where jaxcnn keeps what it can make again, and how it writes JSON: in one move, so that nobody reads half a file."""

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

PARTIAL = ".partial"
"""Suffix of a file that is being written; one that a kill left behind is no content of its folder."""


def cache_dir() -> Path:
    """$JAXCNN_CACHE, else $XDG_CACHE_HOME/jaxcnn, else ~/.cache/jaxcnn."""
    if chosen := os.environ.get("JAXCNN_CACHE"):
        return Path(chosen).expanduser()
    base = os.environ.get("XDG_CACHE_HOME")
    return (Path(base).expanduser() if base else Path.home() / ".cache") / "jaxcnn"


def write_json(path: Path, record: Mapping[str, Any], *, allow_nan: bool = True) -> None:
    """Write JSON in one move: an interruption leaves the old file or the new one, never half of one.

    Args:
        path: The file.
        record: What it will hold.
        allow_nan: False refuses NaN and infinities, which other readers than Python's take for damage.
    """
    partial = path.with_name(path.name + PARTIAL)
    partial.write_text(json.dumps(record, indent=1, allow_nan=allow_nan) + "\n", encoding="utf-8")
    partial.replace(path)


def holds_files(folder: Path) -> bool:
    """Whether a folder exists and holds anything but leftovers of an interrupted write."""
    return folder.is_dir() and any(file.suffix != PARTIAL for file in folder.iterdir())
