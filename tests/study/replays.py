"""Replays of a study with networks that were trained before: an arm tuned twice and compared with itself.

The study is the residual half of the former main job: all 1,137 training images of the digits, one test split.

A pool holds many trials and runs of two arms at every rate of the grid (`replays.npz`). A replay draws its trials and
runs from it as the schedule asks for them, and no network twice.

`python -m tests.study.replays train runs/replays` trains the pool, `python -m tests.study.replays 200` prints how often
two arms are called different.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from jaxcnn.data import load
from jaxcnn.run import run
from jaxcnn.spec import DataConfig, ModelSpec, RunConfig, Seeds, StudyConfig, Tuning
from jaxcnn.study.arm import Arm
from jaxcnn.study.budget.match import match_widths
from jaxcnn.study.plan import Plan, make_plan
from jaxcnn.study.schedule import StudyRun, next_runs, run_config
from jaxcnn.study.statistics.smoothing import retune
from jaxcnn.study.tuning import grid, lowest, surface
from tests.study.retuning import Study

POOL = Path(__file__).with_suffix(".npz")
COUNTS = {"tuning": 24, "runs": 32}
"""Networks of each arm, rate and stage."""
ENDS = (8, 26)
"""Depths of the arms."""


def declared() -> Plan:
    """Return the plan of the study, of its two ends."""
    base = RunConfig(ModelSpec("resnet"), DataConfig("digits"), epochs=10, batch_size=64, checkpoint_every=10)
    tuning, seeds = Tuning(weight_decays=(1e-3,), extensions=1, shared=False), Seeds(pilot=3, cap=8, first=10)
    config = StudyConfig(base, ENDS, (27_000,), tuning=tuning, seeds=seeds)
    return make_plan(config, match_widths(config))


def networks(plan: Plan, arm: Arm) -> Iterator[tuple[str, int, StudyRun]]:
    """Return the place and the run of every network of an arm's pool."""
    for stage, count in COUNTS.items():
        for place, setting in enumerate(grid(plan.tuning, 1, 1, 0, 0)):
            for seed in range(count):
                yield stage, place, StudyRun(stage, arm, setting, 1000 + seed)


def train_pool(plan: Plan, arm: Arm, out: Path) -> dict[str, np.ndarray]:
    """Train the pool of an arm; what is finished in the folder is read.

    Returns:
        tuning: (rates, trials, 2) validation error and loss; runs: the same of the runs; wrong: (rates, runs, images).
    """
    numbers, wrong = {stage: list[list[float]]() for stage in COUNTS}, []
    for stage, _, item in networks(plan, arm):
        result = run(run_config(plan, item), out=out / item.path, progress=False)
        numbers[stage].append([1 - result.metrics["validation_accuracy"], result.metrics["validation_loss"]])
        if stage == "runs":
            wrong.append(result.predictions["labels"] != result.predictions["predictions"])
        if item.seed == 1000:
            print(item.path, *numbers[stage][-1], flush=True)
    rates = len(grid(plan.tuning, 1, 1, 0, 0))
    pool = {stage: np.float32(numbers[stage]).reshape(rates, -1, 2) for stage in COUNTS}
    return pool | {"wrong": np.packbits(np.reshape(wrong, (rates, COUNTS["runs"], -1)), axis=-1)}


def pool_of(depth: int) -> dict[str, np.ndarray]:
    """Return the stored pool of an arm."""
    with np.load(POOL) as stored:
        pool = {name: stored[f"{name}{depth}"] for name in (*COUNTS, "wrong")}
    images = load(declared().base.data).sizes["test"]
    return pool | {"wrong": np.unpackbits(pool["wrong"], axis=-1, count=images).astype(bool)}


def replay(plan: Plan, first: Mapping[str, np.ndarray], second: Mapping[str, np.ndarray], number: int) -> Study:
    """Make up a study from two pools; the same pool twice gives each arm other networks of it."""
    rng = np.random.default_rng(number)
    places = {setting: place for place, setting in enumerate(grid(plan.tuning, 1, 1, 0, 0))}
    orders = {(stage, place): rng.permutation(count) for stage, count in COUNTS.items() for place in range(len(places))}
    taken: dict[StudyRun, int] = {}
    sizes = load(plan.base.data).sizes

    def place_of(item: StudyRun) -> tuple[int, int]:
        place, end = places[item.setting], plan.arms.index(item.arm)
        if item not in taken:
            before = sum((each.stage, each.arm, each.setting) == (item.stage, item.arm, item.setting) for each in taken)
            taken[item] = int(orders[item.stage, place][2 * before + end])
        return place, taken[item]

    def read(item: StudyRun) -> dict[str, Any]:
        error, loss = (first, second)[plan.arms.index(item.arm)][item.stage][place_of(item)]
        metrics = {"train_loss": loss, "validation_loss": loss, "validation_accuracy": 1 - error}
        return metrics | {"validation_images": sizes["validation"], "test_images": sizes["test"]}

    now = next_runs(plan, read)
    assert now.tuning is not None
    errors, variances, chosen, promised = [], [], [], []
    for arm, pool in zip(plan.arms, (first, second), strict=True):
        tuned = now.tuning.arms[arm.label]
        rows = [each for each in now.runs if (each.stage, each.arm, each.setting) == ("runs", arm, tuned.setting)]
        errors.append(np.stack([pool["wrong"][place_of(each)] for each in rows]))
        again = retune(surface(tuned.trials), draws=2000)
        variances.append(again.variance)
        # Of the other trials, each with a validation split of its own: the runs see one split, easier than most.
        used = [each for each in taken if (each.stage, each.arm, each.setting) == ("tuning", arm, tuned.setting)]
        errors_of = pool["tuning"][places[tuned.setting], :, 0]
        chosen.append(float(np.delete(errors_of, [taken[each] for each in used]).mean()))
        promised.append(lowest(tuned.trials) + again.optimism)
    return Study(errors, variances, chosen, promised)


def row(name: str, make: Callable[[int], Study], count: int) -> str:
    """Return a line of a Markdown table: two arms."""
    studies = [make(number) for number in range(count)]
    fixed, found = ([each.contrast(tuned=tuned) for each in studies] for tuned in (False, True))
    called = [100 * np.mean([each.p < 0.05 for each in some]) for some in (fixed, found)]
    estimates = [100 * each.interval.estimate for each in found]
    curse = 100 * np.mean([each.curse for each in studies])
    return (
        f"| {name} | {called[0]:.1f} | {called[1]:.1f} | {np.mean(estimates):+.2f} | {np.std(estimates, ddof=1):.2f} | "
        f"{100 * np.mean([each.standard_error for each in found]):.2f} | {curse:+.2f} |"
    )


def main(words: list[str]) -> None:
    """Train the pool, or print the table."""
    plan = declared()
    if words[0] == "train":
        pools = {arm.depth: train_pool(plan, arm, Path(words[1])) for arm in plan.arms}
        values = {f"{name}{depth}": each for depth, pool in pools.items() for name, each in pool.items()}
        np.savez_compressed(POOL, allow_pickle=False, **values)
        return
    pools = [pool_of(depth) for depth in ENDS]
    for first, second in ((0, 0), (1, 1), (1, 0)):
        name = f"depth {ENDS[first]} against {'itself' if first == second else f'depth {ENDS[second]}'}"
        print(row(name, lambda n, a=first, b=second: replay(plan, pools[a], pools[b], n), int(words[0])), flush=True)


if __name__ == "__main__":
    main(sys.argv[1:])
