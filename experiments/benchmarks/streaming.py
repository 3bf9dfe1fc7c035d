"""A folder of many small files, decoded while the steps run: what keeps up with the step, and in how much memory?

Question: how many images a second do threads and worker processes deliver, and does memory stay within its bound?
Runtime: about 6 minutes on two cores, of which the files take one; `--files 20000` two minutes.
Expected: docs/benchmarks.md. A process is worth its memory only where there are cores for it.
"""

import io
import multiprocessing
import os
import pickle
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from jaxcnn.cli import launch
from jaxcnn.data import Dataset, batches, load
from jaxcnn.data.stream import read_ahead, resident_bytes_bound
from jaxcnn.models import named
from jaxcnn.run.cost import compile_all, time_steps
from jaxcnn.runtime.environment import environment
from jaxcnn.spec import DataConfig, RunConfig
from table import Watch, summarise, write

COLUMNS = ["decoded by", "images/s", "IQR, images/s", "× what the step takes", "peak memory, MB", "its bound, MB"]
CLASSES, DISTINCT, SIDE = 10, 256, 32


@dataclass(frozen=True)
class Config:
    """An image folder streamed.

    Args:
        files: PNG files of 32x32 pixels in ten classes, made for the measurement.
        model: The network whose step is the measure.
        batch_size: Images per step.
        threads: Numbers of decoding threads, without workers.
        workers: Numbers of decoding processes.
        steps: Batches per measurement.
        rounds: Number of measurements of each.
        out: Folder for the JSON.
    """

    files: int = 200_000
    model: str = "resnet20b"
    batch_size: int = 128
    threads: tuple[int, ...] = (1, 2, 4)
    workers: tuple[int, ...] = (1, 2, 3, 4)
    steps: int = 150
    rounds: int = 5
    out: Path = Path("runs/benchmarks")


SMOKE = Config(200, "resnet8", batch_size=8, threads=(1, 2), workers=(1,), steps=4, rounds=1)


def make_folder(root: Path, files: int) -> None:
    """Create ten classes of files that repeat the contents of 256 images, which are encoded once."""
    rng, encoded = np.random.default_rng(0), []
    for _ in range(DISTINCT):
        coarse = Image.fromarray(rng.integers(0, 256, (6, 6, 3), np.uint8))
        buffer = io.BytesIO()
        coarse.resize((SIDE, SIDE), Image.Resampling.BICUBIC).save(buffer, "png")
        encoded.append(buffer.getvalue())
    for label in range(CLASSES):
        (root / str(label)).mkdir(parents=True)
    for number in range(files):
        with open(f"{root}/{number % CLASSES}/{number:07d}.png", "wb", buffering=0) as file:
            file.write(encoded[number % DISTINCT])


def memory_used() -> int:
    """Return the bytes used by this process and its children, shared pages counted once."""
    total = 0
    for process in [os.getpid(), *(child.pid for child in multiprocessing.active_children())]:
        try:
            text = Path(f"/proc/{process}/smaps_rollup").read_text()
        except OSError:  # it ended meanwhile
            continue
        total += next(int(line.split()[1]) for line in text.splitlines() if line.startswith("Pss:")) * 1024
    return total


@contextmanager
def peak() -> Iterator[list[int]]:
    """Yield a list whose only item becomes the largest growth of memory in bytes, polled thirty times a second."""
    before, most, ended = memory_used(), [0], threading.Event()

    def watch() -> None:
        while not ended.wait(0.03):
            most[0] = max(most[0], memory_used() - before)

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        yield most
    finally:
        ended.set()
        watcher.join()


def stream(data: Dataset, config: Config, workers: int, threads: int, turn: int) -> tuple[float, int]:
    """Return images per second over some batches, without those prefetched at the start, and the peak of memory."""
    waiting = max(threads + 1, 5 * workers)
    start = turn * (config.steps + waiting)
    order: dict[str, Any] = {"batch_size": config.batch_size, "start": start, "stop": start + waiting + config.steps}
    with peak() as most, read_ahead(data.train, **order, workers=workers, threads=threads):
        taken = batches(data.train, **order)
        for _ in islice(taken, waiting):
            pass
        begun = time.perf_counter()
        steps = sum(1 for _ in taken)
        rate = steps * config.batch_size / (time.perf_counter() - begun)
    return rate, most[0]


