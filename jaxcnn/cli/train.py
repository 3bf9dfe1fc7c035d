"""`jaxcnn train`, `jaxcnn evaluate`, `jaxcnn predict`: train one model, measure it, classify images with it."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

from tyro.conf import Positional

from jaxcnn.cli.entry import DIVERGED
from jaxcnn.cli.flags import UNPREFIXED, parse, starting_point
from jaxcnn.cli.output import print_json, print_table
from jaxcnn.errors import InputError, printable
from jaxcnn.spec import RunConfig


@dataclass(frozen=True)
class TrainFlags:
    """Train one model.

    `--model NAME` (see `jaxcnn models`) and `--data NAME` (see `jaxcnn data`) set the starting point; every other flag
    changes one field of it.

    Args:
        config: The run.
        out: Folder of the run; the same command resumes an interrupted run. Default: nothing is saved.
        tensorboard: Also write TensorBoard events (extra `tensorboard`).
        quiet: Show no progress.
        hosts: Train one run on several processes: auto (detected automatically on SLURM, Open MPI, Kubernetes and TPU
            pods) or ADDRESS:PORT of the first one. Start the same command on each, with a folder that all of them see.
        host_count: With ADDRESS:PORT: number of processes.
        host_index: With ADDRESS:PORT: index of this process, from 0.
        host_timeout: Seconds of silence after which a host counts as dead.
    """

    config: Annotated[RunConfig, UNPREFIXED]
    out: Path | None = None
    tensorboard: bool = False
    quiet: bool = False
    hosts: str | None = None
    host_count: int | None = None
    host_index: int | None = None
    host_timeout: int = 30


def train(arguments: Sequence[str]) -> None:
    """Train one model and print its result."""
    start, rest = starting_point(arguments)
    flags = parse(TrainFlags(start), rest, "jaxcnn train")
    _join_hosts(flags)
    from jaxcnn.run import run
    from jaxcnn.train.parallel.hosts import first_host, others_alive

    with others_alive(str(flags.out)):
        result = run(
            flags.config, out=flags.out, progress=not flags.quiet and first_host(),
            tensorboard=flags.tensorboard and flags.out is not None,
        )  # fmt: skip
        if not first_host():
            return
    rows = [("parameters", f"{result.params:,}"), ("MACs", f"{result.macs:,}")]
    rows += [(name.replace("_", " "), f"{value:.4f}") for name, value in result.metrics.items()]
    rows += [(f"{name} seconds", f"{value:.4g}") for name, value in result.seconds.items()]
    print_table(rows)
    if flags.out is not None:
        print(f"written to {flags.out}")
    if result.diverged is not None:
        names = result.diverged["nonfinite"][:3]
        print(
            f"diverged at step {result.diverged['step']}: the loss or gradients are not finite"
            f"{', first those of ' + ', '.join(names) if names else ''}; lower the learning rate, or see that step's "
            "examples and norms in result.json",
            file=sys.stderr,
        )
        sys.exit(DIVERGED)


def _join_hosts(flags: TrainFlags) -> None:
    if flags.hosts is None:
        if flags.host_count is not None or flags.host_index is not None:
            raise InputError("host_count, host_index: they need --hosts; give auto, or the first host's ADDRESS:PORT")
        return
    from jaxcnn.train.parallel.hosts import join_hosts

    if flags.config.parallel in ("jit", "pmap"):
        raise InputError(f"parallel={flags.config.parallel!r}: several hosts share a mesh; leave it at auto")
    join_hosts(flags.hosts, flags.host_count, flags.host_index, flags.host_timeout)


def evaluate(
    run: Positional[Path],
    split: str = "test",
    checkpoint: Literal["last", "best"] = "last",
    data: str | None = None,
    data_dir: str | None = None,
    json: bool = False,
) -> None:
    """Measure a run's checkpoint on a split of its data.

    Args:
        run: Folder of the run.
        split: test, validation or train.
        checkpoint: last, or best (lowest validation loss).
        data: Image folder or .npz file, if it has moved.
        data_dir: Folder of TFDS sets, if they have moved.
        json: Print JSON.
    """
    from jaxcnn.run import evaluate_run

    metrics = evaluate_run(run, split=split, data=data, data_dir=data_dir, checkpoint=checkpoint)
    if json:
        print_json({"split": split, **metrics})
    else:
        print_table((f"{split} {name}", f"{value:.4f}") for name, value in metrics.items())


def predict(
    run: Positional[Path],
    images: Positional[tuple[Path, ...]],
    top: int = 5,
    checkpoint: Literal["last", "best"] = "last",
    json: bool = False,
) -> None:
    """Classify image files of any size and mode.

    Args:
        run: Folder of the run.
        images: Image files.
        top: Number of classes to list.
        checkpoint: last, or best (lowest validation loss).
        json: Print JSON.
    """
    if not images:
        raise InputError("images: none given; name one or more files after the run")
    from jaxcnn.run import predict as predict_images

    predictions = predict_images(run, images, top=top, checkpoint=checkpoint)
    if json:
        print_json([{name: value for name, value in each.items() if name != "text"} for each in predictions])
    for each in () if json else predictions:
        if "error" not in each:
            print(f"{each['path']}: {each['text']}")
    bad = [each["error"] for each in predictions if "error" in each]
    for text in bad[1:]:
        print(f"jaxcnn: {printable(text)}", file=sys.stderr)
    if bad:  # The others are printed; the exit code says that some are missing.
        raise InputError(bad[0])
