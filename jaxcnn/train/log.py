"""Where a run reports to: JSON lines, TensorBoard, the console's progress bar."""

import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from jaxcnn.errors import missing_extra
from jaxcnn.runtime.console import FittingProgress
from jaxcnn.runtime.files import atomic_write, name_errors

Record = Mapping[str, Any]
SHORT = {"accuracy": "acc", "mean_iou": "IoU"}  # one epoch fits a line of 80 characters


class JsonLines:
    """One JSON object per line, whole or not at all; the file is synchronised after each."""

    def __init__(self, path: Path):
        self._path = path

    def write(self, record: Record) -> None:
        """Append one line."""
        with name_errors(self._path), self._path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(dict(record)) + "\n")
            file.flush()
            os.fsync(file.fileno())

    def read(self, up_to_epoch: int) -> list[dict[str, Any]]:
        """Return the records of the first epochs; remove later ones and a half-written last line.

        A run that was killed after writing a line and before saving its checkpoint trains that epoch again.
        """
        if not self._path.exists():
            return []
        records = []
        for line in self._path.read_text(encoding="utf-8", errors="replace").splitlines():
            try:
                record = json.loads(line)
                if record["epoch"] > up_to_epoch:
                    break
            except (ValueError, KeyError, TypeError):
                break
            records.append({name: value for name, value in record.items() if not name.startswith("test_")})
        if len(records) == up_to_epoch:  # Else the caller refuses the file, which then stays as it is.
            self._replace(records)
        return records

    def complete(self, records: Sequence[Record], last: Record) -> None:
        """Write the records of a whole run, the last one with more metrics, such as those of the test split."""
        self._replace([*records[:-1], {**records[-1], **last}])

    def _replace(self, records: Sequence[Record]) -> None:
        with atomic_write(self._path) as spare:
            spare.write_text("".join(json.dumps(dict(record)) + "\n" for record in records), encoding="utf-8")


def summary_writer() -> Any:
    """Return the class that writes TensorBoard's files; raise InputError if it is not installed."""
    try:
        from tensorboardX import SummaryWriter
    except ImportError:
        raise missing_extra("tensorboard=True", "tensorboardX", "tensorboard") from None
    return SummaryWriter


class TensorBoard:
    """Scalars as TensorBoard event files, through tensorboardX (the extra `tensorboard`)."""

    def __init__(self, directory: Path):
        self._writer = summary_writer()(str(directory))

    def write(self, record: Record) -> None:
        """Write each number of the record at its step."""
        for name, value in record.items():
            if isinstance(value, int | float) and name not in ("epoch", "step"):
                title = name if name == "learning_rate" else name.replace("_", "/", 1)
                self._writer.add_scalar(title, value, record["step"])
        self._writer.flush()


class Bar(FittingProgress):
    """The console's progress bar: steps, loss, accuracy, images a second and time left; plain lines in a log file."""

    def __init__(self, total: int, done: int, name: str, shown: bool = True, console: Console | None = None):
        console = console or Console(stderr=True)
        texts = ("{task.description}", "{task.fields[report]}", "{task.fields[speed]}", "left")
        words, report, speed, left = map(TextColumn, texts)
        bar, took = BarColumn(20), TimeElapsedColumn()
        columns = (words, bar, MofNCompleteColumn(), report, speed, took, left, TimeRemainingColumn())
        super().__init__(columns, (speed, bar, took, words), console, off=not (shown and console.is_terminal))
        self.add_task(name, total=total, completed=done, report="", speed="")

    def show(self, step: int, metrics: Mapping[str, float], images_per_second: float) -> None:
        """Show the state after `step` steps."""
        report = "  ".join(f"{SHORT.get(name, name)} {value:.4f}" for name, value in metrics.items())
        self.update(self.task_ids[0], completed=step, report=report, speed=f"{images_per_second:,.0f} im/s")


def epoch_line(record: Record, epochs: int) -> str:
    """Format one epoch as a line for the console."""
    parts = []
    for split, short in (("train", "train"), ("validation", "valid")):
        named = {name.removeprefix(f"{split}_"): value for name, value in record.items() if name.startswith(split)}
        parts.append(" ".join([short, *(f"{SHORT.get(name, name)} {value:.4f}" for name, value in named.items())]))
    return f"{record['epoch']:>3}/{epochs}  {'  '.join(parts)}  {record['seconds']:.1f} s"
