"""A study's driver on a cluster: hand out every run that can be trained now, look again, hand out what was lost."""

from __future__ import annotations

import math
import sys
import time
import uuid
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from jaxcnn.errors import InputError
from jaxcnn.runtime.signals import Interrupted, graceful
from jaxcnn.study.execution import node
from jaxcnn.study.execution.cluster import Site
from jaxcnn.study.execution.local import POLL_SECONDS, STOP_SECONDS
from jaxcnn.study.execution.locks import FOLDER, claim
from jaxcnn.study.execution.worker import TOGETHER, WAIT_SECONDS, FamilyFunction, Reader
from jaxcnn.study.plan import Plan
from jaxcnn.study.result import Cost
from jaxcnn.study.schedule import Item, agenda
from jaxcnn.study.stage_files import store_stages

AGAIN = 3  # times that a run is submitted again whose worker died
SEEN_SECONDS = 180.0  # after which a finished run that cannot be seen here is nowhere that this process looks
STOPPED = "interrupted; finished runs are kept, and the same command goes on from there"


def work_on_cluster(
    plan: Plan, directory: Path, family: FamilyFunction | None, site: Site, refresh: Callable[[], None]
) -> None:
    """Submit the runs of a study, stage after stage, until nothing is left to do.

    Args:
        plan: The study.
        directory: Its folder, which every node sees under the same name.
        family: The user's own family; Ray carries it to the workers.
        site: The cluster.
        refresh: Called about twice a second.

    Raises:
        InputError: A worker refused its input, its own sentence; or the workers of one run died again and again.
        RuntimeError: A worker failed; its traceback went to stderr.
        Interrupted: SIGINT or SIGTERM arrived; the runs under way are saved as far as their checkpoints go.
    """
    read = Reader(plan, directory, family)
    with graceful() as asked:
        crew = Crew(site, job_of(plan, directory, family, site))
        with driving(crew.job, crew.leave):  # Whatever happens here, nobody is left behind.
            while (now := agenda(plan, read)).todo and not asked():
                store_stages(directory, plan, now)
                crew.submit(now.todo)
                crew.collect()
                refresh()
        if asked():
            raise Interrupted(STOPPED, resumable=True)


def costs_on_cluster(plan: Plan, directory: Path, family: FamilyFunction | None, site: Site) -> tuple[Cost, ...]:
    """What a step of every arm costs, measured by one worker on what a run gets of the cluster.

    Raises:
        InputError: It refused its input, or died again and again.
        RuntimeError: It failed; its traceback went to stderr.
    """
    job, error = job_of(plan, directory, family, site), None
    with driving(job):
        for _ in range(1 + AGAIN):
            try:
                return _value(site.ray.get(site.submit(node.measure, "costs", job)))
            except deaths(site) as died:
                error = died
    raise _too_often("the measurement of costs", 1 + AGAIN, error)


def job_of(plan: Plan, directory: Path, family: FamilyFunction | None, site: Site) -> node.Job:
    """What every worker is told."""
    driver = f"driver-{uuid.uuid4().hex[:12]}"
    return node.Job(plan, directory.resolve(), Path.cwd(), family, site.cores, site.gpus, driver)


@contextmanager
def driving(job: node.Job, leave: Callable[[], None] = lambda: None) -> Iterator[None]:
    """Hold the claim that keeps a job's workers at work; they stop when it goes, however it goes.

    Args:
        job: What they are told.
        leave: Called once it has gone.
    """
    try:
        with claim(job.directory, job.driver):
            yield
    finally:
        leave()
        (job.directory / FOLDER / f"{job.driver}.lock").unlink(missing_ok=True)


