"""Several devices, and the cost of depth, width and batch.

Question: how long does a step of one global batch take on 1 to 8 devices in each mode, and are the losses equal? Is the
time of a step linear in depth?
Runtime: about 6 minutes on two cores.
Expected: docs/benchmarks.md. On a CPU the devices are virtual and share the cores: a step cannot become faster, and the
table shows the cost of parallelism. On a machine with several GPUs the same command uses them.
"""

import json
import subprocess
import sys
from dataclasses import dataclass, replace
from itertools import product
from pathlib import Path
from typing import get_args, get_type_hints

import numpy as np

from jaxcnn.cli import launch
from jaxcnn.data import Dataset
from jaxcnn.spec import ModelSpec, RunConfig
from table import Record, Watch, ratio, summarise, write
from turns import ask, plain

MODES = tuple(mode for mode in get_args(get_type_hints(RunConfig)["parallel"]) if mode != "auto")


@dataclass(frozen=True)
class Config:
    """Devices, and a grid of networks.

    Args:
        network: lenet5, resnet20 or wrn_16_4, trained on the devices.
        devices: Numbers of devices; those above the number of GPUs are left out.
        batch_size: Images per step, over all devices together.
        depths: Depths of the grid's residual networks.
        widths: Channels of the first stage.
        batches: Batch sizes of the grid.
        side: Side length of the grid's images in pixels.
        rounds: Number of measurements of everything.
        out: Folder for the JSON.
    """

    network: str = "resnet20"
    devices: tuple[int, ...] = (1, 2, 4, 8)
    batch_size: int = 128
    depths: tuple[int, ...] = (8, 14, 20, 32, 44)
    widths: tuple[int, ...] = (8, 16)
    batches: tuple[int, ...] = (32, 128)
    side: int = 32
    rounds: int = 5
    out: Path = Path("runs/benchmarks")


SMOKE = Config("lenet5", (1, 2), 8, (8, 14), (4,), (8,), side=8, rounds=2)


def real_devices() -> tuple[str, int]:
    """Return platform and number of devices, from another process: this one must not allocate them."""
    code = "import json, jax; print(json.dumps([jax.default_backend(), jax.device_count()]))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env=plain())
    platform, count = json.loads(done.stdout.splitlines()[-1])
    return platform, count


def spread(config: Config) -> Record:
    """Measure each mode on each number of devices, one process per number."""
    watch, rows, rounds, notes = Watch(), [], {}, []
    platform, count = real_devices()
    environment, reference = {}, []
    for devices in config.devices:
        if platform == "cpu":
            variables = {"XLA_FLAGS": f"--xla_force_host_platform_device_count={devices}"}
        elif devices <= count:
            variables = {"CUDA_VISIBLE_DEVICES": ",".join(map(str, range(devices)))}
        else:
            notes.append(f"{devices} devices are not measured: there are {count}.")
            continue
        # All modes run on one device, for comparison; only parallel modes run on several.
        modes = MODES if devices == 1 else [mode for mode in MODES if mode != "jit"]
        request = {"modes": modes, "network": config.network, "batch_size": config.batch_size}
        found = ask("devices.py", {**request, "rounds": config.rounds, "losses": 4}, **variables)
        environment = environment or found["environment"]
        reference = reference or found["losses"]["jit"]
        notes += [f"{mode} on {devices}: {reason}." for mode, reason in found["refused"].items()]
        for mode, times in found["rounds"].items():
            each = summarise(times)
            rounds[f"{mode} {devices}"] = {"seconds": times, "losses": found["losses"][mode]}
            apart = float(np.max(np.abs(np.subtract(found["losses"][mode], reference)) / np.abs(reference)))
            alone = rows[0][2] / 1000 if rows else each.median
            rows.append([mode, devices, 1000 * each.median, 1000 * each.iqr, ratio(alone, each.median), apart])
            print(f"{mode} on {devices}: {1000 * each.median:.1f} ms", file=sys.stderr)
    virtual = "virtual CPU devices, which share the cores" if platform == "cpu" else platform
    return {
        "title": f"A step of {config.network} on several devices, {config.batch_size} images over all of them",
        "columns": ["mode", "devices", "step, ms", "IQR, ms", "× one device with jit",
                    "largest difference of the losses"],
        "rows": rows,
        "notes": [f"Devices: {virtual}. Losses of four steps, relative to those of one device with jit.", *notes],
        "environment": environment | watch.read(),
        "rounds": rounds,
    }  # fmt: skip


