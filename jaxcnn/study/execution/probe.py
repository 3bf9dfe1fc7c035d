"""What runs of a study take in its worker processes: parts of runs are timed for some arms."""

from __future__ import annotations

import math
import os
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import NamedTuple

import jax
import numpy as np

from jaxcnn.data import Dataset, steps_per_epoch, take
from jaxcnn.data.splits import content_hash
from jaxcnn.run.assemble import Parts, assemble, initial_state
from jaxcnn.run.cost import step_memory
from jaxcnn.run.data import describe
from jaxcnn.run.folder import RunFolder
from jaxcnn.run.own_parts import Own
from jaxcnn.run.runner import begin, complete
from jaxcnn.spec import RunConfig
from jaxcnn.study.arm import Arm
from jaxcnn.study.execution.given import Given
from jaxcnn.study.plan import Plan
from jaxcnn.study.schedule import next_runs, run_config
from jaxcnn.train.evaluation import totals
from jaxcnn.train.parallel import stretch_length

ENOUGH_SECONDS = 13.0
"""An arm after the first is timed only if that would end by then, counted from the start of the process."""
EPOCHS, EPOCH_SECONDS = 3, 0.15
"""Epochs of a timed run, and about the length of one of them."""


class RunTimes(NamedTuple):
    """What the runs of an arm take in a worker process, in seconds."""

    compile: float  #: Tracing, compiling and first calls, once per process.
    run: float  #: A run without its epochs: begin, restore or initialise, hash the data, write the result.
    epoch: float  #: End of an epoch: log and checkpoint.
    step: float  #: A training step.
    check: float  #: A batch of validation or test.
    memory: int | None = None  #: Bytes of the step's program.
    measured: bool = True  #: False: estimated from other arms.


class Probe(NamedTuple):
    """Times of all arms by label, and the seconds in which a worker process is ready to train."""

    arms: dict[str, RunTimes]
    start: float


def probe(plan: Plan, dataset: Dataset, given: Given, count: int, before: tuple[float, float]) -> Probe:
    """Time runs of the shallowest arm, and of the deepest and others where that takes a few seconds only.

    With several workers the others are stood in for by processes that do nothing but take their share of the cores.

    Args:
        plan, dataset, given: The study, its images and its user-defined functions.
        count: Number of workers.
        before: Seconds of importing, and of all that this process has done so far.
    """
    slower, begun, times = 1.0, time.perf_counter() - before[1], dict[str, RunTimes]()
    ordered = sorted(plan.arms, key=lambda arm: (arm.depth, arm.macs))
    ordered, last = dict.fromkeys([ordered[0], ordered[-1], *ordered]), (0.0, 1)
    for arm in ordered:
        now = time.perf_counter()
        if times and now - begun + last[0] * math.sqrt(arm.depth / last[1]) > ENOUGH_SECONDS:
            break
        times[arm.label], slower = time_run(_config(plan, arm), dataset, given.of(arm), count)
        last = time.perf_counter() - now, arm.depth
    return Probe(estimated(plan.arms, times), before[0] * slower if count > 1 else 0.0)


@contextmanager
def as_worker(count: int) -> Iterator[None]:
    """Keep to one worker's share of the cores, while endless loops take those of the others."""
    if count < 2 or not hasattr(os, "sched_setaffinity"):
        yield
        return
    cores, others = sorted(os.sched_getaffinity(0)), list[subprocess.Popen[bytes]]()
    try:
        for number in range(1, min(count, len(cores))):
            others.append(subprocess.Popen([sys.executable, "-S", "-c", "while True: pass"]))
            os.sched_setaffinity(others[-1].pid, cores[number::count])
        _keep_to(cores[::count])
        yield
    finally:
        _keep_to(cores)
        for other in others:
            other.kill()
            other.wait()


def _keep_to(cores: Sequence[int]) -> None:
    for thread in os.listdir("/proc/self/task"):
        with suppress(OSError):  # it has ended
            os.sched_setaffinity(int(thread), cores)


def _config(plan: Plan, arm: Arm) -> RunConfig:
    return run_config(plan, next(each for each in next_runs(plan, lambda run: None).runs if each.arm == arm))


