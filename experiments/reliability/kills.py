"""Kill training and studies at random moments, start them again: does each end as the one that nothing happened to?

Question: is every final result equal to the bit to an uninterrupted one: predictions, parameters, optimiser state?
Runtime: 12 minutes for 100 kills on two cores.
Expected: docs/reliability.md: no difference; a command that is asked to stop says with its exit code that it goes on.
A moment is drawn uniformly over the time of the uninterrupted run, process start included; the same command is started
again and killed again until it ends. Started again, the campaign itself goes on too. Linux.
"""

import json
import random
import shutil
import signal
import time
from collections import Counter
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from functools import partial
from pathlib import Path
from typing import Any, Literal, NamedTuple

from campaign import COMMAND, append, begin, variables, write_record
from finals import run_differences, study_differences
from moments import PHASES, epochs_left, of_run, of_study, seen
from striking import Job, Strike, run, strike

from jaxcnn.cli import launch
from jaxcnn.errors import InputError
from jaxcnn.runtime.files import write_json
from jaxcnn.spec import RunConfig

SIGNALS = {"kill": signal.SIGKILL, "term": signal.SIGTERM, "int": signal.SIGINT}
MIX = ("kill", "kill", "kill", "kill", "term", "int")
TARGETS = {1: ("process",), 2: ("process", "process", "all", "worker")}
ORDER = ("train", "train", "study1", "train", "train", "study2")  # a study takes four times as long


@dataclass(frozen=True)
class Config:
    """Kills at random moments.

    Args:
        kills: How many, over all kinds of work.
        seed: Of the moments, the signals and whom they strike.
        signal: kill (SIGKILL), term (SIGTERM), int (SIGINT), or mix: four of six SIGKILL.
        works: train; study1: a study with one worker; study2: with two.
        most: Kills on the way to one final result, at most.
        epochs: Of a training.
        out: Folder; the same command goes on where an interrupted one stopped.
    """

    kills: int = 100
    seed: int = 0
    signal: Literal["kill", "term", "int", "mix"] = "mix"
    works: tuple[Literal["train", "study1", "study2"], ...] = ("train", "study1", "study2")
    most: int = 6
    epochs: int = 40
    out: Path = Path("runs/reliability/kills")


SMOKE = Config(2, works=("train",), most=2, epochs=3, out=Path("runs/reliability_smoke/kills"))

TRAIN = (
    "train", "--quiet", "--data.train-size", "512", "--batch-size", "32", "--data.augment", "crop",
    "--model.family", "plain", "--model.depth", "4", "--model.width", "8", "--model.norm", "True",
    "--model.dropout", "0.2",
)  # fmt: skip
STUDY = (
    "study", "--model.family", "plain", "--model.norm", "True", "--depths", "3", "5", "--params", "2500", "--tolerance",
    "0.05", "--epochs", "3", "--batch-size", "32", "--data.train-size", "128", "--tuning.learning-rates", "0.02", "0.1",
    "--tuning.weight-decays", "0.0005", "--tuning.extensions", "0", "--seeds.pilot", "2", "--seeds.cap", "2",
)  # fmt: skip


class Work(NamedTuple):
    """A kind of work: its command without the folder, and its worker processes (0: no study)."""

    name: str
    words: tuple[str, ...]
    workers: int

    def job(self, config: Config, folder: Path) -> Job:
        """The command for one folder."""
        at = partial(of_study_in, folder) if self.workers else partial(of_run_in, folder)
        command = (*COMMAND, *self.words, "--out", str(folder))
        return Job(command, variables(config.out / "cache"), folder.with_suffix(".log"), at)


def works(config: Config) -> dict[str, Work]:
    """Every kind of work by name."""
    saving = ("--checkpoint-minutes", "0.002") if "checkpoint_minutes" in {f.name for f in fields(RunConfig)} else ()
    train = (*TRAIN, "--epochs", str(config.epochs), *saving)
    studies = [Work(f"study{count}", (*STUDY, "--workers", str(count)), count) for count in (1, 2)]
    return {work.name: work for work in (Work("train", train, 0), *studies) if work.name in config.works}


def of_run_in(folder: Path, started: float) -> str:
    return of_run(seen(folder), started, epochs_left(folder))


def of_study_in(folder: Path, started: float) -> str:
    return of_study(seen(folder), started)


def main(config: Config) -> None:
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

    # A shell that starts the campaign in the background has it, and all it starts, ignore SIGINT.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    done = begin(config.out, {k: v for k, v in asdict(config).items() if k not in ("kills", "out")})
    console = Console(stderr=True)
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=console, disable=not console.is_terminal) as bar:
        task = bar.add_task("references", total=config.kills, completed=kills_in(done))
        walls = {work.name: reference(work, config) for work in works(config).values()}
        order = [works(config)[name] for name in ORDER if name in walls]
        while (left := config.kills - kills_in(done)) > 0:
            number, work = len(done), order[len(done) % len(order)]
            bar.update(task, description=f"{work.name} {number}")
            # Where the machine was busier when the reference ran, a run that was missed says how long one takes.
            alone = [result["alone"] for result in done if result["work"] == work.name and result["alone"]]
            result = sequence(work, number, min(config.most, left), min([walls[work.name], *alone]), config)
            append(config.out, result)
            done.append(result)
            bar.update(task, completed=kills_in(done))
            if not console.is_terminal:
                faults = "; ".join(result["faults"] + result["differences"]) or "equal"
                console.print(f"{kills_in(done)}/{config.kills} kills, {work.name} {number}: {faults}", highlight=False)
    report(config, done, walls)


