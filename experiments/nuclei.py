"""Cell nuclei of DSB 2018 one by one, touching ones apart: by a U-Net that learns their borders, and by Mask R-CNN.

Runtime: borders: 2.3 seconds an epoch on two cores of an AMD EPYC; 23 to 46 minutes a seed beside other jobs.
Expected: borders, seeds 0, 1 and 2, last epoch: instance AP (TP / (TP + FP + FN) at IoU 0.5) 0.753, 0.758 and 0.779, PQ
0.695, 0.699 and 0.705 on the test images. Mask R-CNN has not been trained to the end on these images.
Needs the nuclei in TFDS' form (features image, instance_mask and objects: bbox, label).
"""

from dataclasses import dataclass, field, replace
from pathlib import Path

from jaxcnn.cli import launch
from jaxcnn.run import run_seeds
from jaxcnn.spec import DataConfig, ModelSpec, OptimizerConfig, RunConfig

BORDERS = RunConfig(
    model=ModelSpec("unet", depth=11, width=8, head="borders"),
    data=DataConfig("dsb2018_nuclei", augment=("flip", "vertical_flip", "zoom")),
    optimizer=OptimizerConfig("adam", learning_rate=0.004),
    epochs=150,
    batch_size=4,
    checkpoint_every=5,
)
REGIONS = {"head_proposals": 96, "head_mask_size": 5, "head_mask_depth": 1, "head_scale": 2.5, "head_width": 32}
MASK_RCNN = replace(
    BORDERS,
    model=ModelSpec("resnet_imagenet", depth=10, width=16, head="mask_rcnn", options=REGIONS),
    optimizer=OptimizerConfig("adam", learning_rate=0.002, clip_norm=5.0),
    batch_size=2,
)


@dataclass(frozen=True)
class Config:
    """What to change, one line each."""

    borders: RunConfig = field(default_factory=lambda: BORDERS)
    mask_rcnn: RunConfig = field(default_factory=lambda: MASK_RCNN)
    models: tuple[str, ...] = ("borders",)  # or mask_rcnn, or both
    seeds: tuple[int, ...] = (0,)
    out: Path = Path("runs/nuclei")


SCENES = replace(BORDERS, data=DataConfig("glyph_scenes", size=32, classes=2, images=40), epochs=1, batch_size=16)
SMALL = {"head_pyramid": False, "head_proposals": 8, "head_mask_size": 4}
SMOKE = Config(
    replace(SCENES, model=ModelSpec("unet", 8, 4, head="borders", options={"levels": 2})),
    replace(SCENES, model=ModelSpec("plain", 4, 4, head="mask_rcnn", options=SMALL)),
    ("borders", "mask_rcnn"),
)


def main(config: Config) -> None:
    for name in config.models:
        for result in run_seeds(getattr(config, name), config.seeds, out=config.out / name):
            print(name, *(f"{key} {result.metrics[f'test_{key}']:.4f}" for key in ("AP50", "instance_ap", "PQ")))


if __name__ == "__main__":
    launch(main, Config, SMOKE)
