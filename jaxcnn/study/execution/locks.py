"""Claims on a study's work, so that two processes never train the same run; the system drops them when one dies."""

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
    """Hold the claim of a name for as long as the block lasts.

    The claim is an advisory lock on a file (flock), which the operating system releases when its process ends, however
    it ends: a killed worker leaves nothing behind that another would have to clear away.

    Args:
        directory: The study's folder.
        name: What is claimed, such as a run's path within the study.

    Yields:
        False where another process holds it; nothing is held then.

    Raises:
        InputError: The system, or the folder's file system, has no such locks.
    """
    folder = directory / FOLDER
    folder.mkdir(parents=True, exist_ok=True)
    with ExitStack() as stack:
        try:
            mine = stack.enter_context(locked(folder / (name.replace("/", "~") + ".lock"), os.O_RDWR | os.O_CREAT))
        except ImportError:
            raise InputError(
                f"out={directory}: this system has no flock, which studies need; use Linux or macOS"
            ) from None
        except OSError as error:
            if error.filename is not None:  # It could not be opened; locking names no file.
                raise
            raise InputError(
                f"out={directory}: its file system cannot lock files ({error.strerror}); put the study on a local "
                "disk or on NFS 4"
            ) from None
        yield mine
