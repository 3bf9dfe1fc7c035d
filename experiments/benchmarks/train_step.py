"""A training step of ours against PyTorch, flax.linen, flax.nnx and Keras: equal networks, recipe and batch, in turns.

Question: how long does one step take, and how many times as fast is ours?
Runtime: about 6 minutes on two cores, most of it WRN-16-4 and compiling; `--networks lenet5 resnet20` takes half.
Expected: docs/benchmarks.md. Rivals that are not installed are named and left out
(`pip install -c constraints.txt -e '.[benchmarks]'` installs them).
"""

import math
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from jaxcnn.cli import launch
from jaxcnn.errors import InputError
from table import Watch, ratio, summarise, write
from turns import Missing, Rival, alternate

ALL = ("ours", "torch_eager", "torch_compile", "torch_graphs", "linen", "nnx", "keras_jax")
COLUMNS = [
    "network", "rival", "median, ms", "least, ms", "IQR, ms", "images/s", "ours × faster (median)",
    "ours × faster (least)", "ready, s",
]  # fmt: skip


@dataclass(frozen=True)
class Config:
    """Training steps in turns.

    Args:
        networks: lenet5 (28x28x1), resnet20 and wrn_16_4 (32x32x3).
        rivals: Rivals of ours; torch_graphs on CUDA only.
        batch_size: Images per step, on the device throughout.
        dtype: bfloat16: activations (autocast in PyTorch); parameters stay float32. For accelerators.
        rounds: Number of measurements of each rival.
        seconds: Approximate length of one turn.
        python: Interpreter for the PyTorch rivals.
        out: Folder for the JSON.
    """

    networks: tuple[str, ...] = ("lenet5", "resnet20", "wrn_16_4")
    rivals: tuple[str, ...] = ALL[1:]
    batch_size: int = 128
    dtype: Literal["float32", "bfloat16"] = "float32"
    rounds: int = 7
    seconds: float = 1.0
    python: str = sys.executable
    out: Path = Path("runs/benchmarks")


SMOKE = Config(("lenet5",), batch_size=8, rounds=2, seconds=0.02)


def begin(network: str, config: Config, work: str) -> tuple[dict[str, Rival], list[str]]:
    """Start the rivals; return those that are ready, ours first, and a sentence on each of the others."""
    ready: dict[str, Rival] = {}
    absent = []
    for name in ("ours", *config.rivals):
        python = config.python if name.startswith("torch") else sys.executable
        try:
            ready[name] = Rival(name, (network, config.batch_size, config.dtype, work), python)
        except Missing as reason:
            if name == "ours":
                raise InputError(f"{reason}; nothing is left to compare with") from None
            absent.append(str(reason))
            print(f"{network}: {reason}", file=sys.stderr)
    return ready, absent


def check(network: str, ready: dict[str, Rival], work: str) -> None:
    """Refuse networks of different size, and one whose training does not start at the loss of chance."""
    ours = ready["ours"].hello["parameters"]
    for name, rival in ready.items():
        hello = rival.hello
        if hello["parameters"] != ours:
            raise InputError(
                f"{name}: its {network} has {hello['parameters']:,} parameters, ours {ours:,}; make it equal"
            )
        if work == "training" and not abs(hello["first_loss"] - math.log(10)) < 1.5:
            raise InputError(
                f"{name}: its first loss is {hello['first_loss']:.2f}, not about ln 10; check its initialisation"
            )


def measure(
    network: str, config: Config, work: str
) -> tuple[list[list[Any]], dict[str, list[float]], list[str], dict[str, Any]]:
    """Return rows, rounds, notes and environment of one network, trained or in use."""
    ready, notes = begin(network, config, work)
    try:
        check(network, ready, work)
        turns = {name: rival.turn for name, rival in ready.items()}
        rounds = alternate(turns, rounds=config.rounds, seconds=config.seconds)
    finally:
        for rival in ready.values():
            rival.close()
    found = {name: summarise(times) for name, times in rounds.items()}
    ours, rows = found["ours"], []
    for name, each in found.items():
        ms = [1000 * value for value in each]
        faster = [None, None] if name == "ours" else [ratio(each.median, ours.median), ratio(each.least, ours.least)]
        rows.append([network, name, *ms, config.batch_size / each.median, *faster, ready[name].hello["ready"]])
        print(f"{network} {name}: {ms[0]:.2f} ms", file=sys.stderr)
    hello = ready["ours"].hello
    versions = {k: v for rival in ready.values() for k, v in rival.hello["versions"].items()}
    environment = {**hello["environment"], "versions": {**hello["environment"]["versions"], **versions}}
    return rows, rounds, [f"{network}: {hello['parameters']:,} parameters in every rival.", *notes], environment


def compare(config: Config, work: Literal["training", "inference"], title: str, name: str) -> None:
    """Measure all networks of a config and store their table."""
    watch, rows, notes, environment = Watch(), [], [], {}
    rounds: dict[str, Any] = {}
    for network in config.networks:
        more, rounds[network], said, environment = measure(network, config, work)
        rows += more
        notes += [note for note in said if note not in notes]
    notes.append("ready: seconds from the start of building to the end of the first step, compiled anew.")
    record = {
        "title": f"{title}, batch {config.batch_size}, {config.dtype}",
        "columns": COLUMNS,
        "rows": rows,
        "notes": notes,
        "environment": environment | watch.read(),
        "rounds": rounds,
    }
    write(config.out, name + ("" if config.dtype == "float32" else f"_{config.dtype}"), record)


def main(config: Config) -> None:
    compare(config, "training", "A training step", "train_step")


if __name__ == "__main__":
    launch(main, Config, SMOKE)