def kills_in(done: list[dict[str, Any]]) -> int:
    """Signals that met a living process."""
    return sum(strike["struck"] for result in done for strike in result["strikes"])


def reference(work: Work, config: Config) -> float:
    """The work, uninterrupted, twice and for all; the seconds of the second, which finds compiled programs.

    Raises:
        InputError: It fails, or the same work done twice is not equal: then equality after kills would say nothing.
    """
    base = config.out / "whole"
    note = base / f"{work.name}.json"
    if not note.exists():
        base.mkdir(parents=True, exist_ok=True)
        ended: dict[str, Any] = {}
        for name in (work.name, f"{work.name}_again"):
            shutil.rmtree(base / name, ignore_errors=True)
            ended = run(work.job(config, base / name), limit=600)
            if ended["code"] != 0:
                raise InputError(
                    f"{work.name}: it ends with {ended['code']} when left alone ({ended['said']}); mend that"
                )
        if found := compare(work, base / work.name, base / f"{work.name}_again"):
            raise InputError(f"{work.name}: done twice without a kill it differs ({found[0]}); mend that")
        write_json(note, {"seconds": ended["seconds"]})
    return json.loads(note.read_text())["seconds"]


def compare(work: Work, whole: Path, other: Path) -> list[str]:
    """Where the results of two folders differ."""
    try:
        return (study_differences if work.workers else run_differences)(whole, other)
    except (OSError, ValueError, KeyError) as error:
        return [f"not comparable ({type(error).__name__}: {error})"]


def sequence(work: Work, number: int, most: int, wall: float, config: Config) -> dict[str, Any]:
    """One result, with kills on the way."""
    rng, folder = random.Random(f"{config.seed} {work.name} {number}"), config.out / "killed" / f"{work.name}_{number}"
    shutil.rmtree(folder, ignore_errors=True)
    folder.parent.mkdir(parents=True, exist_ok=True)
    job, strikes, over, begun = work.job(config, folder), list[dict[str, Any]](), False, time.perf_counter()
    while not over and len(strikes) < most:
        kind = rng.choice(MIX) if config.signal == "mix" else config.signal
        blow = Strike(rng.uniform(0, wall), SIGNALS[kind], rng.choice(TARGETS[max(work.workers, 1)]))
        struck = strike(job, blow)
        over = struck is None or struck["code"] == 0 or not struck["struck"]
        strikes += [] if struck is None else [struck]
    alone = None if strikes else round(time.perf_counter() - begun, 3)
    faults = [f"{s['signal']} to {s['to']} while {s['phase'] or 'unknown'}: {s['verdict']} ({s['said']})"
              for s in strikes if s["verdict"].startswith("wrong")]  # fmt: skip
    if not over and (last := run(job, limit=120 + 10 * wall))["code"] != 0:
        faults.append(f"the last start ends with {last['code']} ({last['said']})")
    differences = compare(work, config.out / "whole" / work.name, folder)
    if not faults and not differences:
        shutil.rmtree(folder)
        job.log.unlink()
    found = {"strikes": strikes, "faults": faults, "differences": differences}
    return {"work": work.name, "number": number, "alone": alone, **found}


def report(config: Config, done: list[dict[str, Any]], walls: Mapping[str, float]) -> None:
    """Write both tables; exit with 1 where anything differs."""
    bad = [result for result in done if result["differences"] or result["faults"]]
    rows = [_row(name, [result for result in done if result["work"] == name]) for name in walls]
    rows += [_row("all", done)] if len(walls) > 1 else []
    columns = ["work", "final results", "equal to the bit", "kills", "SIGKILL", "SIGTERM", "SIGINT",
               "stopped, to go on", "wrong endings"]  # fmt: skip
    seconds = ", ".join(f"{name} {wall:.1f} s" for name, wall in walls.items())
    notes = [
        "Left alone, each kind of work takes, start of the process included: " + seconds + ".",
        "Compared: predictions, every array of the last checkpoint (parameters, statistics, optimiser state), metrics "
        "and records, all but times.",
        f"Stopped, to go on: after SIGTERM or SIGINT, or with a worker killed. Seed {config.seed}.",
    ]
    write_record(config.out, "kills", "Killed, started again", columns, rows, notes, bad=bad)
    counts = Counter((strike["phase"], result["work"]) for result in done for strike in result["strikes"])
    phases = [[phase, *(counts[phase, name] for name in walls)] for phase in (*PHASES, "")]
    phases = [row for row in phases if any(row[1:])]
    notes = ["Guessed from the files that the process had written when it was struck."]
    write_record(config.out, "kills_moments", "What the kills met", ["what was under way", *walls], phases, notes)
    if bad:
        raise SystemExit(1)


def _row(name: str, done: list[dict[str, Any]]) -> list[Any]:
    strikes = [strike for result in done for strike in result["strikes"]]
    struck = [s for s in strikes if s["struck"]]
    signals, verdicts = Counter(s["signal"] for s in struck), Counter(s["verdict"].split(":")[0] for s in strikes)
    equal, of = sum(not result["differences"] for result in done), len(done)
    numbers = [signals[f"SIG{kind}"] for kind in ("KILL", "TERM", "INT")]
    return [name, of, equal, len(struck), *numbers, verdicts["resumable"], verdicts["wrong"]]


if __name__ == "__main__":
    launch(main, Config, SMOKE, onednn=False)
