"""What regularisation is worth on handwritten letters: none, L2, dropout, batch norm, all of them.

Runtime: printed after the second epoch; interrupted, the same command goes on where it stopped.
Expected: a sentence for each with its interval over seeds, in verdict.txt, too; curves.png of one seed each.
Needs EMNIST letters: `jaxcnn data prepare emnist/letters`.
"""

from dataclasses import dataclass, field
from pathlib import Path

from jaxcnn.cli import launch
from jaxcnn.pictures.curves import curve_figure
from jaxcnn.pictures.style import write_png
from jaxcnn.run import run_seeds
from jaxcnn.runtime.files import write_text
from jaxcnn.spec import DataConfig, ModelSpec, OptimizerConfig, RunConfig
from jaxcnn.study.statistics.seeds import welch

LENET, DROPOUT, NORM = {"dense": 2, "units": (128,)}, {"dropout": 0.5}, {"norm": True}
VARIANTS: dict[str, tuple[float, dict]] = {  # weight decay, options of the model
    "none": (0.0, {}), "L2": (1e-3, {}), "dropout": (0.0, DROPOUT), "norm": (0.0, NORM), "all": (1e-3, DROPOUT | NORM),
}  # fmt: skip


@dataclass(frozen=True)
class Config:
    """What to change, one line each."""

    data: DataConfig = field(default_factory=lambda: DataConfig("emnist/letters"))
    learning_rate: float = 0.05
    epochs: int = 20
    seeds: tuple[int, ...] = (0, 1, 2, 3, 4)
    out: Path = Path("runs/regularisation")


SMOKE = Config(data=DataConfig("digits", size=28, train_size=300), epochs=1, seeds=(0, 1))


def main(config: Config) -> None:
    results, epochs = {}, len(VARIANTS) * len(config.seeds) * config.epochs

    def estimate(record: dict) -> None:
        if record["epoch"] == 2 and not results:  # the first one compiles
            print(f"about {epochs * record['seconds'] / 60:.0f} minutes for {epochs} epochs, less those that are there")

    for name, (decay, options) in VARIANTS.items():
        rates = OptimizerConfig(learning_rate=config.learning_rate, weight_decay=decay)
        model = ModelSpec("lenet", 4, 12, options=LENET | options)
        training = RunConfig(model, config.data, rates, epochs=config.epochs)
        results[name] = run_seeds(training, config.seeds, out=config.out / name, on_epoch=estimate)
    errors = {name: [100 * (1 - each.metrics["test_accuracy"]) for each in runs] for name, runs in results.items()}
    text = "{}: {:+.2f} points of test error against none, 95 % interval {:+.2f} to {:+.2f}"
    lines = [text.format(name, *welch(errors[name], errors["none"])[0]) for name in VARIANTS if name != "none"]
    write_text(config.out / "verdict.txt", "\n".join(lines) + "\n")
    write_png(curve_figure({name: runs[0].history for name, runs in results.items()}), config.out / "curves.png")
    print(*lines, sep="\n")


if __name__ == "__main__":
    launch(main, Config, SMOKE)
