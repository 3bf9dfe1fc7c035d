"""Disks that are full or read-only: a small tmpfs, which needs the right to mount one."""

import subprocess
from dataclasses import replace

import pytest

from jaxcnn.errors import InputError
from jaxcnn.run import run
from jaxcnn.spec import DataConfig, ModelSpec, RunConfig
from tests.cli.calls import refused

CONFIG = RunConfig(
    model=ModelSpec("dense", depth=3, width=64), data=DataConfig(train_size=200), epochs=4, batch_size=50, keep=3
)
FLAGS = ["--model.family", "dense", "--model.depth", "3", "--model.width", "64", "--data.train-size", "200",
         "--batch-size", "50", "--epochs", "4", "--quiet"]  # fmt: skip


@pytest.fixture
def disk(tmp_path):
    """A disk of 8 MiB."""
    place = tmp_path / "disk"
    place.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=8m", "tmpfs", place], capture_output=True, check=False
    )
    if mounted.returncode:
        pytest.skip("this user may not mount a tmpfs")
    yield place
    subprocess.run(["umount", "-l", place], check=True)


def fill(place):
    """Take what is left of a disk, to the last byte."""
    with (place / "filler").open("wb", buffering=0) as file:
        for size in (2**16, 1):
            try:
                while file.write(bytes(size)):
                    pass
            except OSError:
                continue


def timeless(result):
    return [{k: v for k, v in row.items() if k not in ("seconds", "steps_timed")} for row in result.history]


@pytest.mark.parametrize("epoch", [1, 3])
def test_a_disk_that_fills_up_loses_nothing(disk, epoch):
    """Full from the end of an epoch: what is written stays, the path is named, and space makes it go on."""

    def full(record):
        if record["epoch"] == epoch:
            fill(disk)

    with pytest.raises((InputError, OSError)) as raised:
        run(CONFIG, out=disk / "run", progress=False, on_epoch=full)
    said = str(raised.value)
    assert str(disk / "run") in said
    assert "No space left on device" in said
    kept = [path for path in (disk / "run" / "checkpoints").iterdir() if path.name == str(4 * epoch)]
    assert len(kept) == 1
    with pytest.raises((InputError, OSError)):
        run(CONFIG, out=disk / "run", progress=False)
    (disk / "filler").unlink()
    seen = []
    later = run(CONFIG, out=disk / "run", progress=False, on_epoch=seen.append)
    assert [row["epoch"] for row in seen] == list(range(epoch + 1, 5))
    whole = run(CONFIG, progress=False)
    assert timeless(later) == timeless(whole)
    assert later.metrics == whole.metrics


def test_the_command_says_one_sentence_on_a_full_disk(disk, capsys):
    fill(disk)
    error = refused(capsys, "train", *FLAGS, "--out", disk / "run")
    assert str(disk) in error
    assert "No space left on device" in error


def test_a_read_only_disk_is_refused_and_read(disk, capsys):
    done = run(replace(CONFIG, epochs=1), out=disk / "run", progress=False)
    subprocess.run(["mount", "-o", "remount,ro", disk], check=True)
    error = refused(capsys, "train", *FLAGS, "--out", disk / "other")
    assert str(disk / "other") in error
    assert "Read-only file system" in error
    assert run(replace(CONFIG, epochs=1), out=disk / "run", progress=False).metrics == done.metrics
