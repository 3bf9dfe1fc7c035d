"""Run a study: the plan on disk first, then every arm with every seed, then one file of results; resumable."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Sequence
from pathlib import Path

from jaxcnn.files import write_json
from jaxcnn.run import RunResult, run
from jaxcnn.spec import RunConfig
from jaxcnn.study.arm import Arm
from jaxcnn.study.plan import make_plan, store_plan
from jaxcnn.study.progress import StudyBar
from jaxcnn.study.results import METRICS, RunRecord, StudyResult, load_study, to_json


def run_study(
    base: RunConfig, arms: Sequence[Arm], seeds: Sequence[int], *, out: Path, progress: bool = True
) -> StudyResult:
    """Train every arm with every seed, skipping what is already there.

    Interrupt it at any moment; the same call continues where it stopped. All seeds of an arm run one after another, so
    that each architecture is compiled once.

    Args:
        base: Data, optimiser, epochs and batch size, shared by all arms; its model and seed are replaced.
        arms: From `match_width`, of two or more depths.
        seeds: One run per arm and seed.
        out: Folder of the study: study.json, runs/depth{d}_width{w}/seed{s}, results.json.
        progress: Show one bar over the whole study (a line per run where stderr is no terminal).

    Returns:
        The result, as `load_study` reads it.

    Raises:
        InputError: The folder holds another study, the arms or seeds cannot be compared, or a run refuses its settings.
    """
    plan = make_plan(base, arms, seeds, command=_command())
    store_plan(plan, out)
    records, data, environments = [], [], []
    with StudyBar(plan, shown=progress) as bar:
        for arm in plan.arms:
            for seed in plan.seeds:
                bar.begin(arm, seed)
                folder = out / "runs" / arm.label / f"seed{seed}"
                result = run(plan.config(arm, seed), out=folder, progress=False, on_epoch=bar.epoch)
                bar.end(result.metrics["validation_accuracy"])
                records.append(_record(arm, seed, result))
                data.append(result.data)
                environments.append(result.environment)
    write_json(out / "results.json", to_json(plan, records, data, environments), allow_nan=False)
    return load_study(out)


def _record(arm: Arm, seed: int, result: RunResult) -> RunRecord:
    # The test split enters a study once per run, as the last epoch's metrics; no curve of it is kept.
    history = tuple({k: v for k, v in epoch.items() if not k.startswith("test_")} for epoch in result.history)
    return RunRecord(arm.label, seed, {name: result.metrics[name] for name in METRICS}, history, result.seconds)


def _command() -> str:
    """What was typed, with the program by its name: a record for the report, never read back."""
    program = Path(sys.argv[0])
    start = ["python", program.as_posix()] if program.suffix == ".py" else [program.name]
    return shlex.join([*start, *sys.argv[1:]])
