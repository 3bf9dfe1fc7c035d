"""Dispatch, help, exit codes, and signals: always one sentence, never a traceback."""

import os
import signal
import subprocess
import sys
import threading
import time

import pytest

from jaxcnn.cli.entry import COMMANDS, INTERRUPTED, RESUMABLE, guarded
from tests.cli.calls import TINY, call, refused

HELP = """
import sys
from jaxcnn.cli import main

def page(*arguments):
    try:
        main(arguments)
    except SystemExit as end:
        assert end.code == 0, arguments

page()
page("--help")
assert "tyro" not in sys.modules
for command in ("evaluate", "predict", "report", "runs", "models", "data", "doctor"):
    page(command, "--help")
page("study", "status", "--help")
page("data", "check", "--help")
page("data", "prepare", "--help")
assert "jax" not in sys.modules
page("train", "--help")
page("study", "--help")
assert not sys.modules["jax._src.xla_bridge"].backends_are_initialized()
"""


def test_help_starts_no_backend_and_mostly_imports_no_jax():
    done = subprocess.run([sys.executable, "-c", HELP], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("usage: jaxcnn") == 14
    assert all(f"\n  {command} " in done.stdout for command in COMMANDS)


def test_unknown_commands_and_flags_are_named(capsys):
    assert "did you mean train?" in refused(capsys, "trian")
    assert "choose one of train, " in refused(capsys, "")
    for command in ("train", "doctor"):
        code, _, error = call(capsys, command, "--epocs", "3")
        assert code == 2
        assert "--epocs" in error


def test_characters_that_stdout_cannot_encode_are_escaped():
    code = "from jaxcnn.cli.entry import guarded\nguarded(lambda: print('b\\udcff \\xfc'))"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, env={**os.environ, "PYTHONIOENCODING": "ascii"}, check=False
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, b"b\\udcff \\xfc\n", b"")


@pytest.mark.parametrize(
    ("error", "code", "sentence"),
    [
        (OSError(28, "No space left on device", "/full/a\x1b"), 2, "jaxcnn: '/full/a\\x1b': No space left on device;"),
        (MemoryError(), 2, "jaxcnn: memory: there is not enough;"),
        (KeyboardInterrupt("stopped"), RESUMABLE, "stopped\n"),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, BaseException) else None,
)
def test_errors_become_a_sentence_and_an_exit_code(capsys, error, code, sentence):
    def fail():
        raise error

    with pytest.raises(SystemExit) as ended:
        guarded(fail, resumable=True)
    assert ended.value.code == code
    said = capsys.readouterr().err
    assert said.startswith(sentence)
    assert said.count("\n") == 1


def test_errors_without_a_remedy_are_raised():
    def fail():
        raise OSError("no file, no number")

    with pytest.raises(OSError, match="no file, no number"):
        guarded(fail)


@pytest.mark.parametrize(("resumable", "code"), [(True, RESUMABLE), (False, INTERRUPTED)])
def test_a_signal_inside_a_destructor_is_not_lost(capsys, resumable, code):
    """Python drops what a destructor raises, and what a callback of the garbage collector does."""

    class Grip:
        def __del__(self):
            signal.raise_signal(signal.SIGTERM)
            time.sleep(0)

    def work():
        Grip()
        time.sleep(10)
        pytest.fail("the signal was lost")

    with pytest.raises(SystemExit) as ended:
        guarded(work, resumable=resumable)
    assert ended.value.code == code
    assert capsys.readouterr().err == f"interrupted{'; run the same command again to resume' if resumable else ''}\n"


def test_an_error_that_a_signal_causes_counts_as_the_signal(capsys):
    def work():
        try:
            signal.raise_signal(signal.SIGINT)
            time.sleep(10)
        except KeyboardInterrupt:
            raise ImportError("half an import") from None

    with pytest.raises(SystemExit) as ended:
        guarded(work)
    assert ended.value.code == INTERRUPTED
    assert capsys.readouterr().err == "interrupted\n"


def interrupted_when(exists, number, capsys, *arguments):
    """Return the result of a command that gets a signal as soon as a file exists."""
    ended = threading.Event()

    def strike():
        while not ended.wait(0.005):
            if exists.exists():
                os.kill(os.getpid(), number)
                return

    thread = threading.Thread(target=strike)
    thread.start()
    try:
        return call(capsys, *arguments)
    finally:
        ended.set()
        thread.join()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
@pytest.mark.parametrize("file", ["config.json", "metrics.jsonl"])
def test_a_stopped_run_says_that_it_can_be_resumed(tmp_path, capsys, folder, number, file):
    """Before the first step (config.json) and after an epoch."""
    out = tmp_path / "run"
    command = ["train", "--data", folder, *TINY, "--epochs", "20000", "--out", out]
    code, _, error = interrupted_when(out / file, number, capsys, *command)
    assert code == RESUMABLE, error
    assert error.count("\n") == 1
    assert error.endswith("run the same command again to resume\n")
    if file == "metrics.jsonl":
        assert "saved" in error
        assert [path for path in (out / "checkpoints").iterdir() if path.name.isdigit()]
    assert not (out / "result.json").exists()
