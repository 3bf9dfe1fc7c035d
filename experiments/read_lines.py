"""Reading a line of handwritten digits, without a hint where one ends and the next begins: convolutions and CTC.

Lines are composed of MNIST's digits; those of test lines are of MNIST's test split.

Runtime: about 5 minutes on two cores of an AMD EPYC, 35 seconds an epoch.
Expected: 1.0 % character error on 1,600 test lines, 90 % of the lines without a mistake (after 1,152 of 1,400 steps).
Needs MNIST: `jaxcnn data prepare mnist`. Letters: --run.data.name lines:emnist/letters.
"""

from dataclasses import dataclass, field
from pathlib import Path

from jaxcnn.cli import launch
from jaxcnn.run import run_seeds
from jaxcnn.spec import DataConfig, ModelSpec, OptimizerConfig, RunConfig


@dataclass(frozen=True)
class Config:
    """What to change, one line each."""

    run: RunConfig = field(
        default_factory=lambda: RunConfig(
            model=ModelSpec("resnet", depth=8, width=16, head="reader"),
            data=DataConfig("lines:mnist", images=8000, augment=("zoom",)),
            optimizer=OptimizerConfig("adam", learning_rate=0.003, weight_decay=1e-4, clip_norm=5.0),
            epochs=8,
            batch_size=32,
        )
    )
    seeds: tuple[int, ...] = (0,)
    out: Path = Path("runs/read_lines")


LINES = DataConfig("lines:digits", images=80, size=(16, 128))
SMOKE = Config(RunConfig(ModelSpec("plain", 3, 4, head="reader"), LINES, epochs=1, batch_size=16))


def main(config: Config) -> None:
    run_seeds(config.run, config.seeds, out=config.out)


if __name__ == "__main__":
    launch(main, Config, SMOKE)
