"""Claims: one holder at a time, dropped by the system when the holder dies; the journal of who finished what."""

import builtins
import errno
import os
import signal
import subprocess
import sys

import pytest

from jaxcnn.errors import InputError
from jaxcnn.study.execution.locks import FOLDER, JOURNAL, claim, complete_journal, entries, note
from tests.study.small import ROOT, environment

HOLD = """
import sys, time
from pathlib import Path
from jaxcnn.study.execution.locks import claim
with claim(Path(sys.argv[1]), "runs/a/seed0") as mine:
    print(mine, flush=True)
    time.sleep(60)
"""


def hold(directory):
    return subprocess.Popen(
        [sys.executable, "-c", HOLD, str(directory)], cwd=ROOT, env=environment(), stdout=subprocess.PIPE, text=True
    )


@pytest.mark.slow
def test_one_holder_until_it_is_killed(tmp_path):
    with hold(tmp_path) as holder:
        assert holder.stdout.readline() == "True\n"
        with claim(tmp_path, "runs/a/seed0") as mine, claim(tmp_path, "runs/a/seed1") as other:
            assert (mine, other) == (False, True)
        holder.send_signal(signal.SIGKILL)
        holder.wait()
    # What it left behind, an empty file, is nobody's claim.
    assert [file.stat().st_size for file in (tmp_path / FOLDER).iterdir()] == [0, 0]
    with claim(tmp_path, "runs/a/seed0") as mine:
        assert mine


def test_two_names_are_two_claims(tmp_path):
    with claim(tmp_path, "runs/a/seed0") as first, claim(tmp_path, "runs/a/seed1") as second:
        assert (first, second) == (True, True)
    assert [file.stat().st_size for file in (tmp_path / FOLDER).iterdir()] == [0, 0]


def test_a_claim_ends_with_its_block(tmp_path):
    def fail():
        with claim(tmp_path, "a") as mine:
            assert mine
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fail()
    with claim(tmp_path, "a") as mine, claim(tmp_path, "a") as second:
        assert (mine, second) == (True, False)


def test_a_file_system_without_locks_is_named(tmp_path, monkeypatch):
    import fcntl

    def refuse(*_):
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    monkeypatch.setattr(fcntl, "flock", refuse)
    with pytest.raises(InputError, match=r"cannot lock files \(No locks available\)"), claim(tmp_path, "a"):
        pass


def test_a_system_without_locks_is_named(tmp_path, monkeypatch):
    real = builtins.__import__

    def without(name, *rest, **options):
        if name == "fcntl":
            raise ImportError(name)
        return real(name, *rest, **options)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(InputError, match="studies need flock"), claim(tmp_path, "a"):
        pass


def test_the_journal_is_made_whole(tmp_path):
    """A kill between a run's end and its line, and one within a line; lines that are no entries."""
    for path in ("a", "b", "c"):
        (tmp_path / path).mkdir()
        (tmp_path / path / "result.json").write_text("{}")
    note(tmp_path, "a")
    with (tmp_path / JOURNAL).open("a") as journal:
        journal.write('3\n[]\n{"finished": {}}\n' + "[" * 100_000 + "\n")
        journal.write('{"finished": "b", "pro')
    complete_journal(tmp_path, ["a", "b", "c"])
    complete_journal(tmp_path, ["a", "b", "c"])
    assert [(entry["finished"], entry["process"]) for entry in entries(tmp_path)] == [
        ("a", os.getpid()), ("b", None), ("c", None),
    ]  # fmt: skip
    assert entries(tmp_path / "nowhere") == []