def step_rate(config: Config, data: Dataset) -> tuple[float, tuple[float, ...]]:
    """Return images per second of the training step, from arrays in memory; and the rounds."""
    few = {name: array[: 4 * config.batch_size] for name, array in data.train.items()}
    small = data._replace(train=few, sizes={**data.sizes, "train": len(few["labels"])})
    run = RunConfig(named(config.model), DataConfig(data.name), batch_size=config.batch_size, parallel="jit")
    (seconds,) = time_steps(compile_all([(run, None)], small), rounds=config.rounds)
    return config.batch_size / float(np.median(seconds)), tuple(seconds)


def measure(config: Config, data: Dataset) -> tuple[list[list[Any]], dict[str, list[float]]]:
    """Return a row for each way of decoding, measured in rotating turns; and the single rates."""
    ways = {f"{count} threads" if count > 1 else "1 thread": (0, count) for count in config.threads}
    ways |= {f"{count} workers" if count > 1 else "1 worker": (count, 1) for count in config.workers}
    rates: dict[str, list[float]] = {name: [] for name in ways}
    peaks = dict.fromkeys(ways, 0)
    names = list(ways)
    with read_ahead(data.train, batch_size=config.batch_size, threads=1):
        pass  # imports grain before the first turn
    for turn in range(config.rounds):
        for place in range(len(names)):
            name = names[(turn + place) % len(names)]
            rate, most = stream(data, config, *ways[name], turn)
            rates[name].append(rate)
            peaks[name] = max(peaks[name], most)
    rows = []
    for name, (workers, threads) in ways.items():
        found = summarise(rates[name])
        bound = resident_bytes_bound(data.train, batch_size=config.batch_size, workers=workers, threads=threads)
        rows.append([name, found.median, found.iqr, None, peaks[name] / 1e6, bound / 1e6])
    return rows, rates


def timed_load(folder: Path) -> tuple[Dataset, float]:
    """Open a folder for streaming; return the data set and the seconds."""
    begun = time.perf_counter()
    data = load(DataConfig(str(folder), stream=True))
    return data, time.perf_counter() - begun


def main(config: Config) -> None:
    watch = Watch()
    with tempfile.TemporaryDirectory() as folder:
        files = Path(folder) / "set"
        make_folder(files, config.files)
        os.environ["JAXCNN_CACHE"] = str(Path(folder) / "cache")  # empty, so that opening is measured
        _, first = timed_load(files)
        data, again = timed_load(files)
        index = len(pickle.dumps(data.train["images"]))  # type: ignore[attr-defined]
        rows, rates = measure(config, data)
        taken, rounds = step_rate(config, data)
    step = summarise([config.batch_size / seconds for seconds in rounds])
    rows = [[name, rate, iqr, rate / taken, most, bound] for name, rate, iqr, _, most, bound in rows]
    rows.append([f"(the step of {config.model})", step.median, step.iqr, 1.0, None, None])
    record = {
        "title": f"Streaming {config.files:,} PNG files of {SIDE}x{SIDE} pixels, batch {config.batch_size}",
        "columns": COLUMNS,
        "rows": rows,
        "notes": [
            f"Opening the folder took {first:.1f} s, and {again:.1f} s once labels and statistics were known "
            f"(its files are listed each time); its index takes {index / data.sizes['train']:.0f} bytes per file.",
            "Memory: growth of this process and its workers, shared pages counted once; files are in the page cache.",
            "Decoding and the step share the cores here; on an accelerator's host they do not.",
        ],
        "environment": environment() | watch.read(),
        "rounds": {**rates, "the step": list(rounds)},
    }
    write(config.out, "streaming", record)


if __name__ == "__main__":
    launch(main, Config, SMOKE)
