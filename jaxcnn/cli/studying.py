"""`jaxcnn study`, `study status` and `report`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import tyro

from jaxcnn.cli.training import starting_point
from jaxcnn.errors import InputError
from jaxcnn.spec import RunConfig
from jaxcnn.study.arm import KINDS
from jaxcnn.study.plan import Plan, Seeds, Tuning

if TYPE_CHECKING:
    from jaxcnn.data import Dataset
    from jaxcnn.study import Arm, Cluster


DEFAULT_PARAMS = (27_000,)


@dataclass(frozen=True)
class StudyFlags:
    """Deeper or wider? Solve the width of each depth for a budget, tune and train every arm, report.

    `--data NAME` and `--model NAME` set the starting point; depth, width, learning rate and weight decay are the
    study's to choose. Give one or more of --params, --macs, --activations, --seconds; each may list several budgets.

    Args:
        config: Shared by all arms.
        depths: Depths to compare.
        params: Budgets in trainable parameters; 27,000 where no budget is given.
        macs: Budgets in multiply-accumulates per image.
        activations: Budgets in activation elements per image.
        seconds: Budgets in measured seconds per training step.
        tolerance: How far an arm may miss its budget, relative.
        margin: Smallest difference in test error that matters, a share.
        hypothesis: What is asked, in words.
        tuning: Learning rates and weight decays tried for every arm.
        seeds: Pilot runs and most runs per arm.
        workers: Processes side by side; default one per core on a CPU, one on an accelerator.
        place: local: processes of this machine. ray: a Ray cluster (extra `ray`), which sees the folder of the study.
        ray_address: HOST:PORT of the cluster's head, or auto: the cluster that this machine belongs to; default
            $RAY_ADDRESS, else a Ray of this machine's own.
        cores_per_run: ray only: cores of a run; default 1.
        gpus_per_run: ray only: GPUs of a run, 0.5 for half of one; default 1 where the cluster has GPUs.
        dry_run: Show arms, counts, number of runs and estimated time from a measured step; train nothing.
        out: Folder of the study; the same command goes on where an interrupted one stopped.
    """

    config: Annotated[RunConfig, tyro.conf.arg(name="")]
    depths: tuple[int, ...] = (8, 14, 20)
    params: tuple[int, ...] = ()
    macs: tuple[int, ...] = ()
    activations: tuple[int, ...] = ()
    seconds: tuple[float, ...] = ()
    tolerance: float = 0.01
    margin: float = 0.005
    hypothesis: str = ""
    tuning: Tuning = field(default_factory=Tuning)
    seeds: Seeds = field(default_factory=Seeds)
    workers: int | None = None
    place: Literal["local", "ray"] = "local"
    ray_address: str | None = None
    cores_per_run: int | None = None
    gpus_per_run: float | None = None
    dry_run: bool = False
    out: Path = Path("runs/study")


@dataclass(frozen=True)
class StatusFlags:
    """Show how far a study is.

    Args:
        study: Folder of the study.
    """

    study: tyro.conf.Positional[Path]


@dataclass(frozen=True)
class ReportFlags:
    """Rebuild a study's report from its records, without training; several studies are joined into one page as well.

    Args:
        studies: Folders of studies.
        out: Where the joined page goes.
    """

    studies: tyro.conf.Positional[tuple[Path, ...]]
    out: Path = Path("runs/joined")


def study(arguments: Sequence[str]) -> None:
    """Run a study and print its verdict, or say how far one is."""
    if arguments and arguments[0] == "status":
        return status(arguments[1:])
    start, rest = starting_point(arguments)
    flags = tyro.cli(StudyFlags, args=rest, prog="jaxcnn study", default=StudyFlags(start))
    from jaxcnn.data import load
    from jaxcnn.study import make_plan, run_study, show_report
    from jaxcnn.study.execution.worker import processes

    place = place_of(flags)
    if place == "local":
        processes(flags.workers)
    arms = solve(flags)
    declared = {
        "hypothesis": flags.hypothesis, "margin": flags.margin, "tuning": flags.tuning, "seeds": flags.seeds,
    }  # fmt: skip
    if flags.dry_run:
        dataset = load(flags.config.data, progress=True)
        return preview(make_plan(flags.config, arms, **declared), dataset, flags.workers)
    result = run_study(flags.config, arms, out=flags.out, workers=flags.workers, place=place, **declared)
    show_report(result, flags.out)
    return None


def place_of(flags: StudyFlags) -> Literal["local"] | Cluster:
    """Where the runs are trained."""
    asked = {name: getattr(flags, name) for name in ("ray_address", "cores_per_run", "gpus_per_run")}
    if flags.place == "local":
        for name, value in asked.items():
            if value is not None:
                raise InputError(f"{name}={value}: it is for a Ray cluster; give place=ray as well, or leave it out")
        return "local"
    from jaxcnn.study import Cluster

    if not flags.seconds and not flags.dry_run:
        leave_accelerators()
    return Cluster(flags.ray_address, flags.cores_per_run, flags.gpus_per_run)


def leave_accelerators() -> None:
    """Keep this process, which trains nothing, to the CPU: JAX would take a GPU's memory from the workers beside it."""
    import jax

    jax.config.update("jax_platforms", "cpu")


