"""A process that outlives JAX's own end: where a host of several dies, the others are aborted from C++."""

import os
import signal
import sys
import threading
from types import FrameType
from typing import NoReturn


def supervise(resumable: int) -> None:
    """Go on in a child process; this one passes signals on, waits, and says in one sentence what an abort means.

    Args:
        resumable: Exit code that stands for an abort: what was saved is whole, and all hosts can be started again.
    """
    heard, held = os.pipe()
    child = os.fork()
    if child:
        os.close(heard)
        _wait(child, resumable)
    os.close(held)
    # Out of the terminal's group: Ctrl-C reaches the parent, which passes it on once.
    os.setpgid(0, 0)

    def watch() -> None:
        os.read(heard, 1)  # Ends when the parent does, even a killed one.
        os._exit(resumable)

    threading.Thread(target=watch, daemon=True).start()


def _wait(child: int, resumable: int) -> NoReturn:
    def forward(number: int, frame: FrameType | None) -> None:
        os.kill(child, number)

    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, forward)
    code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    if code == -signal.SIGABRT:
        sentence = "another host of this run has ended or cannot be reached, and JAX stopped this one"
        print(f"jaxcnn: {sentence}; start all hosts again: the run goes on from its last checkpoint", file=sys.stderr)
        os._exit(resumable)
    sys.stderr.flush()
    os._exit(code if code >= 0 else 128 - code)
