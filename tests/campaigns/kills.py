"""Kill training runs and studies at random moments and start them again, until they finish.

Question: is every result bit-equal to an uninterrupted one: predictions, parameters, optimizer state?
Runtime: 12 minutes for 100 kills on two cores.
Expected: docs/reliability.md: no difference; after SIGTERM and SIGINT the exit code says that the command can resume.
Delays are drawn uniformly over the time of the uninterrupted command, its start included. The same command resumes an
interrupted campaign. Linux only.

    python -m tests.campaigns.kills --kills 100 --out runs/kills
"""

import json
import random
import shutil
import signal
import sys
import time
from collections import Counter
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any, Literal

from jaxcnn.cli import launch
from jaxcnn.errors import InputError
from jaxcnn.runtime.files import write_json
from tests.campaigns.campaign import COMMAND, append, open_campaign, process_environment, write_table
from tests.campaigns.compare import run_differences, study_differences
from tests.campaigns.phase import PHASES, phase_of
from tests.campaigns.process import Job, kill, run

SIGNALS = (*[signal.SIGKILL] * 4, signal.SIGTERM, signal.SIGINT)
TARGETS = {"train": ("process",), "study1": ("process",), "study2": ("process", "process", "all", "worker")}
ORDER = ("train", "train", "study1", "train", "train", "study2")  # a study takes four times as long

TRAIN = (
    "train", "--quiet", "--data.train-size", "512", "--batch-size", "32", "--data.augment", "crop",
    "--model.family", "plain", "--model.depth", "4", "--model.width", "8", "--model.norm", "True",
    "--model.dropout", "0.2", "--checkpoint-minutes", "0.002",
)  # fmt: skip
STUDY = (
    "study", "--model.family", "plain", "--model.norm", "True", "--depths", "3", "5", "--params", "2500", "--tolerance",
    "0.05", "--epochs", "3", "--batch-size", "32", "--data.train-size", "128", "--tuning.learning-rates", "0.02", "0.1",
    "--tuning.weight-decays", "0.0005", "--tuning.extensions", "0", "--seeds.pilot", "2", "--seeds.cap", "2",
)  # fmt: skip


@dataclass(frozen=True)
class Config:
    """Kills at random moments.

    Args:
        kills: Number of signals, over all kinds of work.
        seed: Seed of the delays, signals and targets.
        works: Kinds of work: train; study1 (a study with one worker); study2 (with two).
        most: Largest number of kills per result.
        epochs: Epochs of a training run.
        out: Folder of the campaign.
    """

    kills: int = 100
    seed: int = 0
    works: tuple[Literal["train", "study1", "study2"], ...] = ("train", "study1", "study2")
    most: int = 6
    epochs: int = 40
    out: Path = Path("runs/reliability/kills")


SMOKE = Config(2, works=("train",), most=2, epochs=3, out=Path("runs/reliability_smoke/kills"))


def main(config: Config) -> None:
    """Run the campaign until it has sent all signals, then write its tables."""
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a background job's children would ignore SIGINT
    settings = {name: value for name, value in asdict(config).items() if name not in ("kills", "out")}
    results = open_campaign(config.out, settings)
    seconds = {name: reference(name, config) for name in config.works}
    order = [name for name in ORDER if name in config.works]
    while (left := config.kills - count_kills(results)) > 0:
        number, name = len(results), order[len(results) % len(order)]
        # A result that finished before its first kill shows how long the work takes when the machine is less busy.
        shortest = [result["unkilled"] for result in results if result["work"] == name and result["unkilled"]]
        result = repeat(name, number, min(config.most, left), min([seconds[name], *shortest]), config)
        append(config.out, result)
        results.append(result)
        message = "; ".join(result["faults"] + result["differences"]) or "equal"
        print(f"{count_kills(results)}/{config.kills} kills, {name} {number}: {message}", file=sys.stderr)
    report(config, results, seconds)


def count_kills(results: list[dict[str, Any]]) -> int:
    """Count the signals that reached a running process."""
    return sum(each["sent"] for result in results for each in result["kills"])


def job(name: str, config: Config, folder: Path) -> Job:
    """Return the command of a kind of work for one output folder."""
    workers = ("--workers", name.removeprefix("study"))
    words = (*TRAIN, "--epochs", str(config.epochs)) if name == "train" else (*STUDY, *workers)
    phase = partial(phase_of, folder)
    environment = process_environment(config.out / "cache")
    return Job((*COMMAND, *words, "--out", str(folder)), environment, folder.with_suffix(".log"), phase)


