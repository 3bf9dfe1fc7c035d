"""Deeper or wider? Residual nets (and plain ones) at one parameter budget, tuned per arm, on real images.

Question: at one parameter budget, does a deeper, narrower net make fewer errors than a shallower, wider one?
Runtime: TODO
Expected: TODO
`--skips True False` runs the study with and without skips and joins the two reports; `--params 15000 60000` compares
several budgets; `--base.data.name fashion_mnist` takes other images.
"""

from dataclasses import dataclass, field, replace
from pathlib import Path

from rich.console import Console

from jaxcnn.cli import launch
from jaxcnn.data import load
from jaxcnn.spec import DataConfig, ModelSpec, RunConfig
from jaxcnn.study import Seeds, StudyResult, Tuning, match_width, run_study, verdict_table, write_joined, write_report


@dataclass(frozen=True)
class Config:
    """Deeper or wider? Networks of several depths at one parameter budget."""

    base: RunConfig = field(
        default_factory=lambda: RunConfig(
            model=ModelSpec("resnet"), data=DataConfig("digits"), epochs=10, batch_size=64, checkpoint_every=10
        )
    )
    skips: tuple[bool, ...] = (True,)
    depths: tuple[int, ...] = (8, 14, 20, 26)
    params: tuple[int, ...] = (27_000,)
    margin: float = 0.005
    tuning: Tuning = field(default_factory=lambda: Tuning((0.02, 0.05, 0.125, 0.3125, 0.78125), (5e-4,)))
    seeds: Seeds = field(default_factory=lambda: Seeds(pilot=3, cap=5))
    workers: int | None = None
    out: Path = Path("runs/deep_vs_wide")


SMALL = RunConfig(data=DataConfig("digits", train_size=128), epochs=1, batch_size=64)
SMOKE = Config(
    SMALL, (True, False), (8, 14), (3_000,), 0.05, Tuning((0.05, 0.1), (5e-4,), extensions=0), Seeds(1, 1), 1,
    Path("runs/deep_vs_wide_smoke"),
)  # fmt: skip


def study(config: Config, skip: bool, out: Path) -> StudyResult:
    base = replace(config.base, model=replace(config.base.model, skip=skip))
    images = load(base.data, progress=True)
    about = {"input_shape": images.image_shape, "num_classes": len(images.class_names)}
    arms = [
        match_width(base.model, depth, params=params, **about) for params in config.params for depth in config.depths
    ]
    declared = {"margin": config.margin, "tuning": config.tuning, "seeds": config.seeds}
    result = run_study(base, arms, out=out, workers=config.workers, **declared)
    page = write_report(result, out)
    Console().print(verdict_table(result))
    print(f"report: {page}")
    return result


def main(config: Config) -> None:
    if len(config.skips) == 1:
        study(config, config.skips[0], config.out)
        return
    results = [study(config, skip, config.out / ("residual" if skip else "plain")) for skip in config.skips]
    print(f"joined: {write_joined(results, config.out)}")


if __name__ == "__main__":
    launch(main, Config, SMOKE)
