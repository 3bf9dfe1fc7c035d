"""Run a study: its plan on disk first, then every pending run, locally or on Ray; resumable."""

import os
import shlex
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from functools import cache, partial
from pathlib import Path
from typing import Any, TypeVar

import jax
import numpy as np

from jaxcnn.data import load
from jaxcnn.data.augment import Augment
from jaxcnn.data.loading import divided, warn_of_blank
from jaxcnn.data.sources.catalog import located
from jaxcnn.errors import InputError, require
from jaxcnn.records import check_choices
from jaxcnn.run import load_result
from jaxcnn.run.assemble import assemble
from jaxcnn.run.data import check_data
from jaxcnn.run.folder import RunFolder
from jaxcnn.runtime.onednn import load_meanwhile
from jaxcnn.runtime.signals import Interrupted
from jaxcnn.spec import DataConfig, StepCost, StudyConfig
from jaxcnn.study.arm import Arm
from jaxcnn.study.budget.costs import Builder
from jaxcnn.study.budget.match import match_widths
from jaxcnn.study.execution.estimate import arm_costs
from jaxcnn.study.execution.given import NOTHING, Given, MakeChain, OnStudyStep, importable
from jaxcnn.study.execution.local import Workers, check_workers, started_workers, work_locally
from jaxcnn.study.execution.locks import claim, complete_journal
from jaxcnn.study.execution.progress import StudyBar
from jaxcnn.study.execution.ray import Cluster, check_ray, connected, costs_on_ray, work_on_ray
from jaxcnn.study.execution.worker import WAIT_SECONDS, Reader, processes, work
from jaxcnn.study.plan import FILE, Plan, check_settings, load_plan, make_plan, store_plan
from jaxcnn.study.result import FILES, CostsFile, StudyResult, load_study, store_runs, store_stages, write_file
from jaxcnn.study.schedule import next_runs, resolution, run_config
from jaxcnn.tasks import Task

Config = TypeVar("Config", bound=StudyConfig)


