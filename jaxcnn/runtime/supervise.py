"""Child processes: a command that survives an abort inside JAX."""

import os
import signal
import sys
import threading
from types import FrameType
from typing import NoReturn


def supervise(resumable: int) -> None:
    """Continue in a child process; this one forwards signals, waits, and explains an abort in one sentence.

    When one of several hosts dies, JAX aborts the others from C++, where Python cannot catch it.

    Args:
        resumable: Exit code for an abort: what was saved is whole, and all hosts can be started again.
    """
    read_end, write_end = os.pipe()
    child = os.fork()
    if child:
        os.close(read_end)
        _wait(child, resumable)
    os.close(write_end)
    # Out of the terminal's process group: Ctrl-C reaches the parent, which forwards it once.
    os.setpgid(0, 0)

    def watch() -> None:
        os.read(read_end, 1)  # Returns when the parent ends, even if it is killed.
        os._exit(resumable)

    threading.Thread(target=watch, daemon=True).start()


def _wait(child: int, resumable: int) -> NoReturn:
    def forward(number: int, frame: FrameType | None) -> None:
        os.kill(child, number)

    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, forward)
    code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    if code == -signal.SIGABRT:
        print(
            "jaxcnn: another host of the run has ended or cannot be reached, so JAX stopped this one; start all hosts "
            "again: the run resumes from its last checkpoint",
            file=sys.stderr,
        )
        os._exit(resumable)
    sys.stderr.flush()
    os._exit(code if code >= 0 else 128 - code)
