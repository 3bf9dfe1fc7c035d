"""Measure the trained networks of a finished study's deepest and widest arms: what `jaxcnn report --explain` needs."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from jaxcnn.analysis.explain import TrainedArm, explain
from jaxcnn.errors import InputError
from jaxcnn.run.folder import RunFolder
from jaxcnn.run.predict import evaluate_run, run_data, run_split
from jaxcnn.run.show import BATCH, look_inside, sample_batches
from jaxcnn.study.arm import Arm
from jaxcnn.study.budget.costs import Builder
from jaxcnn.study.execution.given import Given
from jaxcnn.study.explanation import (
    SIDES,
    BudgetExplanation,
    Explanation,
    read_explanation,
    runs_digest,
    write_explanation,
)
from jaxcnn.study.result import StudyResult, load_study
from jaxcnn.study.schedule import StudyRun
from jaxcnn.tasks import Batch

SEEDS = 3
"""Networks of an arm that are looked at."""


def explain_study(
    directory: Path | str,
    *,
    family: Builder | tuple[Builder, ...] = (),
    data: str | None = None,
    data_dir: str | None = None,
    progress: bool = True,
) -> Explanation:
    """Compare the deepest and the widest arm of each budget inside, and keep the numbers beside the study.

    Args:
        directory: The study's folder, with the folders of its runs and their checkpoints.
        family: The user-defined family, or both, as for `run_study`.
        data: Image folder or .npz file, if it has moved.
        data_dir: Folder of TFDS sets, if they have moved.
        progress: Print a line for each budget on stderr.

    Returns:
        The measures, of up to three seeds of an arm; read from explanation.json if they are there already. Training
        errors are of all training images; the others of the same 512 images of the training and of the test split.

    Raises:
        InputError: A study of another task than classification, one that keeps no weights, or whose data are missing.

    >>> explain_study("runs/study").budgets[0].train_errors["deeper"]  # doctest: +SKIP
    """
    result = load_study(directory)
    if (known := read_explanation(result)) is not None:
        return known
    plan, given = result.plan, Given(family if isinstance(family, tuple) else (family,))
    if plan.base.task.kind != "classification":
        raise InputError(f"explain: the study is of {plan.base.task.kind}; only classifiers can be explained")
    if any(arm.spec is None for arm in plan.arms) and not family:
        raise InputError(
            f"explain: the arms are of {plan.arms[0].family}, a user-defined family; give it from Python: "
            "jaxcnn.study.explain_study(study, family=...)"
        )
    arms = {budget: dict(zip(SIDES, plan.contrast(budget), strict=True)) for budget in plan.budgets}
    paths = {arm.label: _folders(result, arm) for pair in arms.values() for arm in pair.values()}
    moved: dict[str, Any] = {"data": data, "data_dir": data_dir}
    first = RunFolder(next(iter(paths.values()))[0])
    dataset = run_data(first, first.read_config()[0], **moved)
    splits = [run_split(first, dataset, split) for split in ("train", "test")]
    size, budgets = min(BATCH, *(len(split["labels"]) for split in splits)), list[BudgetExplanation]()
    batches: list[list[Batch]] = []
    for budget, pair in arms.items():
        if progress:
            print(
                f"{budget}: looking into {sum(len(paths[arm.label]) for arm in pair.values())} networks",
                file=sys.stderr,
            )
        trained, errors = {}, {}
        for side, arm in pair.items():
            module = given.of(arm).model
            inside = [look_inside(path, model=module) for path in paths[arm.label]]
            batches = batches or [sample_batches(inside[0], split, size) for split in splits]
            trained[side] = TrainedArm(inside[0].module, [each.variables for each in inside])
            metrics = [evaluate_run(path, split="train", model=module, **moved) for path in paths[arm.label]]
            errors[side] = tuple(1 - each["accuracy"] for each in metrics)
        seeds = tuple(run.seed for run in _chosen(result, pair["deeper"]))
        budgets.append(BudgetExplanation(budget, seeds, errors, explain(trained, *batches)))
    counts = tuple(len(split) * size for split in batches)
    made = Explanation(runs_digest(result), (counts[0], counts[1]), len(splits[0]["labels"]), tuple(budgets))
    write_explanation(result, made)
    return read_explanation(result) or made


def _chosen(result: StudyResult, arm: Arm) -> Sequence[StudyRun]:
    """Return the runs of an arm that are looked at: its first seeds on one division of the images."""
    fold = result.plan.parts[0]
    runs = [StudyRun("runs", arm, each.setting, each.seed, result.plan.fold_of(each.seed)) for each in result.of(arm)]
    return [each for each in runs if each.fold == fold][:SEEDS]


def _folders(result: StudyResult, arm: Arm) -> list[Path]:
    paths = [result.directory / each.path for each in _chosen(result, arm)]
    if any(not RunFolder(path).checkpoints.is_dir() for path in paths):
        raise InputError(
            f"explain: the study in {str(result.directory)!r} keeps no weights of {arm.label}; it needs the folder "
            "runs/ of a study that was trained with keep=1 or more"
        )
    return paths