def run_study(
    config: StudyConfig,
    arms: Sequence[Arm] | None = None,
    *,
    out: Path | str,
    family: Builder | tuple[Builder, ...] | None = None,
    task: Task | None = None,
    tx: MakeChain | None = None,
    augment: Augment | None = None,
    variables: Callable[[Arm], Mapping[str, Any]] | None = None,
    on_step: OnStudyStep | None = None,
    progress: bool = True,
    command: str = "",
) -> StudyResult:
    """Tune every arm alike, run each with several seeds, measure the cost of a step, and gather the results.

    The same call resumes an interrupted study, and several processes may make it at once, on one machine or a cluster:
    each run is trained by one of them. Data at another path are accepted if they are those that its runs recorded.

    Args:
        config: Its settings.
        arms: Networks from `match_width` or `match_depth`, two depths or more at every budget. Default: the config's
            depths at its budgets.
        out: Folder of the study. On Ray, all nodes must see it.
        family: A user-defined family, `(depth, width) -> Flax module`, instead of the config's; or two of them, to
            compare one family with the other (`jaxcnn.study.plan.make_plan`): the config's first depth is then that of
            the first family, its second that of the second.
        task: A task, as for `run`; its metrics need loss and accuracy, its saved arrays labels and predictions.
        tx: (learning_rate, weight_decay) -> optax chain, instead of the config's optimizer; the study tunes both.
        augment: (key, images, start) -> images, as for `run`.
        variables: (arm) -> initial variables, as for `run`.
        on_step: As for `run`, with the name of the run before its other arguments. Worker processes call it where they
            can import it.
        progress: Show one bar over the whole study (a line per stage if stderr is no terminal).
        command: Command line that the plan records. Default: that of this process.

    Returns:
        The result, as `load_study` reads it.

    Raises:
        InputError: The folder holds another study, the arms or seeds cannot be compared, or a run refuses its settings.
        Interrupted: Ctrl-C; the same call resumes.

    >>> result = run_study(StudyConfig(depths=(8, 20), params=(27_000,)), out="runs/study")  # doctest: +SKIP
    """
    families = () if family is None else family if isinstance(family, tuple) else (family,)
    given = Given(families, task, tx, augment, variables, on_step)
    out, count = Path(out), check_place(config, given)
    check_settings(config)  # at once; matching widths takes seconds
    require(out.is_dir() or not out.exists(), "out", repr(str(out)), "it is a file; name a folder")
    stored = load_plan(out) if (out / FILE).exists() else None
    place = located(config.base.data).name  # The same in every working folder; a former plan may name it relatively.
    config = _with_data(config, place)
    with _interruptible(), ExitStack() as stack:
        finished = all((out / name).exists() for name in FILES)
        if not finished and config.place == "local" and jax.default_backend() == "cpu":
            load_meanwhile()
        workers = stack.enter_context(started_workers(given, count)) if count > 1 and not finished else None
        try:
            planned = _planned_name(config, out, stored)
            if arms is None:
                arms = match_widths(config, family=given.families, known=() if stored is None else stored.arms)
        except InputError as error:
            if stored is None or os.path.exists(place):
                raise
            raise InputError(f"{error}; if the study's data have moved, give their new place as data") from None
        command = command or command_line(sys.argv[1:])
        plan = make_plan(_with_data(config, planned), arms, command=command, own=given.names)
        given.check(plan)
        cluster = cache(lambda: stack.enter_context(connected(plan))) if plan.place == "ray" else None
        declared = None
        if not (out / FILE).exists():  # Refuse what can be refused before anything is written.
            first = next_runs(plan, lambda study_run: None).pending[0]
            dataset = load(plan.images(first.fold), progress=progress)
            assemble(run_config(plan, first), dataset, given.of(first.arm))
            check_resampling(plan)
            if plan.measure.counts_images:
                whole = load(replace(plan.images(first.fold), train_size=None)) if plan.folds else dataset
                declared = resolution(plan, sum(whole.sizes.values()) if plan.folds else dataset.sizes["test"])
            if progress and declared:
                print(declared["equivalence"], file=sys.stderr)
            if cluster:
                cluster()
        plan = _with_data(store_plan(plan, out, declared), place)
        with StudyBar(plan, out, shown=progress) as bar:
            try:
                _run(plan, out, given, workers, cluster, bar)
            except KeyboardInterrupt:
                raise Interrupted(bar.interrupted(), resumable=True) from None
    return load_study(out)


def check_resampling(plan: Plan) -> None:
    """Refuse choices of training images that share most of them.

    Raises:
        InputError: They are more than half of the training images.
    """
    if plan.resample_train:
        every = load(replace(plan.images(plan.parts[0]), train_size=None)).sizes["train"]
        most = f"with resample_train at most half of the {every:,} training images: choices would be alike"
        require(2 * (plan.base.data.train_size or 0) <= every, "train_size", plan.base.data.train_size, most)


def check_place(config: StudyConfig, given: Given = NOTHING) -> int:
    """Refuse a number of workers, or settings of Ray, that a study cannot have.

    Returns:
        The number of local worker processes; 0 on Ray.

    Raises:
        InputError: The message names the field and its value.
    """
    check_choices(config)
    if config.place == "ray":
        check_ray(config, given)
        return 0
    for name in ("ray_address", "cores_per_run", "gpus_per_run"):
        if (value := getattr(config, name)) is not None:
            raise InputError(f"{name}={value}: it is for a Ray cluster; give place=ray as well, or leave it out")
    count = processes(config.workers)
    if config.workers is None and not all(importable(each) for _, each in given.functions):
        count = 1
    check_workers(given, count)
    return count


