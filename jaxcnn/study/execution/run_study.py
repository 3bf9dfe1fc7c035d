"""Run a study: the plan on disk first, then whatever its agenda says, in one process or in several; resumable."""

from __future__ import annotations

import shlex
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from functools import cache, partial
from pathlib import Path
from typing import Literal

from jaxcnn.data import Dataset, load
from jaxcnn.errors import InputError
from jaxcnn.run import load_result
from jaxcnn.run.assembly import assemble
from jaxcnn.runtime.signals import Interrupted
from jaxcnn.spec import RunConfig
from jaxcnn.study.arm import Arm
from jaxcnn.study.execution.cluster import Cluster, Site, check_cluster, connected
from jaxcnn.study.execution.crew import costs_on_cluster, work_on_cluster
from jaxcnn.study.execution.estimate import Ahead
from jaxcnn.study.execution.journal import complete_journal
from jaxcnn.study.execution.local import check_workers, importable, work_together
from jaxcnn.study.execution.locks import claim
from jaxcnn.study.execution.progress import StudyBar
from jaxcnn.study.execution.worker import WAIT_SECONDS, FamilyFunction, Reader, family_name, module_of, processes, work
from jaxcnn.study.plan import Plan, Seeds, Tuning, make_plan
from jaxcnn.study.plan_file import FILE, store_plan
from jaxcnn.study.result import FILES, Cost, StudyResult, load_study, store_costs, store_runs
from jaxcnn.study.schedule import agenda, config_of
from jaxcnn.study.stage_files import store_stages


def run_study(
    base: RunConfig,
    arms: Sequence[Arm],
    *,
    out: Path | str,
    hypothesis: str = "",
    margin: float = 0.005,
    tuning: Tuning | None = None,
    seeds: Seeds | None = None,
    family: FamilyFunction | None = None,
    workers: int | None = None,
    place: Literal["local", "ray"] | Cluster = "local",
    progress: bool = True,
) -> StudyResult:
    """Tune every arm alike, run each with several seeds, measure what a step costs, and gather the results.

    Interrupt it at any moment; the same call goes on where it stopped, and several processes may make the same call at
    once: each run is trained by one of them, be it here or on a cluster.

    Args:
        base: Data, optimiser, epochs and batch size, shared by all arms; its model, seed, learning rate and weight
            decay are replaced.
        arms: From `match_width` or `match_depth`; two depths or more at every budget.
        out: Folder of the study.
        hypothesis: What is asked, in words; empty: the project's question in the arms' own numbers.
        margin: Smallest difference in test error that matters, a share of the test images.
        tuning: Learning rates, weight decays and seeds tried for every arm.
        seeds: Pilot runs, most runs, first seed.
        family: Your own family, `(depth, width) -> Flax module`, where the arms were solved for it.
        workers: Processes that train side by side; None: one per core on a CPU, one on an accelerator.
        place: local: these processes. ray, or a `Cluster`: a Ray cluster (extra `ray`), as many runs side by side as it
            has room for; `out` must be a folder that all of its nodes see.
        progress: Show one bar over the whole study (a line per stage where stderr is no terminal).

    Returns:
        The result, as `load_study` reads it.

    Raises:
        InputError: The folder holds another study, the arms or seeds cannot be compared, or a run refuses its settings.
        Interrupted: Ctrl-C; the same call goes on.
    """
    out, cluster = Path(out), _cluster(place, workers, family)
    count = 1 if cluster else _processes(workers, family)
    plan = make_plan(base, arms, hypothesis=hypothesis, margin=margin, tuning=tuning, seeds=seeds, command=_command())
    _check_family(plan, family)
    with ExitStack() as stack:
        site = cache(lambda: stack.enter_context(connected(cluster))) if cluster else None
        if not (out / FILE).exists():
            _check_builds(plan, family, load(base.data, progress=progress))
            if site:  # One that cannot be reached is refused before anything is written.
                site()
        plan = store_plan(plan, out)
        with StudyBar(plan, out, shown=progress) as bar:
            try:
                _run(plan, out, family, count, site, bar)
            except KeyboardInterrupt:
                raise Interrupted(bar.interrupted(), resumable=True) from None
    return load_study(out)


