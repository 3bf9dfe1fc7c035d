"""Deeper or wider dense layers? Multilayer perceptrons of one parameter budget read handwritten letters.

Question: with convolutions left out, do more dense layers beat wider ones at equal parameters?
Runtime: TODO
Expected: TODO
Needs EMNIST letters: `jaxcnn data prepare emnist/letters`.
"""

from dataclasses import dataclass, field
from pathlib import Path

from rich.console import Console

from jaxcnn.cli import launch
from jaxcnn.data import load
from jaxcnn.spec import DataConfig, ModelSpec, RunConfig
from jaxcnn.study import Seeds, Tuning, match_width, run_study, verdict_table, write_report


@dataclass(frozen=True)
class Config:
    """Dense layers at one parameter budget; depth counts them all, the classifier included."""

    base: RunConfig = field(
        default_factory=lambda: RunConfig(
            model=ModelSpec("dense", norm=True), data=DataConfig("emnist/letters"), epochs=15, checkpoint_every=15
        )
    )
    depths: tuple[int, ...] = (2, 3, 5, 9)
    params: tuple[int, ...] = (120_000,)
    margin: float = 0.005
    tuning: Tuning = field(default_factory=Tuning)
    seeds: Seeds = field(default_factory=lambda: Seeds(pilot=3, cap=5))
    workers: int | None = None
    out: Path = Path("runs/deep_vs_wide_dense")


SMOKE = Config(
    RunConfig(ModelSpec("dense", norm=True), DataConfig("glyphs", images=400), epochs=1), (2, 4), (20_000,), 0.05,
    Tuning((0.05, 0.1), (5e-4,), extensions=0), Seeds(1, 1), 1, Path("runs/deep_vs_wide_dense_smoke"),
)  # fmt: skip


def main(config: Config) -> None:
    images = load(config.base.data, progress=True)
    about = {"input_shape": images.image_shape, "num_classes": len(images.class_names)}
    arms = [
        match_width(config.base.model, depth, params=params, **about)
        for params in config.params
        for depth in config.depths
    ]
    declared = {"margin": config.margin, "tuning": config.tuning, "seeds": config.seeds}
    result = run_study(config.base, arms, out=config.out, workers=config.workers, **declared)
    page = write_report(result, config.out)
    Console().print(verdict_table(result))
    print(f"report: {page}")


if __name__ == "__main__":
    launch(main, Config, SMOKE)
