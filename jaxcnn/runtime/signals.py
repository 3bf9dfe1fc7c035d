"""SIGINT and SIGTERM: stop after the current step, or stop at once."""

import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

RESEND_SECONDS = 0.05
"""Delay after which a signal is sent again whose exception Python dropped."""


class Interrupted(KeyboardInterrupt):
    """A run stopped by a signal after its current step, in one sentence; the same call resumes it if `resumable`."""

    def __init__(self, message: str = "", *, resumable: bool = False):
        super().__init__(message)
        self.resumable = resumable


@contextmanager
def graceful() -> Iterator[Callable[[], bool]]:
    """Yield a function that returns whether SIGINT or SIGTERM has arrived; a second signal stops at once.

    Outside the main thread, where Python cannot install handlers, it always returns False and signals act as usual.
    """
    received: list[int] = []

    def handle(number: int, frame: FrameType | None) -> None:
        if received:
            raise KeyboardInterrupt
        received.append(number)

    with _handler(handle):
        yield lambda: bool(received)


@contextmanager
def interruptible() -> Iterator[list[int]]:
    """Raise KeyboardInterrupt on SIGTERM as on Ctrl-C; yield the list of the signals received so far."""
    received: list[int] = []

    def handle(number: int, frame: FrameType | None) -> None:
        received.append(number)
        raise KeyboardInterrupt

    def resend(unraisable: Any) -> None:
        # Inside a destructor or a callback of the garbage collector, Python drops what the handler raises.
        if not (received and issubclass(unraisable.exc_type, KeyboardInterrupt)):
            hook(unraisable)
            return
        timer = threading.Timer(RESEND_SECONDS, os.kill, (os.getpid(), received[-1]))
        timer.daemon = True
        timer.start()

    hook, sys.unraisablehook = sys.unraisablehook, resend
    try:
        with _handler(handle):
            yield received
    finally:
        sys.unraisablehook = hook


@contextmanager
def _handler(handle: Callable[[int, FrameType | None], None]) -> Iterator[None]:
    """Install a handler of both signals; one that this process was started to ignore stays ignored."""
    main_thread = threading.current_thread() is threading.main_thread()
    numbers = [number for number in (signal.SIGINT, signal.SIGTERM) if signal.getsignal(number) is not signal.SIG_IGN]
    previous = {number: signal.signal(number, handle) for number in numbers if main_thread}
    try:
        yield
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)
