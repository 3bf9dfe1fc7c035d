"""Cell nuclei of DSB 2018 one by one, touching ones apart: a box and a mask for each, by Mask R-CNN from scratch.

Runtime: not measured on an idle machine yet; about 0.6 G multiply-accumulates an image, forwards.
Expected: not measured yet; the goal is an instance AP (TP / (TP + FP + FN) at IoU 0.5) of 0.75 on the test split.
Needs the nuclei in TFDS' form (features image, instance_mask and objects: bbox, label).
"""

from dataclasses import dataclass, field
from pathlib import Path

from jaxcnn.cli import launch
from jaxcnn.run import run_seeds
from jaxcnn.spec import DataConfig, ModelSpec, OptimizerConfig, RunConfig

HEAD = {"head_proposals": 128, "head_mask_size": 7, "head_scale": 2.5, "head_width": 32}


@dataclass(frozen=True)
class Config:
    """What to change, one line each."""

    run: RunConfig = field(
        default_factory=lambda: RunConfig(
            model=ModelSpec("resnet_imagenet", depth=10, width=16, head="mask_rcnn", options=HEAD),
            data=DataConfig("dsb2018_nuclei", augment=("flip", "vertical_flip", "zoom")),
            optimizer=OptimizerConfig("adam", learning_rate=0.002, clip_norm=5.0),
            epochs=40,
            batch_size=4,
            checkpoint_every=5,
        )
    )
    seeds: tuple[int, ...] = (0,)
    out: Path = Path("runs/nuclei")


SCENES = DataConfig("glyph_scenes", size=32, classes=2, images=40)
SMALL = {"head_pyramid": False, "head_proposals": 8, "head_mask_size": 4}
SMOKE = Config(RunConfig(ModelSpec("plain", 4, 4, head="mask_rcnn", options=SMALL), SCENES, epochs=1, batch_size=16))


def main(config: Config) -> None:
    for result in run_seeds(config.run, config.seeds, out=config.out):
        print(", ".join(f"{name} {result.metrics[f'test_{name}']:.4f}" for name in ("AP50", "instance_ap", "PQ")))


if __name__ == "__main__":
    launch(main, Config, SMOKE)
