"""Wide residual nets at equal parameters: the published pairs, 22-8 against 16-10 and 40-8 against 28-10.

Question: do the pairs inside the table of Zagoruyko and Komodakis (2016) come out as printed: 22-8 ahead of 16-10 by
0.18 points at 17 million parameters, 28-10 ahead of 40-8 by 0.49 at 36 million (ZCA)? Their recipe, not tuned per arm.
Runtime: not measured yet at full size (about a GPU-week of an older card, by its operations); smoke under a minute.
Expected: not measured yet. Needs CIFAR-10: `jaxcnn data prepare cifar10`.
"""

from dataclasses import dataclass, field, replace
from pathlib import Path

from jaxcnn.cli import launch
from jaxcnn.spec import DataConfig, ModelSpec, OptimizerConfig, RunConfig, Seeds, StudyConfig, Tuning
from jaxcnn.study import match_widths, run_study, show_report

RECIPE = OptimizerConfig(schedule="step", milestones=(0.3, 0.6, 0.8), factor=0.2, warmup_epochs=0)
BASE = RunConfig(ModelSpec("wrn"), DataConfig("cifar10", augment=("flip", "crop")), RECIPE, epochs=200)
PUBLISHED = Tuning(learning_rates=(0.1,), weight_decays=(5e-4,))


@dataclass(frozen=True)
class Config(StudyConfig):
    """Pairs of (depth, depth), each with the parameters that both spend.

    Args:
        pairs: Depths to compare at the parameters of the same position in `params`.
        out: Folder of the results.
    """

    base: RunConfig = field(default_factory=lambda: BASE)
    params: tuple[int, ...] = (17_140_000, 36_110_000)
    margin: float = 0.002
    tuning: Tuning = field(default_factory=lambda: PUBLISHED)
    pairs: tuple[tuple[int, int], ...] = ((16, 22), (28, 40))
    out: Path = Path("runs/wide_resnet_pairs")


SMALL = RunConfig(ModelSpec("wrn"), DataConfig("digits", train_size=64), RECIPE, epochs=1, batch_size=64)
SMOKE = Config(SMALL, params=(200_000,), margin=0.05, seeds=Seeds(1, 1), workers=1, pairs=((10, 16),))


def main(config: Config) -> None:
    pairs = zip(config.pairs, config.params, strict=True)
    arms = [arm for depths, params in pairs for arm in match_widths(replace(config, depths=depths, params=(params,)))]
    show_report(run_study(config, arms, out=config.out), config.out)


if __name__ == "__main__":
    launch(main, Config, SMOKE)
