"""Train one run of a finished study again and compare its predictions, example by example."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np

from jaxcnn.data import load
from jaxcnn.errors import InputError
from jaxcnn.run import run
from jaxcnn.run.data import check_recorded
from jaxcnn.study.arm import Arm
from jaxcnn.study.result import load_study
from jaxcnn.study.schedule import StudyRun, run_config


def rerun(
    directory: Path | str,
    arm: str,
    seed: int,
    *,
    shared: bool = False,
    data: str | None = None,
    data_dir: str | None = None,
    progress: bool = True,
) -> tuple[int, int]:
    """Train one run again, in memory; the study's folder stays as it is.

    Args:
        directory: The study's folder, as `run_study` wrote it or as it was published.
        arm: The arm's label, or its end if no other arm's label ends so ("depth8_width10").
        seed: One of the study's seeds.
        shared: The run at the setting that all arms share, instead of the arm's own.
        data: Image folder or .npz file, if it has moved.
        data_dir: Folder of TFDS sets, if they have moved.
        progress: Show progress on the console.

    Returns:
        The number of test images whose predictions (of pixels or objects: what the error needs of them) are equal, and
        the number of test images.

    Raises:
        InputError: The study has no such run, or its network is a user-defined module.
    """
    result = load_study(directory)
    place = _arm(result.plan.arms, arm)
    own = result.of(place, shared=shared)
    seeds = [each.seed for each in own]
    if seed not in seeds:
        raise InputError(f"seed={seed}: {place.label} has no such run; choose one of {', '.join(map(str, seeds))}")
    if place.spec is None:
        raise InputError(f"arm={arm!r}: its network is {place.family}, a user-defined family; run its script again")
    if result.plan.own:
        raise InputError(
            f"arm={arm!r}: its runs have user-defined parts ({', '.join(result.plan.own)}); run the script"
        )
    row, fold = result.runs.index(own[seeds.index(seed)]), result.plan.fold_of(seed)
    config = run_config(result.plan, StudyRun("runs", place, result.runs[row].setting, seed, fold))
    moved = {name: value for name, value in (("name", data), ("data_dir", data_dir)) if value is not None}
    config = replace(config, data=replace(config.data, **moved))
    recorded, tested = result.data, np.ones(result.images, bool)
    if fold is not None and result.folds is not None:
        of_fold = {name: value for name, value in recorded["folds"][fold].items() if value is not None}
        recorded, tested = recorded | of_fold, result.folds == fold
    dataset = check_recorded(recorded, load(config.data, progress=progress), f"the study in {str(directory)!r}")
    again = result.plan.measure.gather(run(config, dataset=dataset, progress=progress))
    equal = np.ones(int(tested.sum()), bool)
    for name in result.plan.measure.runs:
        stored = result.arrays[name][row // len(result.plan.parts)][tested]
        equal &= (again[name] == stored).reshape(len(stored), -1).all(axis=1)
    return int(equal.sum()), len(equal)


def _arm(arms: tuple[Arm, ...], name: str) -> Arm:
    matching = [each for each in arms if each.label == name] or [each for each in arms if each.label.endswith(name)]
    if len(matching) != 1:
        labels = ", ".join(each.label for each in arms)
        problem = "several arms end so" if matching else "the study has no such arm"
        raise InputError(f"arm={name!r}: {problem}; choose one of {labels}")
    return matching[0]
