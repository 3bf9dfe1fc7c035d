"""A small last batch: what does one training example too many cost, and do even batches mend it?

Question: a step counts the same whether its batch holds 128 examples or one. With batches="full" the last batch of an
epoch holds what is left; with batches="even", the default, the batches of an epoch differ by one example at most.
Runtime: 7 minutes on two cores of an AMD EPYC that many other jobs shared (2.4 minutes of computing).
Expected: full: 41.8 % test error with 1,024 images, 53.4 % with 1,025; even: 41.8 % and 37.9 % (means of 4 seeds).
Needs Fashion-MNIST: `jaxcnn data prepare fashion_mnist`. docs/results/index.md has a smaller case, in a minute.
"""

from dataclasses import dataclass, field, replace
from itertools import product
from pathlib import Path
from statistics import mean, stdev

from jaxcnn.cli import launch
from jaxcnn.cli.output import print_table
from jaxcnn.run import run_seeds
from jaxcnn.spec import DataConfig, ModelSpec, RunConfig

BASE = RunConfig(ModelSpec("resnet", depth=8, width=8), DataConfig("fashion_mnist"), epochs=5, checkpoint_every=5)


@dataclass(frozen=True)
class Config:
    """The run, and the numbers of training images: one that divides by the batch size, and one more."""

    run: RunConfig = field(default_factory=lambda: BASE)
    sizes: tuple[int, ...] = (1024, 1025)
    seeds: tuple[int, ...] = (0, 1, 2, 3)
    out: Path = Path("runs/last_batch")


SMALL = RunConfig(ModelSpec("dense", depth=2, width=8), DataConfig("digits"), epochs=1, batch_size=64)
SMOKE = Config(SMALL, sizes=(128, 129), seeds=(0, 1))


def errors(config: Config, size: int, batches: str) -> list[float]:
    one = replace(config.run, data=replace(config.run.data, train_size=size), batches=batches)
    results = run_seeds(one, config.seeds, out=config.out / f"{size}_{batches}", progress=False)
    return [100 * (1 - result.metrics["test_accuracy"]) for result in results]


def main(config: Config) -> None:
    rows = []
    for batches, size in product(("full", "even"), config.sizes):
        found = errors(config, size, batches)
        spread = f"{stdev(found):.1f}" if len(found) > 1 else ""
        rows.append((batches, f"{size:,}", f"{mean(found):.1f}", spread, " ".join(f"{e:.1f}" for e in sorted(found))))
    print_table(rows, ("batches", "training images", "test error %", "sd", "seeds"))


if __name__ == "__main__":
    launch(main, Config, SMOKE)