class Crew:
    """The tasks that are on their way.

    Args:
        site: The cluster.
        job: What every worker is told.
    """

    def __init__(self, site: Site, job: node.Job) -> None:
        self._site, self.job = site, job
        self._tasks: dict[Any, tuple[Item, ...]] = {}
        self._deaths = Counter[str]()
        self._told: dict[str, float] = {}

    def leave(self) -> None:
        """Wait until workers that train have seen that the driver is gone, and have saved.

        Tasks that have not begun end as they begin, and all end with the connection to the cluster. None is cancelled:
        Ray ends the driver where a task that is cancelled is just coming to its end.
        """
        deadline = time.monotonic() + STOP_SECONDS
        under_way = [item for items in self._tasks.values() for item in items]
        while not all(map(self._free, under_way)) and time.monotonic() < deadline:
            time.sleep(WAIT_SECONDS)

    def submit(self, todo: Sequence[Item]) -> None:
        """Hand out all that nobody is at.

        Raises:
            InputError: A worker has finished a run that cannot be seen in this process's folder.
        """
        on_the_way = {item.path for items in self._tasks.values() for item in items}
        free = [item for item in todo if item.path not in on_the_way and not self._finished(item) and self._free(item)]
        for items in groups(free, together(self.job.plan, self._site, len(free)), self._deaths):
            name = items[0].path + f" and {len(items) - 1} more" * (len(items) > 1)
            self._tasks[self._site.submit(node.train, name, self.job, items)] = items

    def collect(self) -> None:
        """Wait for an answer, half a second at most, and make what it says of it.

        Raises:
            InputError, RuntimeError: As `work_on_cluster`.
        """
        if not self._tasks:  # Others are at all that is left of this stage.
            time.sleep(POLL_SECONDS)
            return
        ready, _ = self._site.ray.wait(list(self._tasks), timeout=POLL_SECONDS)
        for task in ready:
            items = self._tasks.pop(task)
            try:
                finished = _value(self._site.ray.get(task))
            except deaths(self._site) as error:
                self._bury(items, error)
            else:
                self._told |= dict.fromkeys(finished, time.monotonic())

    def _finished(self, item: Item) -> bool:
        """Whether a worker said so already: a shared file system may show its result half a minute later."""
        told = self._told.get(item.path)
        if told is not None and time.monotonic() - told > SEEN_SECONDS:
            raise InputError(
                f"out={self.job.directory}: a worker finished {item.path}, and its result does not show here; put the "
                "study on a file system that all nodes share"
            )
        return told is not None

    def _free(self, item: Item) -> bool:
        with claim(self.job.directory, item.path) as free:
            return free

    def _bury(self, items: Sequence[Item], error: BaseException) -> None:
        self._deaths.update(item.path for item in items)
        for item in items:
            if (count := self._deaths[item.path]) > AGAIN:
                raise _too_often(f"run {item.path}", count, error)


def together(plan: Plan, site: Site, count: int) -> int:
    """Runs in one program: several on a GPU, as `work` has it, but no GPU is left idle for it."""
    if not 0 < site.gpus <= 1 or plan.base.parallel not in ("auto", "jit"):
        return 1
    return max(1, min(TOGETHER, math.ceil(count / site.slots)))


def groups(items: Sequence[Item], most: int, deaths: Counter[str]) -> Iterator[tuple[Item, ...]]:
    """Runs of one arm and stage, so many at most; one whose worker died goes alone."""
    alike: dict[Any, list[Item]] = {}
    for item in items:
        alike.setdefault(item.path if deaths[item.path] else (item.stage, item.arm), []).append(item)
    for each in alike.values():
        for first in range(0, len(each), most):
            yield tuple(each[first : first + most])


class Stopped(Exception):
    """A worker was asked to stop by somebody else, such as a node that goes out of service; its run is saved."""


def deaths(site: Site) -> tuple[type[BaseException], ...]:
    """How a worker can end without an answer."""
    names = (
        "WorkerCrashedError", "NodeDiedError", "LocalRayletDiedError", "OutOfMemoryError", "ObjectLostError",
        "TaskCancelledError",
    )  # fmt: skip
    return (*(getattr(site.ray.exceptions, name) for name in names), Stopped)


def _value(answer: node.Answer) -> Any:
    if answer.kind == "refused":
        raise InputError(answer.value)
    if answer.kind == "failed":
        sys.stderr.write(answer.value)
        raise RuntimeError("a worker of the study failed; what it said stands above")
    if answer.kind == "stopped":
        raise Stopped
    return answer.value


def _too_often(what: str, count: int, error: BaseException | None) -> InputError:
    return InputError(
        f"{what}: {count} workers died at it, the last by {type(error).__name__}, perhaps for want of memory; finished "
        "runs are kept; run the same again, with more cores_per_run where nodes are short of memory"
    )
