"""A worker: claims and trains runs of a study until none is left; any number of workers may share a study."""

import os
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack, suppress
from functools import partial
from pathlib import Path

import jax

from jaxcnn.data import Dataset, load
from jaxcnn.data.loading import divided
from jaxcnn.errors import InputError
from jaxcnn.run import run, run_members
from jaxcnn.run.folder import REMEDY, RunFolder
from jaxcnn.run.members import TooMany
from jaxcnn.run.own_parts import Own, Traced, run_record, traced_for
from jaxcnn.runtime.environment import cores
from jaxcnn.study.arm import Arm
from jaxcnn.study.execution.given import NOTHING, Given
from jaxcnn.study.execution.locks import claim, note
from jaxcnn.study.plan import Plan
from jaxcnn.study.result import check_run, store_stages
from jaxcnn.study.schedule import Metrics, StudyRun, next_runs, run_config

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
        raise InputError(f"workers={workers}: must be at least 1")
    return workers


class Reader:
    """Metrics of finished runs, each read from its folder once; without `given` user-defined parts are not compared."""

    def __init__(self, plan: Plan, directory: Path, given: Given | None = None) -> None:
        self._plan, self._directory, self._given = plan, directory, given
        self._metrics: dict[str, Metrics] = {}
        self._traced: dict[str, tuple[Own, Traced]] = {}

    def __call__(self, study_run: StudyRun) -> Metrics | None:
        """Return the metrics of a run, None while it is not finished.

        Raises:
            InputError: The folder holds another run, or a damaged one.
        """
        if study_run.path not in self._metrics:
            folder = RunFolder(self._directory / study_run.path)
            if not folder.finished:
                return None
            config, arm = run_config(self._plan, study_run), study_run.arm
            if arm.label not in self._traced:
                own = Own() if self._given is None else self._given.of(arm)
                self._traced[arm.label] = own, traced_for(folder, config, own)
            record = run_record(config, *self._traced[arm.label])
            if self._given is None:
                stored = folder.read("config.json")
                record |= {"model": stored.get("model")} if arm.spec is None else {}
                record |= {"own": stored["own"]} if "own" in stored else {}
            if difference := folder.difference(record):
                raise InputError(
                    f"{str(folder.path)!r}: it holds another run than this study's ({difference}); restore it, or "
                    "move that folder away and run the study again, which trains it anew"
                )
            result, path, tested = folder.read_result(), folder.path / "result.json", study_run.stage == "runs"
            check_run(result, path, "its run", self._plan.measure, REMEDY, tested=tested)
            self._metrics[study_run.path] = result.metrics
            if self._plan.tuning.method == "smooth":
                data = folder.read("data.json")
                own = {"validation_images": data["sizes"]["validation"], "validation_hash": data["validation_hash"]}
                self._metrics[study_run.path] = result.metrics | own | {"test_images": data["sizes"]["test"]}
        return self._metrics[study_run.path]


def work(
    plan: Plan,
    directory: Path,
    *,
    given: Given = NOTHING,
    dataset: Dataset | None = None,
    worker: tuple[int, int] = (0, 1),
    together: int | None = None,
    on_epoch: Callable[[], None] = lambda: None,
) -> None:
    """Train the runs of a study that no other worker has claimed, until all runs are finished.

    Args:
        plan, directory, given: The study, its folder and its user-defined parts.
        dataset: Its images. Default: loaded before the first run.
        worker: Number of this worker and number of workers: they start at different arms and share a stage's runs.
        together: Largest number of runs of one arm and stage in one program. Default: 1 on a CPU, where that is
            faster, and several on an accelerator.
        on_epoch: Called after each epoch trained here.

    Raises:
        InputError: A run refuses its settings, or a folder holds something else than the plan says.
        Interrupted: Ctrl-C; the current run is saved up to its last checkpoint.
    """
    read, compiled, (number, count) = Reader(plan, directory, given), list[Arm](), worker
    if together is None or given.on_step is not None:
        one = jax.default_backend() == "cpu" or plan.base.parallel not in ("auto", "jit") or given.on_step is not None
        together = 1 if one else TOGETHER
    while (now := next_runs(plan, read)).pending:
        store_stages(directory, now)
        most = min(together, -(-len(now.pending) // count))  # Larger programs would leave accelerators idle.
        divided = now.stage == "tuning" and plan.tuning.method == "smooth"
        most = 1 if divided or plan.resample_train else most  # each has its own images
        for first in by_arm(now.pending, compiled, number / count):
            with ExitStack() as claims:
                if claimed := _claim(claims, directory, first, now.pending, read, most):
                    dataset = dataset or load(plan.images(plan.parts[0]))
                    _train(plan, directory, claimed, given, dataset, lambda record: on_epoch())
                    compiled = [first.arm, *(arm for arm in compiled if arm != first.arm)]
                    break
        else:
            time.sleep(WAIT_SECONDS)  # All remaining runs of this stage are claimed by other workers.


def _claim(
    claims: ExitStack, directory: Path, first: StudyRun, pending: Sequence[StudyRun], read: Reader, most: int
) -> list[StudyRun]:
    """Claim a run and others of its arm and images, which differ in seed and setting only; none if it is not free."""
    kind = first.stage, first.arm, first.fold
    alike = [each for each in pending if each != first and (each.stage, each.arm, each.fold) == kind]
    claimed: list[StudyRun] = []
    for each in [first, *alike]:
        if len(claimed) < most and claims.enter_context(claim(directory, each.path)):
            with suppress(OSError):  # NFS: opening a folder refreshes what is known of its files.
                os.scandir(directory / each.path).close()
            if read(each) is None:
                claimed.append(each)
        if not claimed:
            break
    return claimed


def _train(
    plan: Plan, directory: Path, study_runs: Sequence[StudyRun], given: Given, dataset: Dataset,
    on_epoch: Callable[[object], None],
) -> None:  # fmt: skip
    configs, outs = [run_config(plan, each) for each in study_runs], [directory / each.path for each in study_runs]
    dataset = divided(dataset, configs[0].data)
    options = given.of(study_runs[0].arm)._asdict() | {"dataset": dataset, "progress": False, "on_epoch": on_epoch}
    if len(study_runs) == 1:
        on_step = None if given.on_step is None else partial(given.on_step, study_runs[0].path)
        run(configs[0], out=outs[0], on_step=on_step, **options)
    else:
        try:
            run_members(configs, outs, together=len(study_runs), **options)
        except TooMany as error:
            run_members(configs, outs, together=error.fit, **options)
    for each in study_runs:
        note(directory, each.path)


def by_arm(study_runs: Sequence[StudyRun], compiled: Sequence[Arm], start: float) -> list[StudyRun]:
    """Sort by arm: first those compiled here, the latest before the others; then the rest, from a share of them on.

    The deepest comes first. It compiles longest (17 s in the main job), and two workers that met it last would both
    do so.
    """
    arms = {each.arm.label: each.arm for each in study_runs}
    order = {label: number for number, label in enumerate(sorted(arms, key=lambda label: -arms[label].depth))}

    def rank(each: StudyRun) -> tuple[int, int]:
        known = compiled.index(each.arm) if each.arm in compiled else len(compiled)
        return known, (order[each.arm.label] - int(start * len(order))) % len(order)

    return sorted(study_runs, key=rank)
