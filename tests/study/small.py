"""Studies of seconds on scikit-learn's digits, and how tests start them as processes of their own."""

from __future__ import annotations

import hashlib
import json
import multiprocessing.process
import os
import sys
import time
from functools import cache
from pathlib import Path

import numpy as np

from jaxcnn.runtime.signals import Interrupted
from jaxcnn.spec import DataConfig, ModelSpec, RunConfig, Seeds, StudyConfig, Tuning
from jaxcnn.study.arm import Arm
from jaxcnn.study.budget.match import match_width
from jaxcnn.study.execution.run_study import run_study

ROOT = Path(__file__).parents[2]
SHAPE = {"input_shape": (8, 8, 1), "num_classes": 10}
BASE = RunConfig(
    model=ModelSpec("dense"), data=DataConfig("digits", train_size=96), epochs=3, batch_size=32, parallel="jit"
)
DECLARED = {"margin": 0.05, "tuning": Tuning((0.05, 0.2), (1e-4,), extensions=1, method="grid"), "seeds": Seeds(2, 3)}


@cache
def arms() -> tuple[Arm, ...]:
    """Two networks of 2,000 parameters."""
    return tuple(match_width("dense", depth, params=2000, tolerance=0.05, **SHAPE) for depth in (2, 4))


def quick_costs() -> None:
    """Measure costs in a moment; how long is no matter here."""
    from jaxcnn.run import cost

    cost.TURN_SECONDS = 0.001


def small_study(out, *, workers=1, base=BASE, among=None, family=None, progress=False, **changes):
    """Run the study to its end, in this process; changes are other fields of `StudyConfig`, or parts of its runs."""
    quick_costs()
    parts = {name: changes.pop(name) for name in ("task", "tx", "augment", "variables", "on_step") if name in changes}
    config = StudyConfig(base, workers=workers, **{**DECLARED, **changes})
    return run_study(config, among or arms(), out=out, family=family, progress=progress, **parts)


def main(out: str, workers: int) -> None:
    """The same as a process of its own, with the exit codes of the command line."""
    try:
        small_study(Path(out), workers=workers)
    except Interrupted:
        sys.exit(130)


def forked(out: Path, workers: int = 1) -> multiprocessing.process.BaseProcess:
    """Start the study as a process of its own, not yet started.

    A server that has imported everything and has touched neither JAX's backend nor a thread forks it, which saves the
    seconds of an import.
    """
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["tests.study.small"])
    return context.Process(target=main, args=(str(out), workers))


def outcome(directory: Path) -> dict:
    """All that a study's result is made of, without what a clock measured."""
    runs = json.loads((directory / "runs.json").read_text())["runs"]
    for run in runs:
        del run["seconds"], run["finished"]
        for epoch in run["history"]:
            del epoch["seconds"], epoch["steps_timed"]
    with np.load(directory / "predictions.npz") as arrays:
        predictions = {name: arrays[name].tolist() for name in arrays.files}
    stages = {name: json.loads((directory / name).read_text()) for name in ("tuning.json", "pilot.json")}
    return {**stages, "runs": runs, "predictions": predictions}


def finished_runs(directory: Path) -> dict[str, tuple[int, int, str]]:
    """What every finished run's result is: file, time and bytes; a run that is trained again gets another."""
    found = {}
    for file in [each for depth in ("*/*/*", "*/*/*/*") for each in directory.glob(f"{depth}/seed*/result.json")]:
        about = file.stat()
        digest = hashlib.sha256(file.read_bytes()).hexdigest()
        found[str(file.parent.relative_to(directory))] = (about.st_ino, about.st_mtime_ns, digest)
    return found


def reported(directory: Path) -> list[str]:
    """Folders of the finished runs that opened the test split."""
    return [path for path in sorted(finished_runs(directory)) if path.startswith("runs")]


def journal(directory: Path) -> list[str]:
    """Paths of the runs in the order in which they finished."""
    lines = (directory / "journal.jsonl").read_text().splitlines()
    return [json.loads(line)["finished"] for line in lines]


def units(directory: Path) -> int:
    """Progress of a study: epochs and results on disk."""
    if not directory.exists():
        return 0
    # Not **, which would enter folders of checkpoints while they are removed.
    runs = [run for depth in ("*/*/*", "*/*/*/*") for run in directory.glob(f"{depth}/seed*")]
    lines = sum((run / "metrics.jsonl").read_bytes().count(b"\n") for run in runs if (run / "metrics.jsonl").exists())
    return lines + sum((run / "result.json").exists() for run in runs)


def files(directory: Path) -> dict[Path, bytes]:
    """Every file and what it holds."""
    return {path: path.read_bytes() for path in sorted(directory.rglob("*")) if path.is_file()}


def wait_until(condition, seconds: float = 300.0, pause: float = 0.005):
    """Wait for something to become true, and return it."""
    deadline = time.monotonic() + seconds
    while not (found := condition()):
        assert time.monotonic() < deadline, "it did not come about"
        time.sleep(pause)
    return found


def wait_for(process, condition):
    """Wait until a study that a subprocess runs has come that far; return what the condition gives."""
    found = wait_until(lambda: condition() or process.poll() is not None)
    assert process.poll() is None, process.stderr.read()
    return found


def alive(process: int) -> bool:
    """Whether a process exists and is no zombie."""
    try:
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


def children(process: int) -> list[int]:
    """Processes that a process has started."""
    found = []
    for task in Path(f"/proc/{process}/task").glob("*/children"):
        found += [int(child) for child in task.read_text().split()]
    return found


def environment() -> dict[str, str]:
    """For a subprocess that shares this one's compilation cache."""
    return {**os.environ, "PYTHONPATH": str(ROOT), "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0"}


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
