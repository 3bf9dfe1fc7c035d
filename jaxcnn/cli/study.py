"""`jaxcnn study`, `jaxcnn study status`, `jaxcnn study rerun`, `jaxcnn report`, `jaxcnn verify`."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, ClassVar

import tyro

from jaxcnn.cli.flags import UNPREFIXED, StartFlags, call, call_with_flags, ignored_flags, starting_point
from jaxcnn.cli.messages import refuse_ignored
from jaxcnn.cli.output import print_json, print_table
from jaxcnn.errors import InputError, require, similar_paths
from jaxcnn.spec import RunConfig, StudyConfig

if TYPE_CHECKING:
    from jaxcnn.study.execution.estimate import Estimate
    from jaxcnn.study.plan import Plan

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
STUDIES = tyro.conf.arg(metavar="RUN|STUDY [STUDY ...]", help_behavior_hint="(required)")


@dataclass(frozen=True)
class StudyFlags(StudyConfig, StartFlags):
    """Deeper or wider? Find the width of each depth for a budget, tune and train every arm, report.

    `--model NAME` and `--data NAME` set the starting point; the study chooses depth, width, learning rate and weight
    decay. Give one or more of --params, --macs, --activations, --seconds; each takes several budgets.

    `jaxcnn study status STUDY` shows how far a study is, `jaxcnn study rerun STUDY` trains one of its runs again.

    Args:
        dry_run: Show arms, costs, number of runs and estimated time from short runs; keep nothing.
        fit_into: Lower the cap on seeds, then the epochs, until the estimated time is below this one: 90s, 30m, 1h30m.
            The choice is printed and recorded. Default: train what the other flags say.
        out: Folder of the study; the same command resumes an interrupted study.
    """

    common: ClassVar[tuple[str, ...]] = (
        "depths", "params", "macs", "dry-run", "fit-into", "margin",
        "workers", "tuning.learning-rates", "seeds.pilot", "seeds.cap",
        *(flag for flag in StartFlags.common if flag not in CHOSEN),
    )  # fmt: skip

    base: Annotated[RunConfig, UNPREFIXED] = field(default_factory=RunConfig)
    dry_run: bool = False
    fit_into: str | None = None
    out: Path = Path("runs/study")


def study(arguments: Sequence[str]) -> None:
    """Run a study and print its verdict, or show how far one is."""
    for function in (status, rerun):
        if arguments and arguments[0] == function.__name__:
            call(function, arguments[1:], f"jaxcnn study {function.__name__}")
            return
    start, rest = starting_point(arguments)
    call_with_flags(lambda flags: _study(flags, rest, arguments), StudyFlags(start), rest, "jaxcnn study")


def _study(flags: StudyFlags, arguments: Sequence[str], words: Sequence[str]) -> None:
    chosen = {flag: f"a study chooses it; {remedy}" for flag, remedy in CHOSEN.items()}
    refuse_ignored(arguments, chosen | ignored_flags(flags.base))
    config = StudyConfig(**{each.name: getattr(flags, each.name) for each in fields(StudyConfig)})
    if flags.dry_run:
        preview(config, flags.out, flags.fit_into)
        return
    from jaxcnn import study as studies

    command = ""
    if flags.fit_into is not None:
        config, command = fitted(config, flags.out, flags.fit_into, ["study", *words])

    if config.place == "ray" and not config.seconds:
        import jax

        jax.config.update("jax_platforms", "cpu")  # Otherwise JAX takes a GPU's memory from the workers beside it.
    result = studies.run_study(config, out=flags.out, command=command)
    studies.show_report(result, flags.out)


def fitted(config: StudyConfig, out: Path, fit_into: str, words: Sequence[str]) -> tuple[StudyConfig, str]:
    """Return a study with epochs and seeds that fit into a time, and the command line that gives the same study."""
    from jaxcnn.study.execution.estimate import parse_duration
    from jaxcnn.study.execution.run_study import command_line
    from jaxcnn.study.plan import FILE, load_plan

    if (out / FILE).exists():  # measured again, it may fit in another way, which would be another study
        plan = load_plan(out)
        parse_duration(fit_into)
        chosen = "# chosen by --fit-into" in plan.command
        require(chosen, "fit_into", repr(fit_into), f"the study in {str(out)!r} began without it; leave it out")
        print(f"--fit-into {fit_into}: {_choice(config, plan)}, as chosen when the study in {out} began")
        command = plan.command
    else:
        plan = estimated(config, out, fit_into)[0]
        places = [n for n, word in enumerate(words) if word.replace("_", "-").startswith("--fit-into")]
        left = [w for n, w in enumerate(words) if n not in places and not (n - 1 in places and "=" not in words[n - 1])]
        left += ["--epochs", str(plan.base.epochs), "--seeds.cap", str(plan.seeds.cap)]
        command = f"{command_line(left)}  # chosen by --fit-into {fit_into}"
    base = replace(config.base, epochs=plan.base.epochs)
    return replace(config, base=base, seeds=replace(config.seeds, cap=plan.seeds.cap)), command


def estimated(config: StudyConfig, out: Path, fit_into: str | None) -> tuple[Plan, Estimate]:
    """Return the plan of a study and its estimated time, with epochs and seeds that fit into a time if one is given."""
    from jaxcnn.data import load
    from jaxcnn.study import make_plan, match_widths
    from jaxcnn.study.execution.estimate import duration, estimate, fit_into_time, parse_duration
    from jaxcnn.study.execution.run_study import check_place, check_resampling
    from jaxcnn.study.plan import FILE, check_settings, load_plan

    imported = time.process_time()  # about as long as the process exists
    limit = None if fit_into is None else parse_duration(fit_into)
    check_place(config)
    check_settings(config)
    known = load_plan(out).arms if (out / FILE).exists() else ()
    load(
        replace(config.base.data, groups=None), progress=True
    )  # It may decode the images; the study finds them in the cache.
    began = time.perf_counter()
    plan = make_plan(config, match_widths(config, known=known))
    dataset = load(plan.images(plan.parts[0]))
    check_resampling(plan)
    before = imported, imported + time.perf_counter() - began
    if limit is None:
        return plan, estimate(plan, dataset, before=before)
    chosen, guess = fit_into_time(plan, dataset, limit, before=before)
    how = "nothing was lowered" if chosen == plan else "the cap on seeds is lowered first, then the epochs"
    print(f"--fit-into {fit_into}: {_choice(plan, chosen)}, about {duration(guess.seconds)} with some to spare; {how}")
    return chosen, guess


def _choice(asked: StudyConfig, chosen: StudyConfig) -> str:
    numbers = (("epochs", asked.base.epochs, chosen.base.epochs), ("seeds", asked.seeds.cap, chosen.seeds.cap))
    return " and ".join(f"{new} {name}" + (f" instead of {old}" if new != old else "") for name, old, new in numbers)


def preview(config: StudyConfig, out: Path, fit_into: str | None = None) -> None:
    """Print a study's arms, their costs and its estimated time; write nothing."""
    plan, guess = estimated(config, out, fit_into)
    columns = ("budget", "depth", "width", "parameters", "MACs", "off %", "ms/step", "MB", "runs")
    rows = [
        (
            arm.budget_label, arm.depth, arm.widths, f"{arm.params:,}", f"{arm.macs:,}", f"{100 * arm.mismatch:+.2f}",
            f"{'' if cost.measured else '~'}{1000 * cost.step:.1f}",
            "" if cost.memory is None else f"{cost.memory / 1e6:.0f}", guess.runs_per_arm,
        )
        for arm, cost in ((arm, guess.arms[arm.label]) for arm in plan.arms)
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
    from jaxcnn.study.result import load_study

    plan = load_plan(study)
    print(plan.hypothesis)
    if (study / "runs.json").exists() and not (study / "runs").exists():  # published, without the folders of its runs
        result = load_study(study)
        print(f"stage: done; {len(result.runs)} runs finished, {sum(run.diverged for run in result.runs)} diverged")
        print(f"report: jaxcnn report {study}")
        return
    now = standing(plan, study, Reader(plan, study))
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
    data: str | None = None,
    data_dir: str | None = None,
) -> None:
    """Train one run of a finished study again and compare its predictions; exit code 1 if one differs.

    Args:
        study: Folder of the study, which stays as it is.
        arm: Label of the arm, or its end, such as depth8_width10.
        seed: Seed of the run.
        shared: The run at the setting that all arms share.
        data: Image folder or .npz file, if it has moved.
        data_dir: Folder of TFDS sets, if they have moved.
    """
    from jaxcnn.runtime.onednn import SWITCH
    from jaxcnn.study.result import load_study

    recorded = load_study(study).environments[0]
    # JAX reads them when it starts, which is later. With XLA's flags for oneDNN, in older records, no program is kept.
    flags = [flag for flag in recorded.get("xla_flags", "").split() if "onednn" not in flag]
    os.environ["XLA_FLAGS"] = " ".join(flags)
    before = recorded.get("convolutions", "XLA")
    if before == "XLA":
        os.environ[SWITCH] = "off"
    from jaxcnn.runtime.environment import environment
    from jaxcnn.study.rerun import rerun as train

    equal, count = train(study, arm, seed, shared=shared, data=data, data_dir=data_dir)
    print(f"{arm} seed {seed}: {equal} of {count} predictions equal")
    now = environment()
    packages = {name: (old, now["versions"].get(name)) for name, old in recorded["versions"].items()}
    facts = {"processor": (recorded["processor"], now["processor"]), "convolutions": (before, now["convolutions"])}
    for name, (old, new) in {**packages, **facts}.items():
        if old != new:
            print(f"  {name}: {old} then, {new} now")
    if equal < count:
        sys.exit(1)


