"""Dispatch to commands, and turn errors and signals into one sentence and an exit code; help imports no JAX."""

import atexit
import io
import os
import sys
import textwrap
from collections.abc import Callable, Sequence
from importlib import import_module
from typing import NoReturn, TypeVar

from jaxcnn.errors import InputError, printable
from jaxcnn.runtime import backend
from jaxcnn.runtime.files import cache_dir
from jaxcnn.runtime.signals import ignore_signals, interruptible

Config = TypeVar("Config")

BAD_INPUT, DIVERGED, RESUMABLE, INTERRUPTED = 2, 3, 75, 130
"""Exit codes besides 0. RESUMABLE (EX_TEMPFAIL of sysexits.h): stopped by a signal; the same command resumes."""
RESUME = "run the same command again to resume"

COMMANDS = {
    "train": "train one model: jaxcnn train --model lenet5 --data mnist --out runs/lenet5",
    "evaluate": "measure a run again: jaxcnn evaluate RUN",
    "predict": "use a run on image files, folders or a video: jaxcnn predict RUN IMAGE...",
    "read": "read photographed lines of text: jaxcnn read RUN IMAGE...",
    "demo": "a page that uses a run, with camera and drawing: jaxcnn demo RUN",
    "gallery": "name images by a few examples: jaxcnn gallery add NAME IMAGE..., gallery who IMAGE...",
    "study": "deeper or wider at one budget: jaxcnn study --depths 8 14 20 --params 27000 --out runs/study",
    "report": "page of a run, or a study's report, without training: jaxcnn report DIR",
    "show": "what a network sees: jaxcnn show RUN features | kernels | saliency | receptive-field",
    "export": "a network as a file for phones, browsers, servers: jaxcnn export RUN --to onnx | web",
    "compare": "runs side by side: jaxcnn compare RUN RUN...",
    "verify": "recompute the numbers of a report from its records: jaxcnn verify DIR",
    "runs": "table of everything that was trained: jaxcnn runs [DIR]",
    "models": "list models, or show a model's layers or a family's options: jaxcnn models [resnet20 | resnet]",
    "data": "list, describe, check or prepare data sets: jaxcnn data [NAME | check NAME | prepare NAME]",
    "doctor": "versions, devices, caches, and files that shadow a package",
}
"""Help of each command; the command is the function of the same name, in the module of the same name or in `HOMES`."""
HOMES = {"evaluate": "train", "predict": "train", "report": "study", "verify": "study", "compare": "runs"}
WITH_WORDS = ("train", "study", "data")
"""Commands that get their arguments as they are; the parameters of the others are their flags."""


def main(arguments: Sequence[str] | None = None) -> None:
    """Run one command: its name and its flags, by default those of the process.

    Raises:
        SystemExit: Bad input (code 2), a diverged run (3) or a signal (75, 130), with one sentence on stderr.
    """
    own_process, arguments = arguments is None, list(sys.argv[1:] if arguments is None else arguments)
    if not arguments or arguments[0] in ("-h", "--help", "help"):
        print("usage: jaxcnn COMMAND [OPTIONS]\n\nAt one budget, should a CNN be deeper or wider?\n\ncommands:")
        for name, text in COMMANDS.items():
            print(textwrap.fill(text, 80, initial_indent=f"  {name:<9} ", subsequent_indent=12 * " "))
        print("\njaxcnn COMMAND --help shows a command's options.")
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
        _refuse(f"command {name!r}: unknown; {hint}")
    if own_process and name == "train" and any(word.startswith("--hosts") for word in rest):
        from jaxcnn.runtime.processes import supervise

        supervise(RESUMABLE)
    resumable = name == "study" or (name == "train" and any(word.startswith("--out") for word in rest))

    def call() -> None:
        command = getattr(import_module(f"jaxcnn.cli.{HOMES.get(name, name)}"), name)
        if name in WITH_WORDS:
            command(rest)
        else:
            from jaxcnn.cli import flags

            flags.call(command, rest, f"jaxcnn {name}")

    guarded(call, resumable=resumable)


def launch(main: Callable[[Config], object], config: type[Config], smoke: Config) -> None:
    """Run an experiment script: read its flags into its config and call its main function.

    Errors and signals are handled as by the command line.

    Args:
        main: Function of the config.
        config: Frozen dataclass whose fields are the flags.
        smoke: Config that `--smoke` starts from instead of the defaults: the same code in seconds.
    """
    flags = [flag for flag in sys.argv[1:] if flag != "--smoke"]
    default = smoke if len(flags) < len(sys.argv) - 1 else config()

    def call() -> None:
        from jaxcnn.cli.flags import call_with_flags

        call_with_flags(main, default, flags)

    guarded(call, resumable=True)


def guarded(call: Callable[[], object], *, resumable: bool = False) -> None:
    """Call a function; bad input ends the process with one sentence and code 2, a signal with code 75 or 130.

    It is 75 if the same command resumes whenever it was stopped (`resumable`), or where the interrupt says so.
    """
    with interruptible() as received:
        try:
            if isinstance(sys.stdout, io.TextIOWrapper):  # file names may hold characters that it cannot encode
                sys.stdout.reconfigure(errors="backslashreplace")
            prepare_backend()
            call()
        except KeyboardInterrupt as interrupt:
            _interrupted(interrupt, resumable)
        except Exception as error:
            _end_without_hosts(error)
            if received:  # An import that a signal interrupts may raise anything.
                _interrupted(KeyboardInterrupt(), resumable)
            _explain(error)


def prepare_backend() -> None:
    """Make the settings that an entry point makes and a bare import does not."""
    backend.apply_cache(cache_dir() / "xla")
    backend.keep_memory()
    backend.collect_rarely()
    os.environ.setdefault("ABSL_MIN_LOG_LEVEL", "2")
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")


def _interrupted(interrupt: KeyboardInterrupt, resumable: bool) -> NoReturn:
    atexit.register(ignore_signals)  # A further signal would end the process with another code.
    print(str(interrupt) or f"interrupted{f'; {RESUME}' if resumable else ''}", file=sys.stderr)
    sys.exit(RESUMABLE if resumable or getattr(interrupt, "resumable", False) else INTERRUPTED)


def _explain(error: Exception) -> NoReturn:
    """End the process as an error deserves; raise one that the user cannot act on."""
    if isinstance(error, InputError):
        _refuse(str(error))
    if isinstance(error, BrokenPipeError):  # The reader, such as head or less, has closed the pipe: not an error.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(0)
    if isinstance(error, OSError) and error.filename is not None:
        remedy = "check the path, its permissions and the free space, then run the same command again"
        _refuse(f"{str(error.filename)!r}: {error.strerror}; {remedy}")
    if isinstance(error, MemoryError):
        _refuse("memory: there is not enough; choose a smaller batch_size, width or size")
    raise error


def _end_without_hosts(error: Exception) -> None:
    """End the process at once if other hosts are missing: a normal exit would wait for them in JAX."""
    hosts = sys.modules.get("jaxcnn.train.parallel.hosts")
    if hosts is not None and isinstance(error, hosts.HostLost):
        print(f"jaxcnn: {error}", file=sys.stderr, flush=True)
        os._exit(RESUMABLE)


def _refuse(text: str) -> NoReturn:
    # File names may hold control characters, which would act on the terminal.
    print(f"jaxcnn: {printable(text)}", file=sys.stderr)
    sys.exit(BAD_INPUT)
