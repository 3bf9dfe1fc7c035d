"""Where is the raccoon? One box per photograph, from 160 photographs and no pretraining.

Runtime: 12 minutes a seed on two cores of an AMD EPYC that many other jobs shared (load 15).
Expected: 63.7 % mean IoU on 40 test images, 80 % with an IoU of at least one half, after the last epoch (seed 0).
Needs the raccoon set with boxes in TFDS' form (features image and objects).
"""

from dataclasses import dataclass, field
from pathlib import Path

from jaxcnn.cli import launch
from jaxcnn.run import run_seeds
from jaxcnn.spec import DataConfig, ModelSpec, OptimizerConfig, RunConfig


@dataclass(frozen=True)
class Config:
    """What to change, one line each."""

    run: RunConfig = field(
        default_factory=lambda: RunConfig(
            model=ModelSpec("resnet_imagenet", depth=10, width=24, head="localizer", options={"head_dropout": 0.2}),
            data=DataConfig("raccoon", size=96, augment=("flip", "affine", "color_jitter")),
            optimizer=OptimizerConfig("adam", learning_rate=0.002, weight_decay=1e-4),
            epochs=120,
            batch_size=16,
            ema=0.99,
            checkpoint_every=20,
        )
    )
    seeds: tuple[int, ...] = (0, 1, 2)
    out: Path = Path("runs/localize_raccoon")


SCENES = DataConfig("glyph_scenes", size=32, classes=2, images=60, augment=("flip",))
SMOKE = Config(RunConfig(ModelSpec("resnet", 8, 4, head="localizer"), SCENES, epochs=1, batch_size=16), seeds=(0,))


def main(config: Config) -> None:
    run_seeds(config.run, config.seeds, out=config.out)


if __name__ == "__main__":
    launch(main, Config, SMOKE)
