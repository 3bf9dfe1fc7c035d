"""Degradation: plain nets get worse as they get deeper, residual nets do not (He et al. 2015, figures 1 and 6).

Question: is the test error of 56 layers above that of 20 without skips, and below it with them, on all of CIFAR-10?
Runtime: 9 minutes on one NVIDIA H200 with `--workers 12`, another study beside it.
Expected: above it without skips, below it with them. Former figures are withdrawn: their runs were not kept.
Widths are equal: a control of the tools, not a budget study. Needs CIFAR-10: `jaxcnn data prepare cifar10`.
"""

from dataclasses import dataclass, field, replace
from itertools import product
from pathlib import Path

import numpy as np

from jaxcnn.cli import launch
from jaxcnn.run import run_all
from jaxcnn.runtime.files import write_json
from jaxcnn.spec import DataConfig, ModelSpec, OptimizerConfig, RunConfig
from jaxcnn.study.statistics.population import crossed

RECIPE = OptimizerConfig(weight_decay=1e-4, nesterov=False, schedule="step", warmup_epochs=1)
DATA, NET = DataConfig("cifar10", augment=("flip", "crop")), ModelSpec("resnet", width=16)


@dataclass(frozen=True)
class Config:
    """Two depths with and without skips; the recipe of the paper, its epochs shortened to `base.epochs`."""

    base: RunConfig = field(default_factory=lambda: RunConfig(NET, DATA, RECIPE, epochs=30, batches="full"))
    depths: tuple[int, int] = (20, 56)
    seeds: tuple[int, ...] = (0, 1, 2)
    workers: int = 1
    out: Path = Path("runs/degradation")


SMALL = RunConfig(ModelSpec("resnet", width=4), DataConfig("digits", train_size=128), RECIPE, epochs=1)
SMOKE = Config(SMALL, (8, 14), (0, 1))


def main(config: Config) -> None:
    jobs, record = {}, {"epochs": config.base.epochs, "seeds": config.seeds, "nets": {}, "deep_minus_shallow": {}}
    for (kind, skip), depth, seed in product((("plain", False), ("residual", True)), config.depths, config.seeds):
        model = replace(config.base.model, options={"skip": skip}, depth=depth)
        jobs[kind, depth, seed] = replace(config.base, model=model, seed=seed), config.out / f"{kind}{depth}/seed{seed}"
    runs = dict(zip(jobs, run_all(list(jobs.values()), workers=config.workers), strict=True))
    for kind in ("plain", "residual"):
        errors = [[~runs[kind, depth, seed].predictions["correct"] for seed in config.seeds] for depth in config.depths]
        for depth, found in zip(config.depths, errors, strict=True):
            train = [100 - 100 * runs[kind, depth, seed].metrics["train_accuracy"] for seed in config.seeds]
            test = [100 * float(np.mean(each)) for each in found]
            record["nets"][f"{kind}{depth}"] = {"test_error": test, "train_error": train}
            print(f"{kind} {depth}: test error {np.mean(test):.2f} %, training error {np.mean(train):.2f} %")
        effect = crossed(np.stack(errors[1]), np.stack(errors[0]))
        points = record["deep_minus_shallow"][kind] = [100 * value for value in effect.interval]
        print(f"{kind}: deep minus shallow {points[0]:+.2f} points (95 % {points[1]:+.2f} to {points[2]:+.2f})")
    write_json(config.out / "summary.json", record | {"environment": next(iter(runs.values())).environment})


if __name__ == "__main__":
    launch(main, Config, SMOKE)
