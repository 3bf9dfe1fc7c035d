"""`jaxcnn study`, `jaxcnn study status`, `jaxcnn study rerun`, `jaxcnn report`, `jaxcnn verify`."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Annotated, ClassVar

import tyro

from jaxcnn.cli.flags import UNPREFIXED, StartFlags, call, call_with_flags, ignored_flags, starting_point
from jaxcnn.cli.messages import refuse_ignored
from jaxcnn.cli.output import print_json, print_table
from jaxcnn.errors import InputError
from jaxcnn.spec import RunConfig, StudyConfig

CHOSEN = {
    "model.depth": "give --depths",
    "model.width": "give a budget, such as --params 27000",
    "optimizer.learning-rate": "give --tuning.learning-rates",
    "optimizer.weight-decay": "give --tuning.weight-decays",
    "seed": "give --seeds.first",
    "evaluate-test": "leave it out",
}
"""Flags of a run that a study replaces, and what to give instead."""
STUDY = tyro.conf.arg(metavar="STUDY")
STUDIES = tyro.conf.arg(metavar="STUDY [STUDY ...]", help_behavior_hint="(required)")


@dataclass(frozen=True)
class StudyFlags(StudyConfig, StartFlags):
    """Deeper or wider? Find the width of each depth for a budget, tune and train every arm, report.

    `--model NAME` and `--data NAME` set the starting point; the study chooses depth, width, learning rate and weight
    decay. Give one or more of --params, --macs, --activations, --seconds; each takes several budgets.

    `jaxcnn study status STUDY` shows how far a study is, `jaxcnn study rerun STUDY` trains one of its runs again.

    Args:
        dry_run: Show arms, costs, number of runs and estimated time from a measured step; train nothing.
        out: Folder of the study; the same command resumes an interrupted study.
    """

    common: ClassVar[tuple[str, ...]] = (
        "depths", "params", "macs", "dry-run", "margin", "workers", "tuning.learning-rates", "seeds.pilot", "seeds.cap",
        *(flag for flag in StartFlags.common if flag not in CHOSEN),
    )  # fmt: skip

    base: Annotated[RunConfig, UNPREFIXED] = field(default_factory=RunConfig)
    dry_run: bool = False
    out: Path = Path("runs/study")


def study(arguments: Sequence[str]) -> None:
    """Run a study and print its verdict, or show how far one is."""
    for function in (status, rerun):
        if arguments and arguments[0] == function.__name__:
            call(function, arguments[1:], f"jaxcnn study {function.__name__}")
            return
    start, rest = starting_point(arguments)
    call_with_flags(lambda flags: _study(flags, rest), StudyFlags(start), rest, "jaxcnn study")


def _study(flags: StudyFlags, arguments: Sequence[str]) -> None:
    chosen = {flag: f"a study chooses it; {remedy}" for flag, remedy in CHOSEN.items()}
    refuse_ignored(arguments, chosen | ignored_flags(flags.base))
    config = StudyConfig(**{each.name: getattr(flags, each.name) for each in fields(StudyConfig)})
    if flags.dry_run:
        preview(config, flags.out)
        return
    from jaxcnn import study as studies

    if config.place == "ray" and not config.seconds:
        import jax

        jax.config.update("jax_platforms", "cpu")  # Otherwise JAX takes a GPU's memory from the workers beside it.
    result = studies.run_study(config, out=flags.out)
    studies.show_report(result, flags.out)


def preview(config: StudyConfig, out: Path) -> None:
    """Print a study's arms, their costs and its estimated time; write nothing."""
    from jaxcnn.data import load
    from jaxcnn.study import make_plan, match_widths
    from jaxcnn.study.execution.estimate import estimate
    from jaxcnn.study.execution.run_study import check_place
    from jaxcnn.study.plan import FILE, load_plan

    check_place(config)
    known = load_plan(out).arms if (out / FILE).exists() else ()
    plan = make_plan(config, match_widths(config, known=known))
    guess = estimate(plan, load(config.base.data, progress=True))
    columns = ("budget", "depth", "width", "parameters", "MACs", "off %", "ms/step", "MB", "runs")
    rows = [
        (
            arm.budget_label, arm.depth, arm.widths, f"{arm.params:,}", f"{arm.macs:,}", f"{100 * arm.mismatch:+.2f}",
            f"{1000 * cost.step:.1f}", "" if cost.memory is None else f"{cost.memory / 1e6:.0f}", guess.runs_per_arm,
        )
        for arm, cost in zip(plan.arms, guess.costs, strict=True)
    ]  # fmt: skip
    print_table(rows, columns, plan.hypothesis, guess.sentence, drop=("MB", "off %", "MACs", "parameters"))


