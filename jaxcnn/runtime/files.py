"""Where jaxcnn keeps what it can make again, and how it writes: in one move, and sealed where an edit must show."""

import errno
import hashlib
import json
import os
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from jaxcnn.errors import InputError

PARTIAL = ".partial"
"""Suffix of a file that is being written; one that a kill left behind is no content of its folder."""


def cache_dir() -> Path:
    """$JAXCNN_CACHE, else $XDG_CACHE_HOME/jaxcnn, else ~/.cache/jaxcnn."""
    if chosen := os.environ.get("JAXCNN_CACHE"):
        return Path(chosen).expanduser()
    base = os.environ.get("XDG_CACHE_HOME")
    return (Path(base).expanduser() if base else Path.home() / ".cache") / "jaxcnn"


@contextmanager
def naming(path: Path) -> Iterator[None]:
    """Errors of the system that name no file, such as that of a full disk, name this one."""
    try:
        yield
    except OSError as error:
        if error.filename is None and error.errno is not None:
            error.filename = str(path)
        raise


@contextmanager
def in_one_move(path: Path, *, once: bool = False) -> Iterator[Path]:
    """A name to write to, which becomes `path` when the block ends: an interruption leaves the old file or the new one.

    Two processes that write the same file do not meet, on one machine or on two: each has a name of its own until the
    move.

    Args:
        path: The file.
        once: Never replace a file that is there: of several writers one is the first.

    Raises:
        FileExistsError: `once`, and it is there.
    """
    partial = path.with_name(f"{path.name}.{uuid.uuid4().hex[:12]}{PARTIAL}")
    try:
        with naming(path):
            yield partial
            with partial.open("rb") as written:
                os.fsync(written.fileno())  # Else a power cut could leave the new name with nothing in it.
            if once:
                _first(partial, path)
            else:
                partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)


def _first(partial: Path, path: Path) -> None:
    try:
        os.link(partial, path)
    except FileExistsError:
        raise
    except OSError:  # A file system without hard links: as good as it gets there.
        if path.exists():
            raise FileExistsError(path) from None
        partial.replace(path)


@contextmanager
def locked(path: Path, flags: int = os.O_RDONLY) -> Iterator[bool]:
    """Hold the advisory lock (flock) of a file or folder while the block lasts; the process's death ends it too.

    Args:
        path: What is locked.
        flags: With which it is opened.

    Yields:
        False where another process holds it; nothing is held then.

    Raises:
        ImportError: The system has no such locks.
        OSError: It cannot be opened, or its file system has no such locks.
    """
    import fcntl

    file = os.open(path, flags, 0o644)
    try:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            mine = True
        except OSError as error:
            if error.errno not in (errno.EAGAIN, errno.EACCES):
                raise
            mine = False
        yield mine
    finally:
        os.close(file)


def write_json(path: Path, record: Mapping[str, Any], *, allow_nan: bool = True, once: bool = False) -> None:
    """Write JSON in one move.

    Args:
        path: The file.
        record: What it will hold.
        allow_nan: False refuses NaN and infinities, which other readers than Python's take for damage.
        once: Never replace a file that is there.

    Raises:
        FileExistsError: `once`, and it is there.
    """
    with in_one_move(path, once=once) as partial:
        partial.write_text(json.dumps(record, indent=1, allow_nan=allow_nan) + "\n", encoding="utf-8")


def write_text(path: Path, text: str) -> None:
    """Write a text as UTF-8 in one move; of names of files, bytes that are no text are escaped."""
    with in_one_move(path) as partial:
        partial.write_text(text, encoding="utf-8", errors="backslashreplace")


def seal(record: Mapping[str, Any]) -> str:
    """SHA-256 of a record's JSON without its own entry `seal`: any change of a value changes it."""
    content = {name: value for name, value in record.items() if name != "seal"}
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def write_sealed(path: Path, record: Mapping[str, Any], *, once: bool = False) -> None:
    """Write JSON in one move with the seal that `read_sealed` checks; NaN and infinities are refused."""
    plain = json.loads(json.dumps(record, allow_nan=False))
    write_json(path, plain | {"seal": seal(plain)}, allow_nan=False, once=once)


def read_sealed(path: Path, remedy: str) -> dict[str, Any]:
    """Read what `write_sealed` wrote.

    Args:
        path: The file.
        remedy: What to do where it is damaged, as the end of a sentence.

    Raises:
        InputError: It is truncated, no JSON object, or was changed after it was written.
        FileNotFoundError: It is not there.
    """
    try:
        record = json.loads(path.read_text(encoding="utf-8"), parse_constant=_refuse_constant)
    except (ValueError, RecursionError, NotADirectoryError) as error:
        raise InputError(f"{str(path)!r}: not readable as JSON ({error}); {remedy}") from None
    if not isinstance(record, dict) or record.get("seal") != seal(record):
        raise InputError(f"{str(path)!r}: it was changed after it was written (its seal is broken); {remedy}")
    return record


def _refuse_constant(name: str) -> None:
    raise ValueError(f"it holds {name}, which is no value of JSON")


def sha256(path: Path) -> str:
    """SHA-256 of a file's bytes."""
    return hashlib.sha256(path.read_bytes()).hexdigest()


def holds_files(folder: Path) -> bool:
    """Whether a folder exists and holds anything but leftovers of an interrupted write."""
    return folder.is_dir() and any(file.suffix != PARTIAL for file in folder.iterdir())
