"""A worker: claims and trains runs of a study until none is left; any number of workers may share a study."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack, suppress
from functools import partial
from pathlib import Path
from typing import Any

import jax

from jaxcnn.data import Dataset, load
from jaxcnn.errors import InputError
from jaxcnn.models import module_record
from jaxcnn.records import as_record
from jaxcnn.run import run, run_members
from jaxcnn.run.folder import REMEDY, RunFolder
from jaxcnn.run.members import TooMany
from jaxcnn.runtime.environment import cores
from jaxcnn.study.arm import Arm
from jaxcnn.study.execution.journal import note
from jaxcnn.study.execution.locks import claim
from jaxcnn.study.plan import Plan
from jaxcnn.study.run_files import check_run
from jaxcnn.study.schedule import Agenda, Item, Metrics, agenda, config_of
from jaxcnn.study.stage_files import store_stages

FamilyFunction = Callable[[int, int], Any]  # (depth, width) -> Flax module
WAIT_SECONDS = 0.2
TOGETHER = 16
"""Largest number of runs in one program on an accelerator; fewer where its memory is short."""


def processes(workers: int | None) -> int:
    """Return the number of local worker processes: as given, else one per core on a CPU and one on an accelerator.

    Raises:
        InputError: Fewer than one.
    """
    if workers is None:
        return cores() if jax.default_backend() == "cpu" else 1
    if workers < 1:
        raise InputError(f"workers={workers}: must be at least 1, or leave it out")
    return workers


def family_name(family: FamilyFunction) -> str:
    """Return a family's name in its arms, "module:qualname": of the function, its class, or what a partial calls."""
    function = family.func if isinstance(family, partial) else family
    named = function if hasattr(function, "__qualname__") else type(function)
    return f"{named.__module__}:{named.__qualname__}"


def module_of(arm: Arm, family: FamilyFunction | None) -> Any:
    """Return an arm's module of a user-defined family; None for a family of jaxcnn."""
    return family(arm.depth, arm.width) if arm.spec is None and family is not None else None


class Reader:
    """Metrics of finished runs, each read from its folder once.

    Args:
        plan: The study.
        directory: Its folder.
        family: The user-defined family; without it the modules of such runs are not compared with it.
    """

    def __init__(self, plan: Plan, directory: Path, family: FamilyFunction | None = None) -> None:
        self._plan, self._directory, self._family = plan, directory, family
        self._metrics: dict[str, Metrics] = {}

    def __call__(self, item: Item) -> Metrics | None:
        """Return the metrics of a run, None while it is not finished.

        Raises:
            InputError: The folder holds another run than this item's, or a damaged one.
        """
        if item.path not in self._metrics:
            folder = RunFolder(self._directory / item.path)
            if not folder.finished:
                return None
            record = as_record(config_of(self._plan, item))
            if item.arm.spec is None:
                module = module_of(item.arm, self._family)
                record["model"] = folder.read("config.json").get("model") if module is None else module_record(module)
            if difference := folder.difference(record):
                raise InputError(
                    f"{str(folder.path)!r}: it holds another run than this study's ({difference}); restore it, or "
                    "delete that folder and run the study again, which trains it anew"
                )
            result = folder.read_result()
            check_run(result, folder.path / "result.json", "its run", REMEDY, tested=item.stage == "runs")
            self._metrics[item.path] = result["metrics"]
        return self._metrics[item.path]


def work(
    plan: Plan,
    directory: Path,
    *,
    family: FamilyFunction | None = None,
    dataset: Dataset | None = None,
    worker: tuple[int, int] = (0, 1),
    together: int | None = None,
    on_epoch: Callable[[Agenda], None] | None = None,
) -> None:
    """Train the runs of a study that no other worker has claimed, until all runs are finished.

    Args:
        plan: The study.
        directory: Its folder.
        family: The user-defined family of the arms.
        dataset: Its images. Default: loaded before the first run.
        worker: Number of this worker and number of workers: they start at different arms, and share a stage's runs.
        together: Largest number of runs of one arm and stage in one program. Default: 1 on a CPU, where that is
            faster, and several on an accelerator.
        on_epoch: Called with the agenda after each epoch trained here.

    Raises:
        InputError: A run refuses its settings, or a folder holds something else than the plan says.
        Interrupted: Ctrl-C; the current run is saved up to its last checkpoint.
    """
    read, compiled, (number, count) = Reader(plan, directory, family), list[Arm](), worker
    if together is None:
        one = jax.default_backend() == "cpu" or plan.base.parallel not in ("auto", "jit")
        together = 1 if one else TOGETHER
    while (now := agenda(plan, read)).todo:
        store_stages(directory, plan, now)
        most = min(together, -(-len(now.todo) // count))  # No accelerator is idle for the sake of larger programs.
        for item in _ordered(now.todo, compiled, number / count):
            with ExitStack() as claims:
                if items := _claimed(claims, directory, item, now.todo, read, most):
                    dataset = dataset or load(plan.base.data)
                    _train(plan, directory, items, family, dataset, partial(on_epoch, now) if on_epoch else None)
                    compiled = [item.arm, *(arm for arm in compiled if arm != item.arm)]
                    break
        else:
            time.sleep(WAIT_SECONDS)  # All remaining runs of this stage are claimed by other workers.


def _claimed(
    claims: ExitStack, directory: Path, first: Item, todo: Sequence[Item], read: Reader, most: int
) -> list[Item]:
    """Claim a run and others of its arm and stage, which differ in seed and setting only; none if it is not free."""
    alike = [item for item in todo if item != first and (item.stage, item.arm) == (first.stage, first.arm)]
    claimed: list[Item] = []
    for item in [first, *alike]:
        if len(claimed) < most and claims.enter_context(claim(directory, item.path)):
            with suppress(OSError):
                os.scandir(directory / item.path).close()  # NFS: opening a folder refreshes what is known of its files.
            if read(item) is None:
                claimed.append(item)
        if not claimed:
            break
    return claimed


def _train(
    plan: Plan,
    directory: Path,
    items: Sequence[Item],
    family: FamilyFunction | None,
    dataset: Dataset,
    after_epoch: Callable[[], None] | None,
) -> None:
    options: dict[str, Any] = {
        "model": module_of(items[0].arm, family),
        "dataset": dataset,
        "progress": False,
        "on_epoch": lambda record: after_epoch() if after_epoch else None,
    }
    configs, outs = [config_of(plan, item) for item in items], [directory / item.path for item in items]
    if len(items) == 1:
        run(configs[0], out=outs[0], **options)
    else:
        try:
            run_members(configs, outs, together=len(items), **options)
        except TooMany as error:
            run_members(configs, outs, together=error.fit, **options)
    for item in items:
        note(directory, item.path)


def _ordered(items: Sequence[Item], compiled: Sequence[Arm], start: float) -> list[Item]:
    """Sort by arm: those compiled here first, the latest before all; then the others from a share of the list on."""
    order = {label: number for number, label in enumerate(dict.fromkeys(item.arm.label for item in items))}

    def rank(item: Item) -> tuple[int, int]:
        known = compiled.index(item.arm) if item.arm in compiled else len(compiled)
        return known, (order[item.arm.label] - int(start * len(order))) % len(order)

    return sorted(items, key=rank)
