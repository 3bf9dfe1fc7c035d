"""What the campaigns share: results that survive an interruption, the environment of processes, recorded tables."""

import hashlib
import json
import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jaxcnn
from experiments.benchmarks.table import write
from jaxcnn.errors import InputError
from jaxcnn.runtime.files import write_json

COMMAND = (sys.executable, "-m", "jaxcnn")
DROPPED = ("JAX_", "JAXCNN_", "MALLOC_", "XLA_")
"""Prefixes of environment variables that the processes of a campaign do not inherit."""


def open_campaign(folder: Path, settings: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Create a campaign's folder, or reopen it, and return its results so far.

    Args:
        folder: Holds settings.json and results.jsonl, one line per result.
        settings: All that the results depend on, besides the package's source.

    Raises:
        InputError: The folder holds a campaign of other settings or of another state of the package.
    """
    settings = json.loads(json.dumps({**settings, "source": source_digest()}, default=str))
    file, lines = folder / "settings.json", folder / "results.jsonl"
    if not file.exists():
        folder.mkdir(parents=True, exist_ok=True)
        write_json(file, settings)
        lines.touch()
    stored = json.loads(file.read_text())
    for name, value in settings.items():
        if stored.get(name) != value:
            raise InputError(
                f"out={str(folder)!r}: holds a campaign with {name}={stored.get(name)!r}, not {value!r}; "
                "choose another folder or delete this one"
            )
    text = lines.read_text()
    complete = text[: text.rfind("\n") + 1]  # an interruption may have cut the last line
    lines.write_text(complete)
    return [json.loads(line) for line in complete.splitlines()]


def append(folder: Path, result: Mapping[str, Any]) -> None:
    """Append a result to results.jsonl."""
    with (folder / "results.jsonl").open("a") as lines:
        lines.write(json.dumps(result) + "\n")


def source_digest() -> str:
    """Compute the SHA-256 of the package's source files."""
    folder, digest = Path(jaxcnn.__file__).parent, hashlib.sha256()
    for file in sorted(folder.rglob("*.py")):
        digest.update(f"{file.relative_to(folder)}\n".encode() + file.read_bytes())
    return digest.hexdigest()


def process_environment(cache: Path) -> dict[str, str]:
    """Return the environment of a campaign's processes: the user's without settings of JAX; CPU; a shared cache."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(DROPPED)}
    return kept | {
        "JAX_PLATFORMS": "cpu",
        "JAXCNN_CACHE": str(cache.resolve()),
        "JAX_COMPILATION_CACHE_DIR": str(cache.resolve() / "xla"),
        "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
        "COLUMNS": "500",  # keeps each message on one line
        "PYTHONPATH": os.pathsep.join(filter(None, [str(Path(jaxcnn.__file__).parents[1]), kept.get("PYTHONPATH")])),
    }


def write_table(
    folder: Path, name: str, title: str, columns: list[str], rows: list[list[Any]], notes: list[str], **more: Any
) -> None:
    """Store a table as FOLDER/NAME.json in the form of experiments/benchmarks/table.py, and print it."""
    from jaxcnn.runtime.environment import environment

    place = environment() | {"source": source_digest()}
    record = {"title": title, "columns": columns, "rows": rows, "notes": notes, "environment": place}
    write(folder, name, record | more)
