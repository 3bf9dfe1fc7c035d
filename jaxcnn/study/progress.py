"""The one progress bar of a study: runs done, the run under way, time left."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from jaxcnn.study.arm import Arm
from jaxcnn.study.plan import Plan


class StudyBar:
    """One progress bar over a study; an epoch counts by its arm's MACs, since arms differ in cost.

    Where stderr is no terminal it prints one line a run instead.

    Args:
        plan: The study.
        shown: False for silence.
    """

    def __init__(self, plan: Plan, *, shown: bool) -> None:
        self._plan = plan
        self._console = Console(stderr=True)
        self._lines = shown and not self._console.is_terminal
        self._progress = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            TextColumn("{task.fields[runs]} runs"),
            TimeElapsedColumn(),
            TextColumn("left"),
            TimeRemainingColumn(),
            console=self._console,
            disable=not shown or self._lines,
        )
        self._total = len(plan.arms) * len(plan.seeds)
        self._done = 0
        cost = sum(arm.macs for arm in plan.arms) * len(plan.seeds) * plan.base.epochs
        self._task = self._progress.add_task("", total=cost, runs=f"0/{self._total}")
        self._before = 0
        self._what, self._macs = "", 0

    def __enter__(self) -> StudyBar:
        self._progress.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        self._progress.stop()
        if kind is not None and issubclass(kind, KeyboardInterrupt):
            self._console.print(f"Stopped after {self._done} of {self._total} runs; the same command continues.")

    def begin(self, arm: Arm, seed: int) -> None:
        """A run starts (or is found finished)."""
        self._what, self._macs = f"depth {arm.depth} width {arm.width} seed {seed}", arm.macs
        self._progress.update(self._task, description=f"{self._what} (starting)")

    def epoch(self, entry: Mapping[str, Any]) -> None:
        """An epoch of the current run is over; `entry` is its line of the history."""
        number = int(entry["epoch"])
        text = f"{self._what} epoch {number}/{self._plan.base.epochs}"
        self._progress.update(self._task, description=text, completed=self._before + number * self._macs)

    def end(self, validation_accuracy: float) -> None:
        """The current run is over. Validation only: nobody should steer a study by its test set."""
        self._done += 1
        self._before += self._macs * self._plan.base.epochs
        self._progress.update(self._task, completed=self._before, runs=f"{self._done}/{self._total}")
        if self._lines:
            error = 100 * (1 - validation_accuracy)
            self._console.print(f"{self._done}/{self._total} {self._what}: validation error {error:.2f} %")