def solve(flags: StudyFlags) -> list[Arm]:
    """The arms of every budget and depth; where the folder holds a study already, its measured ones."""
    from jaxcnn.study import match_widths
    from jaxcnn.study.plan_file import FILE, load_plan

    budgets = {kind: getattr(flags, kind) for kind in KINDS}
    if not any(budgets.values()):
        budgets["params"] = DEFAULT_PARAMS
    known = load_plan(flags.out).arms if (flags.out / FILE).exists() else ()
    return match_widths(flags.config, flags.depths, **budgets, tolerance=flags.tolerance, known=known)


def preview(plan: Plan, dataset: Dataset, workers: int | None) -> None:
    """Print what a study would do and about how long it would take; nothing is written."""
    from rich.console import Console
    from rich.table import Table

    from jaxcnn.study.execution.estimate import estimate

    guess = estimate(plan, dataset, workers)
    table = Table(title=plan.hypothesis, caption=guess.sentence, caption_justify="left")
    for name in ("budget", "depth", "width", "parameters", "MACs", "off %", "ms/step", "MB", "runs"):
        table.add_column(name, justify="right")
    for arm, cost in zip(plan.arms, guess.costs, strict=True):
        memory = "" if cost.memory is None else f"{cost.memory / 1e6:.0f}"
        table.add_row(
            arm.budget_label, str(arm.depth), str(arm.width), f"{arm.params:,}", f"{arm.macs:,}",
            f"{100 * arm.mismatch:+.2f}", f"{1000 * cost.step:.1f}", memory, str(guess.runs_per_arm),
        )  # fmt: skip
    Console().print(table)


def status(arguments: Sequence[str]) -> None:
    """Print how far a study is."""
    flags = tyro.cli(StatusFlags, args=arguments, prog="jaxcnn study status")
    from jaxcnn.study.execution.progress import standing
    from jaxcnn.study.execution.worker import Reader
    from jaxcnn.study.plan_file import load_plan

    plan = load_plan(flags.study)
    now = standing(plan, flags.study, Reader(plan, flags.study))
    print(plan.hypothesis)
    print(f"stage: {now.stage}; {now.finished} of about {now.total} runs finished, {now.diverged} diverged")
    for path, epochs in now.under_way:
        print(f"  {path}: {epochs}/{plan.base.epochs} epochs")
    if now.stage in ("done", "reported"):
        print(f"report: jaxcnn report {flags.study}")
    elif now.stage == "costs":
        print("all runs are finished; the study's command measures what a step costs and writes the report")


def report(arguments: Sequence[str]) -> None:
    """Rebuild reports."""
    flags = tyro.cli(ReportFlags, args=arguments, prog="jaxcnn report")
    from jaxcnn.study import load_study, show_report, write_joined

    if not flags.studies:
        raise InputError("studies: none were given; name the folder of a study, or several to join them")
    results = [load_study(folder) for folder in flags.studies]
    for folder, result in zip(flags.studies, results, strict=True):
        show_report(result, folder)
    if len(results) > 1:
        print(f"joined: {write_joined(results, flags.out)}")
