"""Deeper or wider? Residual nets of 8 to 26 layers with 27,000 parameters each, on real handwritten digits (8x8).

Question: at one parameter budget, does a deeper, narrower residual net make fewer errors than a shallower, wider one?
Run: python experiments/deep_vs_wide.py            (the report lands in runs/deep_vs_wide/report.html)
Runtime: RUNTIME
Expected: EXPECTED

The learning rate, batch size and number of epochs were chosen on the validation split with other seeds (100 to 102),
once for all arms.
"""

from dataclasses import dataclass, field
from pathlib import Path

from rich.console import Console

from jaxcnn.cli import launch
from jaxcnn.data import load
from jaxcnn.spec import DataConfig, ModelSpec, OptimizerConfig, RunConfig
from jaxcnn.study import match_width, run_study, verdict_table, write_report

BASE = RunConfig(
    model=ModelSpec("resnet", skip=True),
    data=DataConfig("digits"),
    optimizer=OptimizerConfig(learning_rate=0.2),
    epochs=10,
    batch_size=64,
    checkpoint_every=10,
)


@dataclass(frozen=True)
class Config:
    """Deeper or wider? Residual nets at one parameter budget."""

    base: RunConfig = field(default_factory=lambda: BASE)
    depths: tuple[int, ...] = (8, 14, 20, 26)
    seeds: tuple[int, ...] = tuple(range(10, 18))
    params: int = 27_000
    out: Path = Path("runs/deep_vs_wide")


SMOKE = Config(
    base=RunConfig(model=BASE.model, data=DataConfig("digits", train_size=128), epochs=1, batch_size=64),
    depths=(8, 14),
    seeds=(0,),
    params=3_000,
    out=Path("runs/deep_vs_wide_smoke"),
)


def main(config: Config) -> None:
    images = load(config.base.data, progress=True)
    budget = {"params": config.params, "input_shape": images.image_shape, "num_classes": len(images.class_names)}
    arms = [match_width(config.base.model, depth, **budget) for depth in config.depths]
    result = run_study(config.base, arms, config.seeds, out=config.out)
    page = write_report(result, config.out)
    Console().print(verdict_table(result))
    print(f"report: {page}")


if __name__ == "__main__":
    launch(main, Config, SMOKE)