def report(
    studies: Annotated[tyro.conf.Positional[tuple[Path, ...]], STUDIES],
    out: Path | None = None,
    explain: bool = False,
    tensorboard: bool = False,
    data: str | None = None,
    data_dir: str | None = None,
) -> None:
    """Write the page of a run, or a study's report, without training; several studies are also joined into one page.

    Args:
        studies: Folder of a run; folders of studies.
        out: Folder of the page, not that of another run or study. Default: that of the run or study; runs/joined for
            several studies.
        explain: Look into the trained networks of a study's deepest and widest arms: the section Why. The measures
            are kept in the study's folder.
        tensorboard: Also write a study's trials and runs as one HParams table of TensorBoard, beside the report.
        data: Of a run, and for --explain: image folder or .npz file, if it has moved.
        data_dir: Of a run, and for --explain: folder of TFDS sets, if they have moved.
    """
    from jaxcnn.study import explain_study, load_study, show_report, write_joined

    if not studies:
        raise InputError("STUDY|RUN: none given; name the folder of a run or study, or several studies to join them")
    for folder in studies:
        if not folder.is_dir():
            raise InputError(f"{str(folder)!r} is not a folder: give that of a run or study{similar_paths(folder)}")
    if out is not None and out.exists():
        require(out.is_dir(), "out", repr(str(out)), "it is a file; give a folder")
        owned = any((out / name).exists() for name in ("config.json", "plan.json"))
        own = not owned or any(out.samefile(folder) for folder in studies)
        require(own, "out", repr(str(out)), "it is the folder of another run or study; choose another")
    if len(studies) == 1 and (studies[0] / "config.json").exists():
        require(not explain, "explain", explain, "it is for a study; the page of a run shows its inside anyway")
        require(not tensorboard, "tensorboard", tensorboard, "it is for a study; give it to jaxcnn train for a run")
        from jaxcnn.run.report.page import write_run_page

        print(f"report: {write_run_page(studies[0], out, data=data, data_dir=data_dir)}")
        return
    for name, value in (("data", data), ("data_dir", data_dir)):
        needed = explain and len(studies) == 1
        require(value is None or needed, name, repr(value), "only a single run, or --explain, needs data; leave it out")
    if explain:
        for folder in studies:
            explain_study(folder, data=data, data_dir=data_dir)
    results = [load_study(folder) for folder in studies]
    if tensorboard:
        from jaxcnn.study.board import write_board

        for folder, result in zip(studies, results, strict=True):
            print(f"tensorboard: {write_board(result, folder if out is None or len(results) > 1 else out)}")
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


def verify(
    folder: Annotated[tyro.conf.Positional[Path], tyro.conf.arg(metavar="STUDY|RUN")],
    data: bool = True,
    json: bool = False,
) -> None:
    """Recompute the numbers of a study or of a run from its predictions and records; exit code 1 if one differs.

    Args:
        folder: Folder of the study, or of a single run.
        data: Also load the data set and compare its splits with the recorded ones.
        json: Print JSON.
    """
    from jaxcnn.study.verify import verify as checks_of

    checks = checks_of(folder, data=data)
    if json:
        print_json(checks)
    else:
        rows = [(c.name, c.numbers, c.equal, f"{c.difference:.2g}", c.remark) for c in checks]
        print_table(rows, ("quantity", "count", "equal", "gap", "remark"))
    if any(check.equal < check.numbers for check in checks):
        sys.exit(1)
