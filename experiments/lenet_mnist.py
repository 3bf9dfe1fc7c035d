"""LeNet-5 on MNIST: how far does the network of 1998 get in ten epochs?

Runtime: about 2 minutes a seed on two cores of an AMD EPYC that other jobs shared.
Expected: 99.31 % test accuracy (sd 0.11 over seeds 0, 1, 2).
Needs MNIST: `jaxcnn data prepare mnist`.
"""

from dataclasses import dataclass, field
from pathlib import Path

from jaxcnn.cli import launch
from jaxcnn.models import named
from jaxcnn.run import run_seeds
from jaxcnn.spec import DataConfig, OptimizerConfig, RunConfig


@dataclass(frozen=True)
class Config:
    """What to change, one line each."""

    run: RunConfig = field(
        default_factory=lambda: RunConfig(
            model=named("lenet5"),
            data=DataConfig("mnist"),
            optimizer=OptimizerConfig(learning_rate=0.05, weight_decay=5e-4),
            epochs=10,
            batches="full",  # as the recorded runs
        )
    )
    seeds: tuple[int, ...] = (0, 1, 2)
    out: Path = Path("runs/lenet_mnist")


SMOKE = Config(run=RunConfig(model=named("lenet5"), data=DataConfig("digits", size=28), epochs=1), seeds=(0,))


def main(config: Config) -> None:
    run_seeds(config.run, config.seeds, out=config.out)


if __name__ == "__main__":
    launch(main, Config, SMOKE)
