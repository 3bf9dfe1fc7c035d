"""The README's study, from its command to its report, in this checkout and in another, in turns.

Question: how much faster is a study than at another commit?
Runtime: about four minutes per round on two cores.
Expected: docs/benchmarks.md. Both do the job of the older commit: residual nets of four depths, tuned on a grid that is
not extended, so that both train the same 88 runs.
To create a checkout to compare with: `git worktree add ../before e9109f1`. Each runs its own script and package, with
the other packages of this environment and a compilation cache of its own that is empty at the start.
"""

import os
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path

from jaxcnn.cli import launch
from jaxcnn.errors import InputError
from table import Watch, ratio, summarise, write
from turns import plain

HERE = Path(__file__).resolve().parents[2]


@dataclass(frozen=True)
class Config:
    """Studies in turns.

    Args:
        before: Checkout to compare with; None: this one alone is timed.
        rounds: Number of runs of each.
        flags: Flags of deep_vs_wide.py in both.
        today: Flags of this checkout's alone: the older job in today's words.
        out: Folder for the JSON.
    """

    before: Path | None = None
    rounds: int = 1
    flags: tuple[str, ...] = ("--tuning.extensions", "0")
    today: tuple[str, ...] = (
        "--skips", "True", "--depths", "8", "14", "20", "26", "--tuning.weight-decays", "1e-4", "1e-3",
        "--tuning.shared", "--tuning.method", "grid", "--base.batches", "full", "--folds", "None",
        "--base.data.train-size", "None", "--base.epochs", "10", "--base.checkpoint-every", "10",
    )  # fmt: skip
    out: Path = Path("runs/benchmarks")


SMOKE = Config(flags=("--smoke", "--skips", "True"), today=(), out=Path("runs/benchmarks_smoke"))


def main(config: Config) -> None:
    from jaxcnn.runtime.environment import environment

    sides: dict[str, tuple[Path, tuple[str, ...]]] = {"now": (HERE, config.today)}
    if config.before is not None:
        sides["before"] = (config.before.resolve(), ())
    watch, times, processor = Watch(), defaultdict(list), defaultdict(list)
    for turn in range(config.rounds):
        for name in sorted(sides, reverse=turn % 2 == 1):
            begun, used = time.perf_counter(), os.times()
            folder, flags = sides[name]
            _study(folder, (*config.flags, *flags))
            times[name].append(time.perf_counter() - begun)
            spent = os.times()
            processor[name].append(spent[2] + spent[3] - used[2] - used[3])
    now = summarise(times["now"]).median
    rows = [
        [name, *summarise(times[name]), summarise(processor[name]).median, ratio(summarise(times[name]).median, now)]
        for name in times
    ]
    record = {
        "title": "The main job",
        "columns": ["state", "median, s", "least, s", "IQR, s", "processor, s", "now is faster by"],
        "rows": rows,
        "notes": [
            f"`deep_vs_wide.py {' '.join(config.flags)}`; {config.rounds} round(s), caches empty at the start.",
            f"Now with `{' '.join(config.today)}` besides: the job of the older commit.",
        ],
        "environment": environment() | watch.read(),
        "rounds": dict(times),
    }
    write(config.out, "study", record)


def _study(folder: Path, flags: tuple[str, ...]) -> None:
    """Run the script of a checkout, with that checkout's own package."""
    script = folder / "experiments" / "deep_vs_wide.py"
    if not script.exists():
        raise InputError(f"before={str(folder)!r}: has no experiments/deep_vs_wide.py; give a checkout of jaxcnn")
    with tempfile.TemporaryDirectory() as place:
        variables = plain() | {"JAXCNN_CACHE": f"{place}/cache", "PYTHONPATH": str(folder)}
        command = [sys.executable, str(script), *flags, "--out", f"{place}/out"]
        done = subprocess.run(command, env=variables, capture_output=True, text=True, check=False)
    if done.returncode:
        raise InputError(f"{str(script)!r}: failed ({done.stderr.strip()[-300:]}); run it by hand")


if __name__ == "__main__":
    launch(main, Config, SMOKE)
