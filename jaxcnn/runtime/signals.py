"""SIGINT and SIGTERM: stop after the current step, or stop at once."""

import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

RESEND_SECONDS, RESENDS = 0.05, 200
"""Delay after which a signal is sent again that came within an import, or whose exception Python dropped; how often."""


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
        if not received:
            received.append(number)
        elif not (_importing(frame) and resend(number)):
            raise KeyboardInterrupt

    with _resender() as resend, _raised_in_vain(received, resend), _handler(handle):
        yield lambda: bool(received)


@contextmanager
def interruptible() -> Iterator[list[int]]:
    """Raise KeyboardInterrupt on SIGTERM as on Ctrl-C; yield the list of the signals received so far.

    An import is finished first: extension modules that are interrupted while they start end the process.
    """
    received: list[int] = []

    def handle(number: int, frame: FrameType | None) -> None:
        if _importing(frame) and resend(number):
            return
        received.append(number)
        raise KeyboardInterrupt

    with _resender() as resend, _raised_in_vain(received, resend), _handler(handle):
        yield received


def ignore_signals() -> None:
    """Ignore SIGINT and SIGTERM from now on: for a process that ends."""
    if threading.current_thread() is threading.main_thread():
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, signal.SIG_IGN)


def _importing(frame: FrameType | None) -> bool:
    """Return whether a frame is part of an import."""
    while frame is not None:
        if frame.f_code.co_filename.startswith("<frozen importlib"):
            return True
        frame = frame.f_back
    return False


@contextmanager
def _raised_in_vain(received: list[int], resend: Callable[[int], bool]) -> Iterator[None]:
    """Send a signal again whose exception Python dropped: in a destructor or a callback of the garbage collector."""

    def dropped(unraisable: Any) -> None:
        if received and issubclass(unraisable.exc_type, KeyboardInterrupt):
            resend(received[-1])
        else:
            hook(unraisable)

    hook, sys.unraisablehook = sys.unraisablehook, dropped
    try:
        yield
    finally:
        sys.unraisablehook = hook


@contextmanager
def _resender() -> Iterator[Callable[[int], bool]]:
    """Yield a function that sends a signal to this process again in a moment, but not after the block.

    It returns False once it was called too often: a script may do all of its work while it is imported.
    """
    ended, left, lock = False, RESENDS, threading.Lock()

    def send(number: int) -> None:
        with lock:
            if not ended:
                os.kill(os.getpid(), number)

    def resend(number: int) -> bool:
        nonlocal left
        left -= 1
        timer = threading.Timer(RESEND_SECONDS, send, (number,))
        timer.daemon = True
        if left >= 0:
            timer.start()
        return left >= 0

    try:
        yield resend
    finally:
        with lock:
            ended = True


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
