"""One config, several seeds: the mean and spread that a single run hides."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from statistics import mean, stdev

from flax import linen
from rich.console import Console
from rich.table import Table

from jaxcnn.errors import InputError
from jaxcnn.run.runner import RunResult, run
from jaxcnn.runtime.files import write_json
from jaxcnn.spec import RunConfig


def run_seeds(
    config: RunConfig,
    seeds: Sequence[int],
    *,
    out: Path,
    model: linen.Module | None = None,
    progress: bool = True,
) -> list[RunResult]:
    """Run each seed in `out/seedN`, print the table and write `out/summary.json`; finished seeds are not repeated.

    Args:
        config: The run; its seed is replaced.
        seeds: One run each.
        out: Folder of all of them.
        model: Your own module, in place of `config.model`.
        progress: Show progress and the table.
    """
    if not seeds:
        raise InputError("seeds=(): give at least one, such as 0 1 2")
    results = [
        run(replace(config, seed=seed), out=out / f"seed{seed}", model=model, progress=progress) for seed in seeds
    ]
    summary = summarise(results)
    write_json(out / "summary.json", summary)
    if progress:
        Console().print(_table(summary))
    return results


def summarise(results: Sequence[RunResult]) -> dict[str, object]:
    """Metrics of the last epoch by seed, their mean and standard deviation, cost and wall time."""
    names = list(results[0].metrics)
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
            for name in names
        },
        "seconds": [result.seconds for result in results],
        "data": {key: results[0].data[key] for key in ("name", "sizes", "validation_hash")},
        "environment": results[0].environment,
    }


def _table(summary: dict) -> Table:
    table = Table(title=f"{summary['data']['name']}: {summary['params']:,} parameters, {summary['macs']:,} MACs")
    for column in ("last epoch", "mean", "sd", *(f"seed {seed}" for seed in summary["seeds"])):
        table.add_column(column, justify="right")
    for name, values in summary["metrics"].items():
        spread = "" if values["sd"] is None else f"{values['sd']:.4f}"
        table.add_row(
            name.replace("_", " "), f"{values['mean']:.4f}", spread, *(f"{value:.4f}" for value in values["runs"])
        )
    return table
