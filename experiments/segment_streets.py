"""CamVid at 120x160 pixels, 11 classes: a U-Net and a fully convolutional ResNet of about the same size, from scratch.

Runtime: 68 minutes (U-Net) and 11 (FCN) a seed on two cores of an AMD EPYC that many other jobs shared (load 8 to 16).
Expected: after the last epoch, seed 0: U-Net 42.8 % test mean IoU, 75.1 % pixel accuracy, 486,643 parameters; FCN 39.6
and 72.5 %, 740,652 parameters. One seed each.
Needs CamVid with masks in TFDS' form (features image and segmentation_mask). For 360x480 pixels use a GPU and
--unet.data.size 360x480 --fcn.data.size 360x480 --unet.model.width 16.
"""

from dataclasses import dataclass, field, replace
from pathlib import Path

from jaxcnn.cli import launch
from jaxcnn.run import run_seeds
from jaxcnn.spec import DataConfig, ModelSpec, OptimizerConfig, RunConfig, Segmentation

UNET = RunConfig(
    model=ModelSpec("unet", depth=23, width=8, options={"levels": 5}),
    data=DataConfig("camvid", size=(120, 160), augment=("flip", "crop")),
    optimizer=OptimizerConfig("adam", learning_rate=0.003, weight_decay=1e-4),
    task=Segmentation(class_weights="median"),  # rare classes count as much as the road
    epochs=60,
    batch_size=8,
)
FCN = ModelSpec("resnet_imagenet", depth=18, width=16, head="fcn", options={"head_skips": 3})


@dataclass(frozen=True)
class Config:
    """What to change, one line each."""

    unet: RunConfig = field(default_factory=lambda: UNET)
    fcn: RunConfig = field(default_factory=lambda: replace(UNET, model=FCN))
    seeds: tuple[int, ...] = (0,)
    out: Path = Path("runs/segment_streets")


SCENES = replace(UNET, data=DataConfig("glyph_masks", size=32, classes=2, images=60), epochs=1)
SMOKE = Config(
    replace(SCENES, model=ModelSpec("unet", 8, 4, options={"levels": 2})),
    replace(SCENES, model=ModelSpec("resnet", 8, 4, head="fcn")),
)


def main(config: Config) -> None:
    for name in ("unet", "fcn"):
        run_seeds(getattr(config, name), config.seeds, out=config.out / name)


if __name__ == "__main__":
    launch(main, Config, SMOKE)