def status(study: Annotated[tyro.conf.Positional[Path], STUDY]) -> None:
    """Show how far a study is.

    Args:
        study: Folder of the study.
    """
    from jaxcnn.study.execution.progress import standing
    from jaxcnn.study.execution.worker import Reader
    from jaxcnn.study.plan import load_plan

    plan = load_plan(study)
    now = standing(plan, study, Reader(plan, study))
    print(plan.hypothesis)
    print(f"stage: {now.stage}; {now.finished} of about {now.total} runs finished, {now.diverged} diverged")
    for path, epochs in now.under_way:
        print(f"  {path}: {epochs}/{plan.base.epochs} epochs")
    if now.stage in ("done", "reported"):
        print(f"report: jaxcnn report {study}")
    elif now.stage == "costs":
        print("all runs are finished; run the study's command again to measure the cost of a step and write the report")


def rerun(
    study: Annotated[tyro.conf.Positional[Path], STUDY],
    arm: str,
    seed: int,
    shared: bool = False,
    data_dir: str | None = None,
) -> None:
    """Train one run of a finished study again and compare its predictions; exit code 1 if one differs.

    Args:
        study: Folder of the study, which stays as it is.
        arm: Label of the arm, or its end, such as depth8_width10.
        seed: Seed of the run.
        shared: The run at the setting that all arms share.
        data_dir: Folder of TFDS sets, if they have moved.
    """
    from jaxcnn.runtime.onednn import SWITCH
    from jaxcnn.study.result import load_study

    recorded = load_study(study).environments[0]
    os.environ["XLA_FLAGS"] = recorded.get("xla_flags", "")  # JAX reads it when it starts, which is later
    before = recorded.get("convolutions", "XLA")
    if before == "XLA":
        os.environ[SWITCH] = "off"
    from jaxcnn.runtime.environment import environment
    from jaxcnn.study.rerun import rerun as train

    equal, count = train(study, arm, seed, shared=shared, data_dir=data_dir)
    print(f"{arm} seed {seed}: {equal} of {count} predictions equal")
    now = environment()
    packages = {name: (old, now["versions"].get(name)) for name, old in recorded["versions"].items()}
    facts = {"processor": (recorded["processor"], now["processor"]), "convolutions": (before, now["convolutions"])}
    for name, (old, new) in {**packages, **facts}.items():
        if old != new:
            print(f"  {name}: {old} then, {new} now")
    if equal < count:
        sys.exit(1)


def report(studies: Annotated[tyro.conf.Positional[tuple[Path, ...]], STUDIES], out: Path | None = None) -> None:
    """Rebuild a study's report from its records, without training; several studies are also joined into one page.

    Args:
        studies: Folders of studies.
        out: Folder of the report, or of the joined page. Default: the study's folder; runs/joined for several.
    """
    from jaxcnn.study import load_study, show_report, write_joined

    if not studies:
        raise InputError("STUDY: none given; name the folder of a study, or several to join them")
    results = [load_study(folder) for folder in studies]
    if out is not None and len(results) == 1:
        show_report(results[0], out)
        return
    for folder, result in zip(studies, results, strict=True):
        if os.access(folder, os.W_OK):
            show_report(result, folder)
        elif len(results) == 1:
            raise InputError(f"{str(folder)!r}: it cannot be written; give another folder, such as --out report")
        else:
            print(f"{folder}: it cannot be written; its own report stays as it is")
    if len(results) > 1:
        print(f"joined: {write_joined(results, out or Path('runs/joined'))}")


def verify(study: Annotated[tyro.conf.Positional[Path], STUDY], data: bool = True, json: bool = False) -> None:
    """Recompute the numbers of a study's report from its predictions and records; exit code 1 if one differs.

    Args:
        study: Folder of the study.
        data: Also load the data set and compare its splits with the recorded ones.
        json: Print JSON.
    """
    from jaxcnn.study.verify import verify as checks_of

    checks = checks_of(study, data=data)
    if json:
        print_json(checks)
    else:
        rows = [(c.name, c.numbers, c.equal, f"{c.difference:.2g}", c.remark) for c in checks]
        print_table(rows, ("quantity", "count", "equal", "gap", "remark"))
    if any(check.equal < check.numbers for check in checks):
        sys.exit(1)
