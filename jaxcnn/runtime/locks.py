"""Advisory locks on files and folders: they end with the process that holds them."""

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def locked(path: Path, flags: int = os.O_RDONLY) -> Iterator[bool]:
    """Hold the advisory lock (flock) of a file or folder inside a `with` block.

    Args:
        path: File or folder to lock.
        flags: Flags with which it is opened.

    Yields:
        True, or False if another process holds the lock.

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
