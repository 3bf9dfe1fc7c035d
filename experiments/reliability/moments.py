"""What a process was doing when it was killed, guessed from the names and times of the files it had written."""

import json
import os
from collections.abc import Mapping
from pathlib import Path

Files = Mapping[str, float]
"""Names below a folder (with slashes) and the times of their last change, in seconds since the epoch."""

STARTING = "starting: imports and data"
RECORD = "writing a record"
CHECKPOINT = "saving a checkpoint"
COMPILING = "going on: restoring, compiling"
TRAINING = "training"
RESULT = "testing, writing the result"
TUNING = "tuning"
RUNS = "pilot and further runs"
COSTS = "measuring costs"
REPORT = "gathering, report"
ENDING = "ending"
PHASES = (STARTING, COMPILING, TRAINING, TUNING, RUNS, CHECKPOINT, RECORD, RESULT, COSTS, REPORT, ENDING)
"""In the order in which work goes through them."""

CLOCK_SECONDS = 0.02
"""File systems stamp files with a clock that may lag behind by a tick."""


def seen(folder: Path) -> dict[str, float]:
    """The files below a folder, those left out that vanish meanwhile."""
    found = {}
    for here, _, names in os.walk(folder):
        for name in names:
            try:
                found[os.path.relpath(os.path.join(here, name), folder).replace(os.sep, "/")] = os.stat(
                    os.path.join(here, name)
                ).st_mtime
            except OSError:
                continue
    return found


def epochs_left(folder: Path) -> int | None:
    """Epochs of a run that have no line yet; None where the run has not begun."""
    try:
        epochs = json.loads((folder / "config.json").read_text())["epochs"]
        lines = (folder / "metrics.jsonl").read_bytes().count(b"\n") if (folder / "metrics.jsonl").exists() else 0
    except (OSError, ValueError, KeyError):
        return None
    return epochs - lines


def of_run(files: Files, started: float, left: int | None) -> str:
    """What a training process was doing.

    Args:
        files: Of the run's folder.
        started: When the process started, in seconds since the epoch.
        left: As `epochs_left` says.
    """
    fresh = _fresh(files, started)
    if "result.json" in files:
        return ENDING if fresh else STARTING
    if writing := _writing(fresh):
        return writing
    if not fresh:
        return STARTING
    if "predictions.npz" in fresh:
        return RESULT
    if not any(name.startswith("checkpoints/") for name in fresh):
        return COMPILING
    return RESULT if left == 0 else TRAINING


def of_study(files: Files, started: float) -> str:
    """What a study's process, or its workers, were doing; arguments as for `of_run`."""
    fresh = _fresh(files, started)
    if writing := _writing(fresh):
        return writing
    if not fresh:
        return STARTING
    if "report.html" in fresh:
        return ENDING
    if "costs.json" in files:
        return REPORT
    if "tuning.json" not in files:
        return TUNING
    begun, done = (
        {name.rpartition("/")[0] for name in files if name.endswith(f"/{last}")}
        for last in ("config.json", "result.json")
    )
    return COSTS if "pilot.json" in files and begun == done else RUNS


def _fresh(files: Files, started: float) -> set[str]:
    return {name for name, changed in files.items() if changed >= started - CLOCK_SECONDS}


def _writing(fresh: set[str]) -> str | None:
    """What had only its provisional name yet."""
    if any("orbax-checkpoint-tmp" in name for name in fresh):
        return CHECKPOINT
    return RECORD if any(name.endswith((".partial", ".tmp")) for name in fresh) else None
