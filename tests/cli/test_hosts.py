"""`jaxcnn train --hosts`: what cannot be is refused, and a run survives the death of one of its hosts."""

import json
import os
import socket
import subprocess
import sys
import time

import numpy as np
import pytest

from jaxcnn.cli.entry import RESUMABLE
from tests.cli.calls import refused

TRAIN = [sys.executable, "-m", "jaxcnn", "train", "--quiet", "--model.family", "plain", "--model.depth", "3",
         "--model.width", "4", "--data.train-size", "200", "--batch-size", "50", "--epochs", "40"]  # fmt: skip
WAIT = 90


def start(out, *flags, devices=None):
    environment = {**os.environ, "XLA_FLAGS": f"--xla_force_host_platform_device_count={devices}" if devices else ""}
    return subprocess.Popen(
        [*TRAIN, "--out", str(out), *flags],
        env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip


def start_pair(out):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{free.getsockname()[1]}"
    flags = ("--hosts", address, "--host-count", "2", "--host-timeout", "8", "--host-index")
    return [start(out, *flags, index, devices=2) for index in ("0", "1")]


def wait_for_epochs(out, count, process):
    file, deadline = out / "metrics.jsonl", time.monotonic() + WAIT
    while not file.exists() or len(file.read_text().splitlines()) < count:
        assert process.poll() is None, process.communicate()[1]
        assert time.monotonic() < deadline
        time.sleep(0.02)


def finish(process):
    """Return (exit code, stderr); a process that does not end is killed."""
    try:
        error = process.communicate(timeout=WAIT)[1]
    except subprocess.TimeoutExpired:
        process.kill()
        error = "it did not end: " + process.communicate()[1]
    return process.returncode, error


def losses(out):
    return [json.loads(line)["train_loss"] for line in (out / "metrics.jsonl").read_text().splitlines()]


@pytest.mark.slow
def test_a_host_that_waits_for_others_can_be_stopped(tmp_path):
    """JAX waits outside Python, where no signal would reach it."""
    command = [word for word in TRAIN if word != "--quiet"]
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{taken.getsockname()[1]}"
    hosts = ("--hosts", address, "--host-count", "2", "--host-index", "0", "--out", str(tmp_path / "run"))
    alone = subprocess.Popen([*command, *hosts], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    assert alone.stderr.readline() == f"waiting for the other hosts of {address}\n"
    alone.terminate()
    assert finish(alone) == (
        RESUMABLE, "jaxcnn: interrupted while it waited for the other hosts; start all hosts again\n",
    )  # fmt: skip


@pytest.mark.slow
def test_two_hosts_train_one_run_and_survive_a_death(tmp_path):
    """The 4 devices of two processes end as one device does; a killed peer ends the other with one sentence."""
    alone, out = tmp_path / "alone", tmp_path / "together"
    assert finish(start(alone)) == (0, "")
    first, second = start_pair(out)
    wait_for_epochs(out, 2, first)
    second.kill()
    code, error = finish(first)
    finish(second)
    assert code == RESUMABLE, error
    assert error.count("another host of the run") == 1
    assert "start all hosts again" in error
    assert not (out / "result.json").exists()
    ended = [finish(process) for process in start_pair(out)]
    assert [code for code, _ in ended] == [0, 0], ended
    np.testing.assert_allclose(losses(out)[:8], losses(alone)[:8], rtol=1e-5, atol=1e-5)
    programs = json.loads((out / "result.json").read_text())["programs"]
    assert (programs["mode"], programs["devices"]) == ("sharded", 4)


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (("--host-index", "1"), "--host-index: needs --hosts"),
        (("--hosts", "nowhere"), "ADDRESS:PORT"),
        (("--hosts", "127.0.0.1:9", "--host-count", "2", "--host-index", "2"), "from 0 to 1"),
        (("--hosts", "127.0.0.1:9", "--host-count", "0"), "at least 1"),
        (("--hosts", "127.0.0.1:9", "--host-timeout", "1"), "--host-timeout 1"),
        (("--hosts", "auto", "--parallel", "pmap"), "leave it at auto"),
        (("--hosts", "auto"), "could not join"),
    ],
)
def test_impossible_hosts_are_refused(capsys, flags, said, monkeypatch):
    for name in [name for name in os.environ if name.startswith(("SLURM_", "OMPI_"))]:
        monkeypatch.delenv(name)
    assert said in refused(capsys, "train", *flags)
