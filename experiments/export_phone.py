"""Networks as files for phones: sizes, accuracies and latency on one core, in float32 and in 8 bits.

Runtime: three minutes of processor time on an AMD EPYC.
Expected: 249 and 75 kB (LeNet-5), 1,082 and 313 kB (ResNet-20), equal accuracies. Without VNNI 8 bits are slower: 0.08
ms an image instead of 0.05, and 1.3 instead of 0.9. The 8-bit MobileNetV2 is refused: it differs too much from its run.
"""

import json
import time
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from jaxcnn.cli import launch
from jaxcnn.data import load
from jaxcnn.export.onnx import open_session
from jaxcnn.models import named
from jaxcnn.run import export_run, run
from jaxcnn.spec import DataConfig, OptimizerConfig, RunConfig


@dataclass(frozen=True)
class Config:
    """What to change, one line each."""

    models: tuple[str, ...] = ("lenet5", "resnet20")
    data: DataConfig = field(default_factory=lambda: DataConfig("digits", size=28))
    rates: tuple[float, ...] = (0.02, 0.1)  # learning rates
    epochs: int = 15
    timed: int = 200  # images
    out: Path = Path("runs/export_phone")


SMOKE = Config(models=("lenet5",), rates=(0.02,), epochs=1, timed=5)


def latency(path: Path, images: np.ndarray) -> float:
    """Return the median milliseconds of one image on one core."""
    session, times = open_session(path.read_bytes(), threads=1), [time.perf_counter()]
    for image in images:
        session.run(None, {"images": image[None]})
        times.append(time.perf_counter())
    return 1000 * float(np.median(np.diff(times)))


def main(config: Config) -> None:
    pixels, rows = load(config.data).load_test()["images"][: config.timed], []
    for name, rate in zip(config.models, config.rates, strict=True):
        settings = RunConfig(named(name), config.data, OptimizerConfig(learning_rate=rate), epochs=config.epochs)
        run(settings, out=config.out / name)
        for int8 in (False, True):
            made = export_run(config.out / name, int8=int8, preprocess=True)
            rows.append(made._asdict() | {"path": str(made.path), "milliseconds": latency(made.path, pixels)})
            print(rows[-1])
    (config.out / "files.json").write_text(json.dumps(rows, indent=1))


if __name__ == "__main__":
    launch(main, Config, SMOKE)