def time_run(config: RunConfig, dataset: Dataset, own: Own, count: int) -> tuple[RunTimes, float]:
    """Train a few short epochs on a part of the images, as a run of a study does, and time the parts.

    The programs are those of the whole run.

    Args:
        config: The run; `own` are its user-defined parts.
        dataset: Its images.
        count: Number of workers beside which it is timed.

    Returns:
        The times, and how much longer than its processor time a computation takes here.
    """
    size, begun, used = config.batch_size, time.perf_counter(), time.process_time()
    parts, steps = assemble(config, dataset, own), steps_per_epoch(dataset.sizes["train"], size)
    length = stretch_length(parts.programs, steps)
    _, step, *_ = _short_run(parts, config, dataset, own, length)  # compiles
    wall, processor = time.perf_counter() - begun, time.process_time() - used
    batches = max(length, min(steps, round(EPOCH_SECONDS / step)) // length * length)
    with as_worker(count):
        check, slower = _time_check(parts, config, dataset)
        total, step, epoch, warm = _short_run(parts, config, dataset, own, batches)
        begun = time.perf_counter()
        describe(dataset)
        content_hash(dataset.load_test())
        hashing = time.perf_counter() - begun
    end = max(epoch - batches * step - check, 0.0)
    run = max(total - warm - EPOCHS * (batches * step + check + end), 0.0)
    memory = step_memory(config, dataset, own) if parts.programs.mode == "jit" else None
    first = processor * slower if count > 1 else wall  # workers compile on their share of the cores
    once = max(first - run - EPOCHS * (step + check + end), 0.0)
    return RunTimes(once, run + step + check + hashing, end, step, check, memory), slower


def _short_run(
    parts: Parts, config: RunConfig, dataset: Dataset, own: Own, batches: int
) -> tuple[float, float, float, float]:
    """Return the seconds of a whole short run, of a step, from epoch to epoch, and of its warm-up."""
    count = min(batches * config.batch_size, dataset.sizes["train"])
    some, few = take(dataset.train, np.arange(count)), take(dataset.train, np.arange(min(count, config.batch_size)))
    sizes = {"train": count, "validation": len(few["labels"]), "test": len(few["labels"])}
    part = dataset._replace(train=some, validation=few, load_test=lambda: few, sizes=sizes)
    short = replace(
        config, epochs=EPOCHS, patience=None, keep=1, checkpoint_every=1, checkpoint_steps=None,
        checkpoint_minutes=None, evaluate_test=True,
    )  # fmt: skip
    begun, ends = time.perf_counter(), list[float]()
    with TemporaryDirectory() as place, ExitStack() as stack:
        folder = RunFolder(Path(place) / "run")
        one = begin(stack, short, parts, part, folder, on_epoch=lambda record: ends.append(time.perf_counter()))
        result = complete([(one, folder)], parts, parts.programs, part, "", begun, False)[0]
        total = time.perf_counter() - begun
    step = min(record["seconds"] / record["steps_timed"] for record in result.history[1:])
    return total, step, (ends[-1] - ends[0]) / (len(ends) - 1), result.seconds["compile"]


def _time_check(parts: Parts, config: RunConfig, dataset: Dataset) -> tuple[float, float]:
    """Return the seconds of a batch of validation, and how much longer they are than its processor time."""
    programs, size, count = parts.programs, config.batch_size, dataset.sizes["validation"]
    state = programs.place(initial_state(parts, config, dataset, jax.random.key(0)))
    feed, batches, took, used = programs.feed(dataset.validation), 1, math.nan, math.nan
    for done in (1, 1, 0):  # the first one compiles
        begun, before = time.perf_counter(), time.process_time()
        totals(state, programs, feed, min(batches * size, count), size)
        took, used = (time.perf_counter() - begun) / batches, (time.process_time() - before) / batches
        batches = max(1, min(steps_per_epoch(count, size), round(EPOCH_SECONDS / took))) if done else batches
    return took, max(took / used, 1.0)


def estimated(arms: Sequence[Arm], times: Mapping[str, RunTimes]) -> dict[str, RunTimes]:
    """Return the times of all arms: those that were not measured follow from depths, MACs and the measured ones.

    Between two measured depths, compiling time and step time per MAC are linear in the depth. From one: compiling takes
    as the square root of the depth (ResNet-8 to ResNet-20: 1.6 times, of 2.5 times the layers), a step as the MACs.
    """
    known = sorted((arm for arm in arms if arm.label in times), key=lambda arm: arm.depth)
    depths = [arm.depth for arm in known]
    one = len(set(depths)) == 1

    def between(arm: Arm, values: Sequence[float]) -> float:
        return float(np.interp(arm.depth, depths, values))

    result: dict[str, RunTimes] = {}
    for arm in arms:
        if arm.label in times:
            result[arm.label] = times[arm.label]
            continue
        measured = [times[each.label] for each in known]
        growth = (arm.depth / depths[0]) ** 0.5 if one else 1.0
        result[arm.label] = RunTimes(
            growth * between(arm, [each.compile for each in measured]),
            between(arm, [each.run for each in measured]),
            between(arm, [each.epoch for each in measured]),
            arm.macs * between(arm, [each.step / max(a.macs, 1) for each, a in zip(measured, known, strict=True)]),
            arm.macs * between(arm, [each.check / max(a.macs, 1) for each, a in zip(measured, known, strict=True)]),
            None,
            measured=False,
        )
    return result
