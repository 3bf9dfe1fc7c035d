"""How far a study is: from its folder alone, so that the bar, `jaxcnn study status` and a second process agree."""

from __future__ import annotations

import time
from pathlib import Path
from typing import NamedTuple

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from jaxcnn.study.execution.worker import Reader
from jaxcnn.study.plan import Plan
from jaxcnn.study.result import FILES
from jaxcnn.study.schedule import Agenda, Item, agenda, diverged, expected

REFRESH_SECONDS = 0.4
STAGES = {
    "tuning": "tuning every arm alike",
    "pilot": "pilot runs",
    "runs": "runs",
    "done": "measuring what a step of each arm costs",
}


class Standing(NamedTuple):
    """Where a study stands.

    Args:
        stage: tuning, pilot, runs, costs (a step of every arm is measured), done, reported.
        finished: Runs that are finished, tuning trials among them.
        total: Runs there will have been in the end, as far as one can tell now.
        under_way: Path and finished epochs of every run that has begun and is not finished.
        diverged: Finished runs whose loss was not finite.
    """

    stage: str
    finished: int
    total: int
    under_way: tuple[tuple[str, int], ...]
    diverged: int


def standing(plan: Plan, directory: Path, read: Reader) -> Standing:
    """Where a study stands, from the files in its folder.

    Args:
        plan: The study.
        directory: Its folder.
        read: Reads runs; keep it between calls, and each finished run is read once.
    """
    now = agenda(plan, read)
    begun = tuple(
        (item.path, _epochs(directory, item)) for item in now.todo if (directory / item.path / "config.json").exists()
    )
    done = [metrics for item in now.items if (metrics := read(item)) is not None]
    stage = now.stage
    if stage == "done" and not all((directory / name).exists() for name in FILES):
        stage = "costs"
    elif stage == "done" and (directory / "report.html").exists():
        stage = "reported"
    finished, total = len(now.items) - len(now.todo), max(expected(plan, now), len(now.items))
    return Standing(stage, finished, total, begun, sum(map(diverged, done)))


def work_done(plan: Plan, directory: Path, now: Agenda) -> tuple[float, float]:
    """(done, in all): epochs weighted by the MACs of their arm, since arms differ in cost."""
    epochs = plan.base.epochs
    known = sum(item.arm.macs for item in now.items) * epochs
    todo = set(now.todo)
    done = sum(item.arm.macs for item in now.items if item not in todo) * epochs
    begun = (item for item in now.todo if (directory / item.path / "config.json").exists())
    done += sum(item.arm.macs * min(_epochs(directory, item), epochs) for item in begun)
    mean = sum(arm.macs for arm in plan.arms) / len(plan.arms)
    return done, known + max(expected(plan, now) - len(now.items), 0) * mean * epochs


def _epochs(directory: Path, item: Item) -> int:
    file = directory / item.path / "metrics.jsonl"
    return file.read_bytes().count(b"\n") if file.exists() else 0


class StudyBar:
    """One progress bar over a study; where stderr is no terminal, a line a stage instead.

    Args:
        plan: The study.
        directory: Its folder.
        shown: False for silence.
    """

    def __init__(self, plan: Plan, directory: Path, *, shown: bool) -> None:
        self._plan, self._directory = plan, directory
        self.shown = shown
        self._read = Reader(plan, directory)
        self._console = Console(stderr=True)
        self._lines = shown and not self._console.is_terminal
        self._progress = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            TextColumn("{task.fields[runs]} runs"),
            TimeElapsedColumn(),
            TextColumn("left"),
            TimeRemainingColumn(elapsed_when_finished=False),
            console=self._console,
            disable=not shown or self._lines,
        )
        self._task = self._progress.add_task("", total=1, runs="")
        self._stage, self._looked = "", 0.0
        self._counts = (0, 0)

    def __enter__(self) -> StudyBar:
        self._progress.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._progress.stop()

    def interrupted(self) -> str:
        """What is said after Ctrl-C."""
        self.refresh(last=True)
        finished, total = self._counts
        return f"interrupted after {finished} of about {total} runs, which are kept; the same command goes on"

    def refresh(self, *, last: bool = False) -> None:
        """Look at the folder and show what it says, at most a few times a second; the last time whenever it is."""
        if not last and time.monotonic() - self._looked < REFRESH_SECONDS:
            return
        now = agenda(self._plan, self._read)
        done, total = work_done(self._plan, self._directory, now)
        self._counts = len(now.items) - len(now.todo), max(expected(self._plan, now), len(now.items))
        finished, runs = self._counts
        text = STAGES[now.stage]
        self._progress.update(self._task, description=text, completed=done, total=total, runs=f"{finished}/{runs}")
        if self._lines and now.stage != self._stage:
            self._console.print(f"{text}: {finished} of about {runs} runs finished")
        self._stage, self._looked = now.stage, time.monotonic()
