"""Degradation: plain nets get worse as they get deeper, residual nets do not (He et al. 2015, figures 1 and 6).

Question: is the test error of 56 layers above that of 20 without skips, and below it with them, on all of CIFAR-10?
Runtime: TODO
Expected: TODO
Needs CIFAR-10: `jaxcnn data prepare cifar10`. Widths are equal, so this is a control of the tools, not a budget study.
"""

from dataclasses import dataclass, field, replace
from itertools import product
from pathlib import Path
from statistics import mean

import numpy as np
from rich.console import Console
from rich.table import Table

from jaxcnn.cli import launch
from jaxcnn.data import load
from jaxcnn.files import write_json
from jaxcnn.run import RunResult, run_all
from jaxcnn.spec import DataConfig, ModelSpec, OptimizerConfig, RunConfig
from jaxcnn.study.resampling import crossed

RECIPE = OptimizerConfig(weight_decay=1e-4, nesterov=False, schedule="step", warmup_epochs=1)
DATA = DataConfig("cifar10", augment=("flip", "crop"))
KINDS = {False: "plain", True: "residual"}


@dataclass(frozen=True)
class Config:
    """Two depths with and without skips; the recipe of the paper, its epochs shortened to `base.epochs`."""

    base: RunConfig = field(default_factory=lambda: RunConfig(ModelSpec("resnet", width=16), DATA, RECIPE, epochs=40))
    depths: tuple[int, int] = (20, 56)
    seeds: tuple[int, ...] = (0, 1, 2)
    workers: int = 1
    out: Path = Path("runs/degradation")


SMALL = RunConfig(ModelSpec("resnet", width=4), DataConfig("digits", train_size=128), RECIPE, epochs=1, batch_size=64)
SMOKE = Config(SMALL, (8, 14), (0, 1), out=Path("runs/degradation_smoke"))


def main(config: Config) -> None:
    load(config.base.data, progress=True)
    nets = list(product(KINDS, config.depths, config.seeds))
    models = [replace(config.base.model, skip=skip, depth=depth) for skip, depth, _ in nets]
    jobs = [
        (replace(config.base, model=model, seed=seed), config.out / f"{KINDS[skip]}{depth}" / f"seed{seed}")
        for model, (skip, depth, seed) in zip(models, nets, strict=True)
    ]
    results = dict(zip(nets, run_all(jobs, workers=config.workers), strict=True))
    table = Table("net", "parameters", "test error %", "each seed", "training error %")
    record: dict = {"epochs": config.base.epochs, "seeds": config.seeds, "nets": {}, "deep_minus_shallow": {}}
    for skip in KINDS:
        runs = {depth: [results[skip, depth, seed] for seed in config.seeds] for depth in config.depths}
        record["nets"] |= {f"{KINDS[skip]}{depth}": summary(table, skip, depth, runs[depth]) for depth in runs}
        shallow, deep = (np.stack([~run.predictions["correct"] for run in runs[depth]]) for depth in config.depths)
        effect = crossed(deep, shallow)
        points = [100 * value for value in (effect.estimate, effect.low, effect.high)]
        record["deep_minus_shallow"][KINDS[skip]] = points if len(config.seeds) > 1 else points[:1]
    Console().print(table)
    print("deep minus shallow, points of test error with 95 % interval over new seeds and images:")
    for kind, points in record["deep_minus_shallow"].items():
        print(f"  {kind}: " + " ".join(f"{value:+.2f}" for value in points))
    first = next(iter(results.values()))
    write_json(config.out / "summary.json", record | {"data": first.data, "environment": first.environment})


def summary(table: Table, skip: bool, depth: int, runs: list[RunResult]) -> dict:
    test, training = ([100 - 100 * run.metrics[f"{split}_accuracy"] for run in runs] for split in ("test", "train"))
    each = " ".join(f"{error:.2f}" for error in test)
    table.add_row(f"{KINDS[skip]} {depth}", f"{runs[0].params:,}", f"{mean(test):.2f}", each, f"{mean(training):.2f}")
    seconds = [run.seconds["total"] for run in runs]
    return {"params": runs[0].params, "test_error": test, "train_error": training, "seconds": seconds}


if __name__ == "__main__":
    launch(main, Config, SMOKE)
