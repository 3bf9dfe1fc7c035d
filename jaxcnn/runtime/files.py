"""Atomic writes, JSON files with a seal, hashes, locks, and the cache folder."""

import atexit
import errno
import hashlib
import json
import os
import shutil
import tempfile
import uuid
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from jaxcnn.errors import InputError

PARTIAL = ".partial"
"""Suffix of a file that is being written; a killed process may leave one behind."""


def cache_dir() -> Path:
    """Return $JAXCNN_CACHE, else $XDG_CACHE_HOME/jaxcnn, else ~/.cache/jaxcnn, else a temporary folder."""
    if chosen := os.environ.get("JAXCNN_CACHE"):
        return Path(chosen).expanduser()
    folder = Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser() / "jaxcnn"
    with suppress(OSError):
        folder.mkdir(parents=True, exist_ok=True)
        if os.access(folder, os.W_OK):
            return folder
    temporary = tempfile.mkdtemp(prefix="jaxcnn-cache-")
    atexit.register(shutil.rmtree, temporary, ignore_errors=True)
    os.environ["JAXCNN_CACHE"] = temporary  # of this process and its children, with one warning
    warnings.warn(
        f"{str(folder)!r} cannot be written: what is cached is lost when this process ends; set JAXCNN_CACHE to a "
        "folder that can",
        stacklevel=2,
    )
    return Path(temporary)


@contextmanager
def name_errors(path: Path) -> Iterator[None]:
    """Add a file's name to operating-system errors that have none, such as that of a full disk, or a temporary one."""
    try:
        yield
    except OSError as error:
        if error.errno is not None and (error.filename is None or str(error.filename).endswith(PARTIAL)):
            error.filename = str(path)
        raise


def make_folder(path: Path, name: str = "out") -> None:
    """Create a folder and those above it.

    Raises:
        InputError: It is a file, or lies in one; `name` is the argument that named it.
    """
    try:
        path.mkdir(parents=True, exist_ok=True)
    except (FileExistsError, NotADirectoryError):
        raise InputError(f"{name}={str(path)!r}: it is a file, or lies in one; give a folder") from None


@contextmanager
def atomic_write(path: Path, *, once: bool = False) -> Iterator[Path]:
    """Write a file atomically: an interruption leaves the old content or the new one.

    Several processes, also on several machines, may write the same file: each has a temporary name of its own.

    Yields:
        The temporary name to write to; it becomes `path` when the block ends.

    Raises:
        FileExistsError: `once` is set, which never replaces a file, and the file exists.
    """
    partial = path.with_name(f"{path.name}.{uuid.uuid4().hex[:12]}{PARTIAL}")
    try:
        with name_errors(path):
            yield partial
            with partial.open("rb") as written:
                os.fsync(written.fileno())  # Otherwise a power cut could leave the new name with no content.
            if not once:
                partial.replace(path)
                return
            try:
                os.link(partial, path)
            except FileExistsError:
                raise
            except OSError:  # A file system without hard links: check and move is the best there is.
                if path.exists():
                    raise FileExistsError(path) from None
                partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)


def write_json(path: Path, record: Mapping[str, Any], *, allow_nan: bool = True, once: bool = False) -> None:
    """Write JSON by `atomic_write`; NaN and infinity, which only Python reads, raise ValueError unless `allow_nan`."""
    with atomic_write(path, once=once) as partial:
        partial.write_text(json.dumps(record, indent=1, allow_nan=allow_nan) + "\n", encoding="utf-8")


def write_text(path: Path, text: str) -> None:
    """Write text atomically as UTF-8; bytes of file names that are not text are escaped."""
    with atomic_write(path) as partial:
        partial.write_text(text, encoding="utf-8", errors="backslashreplace")


def seal(record: Mapping[str, Any]) -> str:
    """Return the SHA-256 of a record's JSON without its own field `seal`."""
    content = {name: value for name, value in record.items() if name != "seal"}
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def write_sealed(path: Path, record: Mapping[str, Any], *, once: bool = False) -> None:
    """Write plain JSON values (`jaxcnn.records.as_record`), all finite, with the seal that `read_sealed` checks."""
    plain = json.loads(json.dumps(record, allow_nan=False))  # as it will be read: keys are strings, tuples are lists
    write_json(path, plain | {"seal": seal(plain)}, once=once)


def read_sealed(path: Path, remedy: str) -> dict[str, Any]:
    """Read a file that `write_sealed` wrote; `remedy`, what to do if it is damaged, ends the error message.

    Raises:
        InputError: It is truncated, not a JSON object, or was changed after it was written.
        FileNotFoundError: It does not exist.
    """
    try:
        record = json.loads(path.read_text(encoding="utf-8"), parse_constant=_refuse_constant)
    except (ValueError, RecursionError, NotADirectoryError) as error:
        raise InputError(f"{str(path)!r}: not readable as JSON ({error}); {remedy}") from None
    if not isinstance(record, dict) or record.get("seal") != seal(record):
        raise InputError(f"{str(path)!r}: changed after it was written (its seal is broken); {remedy}")
    return record


def _refuse_constant(name: str) -> None:
    raise ValueError(f"{name} is not a JSON value")


def sha256(path: Path) -> str:
    """Return the SHA-256 of a file's bytes."""
    return hashlib.sha256(path.read_bytes()).hexdigest()


def holds_files(folder: Path) -> bool:
    """Return whether a folder exists and holds more than leftovers of interrupted writes."""
    return folder.is_dir() and any(file.suffix != PARTIAL for file in folder.iterdir())


@contextmanager
def locked(path: Path, flags: int = os.O_RDONLY) -> Iterator[bool]:
    """Hold the advisory lock (flock) of a file or folder, opened with `flags`; yield False if another process has it.

    The lock ends with the process.

    Raises:
        ImportError: The system has no such locks.
        OSError: The path cannot be opened, or its file system has no such locks.
    """
    import fcntl

    file = os.open(path, flags, 0o644)
    try:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            acquired = True
        except OSError as error:
            if error.errno not in (errno.EAGAIN, errno.EACCES):
                raise
            acquired = False
        yield acquired
    finally:
        os.close(file)
