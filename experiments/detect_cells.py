"""BCCD at 120x160 pixels: red and white blood cells and platelets, by SSD, YOLO and Faster R-CNN, from scratch.

Runtime: 5 minutes of CPU time a detector and seed, on two cores that were busy with other work.
Expected: with seed 0, AP50 of SSD 0.83 on the test split (0.82 on validation); of YOLO 0.79 (0.80) after 30 epochs
(--yolo.epochs 30); of Faster R-CNN 0.60 (0.62) at 96x128 pixels after 25 epochs (--faster-rcnn.data.size 96x128
--faster-rcnn.epochs 25), where it finds hardly a platelet.
Needs BCCD with boxes in TFDS' form (features image and objects: bbox, label).
"""

from dataclasses import dataclass, field, replace
from pathlib import Path

from jaxcnn.cli import launch
from jaxcnn.run import run_seeds
from jaxcnn.spec import DataConfig, ModelSpec, OptimizerConfig, RunConfig

SSD = RunConfig(
    model=ModelSpec("resnet_imagenet", depth=10, width=16, head="ssd"),
    data=DataConfig("bccd", size=(120, 160), augment=("flip", "vertical_flip", "zoom")),
    optimizer=OptimizerConfig("adam", learning_rate=0.002),
    epochs=60,
    batch_size=16,
)
FASTER_RCNN = replace(
    SSD, model=replace(SSD.model, head="faster_rcnn"), optimizer=replace(SSD.optimizer, clip_norm=5.0)
)


@dataclass(frozen=True)
class Config:
    """What to change, one line each."""

    ssd: RunConfig = field(default_factory=lambda: SSD)
    yolo: RunConfig = field(default_factory=lambda: replace(SSD, model=replace(SSD.model, head="yolo")))
    faster_rcnn: RunConfig = field(default_factory=lambda: FASTER_RCNN)
    seeds: tuple[int, ...] = (0,)
    out: Path = Path("runs/detect_cells")


SCENES = replace(SSD, data=DataConfig("glyph_scenes", size=32, classes=2, images=60), epochs=1)
SMOKE = Config(
    replace(SCENES, model=ModelSpec("plain", 4, 4, head="ssd", options={"head_pyramid": False})),
    replace(SCENES, model=ModelSpec("plain", 4, 4, head="yolo", options={"head_pyramid": False})),
    replace(SCENES, model=ModelSpec("plain", 4, 4, head="faster_rcnn", options={"head_proposals": 8})),
)


def main(config: Config) -> None:
    for name in ("ssd", "yolo", "faster_rcnn"):
        for result in run_seeds(getattr(config, name), config.seeds, out=config.out / name):
            print(f"{name}: " + ", ".join(f"{key} {result.metrics[f'test_{key}']:.4f}" for key in ("AP", "AP50")))


if __name__ == "__main__":
    launch(main, Config, SMOKE)
