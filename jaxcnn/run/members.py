"""Runs of one architecture that differ in seed, learning rate and weight decay, trained in one program."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import replace
from functools import lru_cache
from pathlib import Path
from typing import Any

import jax
import numpy as np
from flax import linen

from jaxcnn.data import Dataset, load
from jaxcnn.data.augment import Augment
from jaxcnn.errors import InputError, require
from jaxcnn.records import as_record, flat
from jaxcnn.run.assemble import MakeSteps, Parts, assemble
from jaxcnn.run.folder import RunFolder, RunResult, load_result
from jaxcnn.run.own_parts import Optimizer, Own
from jaxcnn.run.runner import begin, complete, open_folder, run
from jaxcnn.spec import RunConfig
from jaxcnn.tasks import Task
from jaxcnn.train import Programs, Run, member_programs
from jaxcnn.train.parallel.programs import memory_bytes, memory_limit, resident, size

FREE = ("seed", "optimizer.learning_rate", "optimizer.weight_decay")
Report = Callable[[dict[str, Any]], None]


class TooMany(InputError):
    """More runs in one program than the device's memory holds; `fit` is the number that fits."""

    def __init__(self, message: str, fit: int):
        super().__init__(message)
        self.fit = fit


def run_members(
    configs: Sequence[RunConfig],
    outs: Sequence[Path | str] | None = None,
    *,
    model: linen.Module | None = None,
    task: Task | None = None,
    tx: Optimizer | None = None,
    augment: Augment | None = None,
    variables: Mapping[str, Any] | None = None,
    dataset: Dataset | None = None,
    together: int | None = None,
    progress: bool = True,
    on_epoch: Report | None = None,
) -> list[RunResult]:
    """Train several runs of one architecture side by side; each folder ends as `run` would have left it.

    Args:
        configs: The runs; equal but for seed, optimizer.learning_rate and optimizer.weight_decay.
        outs: A folder each; None keeps everything in memory. Finished runs are read, interrupted ones go on.
        together: How many in one program, on one device. None: on accelerators all, on a CPU one after another, which
            is faster there, and where `patience` may end them at different epochs.
        on_epoch: Called with each record of each run. The other arguments are those of `run`.

    Returns:
        The results in the order of the configs. Seconds are a run's share of the time that all took.

    Raises:
        InputError: Runs that cannot share a program; what `run` refuses.
        TooMany: More runs in one program than memory holds; an InputError that says how many fit.
        Interrupted: Ctrl-C; all runs under way are saved.

    >>> results = run_members([replace(config, seed=seed) for seed in range(4)])  # doctest: +SKIP
    """
    paths = [None] * len(configs) if outs is None else [Path(out) for out in outs]
    own = Own(model, task, tx, augment, variables).checked()
    _check(configs, paths, together)
    folders = [open_folder(config, path, own) for config, path in zip(configs, paths, strict=True)]
    results = {i: load_result(each.path) for i, each in enumerate(folders) if each is not None and each.finished}
    todo = [i for i in range(len(configs)) if i not in results]
    if together is None:
        one = jax.default_backend() == "cpu" or configs[0].patience is not None
        together = 1 if one else max(len(todo), 1)
    for first in range(0, len(todo), together):
        dataset = load(configs[0].data, progress=progress) if dataset is None else dataset
        chosen = todo[first : first + together]
        jobs = [(configs[i], paths[i]) for i in chosen]
        results |= zip(chosen, _train(jobs, own, dataset, progress, on_epoch), strict=True)
    return [results[i] for i in range(len(configs))]


