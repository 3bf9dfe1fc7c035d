"""Several runs: one config with several seeds, or many configs side by side, one process each."""

from __future__ import annotations

import multiprocessing
from collections.abc import Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from dataclasses import replace
from itertools import islice
from pathlib import Path
from statistics import mean, stdev
from typing import Any

from rich.console import Console
from rich.table import Table

from jaxcnn.errors import require
from jaxcnn.run.folder import RunResult
from jaxcnn.run.runner import run
from jaxcnn.runtime.backend import collect_rarely
from jaxcnn.runtime.console import print_fitting
from jaxcnn.runtime.files import write_json
from jaxcnn.spec import RunConfig


def run_all(jobs: Sequence[tuple[RunConfig, Path]], *, workers: int = 1, progress: bool = True) -> list[RunResult]:
    """Train several configs, each in its folder; finished ones are read, interrupted ones go on.

    Args:
        jobs: (config, folder) pairs.
        workers: Processes at once; they share the cores or the accelerator as the system lets them.
        progress: One worker: the bar of each run. Several: a line as each run ends.

    Returns:
        The results in the order of the jobs.

    Raises:
        InputError: A config or folder that cannot be; `workers` below 1; no jobs.
        Interrupted: Ctrl-C; the runs under way are saved up to their last checkpoints.
    """
    require(workers >= 1, "workers", workers, "give 1 or more")
    require(len(jobs) > 0, "jobs", "()", "give at least one (config, folder)")
    if workers == 1:
        return [run(config, out=folder, progress=progress) for config, folder in jobs]
    console = Console(stderr=True, quiet=not progress)
    results: dict[int, RunResult] = {}
    count, context = min(workers, len(jobs)), multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(count, context, initializer=collect_rarely) as pool:
        # No more than the workers have in hand: what waited in the pool's queue would still be run after Ctrl-C.
        left = iter(enumerate(jobs))
        running: dict[Future[RunResult], int] = {}
        while len(results) < len(jobs):
            for place, (config, folder) in islice(left, workers - len(running)):
                running[pool.submit(run, config, out=folder, progress=False)] = place
            for future in wait(running, return_when=FIRST_COMPLETED).done:
                result = results[running.pop(future)] = future.result()
                measured = {n: v for n, v in result.metrics.items() if n.startswith("validation_")}
                shown = ", ".join(f"{name.replace('_', ' ')} {value:.4f}" for name, value in measured.items())
                console.print(f"{len(results)}/{len(jobs)} {result.directory}: {shown}")
    return [results[place] for place in range(len(jobs))]


def run_seeds(
    config: RunConfig, seeds: Sequence[int], *, out: Path, progress: bool = True, **parts: Any
) -> list[RunResult]:
    """Run each seed in `out/seedN`, print the table and write `out/summary.json`; finished seeds are not repeated.

    Args:
        config: The run; its seed is replaced.
        seeds: One run each.
        out: Folder of all of them.
        progress: Show progress and the table.
        parts: User-defined parts (model, task, tx, augment, variables) and callbacks, as for `run`.

    >>> results = run_seeds(RunConfig(epochs=20), range(5), out=Path("runs/seeds"))  # doctest: +SKIP
    """
    require(len(seeds) > 0, "seeds", "()", "give at least one, such as 0 1 2")
    results = [run(replace(config, seed=seed), out=out / f"seed{seed}", progress=progress, **parts) for seed in seeds]
    summary = summarise(results)
    write_json(out / "summary.json", summary)
    if progress:
        drop = [f"seed {seed}" for seed in reversed(seeds)]
        print_fitting(lambda without: _table(summary, without), drop)
    return results


def summarise(results: Sequence[RunResult]) -> dict[str, object]:
    """Summarise the last epoch's metrics by seed: mean, standard deviation, cost and wall time."""
    return {
        "seeds": [result.config.seed for result in results],
        "params": results[0].params,
        "macs": results[0].macs,
        "metrics": {
            name: {
                "runs": (values := [result.metrics[name] for result in results]),
                "mean": mean(values),
                "sd": stdev(values) if len(values) > 1 else None,
            }
            for name in results[0].metrics
        },
        "seconds": [result.seconds for result in results],
        "data": {key: results[0].data[key] for key in ("name", "sizes", "validation_hash")},
        "environment": results[0].environment,
    }


def _table(summary: dict, without: Sequence[str]) -> Table:
    table = Table(title=f"{summary['data']['name']}: {summary['params']:,} parameters, {summary['macs']:,} MACs")
    seeds = [n for n, seed in enumerate(summary["seeds"]) if f"seed {seed}" not in without]
    table.add_column("last epoch", justify="right")
    for column in ("mean", "sd", *(f"seed {summary['seeds'][n]}" for n in seeds)):
        table.add_column(column, justify="right", no_wrap=True, min_width=len(column))
    for name, values in summary["metrics"].items():
        spread = "" if values["sd"] is None else f"{values['sd']:.4f}"
        table.add_row(
            name.replace("_", " "), f"{values['mean']:.4f}", spread, *(f"{values['runs'][n]:.4f}" for n in seeds)
        )
    return table
