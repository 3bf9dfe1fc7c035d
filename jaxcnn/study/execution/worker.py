"""One process at a study's work: claim a free run, train it, look again; any number of processes may do so at once."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Any

import jax

from jaxcnn.data import Dataset, load
from jaxcnn.errors import InputError
from jaxcnn.run import run, run_members
from jaxcnn.run.assembly import module_record
from jaxcnn.run.folder import REMEDY, RunDirectory
from jaxcnn.run.members import TooMany
from jaxcnn.runtime.environment import cores
from jaxcnn.spec import as_record
from jaxcnn.study.arm import Arm
from jaxcnn.study.execution.journal import note
from jaxcnn.study.execution.locks import claim
from jaxcnn.study.plan import Plan
from jaxcnn.study.run_files import check_run
from jaxcnn.study.schedule import Agenda, Item, Metrics, agenda, config_of
from jaxcnn.study.stage_files import store_stages

FamilyFunction = Callable[[int, int], Any]  # (depth, width) -> Flax module
WAIT_SECONDS = 0.2
TOGETHER = 16  # runs in one program on an accelerator; fewer where its memory is short


def processes(asked: int | None) -> int:
    """How many processes work at a study: as asked, else one per core on a CPU and one on an accelerator.

    Raises:
        InputError: Fewer than one.
    """
    if asked is not None and asked < 1:
        raise InputError(f"workers={asked}: give 1 or more, or leave it out")
    if asked is not None:
        return asked
    return cores() if jax.default_backend() == "cpu" else 1


def family_name(family: FamilyFunction) -> str:
    """A family as its arms name it, "module:qualname": of the function, of its class, or of what a partial calls."""
    function = family.func if isinstance(family, partial) else family
    named = function if hasattr(function, "__qualname__") else type(function)
    return f"{named.__module__}:{named.__qualname__}"


def module_of(arm: Arm, family: FamilyFunction | None) -> Any:
    """The user's own module of an arm; None where it is of a family of ours."""
    return family(arm.depth, arm.width) if arm.spec is None and family is not None else None


class Reader:
    """Metrics of finished runs, each read from its folder once.

    Args:
        plan: The study.
        directory: Its folder.
        family: The user's own family; without it the modules of such runs are not compared with it.
    """

    def __init__(self, plan: Plan, directory: Path, family: FamilyFunction | None = None) -> None:
        self._plan, self._directory, self._family = plan, directory, family
        self._known: dict[str, Metrics] = {}

    def __call__(self, item: Item) -> Metrics | None:
        """Metrics of a run, None while it is not finished.

        Raises:
            InputError: The folder holds another run than this item's, or a damaged one.
        """
        if item.path not in self._known:
            folder = RunDirectory(self._directory / item.path)
            if not folder.finished:
                return None
            if difference := folder.difference(self._record(item, folder)):
                raise InputError(
                    f"{str(folder.path)!r}: it holds another run than this study's ({difference}); restore it, or "
                    "delete that folder and run the study again, which trains it anew"
                )
            result = folder.read_result()
            check_run(result, folder.path / "result.json", "its run", REMEDY, tested=item.stage == "runs")
            self._known[item.path] = result["metrics"]
        return self._known[item.path]

    def _record(self, item: Item, folder: RunDirectory) -> dict[str, Any]:
        record = as_record(config_of(self._plan, item))
        if item.arm.spec is None:
            module = module_of(item.arm, self._family)
            record["model"] = folder.read("config.json").get("model") if module is None else module_record(module)
        return record


def work(
    plan: Plan,
    directory: Path,
    *,
    family: FamilyFunction | None = None,
    dataset: Dataset | None = None,
    place: float = 0.0,
    together: int | None = None,
    on_epoch: Callable[[Agenda], None] | None = None,
) -> None:
    """Do what a study has to do until nothing is left.

    Args:
        plan: The study.
        directory: Its folder.
        family: The user's own family, where the arms are of one.
        dataset: Its images; None loads them when they are needed.
        together: Runs of one arm and stage that are trained in one program, at most; None: 1 on a CPU, where that is
            faster, and several on an accelerator.
        place: Where among the arms this process begins, 0 to 1: several that share a study begin at different ones.
        on_epoch: Called with the agenda after each epoch trained here.

    Raises:
        InputError: A run refuses its settings, or a folder holds what the plan does not say.
        Interrupted: Ctrl-C; the run under way is saved as far as its checkpoints go.
    """
    read, compiled = Reader(plan, directory, family), list[Arm]()
    if together is None:
        one = jax.default_backend() == "cpu" or plan.base.parallel not in ("auto", "jit")
        together = 1 if one else TOGETHER
    while (now := agenda(plan, read)).todo:
        store_stages(directory, plan, now)
        for item in _ordered(now.todo, compiled, place):
            with ExitStack() as claims:
                if mine := _claimed(claims, directory, item, now.todo, read, together):
                    dataset = dataset or load(plan.base.data)
                    _train(plan, directory, mine, family, dataset, partial(on_epoch, now) if on_epoch else None)
                    compiled = [item.arm, *(arm for arm in compiled if arm != item.arm)]
                    break
        else:
            time.sleep(WAIT_SECONDS)  # Others are at all that is left of this stage.


def train_free(
    plan: Plan,
    directory: Path,
    items: Sequence[Item],
    *,
    family: FamilyFunction | None = None,
    images: Callable[[], Dataset],
) -> list[str]:
    """Train those of the given runs that no other process is at, in one program where they are several.

    Args:
        plan: The study.
        directory: Its folder.
        items: Runs of one arm and stage.
        family: The user's own family, where the arms are of one.
        images: Loads them, where there is something to train.

    Returns:
        Paths of the runs that are finished now; at the others another process is at work.

    Raises:
        InputError, Interrupted: As `work`.
    """
    read = Reader(plan, directory, family)
    with ExitStack() as claims:
        own = [item for item in items if claims.enter_context(claim(directory, item.path))]
        if todo := [item for item in own if read(item) is None]:
            _train(plan, directory, todo, family, images())
    return [item.path for item in own]


def _claimed(
    claims: ExitStack, directory: Path, item: Item, todo: Sequence[Item], read: Reader, most: int
) -> list[Item]:
    """A run and others of its arm and stage, which differ in seed and setting only: those that are free."""
    alike = [other for other in todo if other != item and (other.stage, other.arm) == (item.stage, item.arm)]
    mine: list[Item] = []
    for each in [item, *alike]:
        if len(mine) < most and claims.enter_context(claim(directory, each.path)) and read(each) is None:
            mine.append(each)
        if not mine:  # Another process is at the run that was asked for.
            break
    return mine


def _train(
    plan: Plan,
    directory: Path,
    items: Sequence[Item],
    family: FamilyFunction | None,
    dataset: Dataset,
    after_epoch: Callable[[], None] | None = None,
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


def _ordered(items: Sequence[Item], compiled: Sequence[Arm], place: float) -> list[Item]:
    """The arms already compiled here first, the latest before all, then round them from this process's own place."""
    order = {label: number for number, label in enumerate(dict.fromkeys(item.arm.label for item in items))}
    start = int(place * len(order))

    def rank(item: Item) -> tuple[int, int]:
        known = compiled.index(item.arm) if item.arm in compiled else len(compiled)
        return known, (order[item.arm.label] - start) % len(order)

    return sorted(items, key=rank)
