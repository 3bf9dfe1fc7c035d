"""Many runs side by side: one process each, a line as each one ends."""

from __future__ import annotations

import multiprocessing
from collections.abc import Sequence
from concurrent.futures import FIRST_COMPLETED, ProcessPoolExecutor, wait
from itertools import islice
from pathlib import Path

from rich.console import Console

from jaxcnn.errors import InputError
from jaxcnn.run.runner import RunResult, run
from jaxcnn.spec import RunConfig

Job = tuple[RunConfig, Path]


def run_all(jobs: Sequence[Job], *, workers: int = 1, progress: bool = True) -> list[RunResult]:
    """Train several configs, each in its folder; finished ones are read, interrupted ones go on.

    Args:
        jobs: (config, folder) pairs.
        workers: Processes at once; they share the cores or the accelerator as the system lets them.
        progress: One worker: the bar of each run. Several: a line as each run ends.

    Returns:
        The results in the order of the jobs.

    Raises:
        InputError: A config or folder that cannot be; `workers` below 1; no jobs.
        Interrupted: Ctrl-C; the runs under way are saved as far as their checkpoints go.
    """
    if workers < 1:
        raise InputError(f"workers={workers}: give 1 or more")
    if not jobs:
        raise InputError("jobs=(): give at least one (config, folder)")
    if workers == 1:
        return [run(config, out=folder, progress=progress) for config, folder in jobs]
    console = Console(stderr=True, quiet=not progress)
    results: dict[int, RunResult] = {}
    with ProcessPoolExecutor(min(workers, len(jobs)), multiprocessing.get_context("spawn")) as pool:
        # No more than the workers have in hand: what waited in the pool's queue would still be run after Ctrl-C.
        left = iter(enumerate(jobs))
        running = {pool.submit(_train, job): place for place, job in islice(left, workers)}
        while running:
            for future in wait(running, return_when=FIRST_COMPLETED).done:
                result = results[running.pop(future)] = future.result()
                running |= {pool.submit(_train, job): place for place, job in islice(left, 1)}
                error = 100 - 100 * result.metrics["validation_accuracy"]
                console.print(f"{len(results)}/{len(jobs)} {result.directory}: validation error {error:.2f} %")
    return [results[place] for place in range(len(jobs))]


def _train(job: Job) -> RunResult:
    return run(job[0], out=job[1], progress=False)
