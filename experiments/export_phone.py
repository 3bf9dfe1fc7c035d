"""Networks as files for phones: sizes, accuracies and latency on one core, in float32 and in 8 bits.

Runtime: two minutes on two cores of an AMD EPYC.
Expected: docs/howto/export.md has the table. Without VNNI 8 bits are smaller, but slower.
"""

import time
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from jaxcnn.cli import launch
from jaxcnn.data import load
from jaxcnn.errors import InputError, require
from jaxcnn.models import named
from jaxcnn.run import export_run, run
from jaxcnn.run.export import open_file
from jaxcnn.spec import DataConfig, OptimizerConfig, RunConfig


@dataclass(frozen=True)
class Config:
    """What to change, one line each."""

    models: tuple[str, ...] = ("lenet5", "resnet20", "mobilenet_v2")
    data: DataConfig = field(default_factory=lambda: DataConfig("digits", size=28))
    rates: tuple[float, ...] = (0.02, 0.1, 0.05)  # learning rates
    epochs: int = 15
    timed: int = 200  # images
    out: Path = Path("runs/export_phone")


SMOKE = Config(models=("lenet5",), rates=(0.02,), epochs=1, timed=5)


def latency(path: Path, images: np.ndarray) -> float:
    """Return the median milliseconds of one image on one core."""
    compute = open_file(path)
    times = [time.perf_counter() for image in images if compute(image[None])]  # after each answer
    return 1000 * float(np.median(np.diff(times)))


def main(config: Config) -> None:
    require(len(config.models) == len(config.rates), "models", config.models, "give as many rates as models")
    images = load(config.data).load_test()["images"][: max(2, config.timed)]
    for name, rate in zip(config.models, config.rates, strict=True):
        settings = RunConfig(named(name), config.data, OptimizerConfig(learning_rate=rate), epochs=config.epochs)
        accuracy = run(settings, out=config.out / name).metrics["test_accuracy"]
        for to, int8 in (("onnx", False), ("onnx", True), ("litert", False)):
            try:
                made = export_run(config.out / name, to=to, int8=int8, preprocess=True)
                right, took = made.metrics.get("accuracy", accuracy), latency(made.path, images)
                print(f"{name}: {made.path.name}, {made.size:,} bytes, {right:.2%} right, {took:.3f} ms an image")
            except InputError as error:  # 8 bits are too few, or LiteRT is not installed
                print(f"{name}: {error}")


if __name__ == "__main__":
    launch(main, Config, SMOKE)