def random_images(side: int, count: int) -> Dataset:
    """Return random colour images: a step's cost does not depend on their content."""
    rng = np.random.default_rng(0)
    images, labels = rng.integers(0, 256, (count, side, side, 3), np.uint8), np.arange(count, dtype=np.int32) % 10
    split = {"images": images, "labels": labels}
    mean, std = np.full(3, 0.5, np.float32), np.full(3, 0.29, np.float32)
    names = tuple(map(str, range(10)))
    return Dataset("random", split, split, lambda: split, names, (side, side, 3), mean, std, "", {"train": count})


def grid(config: Config) -> tuple[Record, Record]:
    """Measure seconds and bytes of every depth, width and batch in turns, and fit a line through the depths."""
    from jaxcnn.run.cost import measure_costs
    from jaxcnn.runtime.environment import environment

    watch, dataset = Watch(), random_images(config.side, max(config.batches))
    base = RunConfig(ModelSpec("resnet"), parallel="jit")
    cells = list(product(config.widths, config.batches, config.depths))
    runs = [replace(base, model=replace(base.model, width=w, depth=d), batch_size=b) for w, b, d in cells]
    found = dict(zip(cells, measure_costs([(run, None) for run in runs], dataset, rounds=config.rounds), strict=True))
    times, memory = [], []
    for width, batch in product(config.widths, config.batches):
        costs = [found[width, batch, depth] for depth in config.depths]
        steps = [1000 * cost.step for cost in costs]
        start, slope, fit = line(config.depths, steps)
        times.append([width, batch, *steps, start, slope, f"{fit:.4f}"])
        sizes = [None if cost.memory is None else cost.memory / 2**20 for cost in costs]
        memory.append([width, batch, *sizes])
    shared = {"environment": environment() | watch.read()}
    shared["rounds"] = {f"width {w}, batch {b}, depth {d}": cost._asdict() for (w, b, d), cost in found.items()}
    what = f"residual networks by depth, width and batch, {config.side}x{config.side}x3"
    head = ["width", "batch", *(f"depth {depth}" for depth in config.depths)]
    linear = ["Least squares within a row: milliseconds per step = a + b · depth; R² is its fit."]
    size = ["Arguments, outputs and temporaries of the compiled program, less what they share."]
    return (
        {"title": f"Milliseconds a step: {what}", "columns": [*head, "a, ms", "b, ms a layer", "R²"], "rows": times,
         "notes": linear, **shared},
        {"title": f"MiB a step: {what}", "columns": head, "rows": memory, "notes": size,
         "environment": shared["environment"]},
    )  # fmt: skip


def line(x: tuple[int, ...], y: list[float]) -> tuple[float, float, float]:
    """Return intercept, slope and R² of the least-squares line."""
    slope, start = np.polyfit(x, y, 1)
    left = np.subtract(y, start + slope * np.asarray(x))
    total = np.subtract(y, np.mean(y))
    return float(start), float(slope), float(1 - left @ left / max(total @ total, 1e-30))


def main(config: Config) -> None:
    write(config.out, "scaling_devices", spread(config))
    times, memory = grid(config)
    write(config.out, "scaling_cost", times)
    write(config.out, "scaling_memory", memory)


if __name__ == "__main__":
    launch(main, Config, SMOKE)
