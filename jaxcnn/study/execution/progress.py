"""Progress of a study, from its folder alone: so the bar, `jaxcnn study status` and a second process agree."""

import time
from pathlib import Path
from typing import NamedTuple, Self

from rich.console import Console
from rich.progress import BarColumn, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from jaxcnn.runtime.console import FittingProgress
from jaxcnn.study.execution.worker import Reader
from jaxcnn.study.plan import Plan
from jaxcnn.study.result import FILES
from jaxcnn.study.schedule import has_diverged, next_runs, total_runs

REFRESH_SECONDS = 0.4
STAGES = {
    "tuning": "tuning every arm alike",
    "pilot": "pilot runs",
    "runs": "runs",
    "costs": "measuring what a step of each arm costs",
    "done": "done",
    "reported": "done",
}


class Standing(NamedTuple):
    """Progress of a study."""

    stage: str  #: tuning, pilot, runs, costs (a step of every arm is measured), done, reported.
    finished: int  #: Number of finished runs, tuning trials included.
    total: int  #: Number of runs at the end, as far as it is known.
    #: Path and number of epochs of every run that has begun and is not finished.
    under_way: tuple[tuple[str, int], ...]
    diverged: int  #: Number of finished runs whose loss was not finite.
    share: float  #: Share of the training done: epochs, weighted by the MACs of their arm.


def standing(plan: Plan, directory: Path, read: Reader) -> Standing:
    """Return the progress of a study, from the files in its folder; a `read` that is kept reads each run once."""
    now = next_runs(plan, read)
    finished = [metrics for each in now.runs if (metrics := read(each)) is not None]
    stage, total = now.stage, max(total_runs(plan, now), len(now.runs))
    if stage == "done" and not all((directory / name).exists() for name in FILES):
        stage = "costs"
    elif stage == "done" and (directory / "report.html").exists():
        stage = "reported"
    begun = [each for each in now.pending if (directory / each.path / "config.json").exists()]
    logs = [directory / each.path / "metrics.jsonl" for each in begun]
    epochs = [log.read_bytes().count(b"\n") if log.exists() else 0 for log in logs]
    pending, mean = set(now.pending), sum(arm.macs for arm in plan.arms) / len(plan.arms)
    work = sum(each.arm.macs for each in now.runs) + (total - len(now.runs)) * mean
    done = sum(each.arm.macs for each in now.runs if each not in pending) + sum(
        each.arm.macs * min(count / plan.base.epochs, 1) for each, count in zip(begun, epochs, strict=True)
    )
    under_way = tuple((each.path, count) for each, count in zip(begun, epochs, strict=True))
    return Standing(stage, len(finished), total, under_way, sum(map(has_diverged, finished)), done / max(work, 1))


class StudyBar:
    """A progress bar over a study; where the console (default: stderr) is no terminal, one line per stage instead."""

    def __init__(self, plan: Plan, directory: Path, *, shown: bool, console: Console | None = None) -> None:
        self._plan, self._directory, self.shown = plan, directory, shown
        self._read = Reader(plan, directory)
        self._console = console or Console(stderr=True)
        self._lines = shown and not self._console.is_terminal
        stage, runs, left = map(TextColumn, ("{task.description}", "{task.fields[runs]} runs", "left"))
        bar, took = BarColumn(30), TimeElapsedColumn()
        columns = (stage, bar, runs, took, left, TimeRemainingColumn(elapsed_when_finished=False))
        self._progress = FittingProgress(columns, (bar, took), self._console, off=not shown or self._lines)
        self._task = self._progress.add_task("", total=1, runs="")
        self._stage, self._refreshed = "", 0.0

    def __enter__(self) -> Self:
        self._progress.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._progress.stop()

    def refresh(self, *, last: bool = False) -> None:
        """Show the folder's progress, at most a few times per second, except for the last time."""
        if last or time.monotonic() - self._refreshed > REFRESH_SECONDS:
            self._show()

    def interrupted(self) -> str:
        """Return the message after Ctrl-C."""
        now = self._show()
        runs = f"{now.finished} of about {now.total} runs"
        return f"interrupted after {runs}, which are kept; run the same command again to resume"

    def _show(self) -> Standing:
        now = standing(self._plan, self._directory, self._read)
        text, runs = STAGES[now.stage], f"{now.finished}/{now.total}"
        self._progress.update(self._task, description=text, completed=now.share, runs=runs)
        if self._lines and now.stage != self._stage:
            self._console.print(f"{text}: {now.finished} of about {now.total} runs finished")
        self._stage, self._refreshed = now.stage, time.monotonic()
        return now