def _check(configs: Sequence[RunConfig], folders: Sequence[Path | None], together: int | None) -> None:
    require(len(configs) > 0, "configs", "[]", "give at least one")
    if len(folders) != len(configs):
        raise InputError(f"outs: {len(folders)} folders for {len(configs)} configs; give one each")
    named = [folder.resolve() for folder in folders if folder is not None]
    if len(set(named)) < len(named):
        raise InputError("outs: a folder is given twice; give each run its own")
    alone = "must be at least 1; 1 trains one run after another"
    require(together is None or together >= 1, "together", together, alone)
    if together != 1 and len(configs) > 1 and configs[0].parallel not in ("auto", "jit"):
        raise InputError(
            f"parallel={configs[0].parallel!r}: runs in one program share one device; leave it at auto, or give "
            "together=1"
        )
    first = flat(as_record(configs[0]))
    for number, config in enumerate(configs):
        record = flat(as_record(config))
        for name in {**first, **record}:
            if name not in FREE and record.get(name) != first.get(name):
                raise InputError(
                    f"configs[{number}]: its {name} is {record.get(name)!r}, that of the first {first.get(name)!r}; "
                    f"runs in one program may differ in {', '.join(FREE)} only"
                )


def _train(
    jobs: Sequence[tuple[RunConfig, Path | None]],
    own: Own,
    dataset: Dataset,
    progress: bool,
    on_epoch: Report | None,
) -> list[RunResult]:
    """Train runs that fit into one program, apart those that stopped at different steps."""
    if len(jobs) == 1:
        ((config, out),) = jobs
        return [run(config, out=out, **own._asdict(), dataset=dataset, progress=progress, on_epoch=on_epoch)]
    results: dict[int, RunResult] = {}
    parts = assemble(replace(jobs[0][0], parallel="jit"), dataset, own)
    with ExitStack() as stack:
        runs: list[tuple[Run, RunFolder | None]] = []
        for config, out in jobs:
            folder = open_folder(config, out, own)
            runs.append((begin(stack, config, parts, dataset, folder, on_epoch=on_epoch), folder))
        for step in sorted({int(one.state.step) for one, _ in runs}):
            group = [i for i, (one, _) in enumerate(runs) if int(one.state.step) == step]
            results |= zip(group, _side_by_side([runs[i] for i in group], parts, dataset, progress), strict=True)
    return [results[i] for i in range(len(jobs))]


def _side_by_side(
    group: Sequence[tuple[Run, RunFolder | None]], parts: Parts, dataset: Dataset, progress: bool
) -> list[RunResult]:
    """Train runs that are at the same step in one program."""
    started, runs, programs = time.perf_counter(), [one for one, _ in group], parts.programs
    if len(runs) > 1:
        scan, deterministic = programs.stretch is not None, runs[0].config.deterministic
        programs = _programs(parts.make_steps, len(runs), scan, deterministic)
        _refuse_too_many(programs, runs, dataset)
    return complete(group, parts, programs, dataset, f"{dataset.name} {len(runs)} runs", started, progress)


@lru_cache(maxsize=4)
def _programs(make_steps: MakeSteps, members: int, scan: bool, deterministic: bool) -> Programs:
    """Make the programs of a group, cached so that equal groups of one architecture compile once."""
    return member_programs(*make_steps(None), members=members, scan=scan, deterministic=deterministic)


def _refuse_too_many(programs: Programs, runs: Sequence[Run], dataset: Dataset) -> None:
    """Compare the memory of the compiled step with that of the device, if the device reports it."""
    if (limit := memory_limit()) is None:
        return
    lengths = len(runs), runs[0].config.batch_size
    batch = {n: jax.ShapeDtypeStruct((*lengths, *v.shape[1:]), v.dtype) for n, v in dataset.train.items()}
    batch["mask"] = jax.ShapeDtypeStruct(lengths, np.float32)
    state, key = programs.join([one.state for one in runs]), programs.join([one.key for one in runs])
    step: Any = programs.train
    needed = memory_bytes(step.lower(state, batch, key).compile())
    if needed is None:
        return
    data = sum(size(split) for split in (dataset.train, dataset.validation) if resident(split))
    if needed + data > limit:
        fit = max(int((limit - data) * programs.members // needed), 1)
        raise TooMany(
            f"together={programs.members}: these runs take {(needed + data) / 2**20:,.0f} MiB at once and the device "
            f"has {limit / 2**20:,.0f}; {fit} fit, so give together={fit}",
            fit,
        )
