"""What the campaigns share: a line a result, so that an interrupted one goes on; how processes start; the record.

A record has the form that experiments/benchmarks/table.py describes; docs/reliability/tables.py shows it on its page.
"""

import hashlib
import json
import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import jaxcnn
from jaxcnn.errors import InputError
from jaxcnn.runtime.files import write_json

COMMAND = (sys.executable, "-m", "jaxcnn")
# What the shell that starts a campaign may hold and a user's would not.
DROPPED = ("XLA_FLAGS", "JAX_", "JAXCNN_", "MALLOC_", "XLA_")


def begin(folder: Path, settings: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Open a campaign's folder: what it has done already, a record each.

    Args:
        folder: Made where missing.
        settings: What its results depend on; the state of the package is added.

    Raises:
        InputError: The folder holds a campaign of other settings or of another state of the package.
    """
    settings = json.loads(json.dumps({**settings, "source": source()}, default=str))
    file = folder / "settings.json"
    if not file.exists():
        folder.mkdir(parents=True, exist_ok=True)
        write_json(file, settings)
    held = json.loads(file.read_text())
    if differing := [name for name in settings if held.get(name) != settings[name]]:
        raise InputError(
            f"out={str(folder)!r}: it holds a campaign whose {differing[0]} is another "
            f"({held.get(differing[0])!r}, not {settings[differing[0]]!r}); choose another folder, or delete this one"
        )
    return read_lines(folder / "results.jsonl")


def read_lines(file: Path) -> list[dict[str, Any]]:
    """The records of a file of JSON lines, without a last one that an interruption tore."""
    lines = file.read_text(encoding="utf-8").split("\n")[:-1] if file.exists() else []
    return [json.loads(line) for line in lines]


def append(folder: Path, record: Mapping[str, Any]) -> None:
    """Add a result; a torn line before it is cut off first."""
    file, text = folder / "results.jsonl", json.dumps(dict(record)) + "\n"
    held = file.read_bytes() if file.exists() else b""
    if held and not held.endswith(b"\n"):
        file.write_bytes(held[: held.rfind(b"\n") + 1])
    with file.open("a", encoding="utf-8") as lines:
        lines.write(text)
        lines.flush()
        os.fsync(lines.fileno())


def source() -> str:
    """SHA-256 over the package's files: a campaign is one state of the code."""
    folder, digest = Path(jaxcnn.__file__).parent, hashlib.sha256()
    for file in sorted(folder.rglob("*.py")):
        digest.update(f"{file.relative_to(folder)}\n".encode() + file.read_bytes())
    return digest.hexdigest()


def variables(cache: Path) -> dict[str, str]:
    """The environment of the processes: the user's own without settings of JAX, on the CPU, compiled programs kept."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(DROPPED)}
    return kept | {
        "JAX_PLATFORMS": "cpu",
        "JAXCNN_CACHE": str(cache.resolve()),
        "JAX_COMPILATION_CACHE_DIR": str(cache.resolve() / "xla"),
        "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
        "COLUMNS": "500",  # no sentence is broken into lines
        "PYTHONPATH": os.pathsep.join(filter(None, [str(Path(jaxcnn.__file__).parents[1]), kept.get("PYTHONPATH")])),
    }


def write_record(
    folder: Path,
    name: str,
    title: str,
    columns: Sequence[str],
    rows: Sequence[Sequence[Any]],
    notes: Sequence[str],
    **more: Any,
) -> None:
    """Store a table as FOLDER/NAME.json, with what it was measured on, and print it."""
    from rich.console import Console
    from rich.table import Table

    from jaxcnn.runtime.environment import environment

    record = {"title": title, "columns": list(columns), "rows": [list(row) for row in rows], "notes": list(notes)}
    write_json(folder / f"{name}.json", record | {"environment": environment() | {"source": source()}} | more)
    shown = Table(*columns, title=title, title_justify="left")
    for row in rows:
        shown.add_row(*("–" if value is None else str(value) for value in row))
    console = Console()
    console.print(shown)
    for note in notes:
        console.print(f"- {note}", highlight=False)
    console.print(f"stored: {folder / f'{name}.json'}", highlight=False)
