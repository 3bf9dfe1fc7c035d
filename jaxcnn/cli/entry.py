"""Dispatch without importing what is not asked for: help answers before JAX could be imported."""

import atexit
import gc
import io
import os
import signal
import sys
import threading
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from importlib import import_module
from types import FrameType
from typing import Any, NoReturn, TypeVar

from jaxcnn.errors import InputError
from jaxcnn.runtime.backend import (
    SWITCH,
    apply_backend_options,
    apply_cache,
    backend_options,
    backend_started,
    keep_memory,
)
from jaxcnn.runtime.files import cache_dir

Config = TypeVar("Config")

BAD_INPUT, DIVERGED, RESUMABLE, INTERRUPTED = 2, 3, 75, 130
"""Exit codes besides 0. RESUMABLE is EX_TEMPFAIL of sysexits.h: stopped by a signal, saved, to be started again."""

AGAIN_SECONDS = 0.05  # after which a signal is sent again that Python could not pass on

# command -> (module that holds the function of that name, one line of help)
COMMANDS = {
    "train": ("training", "train one model: jaxcnn train --model lenet5 --data mnist --out runs/lenet5"),
    "evaluate": ("training", "measure a run again: jaxcnn evaluate RUN"),
    "predict": ("training", "classify image files: jaxcnn predict RUN IMAGE..."),
    "study": (
        "studying",
        "deeper or wider at one budget: jaxcnn study --depths 8 14 20 --params 27000 --out runs/study",
    ),
    "report": ("studying", "rebuild a study's report without training: jaxcnn report DIR"),
    "models": ("listing", "list models, or one model's layers, parameters and MACs: jaxcnn models resnet20"),
    "data": ("listing", "list, describe, check or prepare data sets: jaxcnn data [NAME | check NAME | prepare NAME]"),
    "doctor": ("listing", "versions, devices, caches, and files that shadow a package"),
}


def usage() -> str:
    """The top page of help."""
    lines = [f"  {name:<9} {text}" for name, (_, text) in COMMANDS.items()]
    return "\n".join(
        [
            "usage: jaxcnn COMMAND [OPTIONS]",
            "",
            "At one budget, should a CNN be deeper or wider?",
            "",
            "commands:",
            *lines,
            "",
            "jaxcnn COMMAND --help shows a command's options.",
        ]
    )


def main(arguments: Sequence[str] | None = None) -> None:
    """Run one command and exit with 0, or with one of the codes above and one sentence on stderr."""
    typed, arguments = arguments is None, list(sys.argv[1:] if arguments is None else arguments)
    if not arguments or arguments[0] in ("-h", "--help", "help"):
        print(usage())
        sys.exit(0)
    name, rest = arguments[0], arguments[1:]
    if name in ("-V", "--version"):
        from importlib.metadata import version

        print(f"jaxcnn {version('jaxcnn')}")
        sys.exit(0)
    if name not in COMMANDS:
        from difflib import get_close_matches

        near = get_close_matches(name, COMMANDS, n=1)
        hint = f"did you mean {near[0]}?" if near else f"choose one of {', '.join(COMMANDS)}"
        _refuse(InputError(f"command {name!r}: unknown; {hint}"))
    if typed and name == "train" and any(word.startswith("--hosts") for word in rest):
        from jaxcnn.runtime.supervise import supervise

        supervise(RESUMABLE)
    goes_on = name == "study" or (name == "train" and any(word.startswith("--out") for word in rest))
    guarded(lambda: getattr(import_module(f"jaxcnn.cli.{COMMANDS[name][0]}"), name)(rest), goes_on=goes_on)


def launch(
    main: Callable[[Config], object], config: type[Config], smoke: Config, *, onednn: bool | None = None
) -> None:
    """Entry of an experiment script: flags -> config -> main, with the command line's handling of errors.

    Args:
        main: Takes the config.
        config: A frozen dataclass; its fields are the flags.
        smoke: What `--smoke` starts from instead of the defaults: the same path through the code, in seconds.
        onednn: False: keep compiled programs in the cache rather than hand convolutions to oneDNN, which is the better
            choice for many runs of small networks; None: as `jaxcnn.runtime.backend` chooses.
    """
    import tyro

    flags = [flag for flag in sys.argv[1:] if flag != "--smoke"]
    default = smoke if len(flags) < len(sys.argv) - 1 else config()
    guarded(lambda: main(tyro.cli(config, args=flags, default=default)), onednn=onednn, goes_on=True)


