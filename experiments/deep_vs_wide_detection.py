"""Deeper or wider backbones of a detector (SSD) at one parameter budget of backbone and head, on blood cells (BCCD).

Question: at one parameter budget, does a detector with a deeper backbone have a higher AP50 than one with a wider one?
Runtime: about 5 minutes on two cores of an AMD EPYC, estimated (at most 36 runs).
Expected: wider; deeper minus wider +38 points of 1 - AP50 (95 % interval +11 to +65 for new seeds, images and tuning).
Resolution and anchors are the same for all arms. `--base.model.head yolo` takes a detector without anchors. Needs BCCD
with boxes in TFDS' form.
"""

from dataclasses import dataclass, field, replace
from pathlib import Path

from jaxcnn.cli import launch
from jaxcnn.spec import DataConfig, ModelSpec, OptimizerConfig, RunConfig, Seeds, StudyConfig, Tuning
from jaxcnn.study import run_study, show_report

BASE = RunConfig(
    ModelSpec("resnet", head="ssd", options={"head_width": 16}),
    DataConfig("bccd", size=(48, 64), augment=("flip", "vertical_flip", "zoom")),
    OptimizerConfig("adam"),
    epochs=15,
    batch_size=16,
    checkpoint_every=15,
)


@dataclass(frozen=True)
class Config(StudyConfig):
    """Deeper or wider? Detectors with backbones of several depths at one budget.

    Args:
        out: Folder of the results.
    """

    base: RunConfig = field(default_factory=lambda: BASE)
    depths: tuple[int, ...] = (8, 14, 26)
    params: tuple[int, ...] = (25_000,)
    margin: float = 0.02
    tuning: Tuning = field(default_factory=lambda: Tuning((0.001, 0.003, 0.01), (1e-4,), extensions=1, shared=False))
    seeds: Seeds = field(default_factory=lambda: Seeds(pilot=3, cap=5, first=10))
    out: Path = Path("runs/deep_vs_wide_detection")


SCENES = DataConfig("glyph_scenes", size=32, classes=2, images=60)
SMALL = replace(BASE, model=ModelSpec("plain", head="ssd", options={"head_pyramid": False}), data=SCENES, epochs=1)
QUICK = Tuning((0.01,), (1e-4,))
SMOKE = Config(
    SMALL, (4, 7), (6_000,), tolerance=0.1, tuning=QUICK, seeds=Seeds(1, 1), workers=1
)  # fmt: skip


def main(config: Config) -> None:
    show_report(run_study(config, out=config.out), config.out)


if __name__ == "__main__":
    launch(main, Config, SMOKE)