def _run(
    plan: Plan, out: Path, family: FamilyFunction | None, count: int, site: Callable[[], Site] | None, bar: StudyBar
) -> None:
    """The runs, then the files that gather them; what is there already is checked and left as it is."""
    read = Reader(plan, out, family)
    now = agenda(plan, read)
    if not now.todo and all((out / name).exists() for name in FILES):
        store_stages(out, plan, now)
        return
    # Loaded here first: workers find the images decoded.
    dataset = load(plan.base.data, progress=bar.shown)
    bar.refresh()
    with Ahead(plan, dataset, family) as here:

        def refresh() -> None:
            bar.refresh()
            if (out / "pilot.json").exists():  # The last stage: all arms have been compiled, by the workers.
                here.begin()

        if now.todo and site:
            work_on_cluster(plan, out, family, site(), bar.refresh)
        elif now.todo and count > 1:
            work_together(plan, out, family, count, refresh)
        elif now.todo:
            work(plan, out, family=family, dataset=dataset, on_epoch=lambda now: bar.refresh())
        bar.refresh(last=True)
        _finish(plan, out, partial(costs_on_cluster, plan, out, family, site()) if site else here.costs, read)


def _finish(plan: Plan, out: Path, measure: Callable[[], tuple[Cost, ...]], read: Reader) -> None:
    """Costs, then runs.json, once: a second process waits for the first and finds them written."""
    now = agenda(plan, read)
    store_stages(out, plan, now)
    while not all((out / name).exists() for name in FILES):
        with claim(out, "finish") as mine:
            if mine:
                complete_journal(out, [item.path for item in now.items])
                if not (out / "costs.json").exists():
                    # After the runs, so that nothing else of ours is running.
                    store_costs(out, plan, {a.label: cost for a, cost in zip(plan.arms, measure(), strict=True)})
                if not all((out / name).exists() for name in FILES):
                    store_runs(out, plan, [item for item in now.items if item.stage == "runs"], load_result)
        if not mine:
            time.sleep(WAIT_SECONDS)


def _cluster(place: str | Cluster, workers: int | None, family: FamilyFunction | None) -> Cluster | None:
    """The cluster that a study is placed on; None: this machine."""
    if place == "local":
        return None
    if place != "ray" and not isinstance(place, Cluster):
        raise InputError(f"place={place!r}: choose local or ray")
    if workers is not None:
        raise InputError(f"workers={workers}: Ray places the runs; leave it out, or give cores_per_run or gpus_per_run")
    cluster = place if isinstance(place, Cluster) else Cluster()
    check_cluster(cluster, family)
    return cluster


def _processes(workers: int | None, family: FamilyFunction | None) -> int:
    """Local worker processes: as asked, and by itself no more than one where they could not import the family."""
    count = processes(workers)
    if workers is None and not importable(family):
        count = 1
    check_workers(family, count)
    return count


def _check_builds(plan: Plan, family: FamilyFunction | None, dataset: Dataset) -> None:
    """Refuse, before anything is written, settings that no run of the study could have."""
    first = agenda(plan, lambda item: None).todo[0]  # What arms differ in was refused where they were solved.
    assemble(config_of(plan, first), dataset, module_of(first.arm, family))


def _check_family(plan: Plan, family: FamilyFunction | None) -> None:
    own = [arm for arm in plan.arms if arm.spec is None]
    if own and family is None:
        raise InputError(f"family=None: the arms are of {own[0].family}; give that function as family=")
    name = None if family is None else family_name(family)
    if family is not None and not own:
        raise InputError(f"family={name}: the arms are of {plan.arms[0].family}, a family of jaxcnn's; leave it out")
    if any(arm.family != name for arm in own):
        raise InputError(f"family={name}: the arms were solved for {own[0].family}; give that function")


def _command() -> str:
    """What was typed, with the program by its name: a record for the report, never read back."""
    program = Path(sys.argv[0])
    start = ["python", program.as_posix()] if program.suffix == ".py" else [program.name]
    if program.name == "__main__.py":
        start = ["python", "-m", program.parent.name]
    return shlex.join([*start, *sys.argv[1:]])