def _run(
    plan: Plan,
    out: Path,
    given: Given,
    workers: Workers | None,
    cluster: Callable[[], Cluster] | None,
    bar: StudyBar,
) -> None:
    """Train the pending runs, then write the files that gather them; what exists is checked and left as it is."""
    read = Reader(plan, out, given)
    now = next_runs(plan, read)
    if not now.pending and all((out / name).exists() for name in FILES):
        store_stages(out, now)
        return
    dataset = load(plan.images(plan.parts[0]), progress=bar.shown)  # Here first: workers find the images in the cache.
    warn_of_blank(dataset)
    for folder in _recorded_data(out):
        check_data(folder, divided(dataset, _present(plan.base.data, folder)))
    bar.refresh()
    if now.pending and cluster:
        work_on_ray(cluster(), plan, out, given, bar.refresh)
    elif now.pending and workers:
        work_locally(workers, plan, out, given, bar.refresh)
    elif now.pending:
        work(plan, out, given=given, dataset=dataset, on_epoch=bar.refresh)
    bar.refresh(last=True)
    local = partial(arm_costs, plan, dataset, given)
    _finish(plan, out, read, (lambda: costs_on_ray(cluster(), plan, out, given)) if cluster else local)


def _finish(plan: Plan, out: Path, read: Reader, measure: Callable[[], tuple[StepCost, ...]]) -> None:
    """Write costs, then runs.json, once: a second process waits for the first and finds them written."""
    now = next_runs(plan, read)
    store_stages(out, now)
    while not all((out / name).exists() for name in FILES):
        with claim(out, "finish") as claimed:
            if claimed:
                complete_journal(out, [each.path for each in now.runs])
                if not (out / "costs.json").exists():
                    # After the runs, so that no process of the study runs beside it.
                    costs = {arm.label: cost for arm, cost in zip(plan.arms, measure(), strict=True)}
                    write_file(out, "costs.json", CostsFile(costs))
                if not all((out / name).exists() for name in FILES):
                    reported = [each for each in now.runs if each.stage == "runs"]
                    store_runs(out, reported, load_result, _groups(plan))
        if not claimed:
            time.sleep(WAIT_SECONDS)


def _groups(plan: Plan) -> np.ndarray | None:
    """Return the group of each test image, of one fold after another; None where the plan names no groups."""
    if plan.base.data.groups is None:
        return None
    return np.concatenate([load(plan.images(fold)).groups["test"] for fold in plan.parts])


@contextmanager
def _interruptible() -> Iterator[None]:
    """Turn Ctrl-C before the first run into the sentence of one that comes later."""
    try:
        yield
    except Interrupted:
        raise
    except KeyboardInterrupt:
        raise Interrupted(resumable=True) from None


def _with_data(config: Config, name: str) -> Config:
    return replace(config, base=replace(config.base, data=replace(config.base.data, name=name)))


def _planned_name(config: StudyConfig, out: Path, stored: Plan | None) -> str:
    """Return the name under which a stored plan has the data of a config, after a check if they have moved.

    Raises:
        InputError: They are not those that the study's runs recorded.
    """
    place = config.base.data.name
    if stored is None or located(stored.base.data).name == place:
        return place if stored is None else stored.base.data.name
    recorded = _recorded_data(out)
    if not os.path.isabs(place) or not recorded:
        return place  # another study, which `store_plan` refuses
    check_data(recorded[0], load(_present(config.base.data, recorded[0])))
    return stored.base.data.name


def _recorded_data(out: Path) -> list[RunFolder]:
    """Return one of the runs of a study that have recorded their data, if there are any."""
    # os.walk, unlike rglob, goes on when another process removes a checkpoint meanwhile.
    places = sorted(place for place, _, names in os.walk(out) if "data.json" in names)
    return [RunFolder(Path(place)) for place in places[:1]]


def _present(data: DataConfig, folder: RunFolder) -> DataConfig:
    """Return the config of the images of a recorded run at their present place."""
    recorded = folder.read_config()[0].data
    return replace(data, split_seed=recorded.split_seed, train_seed=recorded.train_seed, fold=recorded.fold)


def command_line(words: Sequence[str]) -> str:
    """Return a command line of the program that this process runs, for the report."""
    program = Path(sys.argv[0])
    start = ["python", program.as_posix()] if program.suffix == ".py" else [program.name]
    if program.name == "__main__.py":
        start = ["python", "-m", program.parent.name]
    return shlex.join([*start, *words])
