"""Does depth pay where overfitting can occur? The same arms at several numbers of epochs and amounts of data.

Question: is "deeper or wider" at one parameter budget answered alike by short and long trainings, on few and many
images? Bello et al. 2021 ("Revisiting ResNets", strategy 1) scale depth where a network can overfit, as in long
trainings, and width elsewhere.
Runtime: less than half an hour of processor time on an AMD EPYC (jax 0.12), 279 runs.
Expected: deeper minus wider, in points: on 250 images +32.8, +9.1 and +5.1 after 5, 20 and 80 epochs, all wider; on all
1,137 images +1.4, +0.8 and +0.3, all inconclusive.
"""

from dataclasses import dataclass, field, replace
from itertools import product
from pathlib import Path

from jaxcnn.cli import launch
from jaxcnn.spec import DataConfig, ModelSpec, RunConfig, Seeds, StudyConfig, Tuning
from jaxcnn.study import StudyResult, run_study, show_report, write_joined

BASE = RunConfig(ModelSpec("resnet"), DataConfig("digits"), batch_size=64)


@dataclass(frozen=True)
class Config(StudyConfig):
    """One study for each number of epochs and amount of data, joined in one report.

    Args:
        epochs: Numbers of epochs.
        sizes: Numbers of training images.
        out: Folder of the results.
    """

    base: RunConfig = field(default_factory=lambda: BASE)
    depths: tuple[int, ...] = (8, 14, 26)
    params: tuple[int, ...] = (27_000,)
    tuning: Tuning = field(default_factory=lambda: Tuning((0.05, 0.125, 0.3125), (1e-3,), extensions=1, shared=False))
    seeds: Seeds = field(default_factory=lambda: Seeds(pilot=3, cap=5, first=10))
    epochs: tuple[int, ...] = (5, 20, 80)
    sizes: tuple[int, ...] = (250, 1_137)
    out: Path = Path("runs/longer_training")


SMALL = RunConfig(ModelSpec("plain"), DataConfig("digits"), batch_size=64)
QUICK = Tuning((0.05, 0.1), (5e-4,), extensions=0, rounds=1)
SMOKE = Config(SMALL, (3, 5), (3_000,), tuning=QUICK, seeds=Seeds(1, 1), workers=1, epochs=(1, 2), sizes=(100,))


def study(config: Config, size: int, epochs: int) -> StudyResult:
    base = replace(config.base, data=replace(config.base.data, train_size=size), epochs=epochs, checkpoint_every=epochs)
    result = run_study(replace(config, base=base), out=config.out / f"images{size}_epochs{epochs}")
    show_report(result, result.directory)
    return result


def main(config: Config) -> None:
    results = [study(config, size, epochs) for size, epochs in product(config.sizes, config.epochs)]
    print(f"joined: {write_joined(results, config.out)}")


if __name__ == "__main__":
    launch(main, Config, SMOKE)
