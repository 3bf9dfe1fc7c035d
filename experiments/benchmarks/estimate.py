"""The estimate of `jaxcnn study --dry-run` against the study itself: dry run, study, dry run, in turns.

Question: how near is the estimate, and how long does it take?
Runtime: about seven minutes on two cores.
Expected: docs/benchmarks.md: within 30 % and in less than 15 seconds, on a machine that does little else. Other
processes slow the study and its estimate, but not alike, where they come and go between the turns.
"""

import re
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

from jaxcnn.cli import launch
from jaxcnn.errors import InputError
from table import Watch, write
from turns import plain

STUDIES = {
    "resnet, digits": "--data digits --depths 8 14 20 --params 27000 --epochs 10 --batch-size 64",
    "dense, digits": "--data digits --model.family dense --depths 2 4 6 --params 20000 --epochs 10 --batch-size 64",
    "plain, glyphs": "--data glyphs --data.images 8000 --model.family plain --depths 4 6 8 --params 10000 --epochs 6 "
    "--tuning.learning-rates 0.05 0.1 0.2 --tuning.weight-decays 5e-4",
}
SHORT = "--tuning.learning-rates 0.1 --tuning.weight-decays 5e-4 --seeds.pilot 1 --seeds.cap 1 --epochs 1"
UNITS = {"seconds": 1, "minutes": 60, "hours": 3600}


@dataclass(frozen=True)
class Config:
    """Estimates and studies in turns.

    Args:
        names: Studies to run: resnet, dense, plain.
        extra: Flags for all of them.
        out: Folder for the JSON.
    """

    names: tuple[str, ...] = ("resnet", "dense", "plain")
    extra: str = ""
    out: Path = Path("runs/benchmarks")


SMOKE = Config(("dense",), SHORT, Path("runs/benchmarks_smoke"))


def main(config: Config) -> None:
    from jaxcnn.runtime.environment import environment

    watch, rows = Watch(), []
    for name, flags in STUDIES.items():
        if name.partition(",")[0] not in config.names:
            continue
        words = [*flags.split(), *config.extra.split()]
        with tempfile.TemporaryDirectory() as place:
            _call(words, "--dry-run", place)  # images are decoded once
            (before, first), (_, took), (after, second) = (
                _call(words, flag, place) for flag in ("--dry-run", "", "--dry-run")
            )
        estimates = [_seconds(before), _seconds(after)]
        rows.append([name, *estimates, took, sum(estimates) / 2 / took, max(first, second)])
        print(*rows[-1], sep="  ", flush=True)
    record = {
        "title": "The estimate of a study",
        "columns": ["study", "estimate before, s", "after, s", "study, s", "mean estimate / study", "dry run, s"],
        "rows": rows,
        "notes": ["Two worker processes; every study from its command to its report, all compiling included."],
        "environment": environment() | watch.read(),
    }
    write(config.out, "estimate", record)


def _call(words: list[str], flag: str, place: str) -> tuple[str, float]:
    """Run `jaxcnn study`; return its output and its seconds."""
    command = [sys.executable, "-m", "jaxcnn", "study", *words, *([flag] if flag else []), "--out", f"{place}/study"]
    begun = time.perf_counter()
    done = subprocess.run(command, env=plain(), capture_output=True, text=True, check=False)
    if done.returncode:
        raise InputError(f"study: it failed ({done.stderr.strip()[-300:]}); run it by hand")
    return done.stdout, time.perf_counter() - begun


def _seconds(text: str) -> float:
    number, unit = re.findall(r"about\s+([\d.]+)\s+(seconds|minutes|hours)", text)[-1]
    return float(number) * UNITS[unit]


if __name__ == "__main__":
    launch(main, Config, SMOKE)
