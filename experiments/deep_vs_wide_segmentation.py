"""Deeper or wider U-Nets of one parameter budget, with doubling and with constant width, on street scenes (CamVid).

Question: at one parameter budget, does a U-Net with more convolutions a level have a higher mean IoU than a wider one?
Runtime: about 4 minutes for each of the two growths on two cores of an AMD EPYC, estimated (at most 36 runs each).
Expected: at 10,000 parameters, doubling, inconclusive: deeper minus wider +7.3 points of 1 - mean IoU (-0.9 to +15.5).
`--macs 7000000` compares at equal multiply-accumulates, too; `--growth doubling` runs one study;
`--base.model.options.levels 4 --depths 11 18 32` compares with more levels. Needs CamVid with masks in TFDS' form.
"""

from dataclasses import dataclass, field, replace
from pathlib import Path

from jaxcnn.cli import launch
from jaxcnn.spec import DataConfig, ModelSpec, OptimizerConfig, RunConfig, Seeds, Segmentation, StudyConfig, Tuning
from jaxcnn.study import StudyResult, run_study, show_report, write_joined

UNET, CAMVID = ModelSpec("unet", options={"levels": 3}), DataConfig("camvid", size=(48, 64), augment=("flip", "crop"))
BASE = RunConfig(UNET, CAMVID, OptimizerConfig("adam"), Segmentation(class_weights="median"), 10, batch_size=16)


@dataclass(frozen=True)
class Config(StudyConfig):
    """Deeper or wider? U-Nets of several depths a level at one budget.

    Args:
        growth: Growth of the width from level to level, doubling or constant: one study each.
        out: Folder of the results.
    """

    base: RunConfig = field(default_factory=lambda: BASE)
    depths: tuple[int, ...] = (8, 13, 23)  # 1, 2 and 4 convolutions a level
    params: tuple[int, ...] = (14_000,)
    margin: float = 0.01
    tuning: Tuning = field(default_factory=lambda: Tuning((0.003, 0.01, 0.03), (1e-4,), extensions=1, shared=False))
    seeds: Seeds = field(default_factory=lambda: Seeds(pilot=3, cap=5, first=10))
    growth: tuple[str, ...] = ("doubling", "constant")
    out: Path = Path("runs/deep_vs_wide_segmentation")


SCENES = DataConfig("glyph_masks", size=32, classes=2, images=60)
SMALL = replace(BASE, model=ModelSpec("unet", options={"levels": 2}), data=SCENES, epochs=1)
QUICK = Tuning((0.01,), (1e-4,))
SMOKE = Config(
    SMALL, (5, 8), (3_000,), tolerance=0.1, tuning=QUICK, seeds=Seeds(1, 1), workers=1, growth=("constant",)
)  # fmt: skip


def main(config: Config) -> None:
    results = list[StudyResult]()
    for growth in config.growth:
        model = replace(config.base.model, options={**config.base.model.options, "growth": growth})
        study = replace(config, base=replace(config.base, model=model))
        results.append(run_study(study, out=config.out / growth))
        show_report(results[-1], config.out / growth)
    if len(results) > 1:
        print(f"joined: {write_joined(results, config.out)}")


if __name__ == "__main__":
    launch(main, Config, SMOKE)
