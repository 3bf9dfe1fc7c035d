"""Training that is stopped from outside, as a scheduler or another host would: exit codes, and going on."""

import json
import os
import signal
import socket
import subprocess
import sys
import time

import numpy as np
import pytest

from jaxcnn.cli.entry import RESUMABLE, guarded
from tests.cli.calls import refused

TRAIN = [sys.executable, "-m", "jaxcnn", "train", "--quiet", "--model.family", "plain", "--model.depth", "3",
         "--model.width", "4", "--data.train-size", "200", "--batch-size", "50"]  # fmt: skip
WAIT = 90


def start(out, *flags, epochs=4, devices=None):
    environment = {**os.environ, "XLA_FLAGS": f"--xla_force_host_platform_device_count={devices}" if devices else ""}
    command = [*TRAIN, "--epochs", str(epochs), "--out", str(out), *flags]
    return subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)


def wait_for_epochs(out, count, process):
    file, deadline = out / "metrics.jsonl", time.monotonic() + WAIT
    while not file.exists() or len(file.read_text().splitlines()) < count:
        assert process.poll() is None, process.communicate()[1]
        assert time.monotonic() < deadline
        time.sleep(0.02)


def finish(process):
    """(exit code, what it said); a process that does not end is killed."""
    try:
        error = process.communicate(timeout=WAIT)[1]
    except subprocess.TimeoutExpired:
        process.kill()
        error = "it did not end: " + process.communicate()[1]
    return process.returncode, error


def losses(out):
    return [json.loads(line)["train_loss"] for line in (out / "metrics.jsonl").read_text().splitlines()]


@pytest.mark.slow
def test_sigterm_saves_and_says_that_the_run_can_go_on(tmp_path):
    out = tmp_path / "run"
    process = start(out, epochs=2000)
    wait_for_epochs(out, 1, process)
    process.send_signal(signal.SIGTERM)
    error = process.communicate(timeout=WAIT)[1]
    assert process.returncode == RESUMABLE == 75
    assert "saved; the same command goes on from there" in error
    assert "Traceback" not in error
    assert [path for path in (out / "checkpoints").iterdir() if path.name.isdigit()]
    assert not (out / "result.json").exists()


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_before_the_first_step_says_so_too(tmp_path, number):
    """While the run compiles: nothing is saved yet, and the same command goes on from what is there."""
    out = tmp_path / "run"
    process = start(out, "--model.family", "resnet", "--model.depth", "20", epochs=2000)
    deadline = time.monotonic() + WAIT
    while not (out / "config.json").exists():
        assert process.poll() is None, process.communicate()[1]
        assert time.monotonic() < deadline
        time.sleep(0.01)
    process.send_signal(number)
    code, error = finish(process)
    assert code == RESUMABLE, error
    assert error.count("\n") == 1
    assert "the same command goes on" in error


def pair(out, epochs=4):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{free.getsockname()[1]}"
    return [
        start(
            out,
            "--hosts",
            address,
            "--host-count",
            "2",
            "--host-index",
            str(index),
            "--host-timeout",
            "8",
            epochs=epochs,
            devices=2,
        )
        for index in (0, 1)
    ]


def test_a_signal_while_something_is_being_destroyed_is_not_lost(capsys):
    """Python drops what a destructor raises, and what a callback of the garbage collector does."""

    class Grip:
        def __del__(self):
            signal.raise_signal(signal.SIGTERM)
            time.sleep(0)

    def call():
        Grip()
        time.sleep(10)
        pytest.fail("the signal was lost")

    with pytest.raises(SystemExit) as ended:
        guarded(call, goes_on=True)
    assert ended.value.code == RESUMABLE
    said = capsys.readouterr().err
    assert said.strip() == "interrupted; the same command goes on from what is there"


@pytest.mark.slow
def test_two_hosts_train_one_run_and_survive_a_death(tmp_path):
    """The 4 devices of two processes end as one device does; a killed peer ends the other with one sentence."""
    alone, out = tmp_path / "alone", tmp_path / "together"
    assert finish(start(alone, epochs=40)) == (0, "")
    first, second = pair(out, epochs=40)
    wait_for_epochs(out, 2, first)
    second.kill()
    code, error = finish(first)
    finish(second)
    assert code == RESUMABLE, error
    assert error.count("another host of the run") == 1
    assert "start all hosts again" in error
    assert not (out / "result.json").exists()
    ended = [finish(process) for process in pair(out, epochs=40)]
    assert [code for code, _ in ended] == [0, 0], ended
    np.testing.assert_allclose(losses(out)[:8], losses(alone)[:8], rtol=1e-5, atol=1e-5)
    programs = json.loads((out / "result.json").read_text())["programs"]
    assert (programs["mode"], programs["devices"]) == ("sharded", 4)


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (("--host-index", "1"), "they need --hosts"),
        (("--hosts", "nowhere"), "ADDRESS:PORT"),
        (("--hosts", "127.0.0.1:9", "--host-count", "2", "--host-index", "2"), "from 0 to 1"),
        (("--hosts", "127.0.0.1:9", "--host-count", "0"), "at least 1"),
        (("--hosts", "127.0.0.1:9", "--host-timeout", "1"), "5 seconds at least"),
        (("--hosts", "auto", "--parallel", "pmap"), "leave it at auto"),
        (("--hosts", "auto"), "could not join"),
    ],
)
def test_hosts_that_cannot_be_are_refused(capsys, flags, said, monkeypatch):
    for name in [name for name in os.environ if name.startswith(("SLURM_", "OMPI_"))]:
        monkeypatch.delenv(name)
    assert said in refused(capsys, "train", *flags)