def guarded(call: Callable[[], object], *, onednn: bool | None = None, goes_on: bool = False) -> None:
    """Run a command: bad input becomes one sentence and exit code 2, a signal one sentence and RESUMABLE.

    Args:
        call: The command.
        onednn: As for `launch`.
        goes_on: The same command goes on from what is there, whenever it was stopped; else a signal that comes before
            anything is saved gives INTERRUPTED.
    """
    with _stoppable() as came:
        try:
            if isinstance(sys.stdout, io.TextIOWrapper):  # names of files may hold what its encoding has not
                sys.stdout.reconfigure(errors="backslashreplace")
            prepare_backend(onednn)
            call()
        except KeyboardInterrupt as interrupt:
            _interrupted(interrupt, goes_on)
        except Exception as error:
            if came:  # An import that a signal interrupts may raise anything.
                _interrupted(KeyboardInterrupt(), goes_on)
            _judge(error)


@contextmanager
def _stoppable() -> Iterator[list[int]]:
    """SIGTERM stops like Ctrl-C, wherever it comes; those that have come are in the list.

    A signal that this process was started to ignore stays ignored.
    """
    came: list[int] = []
    if threading.current_thread() is not threading.main_thread():
        yield came
        return

    def handle(number: int, frame: FrameType | None) -> None:
        came.append(number)
        raise KeyboardInterrupt

    def dropped(unraisable: Any) -> None:
        # Where a destructor or a callback of the garbage collector was at work, Python drops what the handler raises.
        if not (came and issubclass(unraisable.exc_type, KeyboardInterrupt)):
            hook(unraisable)
            return
        again = threading.Timer(AGAIN_SECONDS, os.kill, (os.getpid(), came[-1]))
        again.daemon = True
        again.start()

    hook, sys.unraisablehook = sys.unraisablehook, dropped
    heard = [number for number in (signal.SIGINT, signal.SIGTERM) if signal.getsignal(number) is not signal.SIG_IGN]
    previous = {number: signal.signal(number, handle) for number in heard}
    try:
        yield came
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)
        sys.unraisablehook = hook


def _interrupted(interrupt: KeyboardInterrupt, goes_on: bool) -> NoReturn:
    print(str(interrupt) or "interrupted; the same command goes on from what is there", file=sys.stderr)
    sys.exit(RESUMABLE if goes_on or getattr(interrupt, "resumable", False) else INTERRUPTED)


def _judge(error: Exception) -> NoReturn:
    """End with what an error means for whoever typed the command; one that means nothing to them is raised."""
    try:
        raise error
    except InputError as error:
        _refuse(error)
    except BrokenPipeError:
        # The reader (head, less) has gone: nothing is wrong, and nothing more can be printed.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(0)
    except OSError as error:
        if error.filename is None:
            raise
        remedy = "check the path, its permissions and the free space; the same command goes on from what is there"
        _refuse(InputError(f"{str(error.filename)!r}: {error.strerror}; {remedy}"))
    except MemoryError:
        _refuse(InputError("memory: there is not enough of it for this; choose a smaller batch_size, width or size"))
    except Exception:
        if not _host_lost(error):
            raise
        print(f"jaxcnn: {error}", file=sys.stderr, flush=True)
        # JAX's own end would wait for the host that is gone.
        os._exit(RESUMABLE)


def prepare_backend(onednn: bool | None = None) -> None:
    """Settings of our entry points, never of a bare import, never over the user's own: see `jaxcnn.runtime.backend`."""
    late = backend_options() if onednn is not False else ()
    if late and backend_started():
        sentence = (
            f"{' '.join(late)}: JAX had computed something before `launch`, so this run goes without; see {SWITCH}"
        )
        warnings.warn(sentence, stacklevel=3)
    elif late:
        apply_backend_options()
    apply_cache(cache_dir() / "xla")
    keep_memory()
    # Importing and tracing make many objects and little garbage: a tenth of the time.
    gc.set_threshold(50_000, 20, 100)
    # Nor is there anything to be gained by looking through a million objects before the process ends.
    atexit.unregister(gc.freeze)
    atexit.register(gc.freeze)
    os.environ.setdefault("ABSL_MIN_LOG_LEVEL", "2")
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")


def _host_lost(error: Exception) -> bool:
    hosts = sys.modules.get("jaxcnn.train.parallel.hosts")
    return hosts is not None and isinstance(error, hosts.HostLost)


def _refuse(error: InputError) -> NoReturn:
    # Names of files may hold control characters, which no terminal should obey.
    text = "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in str(error))
    print(f"jaxcnn: {text}", file=sys.stderr)
    sys.exit(BAD_INPUT)
