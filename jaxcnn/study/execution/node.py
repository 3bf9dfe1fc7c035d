"""What a worker on a cluster's node does: see that the folder is the study's, train what it is given, answer."""

from __future__ import annotations

import os
import platform
import tempfile
import threading
import traceback
from _thread import interrupt_main
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal, NamedTuple

import jax

from jaxcnn.data import Dataset, load
from jaxcnn.errors import InputError
from jaxcnn.spec import DataConfig
from jaxcnn.study.execution.estimate import arm_costs
from jaxcnn.study.execution.locks import claim
from jaxcnn.study.execution.worker import FamilyFunction, train_free
from jaxcnn.study.plan import Plan
from jaxcnn.study.plan_file import identity, load_plan
from jaxcnn.study.schedule import Item

WATCH_SECONDS = 1.0


class Job(NamedTuple):
    """What every worker of a study is told.

    Args:
        plan: The study.
        directory: Its folder, as the driver names it.
        home: The driver's working directory: paths of data may be relative to it.
        family: The user's own family.
        cores: That it keeps to.
        gpus: That it was given.
        driver: Claim that the driver holds for as long as there is something to do; free, it says stop.
    """

    plan: Plan
    directory: Path
    home: Path
    family: FamilyFunction | None
    cores: int
    gpus: float
    driver: str


class Answer(NamedTuple):
    """What a worker says in the end. An exception would lose its class on the way, and its traceback is no answer.

    Args:
        kind: done, refused (bad input), failed (a bug) or stopped (asked to, with its run saved).
        value: What was asked for; the sentence of a refusal, the traceback of a failure.
    """

    kind: Literal["done", "refused", "failed", "stopped"]
    value: Any = None


def train(job: Job, items: Sequence[Item]) -> Answer:
    """Train those of the given runs that no other process is at; done: paths of those that are finished."""
    return _answer(
        job, lambda: train_free(job.plan, job.directory, items, family=job.family, images=lambda: images(job.plan))
    )


def measure(job: Job) -> Answer:
    """Measure what a step of every arm costs on this worker's share of a node."""
    return _answer(job, lambda: arm_costs(job.plan, images(job.plan), job.family))


def images(plan: Plan) -> Dataset:
    """A study's images, loaded once a process: Ray gives a process several runs, one after another."""
    return _images(plan.base.data)


@lru_cache(maxsize=1)
def _images(config: DataConfig) -> Dataset:
    return load(config)


def _answer(job: Job, work: Callable[[], Any]) -> Answer:
    try:
        _settle(job)
        with _watching(job):
            return Answer("done", work())
    except InputError as error:
        return Answer("refused", str(error))
    except KeyboardInterrupt:
        return Answer("stopped")
    except Exception:
        return Answer("failed", traceback.format_exc())


@contextmanager
def _watching(job: Job) -> Iterator[None]:
    """Interrupt the block, as Ctrl-C would, once the driver has let its claim go or has died."""
    over = threading.Event()

    def watch() -> None:
        while not over.wait(WATCH_SECONDS):
            with suppress(OSError, InputError):  # A file system may be away for a moment.
                if _abandoned(job):
                    interrupt_main()
                    return

    watcher = threading.Thread(target=watch, daemon=True)
    watcher.start()
    try:
        yield
    finally:
        over.set()
        watcher.join()


def _abandoned(job: Job) -> bool:
    with claim(job.directory, job.driver) as free:
        return free


def _settle(job: Job) -> None:
    """Refuse a place where the study is not, or has not what it was promised; keep to the cores that were given."""
    with suppress(OSError):  # A node may not have that folder; data named by a full path need none.
        os.chdir(job.home)
    here = f"out={job.directory}: on the node {platform.node()}, a worker of the cluster,"
    try:
        held = load_plan(job.directory)
    except InputError as error:
        raise InputError(
            f"{here} it is not this study ({error}); put it on a file system that all nodes share"
        ) from None
    if identity(held) != identity(job.plan):
        raise InputError(f"{here} it holds another study; put it on a file system that all nodes share")
    if _abandoned(job):
        raise InputError(
            f"{here} the driver's lock does not show; put it on a file system that all nodes share and that locks "
            "files for all of them, such as NFS 4"
        )
    if not job.gpus:
        keep_to(job.cores, Path(tempfile.gettempdir()) / f"jaxcnn-cores-{os.getuid()}")
    elif jax.default_backend() == "cpu":
        raise InputError(
            f"gpus_per_run={job.gpus:g}: JAX finds no GPU on the node {platform.node()}; install jaxcnn[gpu] there, or "
            "give gpus_per_run=0"
        )


def keep_to(count: int, folder: Path) -> None:
    """Keep this process to some cores, to those that no other worker on this machine keeps to, where there are such.

    XLA starts a thread for every core that its process may use, and what those threads add up may differ in rounding
    with their number: so the number is kept even where cores have to be shared. Call it before JAX's backend starts; a
    process that keeps to so few cores already is left alone.

    Args:
        count: Cores.
        folder: Holds a lock a core; the system drops them when the process ends.
    """
    if not hasattr(os, "sched_setaffinity") or len(os.sched_getaffinity(0)) <= count:
        return
    cores = sorted(os.sched_getaffinity(0))
    with suppress(OSError):
        folder.mkdir(mode=0o700, exist_ok=True)
    mine: list[int] = []
    for core in cores:
        if len(mine) < count and _hold(folder / f"{core}.lock"):
            mine.append(core)
    rest = [core for core in cores if core not in mine]
    start = os.getpid() % len(rest)
    os.sched_setaffinity(0, [*mine, *rest[start:], *rest[:start]][:count])


def _hold(file: Path) -> bool:
    """Lock a file for as long as this process lives: it is never closed."""
    import fcntl

    try:
        lock = os.open(file, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o600)
    except OSError:
        return False
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(lock)
        return False
    return True
