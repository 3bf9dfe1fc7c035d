"""From an image file to the training step: is any stage slower than the step?

Question: how many images a second does each stage deliver, and how many times what a ResNet-20 step takes?
Runtime: about a minute on two cores.
Expected: docs/benchmarks.md. A data set is decoded once: later runs open the cache.
"""

import os
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import jax
import numpy as np
from PIL import Image

from jaxcnn.cli import launch
from jaxcnn.data import Dataset, epoch_order, load, make_augment, take
from jaxcnn.models import named
from jaxcnn.run.cost import compile_all, time_steps
from jaxcnn.runtime.environment import environment
from jaxcnn.spec import DataConfig, RunConfig
from table import Watch, summarise, write
from turns import alternate

COLUMNS = ["stage", "images/s", "IQR, images/s", "× what the step takes", "how often"]


@dataclass(frozen=True)
class Config:
    """Stages of the input.

    Args:
        model: The network whose step is the measure.
        images: Files per folder.
        sides: Side lengths of the stored images in pixels, one folder each; all are resized to 32x32.
        formats: File formats.
        batch_size: Images per step.
        rounds: Times that each stage is measured.
        seconds: Approximate length of one turn.
        out: Folder for the JSON.
    """

    model: str = "resnet20b"
    images: int = 2000
    sides: tuple[int, ...] = (32, 256)
    formats: tuple[str, ...] = ("png", "jpeg")
    batch_size: int = 128
    rounds: int = 5
    seconds: float = 0.3
    out: Path = Path("runs/benchmarks")


SMOKE = Config("resnet8", images=40, sides=(32,), batch_size=8, rounds=2, seconds=0.01)


def make_folder(folder: Path, images: int, side: int, kind: str) -> None:
    """Create ten classes of smooth, slightly noisy colour images, whose files are as large as photographs."""
    rng = np.random.default_rng(0)
    for number in range(images):
        coarse = Image.fromarray(rng.integers(0, 256, (6, 6, 3), np.uint8)).resize(
            (side, side), Image.Resampling.BICUBIC
        )
        pixels = np.asarray(coarse, np.int16) + rng.integers(-4, 5, (side, side, 1), np.int16)
        (folder / str(number % 10)).mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels.clip(0, 255).astype(np.uint8)).save(folder / str(number % 10) / f"{number}.{kind}")


def read(config: Config, folder: Path) -> tuple[Dataset, list[list[Any]]]:
    """Return the data set, and rows for decoding it (once) and for opening it again."""
    rows, dataset = [], None
    for side in config.sides:
        for kind in config.formats:
            root = folder / f"{kind}{side}"
            make_folder(root, config.images, side, kind)
            rates = []
            for again in (False, True):
                repeats = []
                for _ in range(config.rounds if again else 1):
                    start = time.perf_counter()
                    dataset = load(DataConfig(str(root), size=32), progress=False)
                    repeats.append(config.images / (time.perf_counter() - start))
                rates.append(summarise(repeats))
            name = f"{kind.upper()}, {side}x{side} to 32x32"
            rows.append([f"decode and cache {name}", rates[0].median, None, None, "once a data set"])
            rows.append([f"open the cache of {name}", rates[1].median, rates[1].iqr, None, "once a run"])
    assert dataset is not None
    return dataset, rows


def stages(dataset: Dataset, batch_size: int) -> dict[str, Callable[[int], float]]:
    """Return a turn for each operation on a batch besides the step."""
    images = np.asarray(dataset.train["images"])
    on_device, order = jax.device_put(images), epoch_order(len(images), 0, 0)
    chosen = order[np.arange(batch_size) % len(order)]
    gather = jax.jit(lambda whole, indices: whole[indices])
    batch, key, functions = gather(on_device, chosen), jax.random.key(0), {}
    functions["gather on the device"] = lambda: gather(on_device, chosen)
    functions["gather on the host and copy"] = lambda: jax.device_put(take({"images": images}, chosen))
    for names in (("flip",), ("crop",), ("flip", "crop")):
        change = jax.jit(make_augment(names) or (lambda key, images: images))
        functions[f"augment on the device: {', '.join(names)}"] = lambda change=change: change(key, batch)

    def turn(function: Callable[[], Any]) -> Callable[[int], float]:
        jax.block_until_ready(function())

        def timed(steps: int) -> float:
            start = time.perf_counter()
            for _ in range(steps):
                jax.block_until_ready(function())
            return (time.perf_counter() - start) / steps

        return timed

    return {name: turn(function) for name, function in functions.items()}


def main(config: Config) -> None:
    watch = Watch()
    with tempfile.TemporaryDirectory() as folder:
        os.environ["JAXCNN_CACHE"] = str(Path(folder) / "cache")  # empty, so that decoding is measured
        dataset, rows = read(config, Path(folder))
        rounds = alternate(stages(dataset, config.batch_size), rounds=config.rounds, seconds=config.seconds)
        run = RunConfig(named(config.model), DataConfig(dataset.name), batch_size=config.batch_size, parallel="jit")
        augmented = replace(run, data=replace(run.data, augment=("flip", "crop")))
        plain, varied = time_steps(compile_all([(run, None), (augmented, None)], dataset), rounds=config.rounds)
    taken = config.batch_size / float(np.median(plain))
    for name, times in rounds.items():
        rates = summarise([config.batch_size / seconds for seconds in times])
        rows.append([name, rates.median, rates.iqr, None, "every step"])
    for name, step in (("the step", plain), ("the step with flip and crop", varied)):
        rates = summarise([config.batch_size / seconds for seconds in step])
        rows.append([name, rates.median, rates.iqr, None, "every step"])
    rows = [[name, rate, iqr, rate / taken, often] for name, rate, iqr, _, often in rows]
    record = {
        "title": f"Images a second at each stage of the input, batch {config.batch_size}",
        "columns": COLUMNS,
        "rows": rows,
        "notes": [
            f"The step: {config.model}, 32x32x3, gathering included, alone and with augmentation. "
            "A stage that runs every step and is below 1 would slow it down.",
            f"Folders of {config.images:,} files made for the measurement, read from the page cache.",
        ],
        "environment": environment() | watch.read(),
        "rounds": {**rounds, "the step": plain, "the step with flip and crop": varied},
    }
    write(config.out, "input", record)


if __name__ == "__main__":
    launch(main, Config, SMOKE)
