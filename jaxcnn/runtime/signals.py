"""Ctrl-C that lets the running step finish."""

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType


class Interrupted(KeyboardInterrupt):
    """A run stopped on request after its running step.

    Args:
        message: One sentence for the user.
        resumable: Its state is saved: the same call goes on from there.
    """

    def __init__(self, message: str = "", *, resumable: bool = False):
        super().__init__(message)
        self.resumable = resumable


@contextmanager
def graceful() -> Iterator[Callable[[], bool]]:
    """Yield a function that says whether SIGINT or SIGTERM has arrived; a second signal stops at once.

    Outside the main thread, where Python cannot install handlers, it always says no and signals act as usual.
    """
    if threading.current_thread() is not threading.main_thread():
        yield lambda: False
        return
    asked: list[int] = []

    def handle(number: int, frame: FrameType | None) -> None:
        if asked:
            raise KeyboardInterrupt
        asked.append(number)

    previous = {number: signal.signal(number, handle) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield lambda: bool(asked)
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)
