"""`jaxcnn train`, `evaluate` and `predict`."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any, Literal

import tyro

from jaxcnn.cli.entry import DIVERGED
from jaxcnn.errors import InputError
from jaxcnn.spec import RunConfig


@dataclass(frozen=True)
class TrainFlags:
    """Train one model.

    `--model NAME` (see `jaxcnn models`) and `--data NAME` (see `jaxcnn data`) set the starting point; every other flag
    changes one field of it.

    Args:
        config: The run.
        out: Folder of the run; the same command goes on where an interrupted one stopped.
        tensorboard: Also write TensorBoard events (needs the extra `tensorboard`).
        quiet: No progress.
        hosts: Several processes train this run together: auto (SLURM, Open MPI, Kubernetes and TPU pods say who they
            are), or ADDRESS:PORT of the first; start the same command on each, on a folder that all of them see.
        host_count: With ADDRESS:PORT: how many processes there are.
        host_index: With ADDRESS:PORT: which of them this is, from 0.
        host_timeout: Seconds for which a host may be silent before the others take it for dead.
    """

    config: Annotated[RunConfig, tyro.conf.arg(name="")]
    out: Path | None = None
    tensorboard: bool = False
    quiet: bool = False
    hosts: str | None = None
    host_count: int | None = None
    host_index: int | None = None
    host_timeout: int = 30


@dataclass(frozen=True)
class EvaluateFlags:
    """Measure a run's latest checkpoint on a split of its data.

    Args:
        run: Folder of the run.
        split: test, validation or train.
        checkpoint: last, or best (lowest validation loss).
        data_dir: Where TFDS sets lie now, if they moved.
        json: Print JSON.
    """

    run: tyro.conf.Positional[Path]
    split: str = "test"
    checkpoint: Literal["last", "best"] = "last"
    data_dir: str | None = None
    json: bool = False


@dataclass(frozen=True)
class PredictFlags:
    """Classify image files of any size and mode.

    Args:
        run: Folder of the run.
        images: Image files.
        top: How many classes to list.
        checkpoint: last, or best (lowest validation loss).
        json: Print JSON.
    """

    run: tyro.conf.Positional[Path]
    images: tyro.conf.Positional[tuple[Path, ...]]
    top: int = 5
    checkpoint: Literal["last", "best"] = "last"
    json: bool = False


def train(arguments: Sequence[str]) -> None:
    """Train one model and print its result."""
    start, rest = starting_point(arguments)
    flags = tyro.cli(TrainFlags, args=rest, prog="jaxcnn train", default=TrainFlags(start))
    _join(flags)
    from jaxcnn.run import run
    from jaxcnn.train.parallel.hosts import first_host, others_alive

    with others_alive(str(flags.out)):
        result = run(
            flags.config, out=flags.out, progress=not flags.quiet and first_host(),
            tensorboard=flags.tensorboard and flags.out is not None,
        )  # fmt: skip
        if not first_host():
            return
    numbers = {"parameters": f"{result.params:,}", "MACs": f"{result.macs:,}"}
    numbers |= {name.replace("_", " "): f"{value:.4f}" for name, value in result.metrics.items()}
    numbers |= {f"{name} seconds": f"{value:.4g}" for name, value in result.seconds.items()}
    _table(numbers)
    if flags.out is not None:
        print(f"written to {flags.out}")
    if result.diverged is not None:
        lost = result.diverged
        where = f", gradients of {', '.join(lost['nonfinite'][:3])} first of all" if lost["nonfinite"] else ""
        print(
            f"diverged at step {lost['step']}: its loss or gradients are not finite{where}; lower the learning rate, "
            "or look into result.json, which holds that step's examples and norms",
            file=sys.stderr,
        )
        sys.exit(DIVERGED)


def _join(flags: TrainFlags) -> None:
    if flags.hosts is None:
        if flags.host_count is not None or flags.host_index is not None:
            raise InputError("host_count, host_index: they need --hosts; give auto, or the first host's ADDRESS:PORT")
        return
    from jaxcnn.train.parallel.hosts import join_hosts

    if flags.config.parallel in ("jit", "pmap"):
        raise InputError(f"parallel={flags.config.parallel!r}: several hosts share a mesh; leave it at auto")
    join_hosts(flags.hosts, flags.host_count, flags.host_index, flags.host_timeout)


def evaluate(arguments: Sequence[str]) -> None:
    """Print the metrics of a run's checkpoint."""
    flags = tyro.cli(EvaluateFlags, args=arguments, prog="jaxcnn evaluate")
    from jaxcnn.run import evaluate_run

    metrics = evaluate_run(flags.run, split=flags.split, data_dir=flags.data_dir, checkpoint=flags.checkpoint)
    if flags.json:
        print(json.dumps({"split": flags.split, **metrics}))
    else:
        _table({f"{flags.split} {name}": f"{value:.4f}" for name, value in metrics.items()})


def predict(arguments: Sequence[str]) -> None:
    """Print what a run's model says of image files."""
    flags = tyro.cli(PredictFlags, args=arguments, prog="jaxcnn predict")
    if not flags.images:
        raise InputError("images: none were given; name one file or more after the run")
    from jaxcnn.run import predict as predict_images

    predictions = predict_images(flags.run, flags.images, top=flags.top, checkpoint=flags.checkpoint)
    if flags.json:
        fields = [{**p._asdict(), "path": str(p.path), "top": [list(pair) for pair in p.top]} for p in predictions]
        print(json.dumps(fields))
        return
    for p in predictions:
        listed = ", ".join(f"{name} {share:.3f}" for name, share in p.top)
        print(f"{p.path}: {p.name} {p.probability:.3f}   (top {len(p.top)}: {listed})")


def starting_point(arguments: Sequence[str]) -> tuple[RunConfig, list[str]]:
    """Take `--model NAME` and `--data NAME` out of the flags; the rest changes fields of the config they name."""
    config, rest = RunConfig(), []
    words = iter(arguments)
    for word in words:
        flag, equals, value = word.partition("=")
        if flag not in ("--model", "--data"):
            rest.append(word)
            continue
        name = value if equals else next(words, None)
        if name is None or name.startswith("--"):
            raise InputError(
                f"{flag}: a name must follow; `jaxcnn {'models' if flag == '--model' else 'data'}` lists them"
            )
        if flag == "--data":
            config = replace(config, data=replace(config.data, name=name))
        else:
            from jaxcnn.models import named

            config = replace(config, model=named(name))
    return config, rest


def _table(numbers: dict[str, Any]) -> None:
    from rich.console import Console
    from rich.table import Table

    table = Table(show_header=False)
    for name, value in numbers.items():
        table.add_row(name, value)
    Console().print(table)
