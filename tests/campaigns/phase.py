"""Guess what a process was doing when it was killed, from the names and times of the files that it had written."""

import os
from contextlib import suppress
from pathlib import Path

STARTING = "starting: imports and data"
COMPILING = "restoring and compiling"
TRAINING = "training"
TUNING = "tuning"
RUNS = "pilot and further runs"
CHECKPOINT = "saving a checkpoint"
RECORD = "writing a record"
RESULT = "writing the result"
COSTS = "measuring costs"
REPORT = "gathering results, writing the report"
ENDING = "exiting"
PHASES = (STARTING, COMPILING, TRAINING, TUNING, RUNS, CHECKPOINT, RECORD, RESULT, COSTS, REPORT, ENDING)
"""In the order in which a run or study passes through them."""

CLOCK_SECONDS = 0.02
"""File systems stamp files with a clock that may lag behind by a tick."""


def phase_of(folder: Path, started: float) -> str:
    """Return the phase of a process that trains a run or a study.

    Args:
        folder: The run's or study's folder.
        started: When the process started, in seconds since the epoch.
    """
    times = {}
    for here, _, names in os.walk(folder):
        for file in (Path(here, name) for name in names):
            with suppress(OSError):  # removed meanwhile
                times[file.relative_to(folder).as_posix()] = file.stat().st_mtime
    fresh = {name for name, changed in times.items() if changed >= started - CLOCK_SECONDS}
    if not fresh:
        return STARTING
    if "result.json" in times or "report.html" in fresh:
        return ENDING
    if any("orbax-checkpoint-tmp" in name for name in fresh):
        return CHECKPOINT
    if any(name.endswith((".partial", ".tmp")) for name in fresh):  # a record is written, then renamed
        return RECORD
    if "plan.json" not in times:
        if "predictions.npz" in fresh:
            return RESULT
        return TRAINING if any(name.startswith("checkpoints/") for name in fresh) else COMPILING
    if "costs.json" in times:
        return REPORT
    if "tuning.json" not in times:
        return TUNING
    begun, finished = (
        {name.rpartition("/")[0] for name in times if name.endswith(f"/{last}")}
        for last in ("config.json", "result.json")
    )
    return COSTS if "pilot.json" in times and begun == finished else RUNS
