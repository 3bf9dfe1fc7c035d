"""What LeNet and a residual network see in digits: their feature maps, and the pixels that their answers rest on.

Runtime: about a minute on two cores of an AMD EPYC.
Expected: per network its test accuracy and NAME_features.png, NAME_saliency.png, NAME_receptive_fields.png. The first
maps are edges of the digit, the last ones a few pixels; the attribution lies on the strokes, that of Grad-CAM coarsely.
"""

from dataclasses import dataclass, field
from pathlib import Path

from jaxcnn.cli import launch
from jaxcnn.data import load
from jaxcnn.models import named
from jaxcnn.pictures.style import write_png
from jaxcnn.run import run
from jaxcnn.run.show import draw_attribution, draw_features, draw_receptive_fields, look_inside
from jaxcnn.spec import DataConfig, OptimizerConfig, RunConfig

RATES = {"lenet5": 0.02}
"""Learning rates other than the default."""


@dataclass(frozen=True)
class Config:
    """What to change, one line each."""

    models: tuple[str, ...] = ("lenet5", "resnet20")
    data: DataConfig = field(default_factory=lambda: DataConfig("digits", size=28))
    epochs: int = 15
    shown: tuple[int, ...] = (0, 3, 8, 12)  # indices in the test split
    out: Path = Path("runs/what_it_sees")


SMOKE = Config(models=("lenet5",), epochs=1, shown=(0,))


def main(config: Config) -> None:
    dataset = load(config.data)
    images = [dataset.load_test()["images"][n] for n in config.shown]
    for name in config.models:
        rates = OptimizerConfig(learning_rate=RATES.get(name, 0.1))
        training = RunConfig(named(name), config.data, rates, epochs=config.epochs)
        result = run(training, out=config.out / name, dataset=dataset)
        print(f"{name}: test accuracy {result.metrics['test_accuracy']:.4f}")
        inside = look_inside(config.out / name)
        write_png(draw_features(inside, images[0]), config.out / f"{name}_features.png")
        write_png(draw_attribution(inside, images), config.out / f"{name}_saliency.png")
        write_png(draw_receptive_fields(inside, images[0]), config.out / f"{name}_receptive_fields.png")


if __name__ == "__main__":
    launch(main, Config, SMOKE)
