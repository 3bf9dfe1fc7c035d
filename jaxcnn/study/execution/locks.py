"""Claims on a study's work, so that no two processes train the same run; the system drops them when a process dies."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from jaxcnn.errors import InputError
from jaxcnn.runtime.files import locked

FOLDER = "claims"


@contextmanager
def claim(directory: Path, name: str) -> Iterator[bool]:
    """Hold the claim of a name while the block lasts.

    It is an advisory lock on a file (flock), which the system releases when the process ends, however it ends: nothing
    has to be cleaned up after a killed worker.

    Args:
        directory: The study's folder.
        name: What is claimed, such as a run's path within the study.

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
