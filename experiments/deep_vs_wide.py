"""Deeper or wider? Residual nets (and plain ones) of one parameter budget, tuned per arm, on real images.

Question: at one parameter budget, does a deeper, narrower net make fewer errors than a shallower, wider one?
Runtime: 85 s on two cores of an AMD EPYC for 156 runs, 150 to 170 s on two threads of one core.
Expected: wider. Deeper minus wider is +5.6 points with shortcuts (95 % interval +3.5 to +7.8), +39.3 without.
`--folds None --base.data.name fashion_mnist --base.data.train-size 5000` takes other images, with their own test split.
"""

from dataclasses import dataclass, field, replace
from pathlib import Path

from jaxcnn.cli import launch
from jaxcnn.spec import DataConfig, ModelSpec, RunConfig, Seeds, StudyConfig, Tuning
from jaxcnn.study import StudyResult, run_study, show_report, write_joined

DATA = DataConfig("digits", train_size=250)
BASE = RunConfig(ModelSpec("resnet"), DATA, epochs=20, batch_size=64, checkpoint_every=20)


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
    tuning: Tuning = field(default_factory=lambda: Tuning(weight_decays=(1e-3,), extensions=1, shared=False, rounds=1))
    seeds: Seeds = field(default_factory=lambda: Seeds(pilot=3, cap=8, first=10))  # with --folds None
    folds: int | None = 3
    repeats: int = 3
    skips: tuple[bool, ...] = (True, False)
    out: Path = Path("runs/deep_vs_wide")


SMALL = RunConfig(data=DataConfig("digits", train_size=128), epochs=1, batch_size=64)
QUICK = Tuning((0.05, 0.1), (5e-4,), extensions=0, rounds=1)
SMOKE = Config(SMALL, (8, 14), (3_000,), tolerance=0.1, tuning=QUICK, folds=2, repeats=2, workers=1)


def study(config: Config, skip: bool, out: Path) -> StudyResult:
    model = replace(config.base.model, options={**config.base.model.options, "skip": skip})
    result = run_study(replace(config, base=replace(config.base, model=model)), out=out)
    show_report(result, out)
    return result


def main(config: Config) -> None:
    names = ["residual" if skip else "plain" for skip in config.skips] if len(config.skips) > 1 else [""]
    results = [study(config, skip, config.out / name) for skip, name in zip(config.skips, names, strict=True)]
    if len(results) > 1:
        print(f"joined: {write_joined(results, config.out)}")


if __name__ == "__main__":
    launch(main, Config, SMOKE)
