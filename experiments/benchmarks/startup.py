"""From the start of a process to help, an import, the first training step and a prediction, each in its own process.

Question: how long does a user wait before anything happens, cold and warm?
Runtime: about 3 minutes on two cores with five rounds; `--networks lenet5` takes one.
Expected: docs/benchmarks.md. Cold: the cache folder is empty, so that programs and the bridge to oneDNN are compiled;
warm: the process before filled it.
"""

import json
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from jaxcnn.cli import launch
from jaxcnn.errors import InputError
from table import Watch, summarise, write
from turns import plain

# Prints its phases; the total is measured outside, from the process's start to its last line.
STEP = """
import json, sys, time
from jaxcnn.cli.entry import guarded
network, size, batch_size = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
laps, last = {}, [time.perf_counter()]

def lap(name):
    now = time.perf_counter()
    laps[name], last[0] = now - last[0], now

def main():
    import jax
    import numpy as np
    from jaxcnn.data import Dataset
    from jaxcnn.models import named
    from jaxcnn.run.assemble import assemble, initial_state
    from jaxcnn.spec import RunConfig
    lap("imports")
    shape = (size, size, 1 if network == "lenet5" else 3)
    images = np.random.default_rng(0).integers(0, 256, (batch_size, *shape), np.uint8)
    split = {"images": images, "labels": np.arange(batch_size, dtype=np.int32) % 10}
    mean, std = np.full(shape[-1], 0.5, np.float32), np.full(shape[-1], 0.25, np.float32)
    names = tuple(map(str, range(10)))
    data = Dataset("random", split, split, lambda: split, names, shape, mean, std, "", {"train": batch_size})
    config = RunConfig(model=named(network), batch_size=batch_size, epochs=1)
    parts = assemble(config, data)
    lap("assembly")
    state = initial_state(parts, config, data, jax.random.key(0))
    lap("initial values")
    programs = parts.programs
    batch = programs.feed(split)(np.arange(batch_size), np.ones(batch_size, np.float32))
    state = programs.place(state)
    lap("arrays")
    jax.block_until_ready(programs.train(state, batch, jax.random.key(1)))
    lap("first step")
    print(json.dumps(laps), flush=True)

guarded(main)
"""
NAMES = "import jaxcnn\nfor name in jaxcnn.__all__: getattr(jaxcnn, name)\n"
CACHES = ("JAX_COMPILATION_CACHE_DIR", "JAX_ENABLE_COMPILATION_CACHE", "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS")
TARGETS = {
    "jaxcnn --help": 0.5, "resnet20: first step, cold": 5.0, "resnet20: first step, warm": 2.5,
    "resnet20: predict one image, warm": 2.5,
}  # fmt: skip


@dataclass(frozen=True)
class Config:
    """Starts in turns.

    Args:
        networks: lenet5 (28x28x1), resnet20 and others of `jaxcnn models` (32x32x3).
        batch_size: Images of the first step.
        rounds: Number of measurements of each start.
        out: Folder for the JSON.
    """

    networks: tuple[str, ...] = ("lenet5", "resnet20")
    batch_size: int = 128
    rounds: int = 5
    out: Path = Path("runs/benchmarks")


SMOKE = Config(networks=("lenet5",), batch_size=8, rounds=1, out=Path("runs/benchmarks_smoke"))


def main(config: Config) -> None:
    from jaxcnn.runtime.environment import environment

    watch, times, laps = Watch(), defaultdict(list), defaultdict(list)
    with tempfile.TemporaryDirectory() as folder:
        trained = {network: _train(network, Path(folder)) for network in config.networks}
        _measure(config, trained, times, laps)
    rows = []
    for name, values in times.items():
        rows.append([name, *summarise(values), TARGETS.get(name)])
        for lap in laps[name][0] if laps[name] else ():
            rows.append([f"… {lap}", *summarise([found[lap] for found in laps[name]]), None])
    record = {
        "title": "From the start of a process",
        "columns": ["until", "median, s", "least, s", "IQR, s", "target, s"],
        "rows": rows,
        "notes": [f"Batch {config.batch_size}; {config.rounds} rounds; each start once per round, in a new process."],
        "environment": environment() | watch.read(),
        "rounds": dict(times),
    }
    write(config.out, "startup", record)


def _train(network: str, folder: Path) -> list[str]:
    """Train a network for one epoch; return what `jaxcnn predict` takes: the run's folder and an image file."""
    from PIL import Image

    image, out = folder / "image.png", folder / network
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (28, 28), np.uint8)).save(image)
    data = ["--data", "digits", "--data.size", "28", "--data.train-size", "128"]
    _start(["-m", "jaxcnn", "train", "--model", network, *data, "--epochs", "1", "--out", str(out)], {})
    return [str(out), str(image)]


def _measure(
    config: Config, trained: Mapping[str, list[str]], times: dict[str, list[float]], laps: dict[str, list[dict]]
) -> None:
    """Append the seconds of every start, and those of the phases of the first steps."""
    for _ in range(config.rounds):
        for name, command in (
            ("jaxcnn --help", ["-m", "jaxcnn", "--help"]),
            ("import jaxcnn", ["-c", "import jaxcnn"]),
            ("import of every public name", ["-c", NAMES]),
        ):
            times[name].append(_start(command, {})[0])
        for network in config.networks:
            size = 28 if network == "lenet5" else 32
            command = ["-c", STEP, network, str(size), str(config.batch_size)]
            with tempfile.TemporaryDirectory() as cache:
                for name in ("cold", "warm"):
                    seconds, line = _start(command, {"JAXCNN_CACHE": cache})
                    times[f"{network}: first step, {name}"].append(seconds)
                    laps[f"{network}: first step, {name}"].append(json.loads(line))
            with tempfile.TemporaryDirectory() as cache:
                for name in ("cold", "warm"):
                    seconds, _ = _start(["-m", "jaxcnn", "predict", *trained[network]], {"JAXCNN_CACHE": cache})
                    times[f"{network}: predict one image, {name}"].append(seconds)


def _start(command: list[str], variables: Mapping[str, str]) -> tuple[float, str]:
    """Return the seconds from a process's start to its last line of output, or else to its end; and that line."""
    begun, last, seen = time.perf_counter(), "", 0.0
    with subprocess.Popen(
        [sys.executable, *command],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=_environment(variables),
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        for line in process.stdout:
            last, seen = line, time.perf_counter()
        errors = process.stderr.read()
    if process.returncode:
        raise InputError(f"{' '.join(command)[:80]!r}: it failed ({errors.strip()[-300:]}); run it by hand")
    return (seen if last.startswith("{") else time.perf_counter()) - begun, last


def _environment(variables: Mapping[str, str]) -> dict[str, str]:
    """Return the environment without flags and caches, so that our own defaults are measured."""
    return {name: value for name, value in plain().items() if name not in CACHES} | dict(variables)


if __name__ == "__main__":
    launch(main, Config, SMOKE)