def reference(name: str, config: Config) -> float:
    """Do the work twice without a kill, once per campaign; return the seconds of the second, compiled programs cached.

    Raises:
        InputError: The work fails, or its two results differ: comparisons after kills would be meaningless.
    """
    base = config.out / "whole"
    note = base / f"{name}.json"
    if not note.exists():
        base.mkdir(parents=True, exist_ok=True)
        end: dict[str, Any] = {}
        for folder in (base / name, base / f"{name}_again"):
            shutil.rmtree(folder, ignore_errors=True)
            end = run(job(name, config, folder), limit=600)
            if end["code"] != 0:
                raise InputError(f"{name}: exit code {end['code']} without a kill ({end['output']}); fix that first")
        if found := differences(name, base / name, base / f"{name}_again"):
            raise InputError(f"{name}: differs from itself without a kill ({found[0]}); fix that first")
        write_json(note, {"seconds": end["seconds"]})
    return json.loads(note.read_text())["seconds"]


def differences(name: str, whole: Path, other: Path) -> list[str]:
    """Return a sentence for each difference between two results of one kind of work."""
    try:
        return (run_differences if name == "train" else study_differences)(whole, other)
    except (OSError, ValueError, KeyError) as error:
        return [f"not comparable ({type(error).__name__}: {error})"]


def repeat(name: str, number: int, most: int, seconds: float, config: Config) -> dict[str, Any]:
    """Start one piece of work again and again, kill it up to `most` times, let it finish, and compare its result.

    Returns:
        work, number, unkilled (seconds, where it finished before the first kill), kills, faults, differences.
    """
    rng, folder = random.Random(f"{config.seed} {name} {number}"), config.out / "killed" / f"{name}_{number}"
    shutil.rmtree(folder, ignore_errors=True)
    folder.parent.mkdir(parents=True, exist_ok=True)
    work, kills, finished, unkilled, start = job(name, config, folder), [], False, None, time.perf_counter()
    while not finished and len(kills) < most:
        signum, delay, target = rng.choice(SIGNALS), rng.uniform(0, seconds), rng.choice(TARGETS[name])
        if found := kill(work, delay, signum, target):
            kills.append(found)
            finished = found["code"] == 0 or not found["sent"]
        else:
            finished, unkilled = True, None if kills else round(time.perf_counter() - start, 3)
    faults = [f"{k['signal']} to {k['target']} while {k['phase'] or 'unknown'}: {k['verdict']} ({k['output']})"
              for k in kills if k["verdict"].startswith("wrong")]  # fmt: skip
    if not finished and (end := run(work, limit=120 + 10 * seconds))["code"] != 0:
        faults.append(f"the last start: exit code {end['code']} ({end['output']})")
    found = differences(name, config.out / "whole" / name, folder)
    if not faults and not found:
        shutil.rmtree(folder)
        work.log.unlink()
    result = {"work": name, "number": number, "unkilled": unkilled}
    return {**result, "kills": kills, "faults": faults, "differences": found}


def report(config: Config, results: list[dict[str, Any]], seconds: Mapping[str, float]) -> None:
    """Write both tables; exit with code 1 where a result differs or a process ended wrongly."""
    bad = [result for result in results if result["differences"] or result["faults"]]
    rows = [_row(name, [result for result in results if result["work"] == name]) for name in seconds]
    rows += [_row("all", results)] if len(seconds) > 1 else []
    columns = ["work", "results", "bit-equal", "kills", "SIGKILL", "SIGTERM", "SIGINT", "exits to resume",
               "wrong exits"]  # fmt: skip
    times = ", ".join(f"{name} {each:.1f} s" for name, each in seconds.items())
    notes = [
        f"Time without a kill, start of the process included: {times}.",
        "Compared: predictions, every array of the last checkpoint (parameters, statistics, optimizer state), metrics "
        "and records; all but times.",
        f"Exits to resume: after SIGTERM or SIGINT, or where a worker was killed. Seed {config.seed}.",
    ]
    write_table(config.out, "kills", "Killed and started again", columns, rows, notes, bad=bad)
    counts = Counter((each["phase"], result["work"]) for result in results for each in result["kills"])
    phases = [[phase, *(counts[phase, name] for name in seconds)] for phase in (*PHASES, "")]
    phases = [row for row in phases if any(row[1:])]
    notes = ["Judged by the files that the process had written when the signal was sent."]
    write_table(config.out, "kills_moments", "Phases in which kills struck", ["phase", *seconds], phases, notes)
    if bad:
        raise SystemExit(1)


def _row(name: str, results: list[dict[str, Any]]) -> list[Any]:
    kills = [each for result in results for each in result["kills"]]
    signals = Counter(each["signal"] for each in kills if each["sent"])
    verdicts = Counter(each["verdict"].split(":")[0] for each in kills)
    equal = sum(not result["differences"] for result in results)
    numbers = [signals[f"SIG{kind}"] for kind in ("KILL", "TERM", "INT")]
    return [name, len(results), equal, count_kills(results), *numbers, verdicts["resumable"], verdicts["wrong"]]


if __name__ == "__main__":
    launch(main, Config, SMOKE)
