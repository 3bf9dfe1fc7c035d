"""What LeNet and a residual network see in digits: their feature maps, and the pixels that their answers rest on.

Runtime: about a minute on two cores of an AMD EPYC.
Expected: two pictures a network, NAME_features.png and NAME_saliency.png, and its test accuracy. The first maps are
edges of the digit, the last ones a few cells; the attribution lies on the strokes, and Grad-CAM is coarser.
"""

from dataclasses import dataclass, field
from pathlib import Path

from jaxcnn.cli import launch
from jaxcnn.data import load
from jaxcnn.models import named
from jaxcnn.pictures.style import write_png
from jaxcnn.run import run
from jaxcnn.run.show import draw_attribution, draw_features, draw_receptive_fields, look_inside
from jaxcnn.spec import DataConfig, ModelSpec, OptimizerConfig, RunConfig

RATES = {"lenet": 0.02, "resnet": 0.1}
"""Learning rates that were tried."""


@dataclass(frozen=True)
class Config:
    """What to change, one line each."""

    models: dict[str, ModelSpec] = field(
        default_factory=lambda: {"lenet": named("lenet5"), "resnet": ModelSpec(width=8)}
    )
    data: DataConfig = DataConfig("digits", size=28)
    epochs: int = 15
    shown: tuple[int, ...] = (0, 3, 8, 12)  # indices in the test split
    out: Path = Path("runs/what_it_sees")


SMOKE = Config(models={"lenet": named("lenet5")}, epochs=1, shown=(0,))


def main(config: Config) -> None:
    dataset = load(config.data)
    images = [dataset.load_test()["images"][n] for n in config.shown]
    for name, model in config.models.items():
        rates = OptimizerConfig(learning_rate=RATES[name])
        result = run(RunConfig(model, config.data, rates, epochs=config.epochs), out=config.out / name, dataset=dataset)
        print(f"{name}: test accuracy {result.metrics['test_accuracy']:.4f}")
        inside = look_inside(config.out / name)
        write_png(draw_features(inside, images[0]), config.out / f"{name}_features.png")
        write_png(draw_attribution(inside, images), config.out / f"{name}_saliency.png")
        write_png(draw_receptive_fields(inside, images[0]), config.out / f"{name}_receptive_fields.png")


if __name__ == "__main__":
    launch(main, Config, SMOKE)
