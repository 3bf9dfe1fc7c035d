"""Does the answer change with the amount of data? The same arms on few and on many training images.

Question: does "deeper or wider" at one parameter budget come out the same with 500, 2,000 and 8,000 images?
Runtime: not measured yet at these sizes; the smoke run takes under a minute on two cores.
Expected: not measured yet.
Needs Fashion-MNIST: `jaxcnn data prepare fashion_mnist`. Epochs grow as data shrink, so that all train equally long.
"""

from dataclasses import dataclass, field, replace
from pathlib import Path

from jaxcnn.cli import launch
from jaxcnn.spec import DataConfig, ModelSpec, RunConfig, Seeds, StudyConfig, Tuning
from jaxcnn.study import StudyResult, run_study, show_report, write_joined

BASE = RunConfig(ModelSpec("resnet"), DataConfig("fashion_mnist"), epochs=5)


@dataclass(frozen=True)
class Config(StudyConfig):
    """One study per amount of data, joined in one report. `base.epochs` is that of the largest amount.

    Args:
        sizes: Numbers of training images.
        out: Folder of the results.
    """

    base: RunConfig = field(default_factory=lambda: BASE)
    depths: tuple[int, ...] = (8, 14, 20, 32)
    params: tuple[int, ...] = (60_000,)
    sizes: tuple[int, ...] = (500, 2_000, 8_000)
    out: Path = Path("runs/data_size")


SMALL = RunConfig(ModelSpec("plain"), DataConfig("digits"), epochs=1, batch_size=64)
QUICK = Tuning((0.05, 0.1), (5e-4,), extensions=0, rounds=1)
SMOKE = Config(SMALL, (3, 5), (3_000,), tuning=QUICK, seeds=Seeds(1, 1), workers=1, sizes=(100, 200))


def study(config: Config, size: int) -> StudyResult:
    epochs = round(config.base.epochs * max(config.sizes) / size)
    base = replace(config.base, data=replace(config.base.data, train_size=size), epochs=epochs, checkpoint_every=epochs)
    result = run_study(replace(config, base=base), out=config.out / f"images{size}")
    show_report(result, result.directory)
    return result


def main(config: Config) -> None:
    print(f"joined: {write_joined([study(config, size) for size in config.sizes], config.out)}")


if __name__ == "__main__":
    launch(main, Config, SMOKE)
