"""Deeper or wider? Residual nets (and plain ones) of one parameter budget, tuned per arm, on real images.

Question: at one parameter budget, does a deeper, narrower net make fewer errors than a shallower, wider one?
Runtime: four minutes of processor time on an AMD EPYC (jax 0.12) for 117 runs: 145 s on two idle cores.
Expected: with shortcuts inconclusive on 360 test images: deeper minus wider is +0.8 points (95 % interval -0.3 to +1.8
for new seeds, new images and new tuning). Without them wider: +14.8 (+9.0 to +20.6). Rounding can change the rates.
`--skips True` runs the study with shortcuts only; `--params 15000 60000` compares several budgets;
`--base.data.name fashion_mnist` takes other images.
"""

from dataclasses import dataclass, field, replace
from pathlib import Path

from jaxcnn.cli import launch
from jaxcnn.spec import DataConfig, ModelSpec, RunConfig, Seeds, StudyConfig, Tuning
from jaxcnn.study import StudyResult, run_study, show_report, write_joined

BASE = RunConfig(ModelSpec("resnet"), DataConfig("digits"), epochs=10, batch_size=64, checkpoint_every=10)


@dataclass(frozen=True)
class Config(StudyConfig):
    """Deeper or wider? Networks of several depths at one parameter budget.

    Args:
        skips: With shortcuts (True), without (False), or both: one study each.
        out: Folder of the results.
    """

    base: RunConfig = field(default_factory=lambda: BASE)
    depths: tuple[int, ...] = (8, 14, 26)
    params: tuple[int, ...] = (27_000,)
    tuning: Tuning = field(default_factory=lambda: Tuning(weight_decays=(1e-3,), extensions=1, shared=False))
    seeds: Seeds = field(default_factory=lambda: Seeds(pilot=3, cap=8, first=10))
    skips: tuple[bool, ...] = (True, False)
    out: Path = Path("runs/deep_vs_wide")


SMALL = RunConfig(data=DataConfig("digits", train_size=128), epochs=1, batch_size=64)
QUICK = Tuning((0.05, 0.1), (5e-4,), extensions=0)
SMOKE = Config(SMALL, (8, 14), (3_000,), tuning=QUICK, seeds=Seeds(1, 1), workers=1, skips=(True, False))


def study(config: Config, skip: bool, out: Path) -> StudyResult:
    model = replace(config.base.model, options={**config.base.model.options, "skip": skip})
    result = run_study(replace(config, base=replace(config.base, model=model)), out=out)
    show_report(result, out)
    return result


def main(config: Config) -> None:
    several = len(config.skips) > 1
    folders = [config.out / ("residual" if skip else "plain") if several else config.out for skip in config.skips]
    results = [study(config, skip, folder) for skip, folder in zip(config.skips, folders, strict=True)]
    if several:
        print(f"joined: {write_joined(results, config.out)}")


if __name__ == "__main__":
    launch(main, Config, SMOKE)
