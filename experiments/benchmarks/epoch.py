"""Training to a fixed accuracy: ours against PyTorch, with equal network, data, recipe, batch and initialisation.

Question: how long does it take until the validation accuracy first reaches the target, with and without compilation?
Runtime: about 3 minutes on two cores (LeNet-5 on digits, five seeds).
Expected: docs/benchmarks.md. Each training is a process of its own; caches of compiled programs start empty, so the
first seed shows a cold start and the others a warm one. `--data mnist` (prepared: `jaxcnn data prepare mnist`).
"""

import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np

from jaxcnn.cli import launch
from jaxcnn.data import load
from jaxcnn.errors import InputError
from jaxcnn.spec import DataConfig
from table import Watch, ratio, summarise, write
from turns import Missing, ask

COLUMNS = [
    "rival", "reached", "epochs, median", "training, s", "an epoch, s", "+ compilation, cold, s",
    "+ compilation, warm, s", "ours × faster, an epoch", "ours × faster, to the target",
]  # fmt: skip


@dataclass(frozen=True)
class Config:
    """Training to a target.

    Args:
        data: digits, mnist or fashion_mnist: grey, brought to 28x28 pixels.
        network: lenet5 or resnet20b.
        target: Validation accuracy at which training stops, measured after each epoch.
        rate: Learning rate of SGD with Nesterov momentum 0.9 and weight decay 5e-4, constant.
        batch_size: Images a step; the training images are cut to whole batches.
        most: Largest number of epochs.
        seeds: Seeds of initialisation and batch order.
        rivals: torch_eager, torch_compile, torch_graphs (CUDA only).
        python: Interpreter for PyTorch, where it is not this one.
        out: Folder for the JSON.
    """

    data: Literal["digits", "mnist", "fashion_mnist"] = "digits"
    network: Literal["lenet5", "resnet20b"] = "lenet5"
    target: float = 0.97
    rate: float = 0.02
    batch_size: int = 128
    most: int = 60
    seeds: tuple[int, ...] = (0, 1, 2, 3, 4)
    rivals: tuple[str, ...] = ("torch_eager", "torch_compile")
    python: str = sys.executable
    out: Path = Path("runs/benchmarks")


SMOKE = Config(target=0.5, most=2, seeds=(0,), rivals=("torch_eager",))


def store(config: Config, file: Path) -> str:
    """Store the data of all rivals in one file; return a sentence on it."""
    data = load(DataConfig(config.data, size=28))
    count = len(data.train["labels"]) // config.batch_size * config.batch_size
    if count == 0:
        raise InputError(f"batch_size={config.batch_size}: {config.data} has fewer training images; choose less")
    # Some sets are stored class by class: cutting the end off would lose one.
    chosen = np.sort(np.random.default_rng(0).permutation(len(data.train["labels"]))[:count])
    arrays = {"mean": data.mean, "std": data.std}
    arrays |= {f"train_{name}": np.asarray(array[chosen]) for name, array in data.train.items()}
    arrays |= {f"validation_{name}": np.asarray(array) for name, array in data.validation.items()}
    np.savez(file, allow_pickle=False, **arrays)
    return f"{count:,} training and {len(data.validation['labels']):,} validation images of {config.data}"


def train(name: str, seed: int, config: Config, folder: Path) -> dict[str, Any]:
    """Train in a process of its own, with caches of compiled programs in `folder`."""
    request = {
        "network": config.network, "file": str(folder / "data.npz"), "target": config.target, "rate": config.rate,
        "batch_size": config.batch_size, "most": config.most, "seed": seed, "variant": name.removeprefix("torch_"),
    }  # fmt: skip
    caches = {"JAXCNN_CACHE": str(folder / "jaxcnn"), "TORCHINDUCTOR_CACHE_DIR": str(folder / "inductor")}
    if name == "ours":
        return ask("until_ours.py", request, **caches)
    return ask("until_torch.py", request, python=config.python, **caches)


def row(name: str, trainings: list[dict[str, Any]], ours: list[dict[str, Any]], target: float) -> list[Any]:
    """Return one row of the table."""

    def median(runs: list[dict[str, Any]], *keys: str) -> float | None:
        return summarise([sum(run[key] for key in keys) for run in runs]).median if runs else None

    def per_epoch(runs: list[dict[str, Any]]) -> float:
        return summarise([run["seconds"] / run["epochs"] for run in runs]).median

    reached = [run for run in trainings if run["accuracy"] >= target]
    arrived = [run for run in ours if run["accuracy"] >= target]
    seconds, theirs = median(arrived, "seconds"), median(reached, "seconds")
    faster: list[float | None] = [None, None]
    if name != "ours":
        faster = [ratio(per_epoch(trainings), per_epoch(ours)), ratio(theirs, seconds)]
    cold = median([run for run in trainings[:1] if run in reached], "seconds", "compile")
    warm = median([run for run in trainings[1:] if run in reached], "seconds", "compile")
    count = f"{len(reached)} of {len(trainings)}"
    return [name, count, median(reached, "epochs"), theirs, per_epoch(trainings), cold, warm, *faster]


def main(config: Config) -> None:
    watch, absent, names = Watch(), {}, ["ours", *config.rivals]
    runs: dict[str, list[dict[str, Any]]] = {name: [] for name in names}
    with tempfile.TemporaryDirectory() as folder:
        held = store(config, Path(folder) / "data.npz")
        for number, seed in enumerate(config.seeds):
            for offset in range(len(names)):
                name = names[(number + offset) % len(names)]
                if name in absent:
                    continue
                try:
                    found = train(name, seed, config, Path(folder))
                except Missing as reason:
                    absent[name] = f"{name} is left out: {reason}"
                    print(absent[name], file=sys.stderr)
                    continue
                runs[name].append(found)
                print(f"{name} seed {seed}: {found['epochs']} epochs, {found['seconds']:.2f} s", file=sys.stderr)
    params = {run["params"] for each in runs.values() for run in each}
    if len(params) > 1:
        raise InputError(f"{config.network}: the rivals have {sorted(params)} parameters; make them equal")
    environment = runs["ours"][0]["environment"]
    for each in runs.values():
        if each and "torch" in each[0]:
            environment["versions"]["torch"] = each[0]["torch"]
    notes = [
        f"{held}, 28x28; batch {config.batch_size}, learning rate {config.rate:g}; {params.pop():,} parameters.",
        "Cold: the first seed, with empty caches of compiled programs. Warm: the median of the other seeds.",
        *absent.values(),
    ]
    record = {
        "title": f"Training {config.network} on {config.data} to {100 * config.target:g} % validation accuracy",
        "columns": COLUMNS,
        "rows": [row(name, each, runs["ours"], config.target) for name, each in runs.items() if each],
        "notes": notes,
        "environment": environment | watch.read(),
        "rounds": {name: [{k: v for k, v in run.items() if k != "environment"} for run in each]
                   for name, each in runs.items()},
    }  # fmt: skip
    write(config.out, "epoch" if config.data == "digits" else f"epoch_{config.data}", record)


if __name__ == "__main__":
    launch(main, Config, SMOKE)
