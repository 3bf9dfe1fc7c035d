"""Finished runs that are trained longer: the same run as if it had been begun with more epochs."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxcnn.data import steps_per_epoch
from jaxcnn.errors import InputError, require
from jaxcnn.records import as_record
from jaxcnn.run.folder import RunFolder
from jaxcnn.runtime.files import write_json
from jaxcnn.spec import RunConfig
from jaxcnn.train.optimizer import schedule_shape

SCHEDULE = ("schedule", "milestones", "factor", "warmup_epochs")
"""Optimizer settings that may change, as long as the learning rates of the epochs so far do not."""


def shorter_run(out: Path, config: RunConfig, record: Mapping[str, Any]) -> RunFolder | None:
    """Return the folder of a run that is `config` with fewer epochs, None if it holds none; write nothing.

    Args:
        out: The folder.
        config: The longer run.
        record: Its config.json.

    Raises:
        InputError: The runs differ in more than their length, or the shorter one cannot go on.
    """
    folder = RunFolder(out)
    if not (folder.path / "config.json").exists() or (known := folder.read_config()[0]).epochs >= config.epochs:
        return None
    former = {name: getattr(known.optimizer, name) for name in SCHEDULE}
    folder.refuse_other({**record, "epochs": known.epochs, "optimizer": {**record["optimizer"], **as_record(former)}})
    if "tx" in record.get("own", {}):  # its rates are recorded with it
        return _resumable(folder, known)
    per_epoch = steps_per_epoch(folder.read("data.json")["sizes"]["train"], config.batch_size)
    past, future = (_rates(each, known.epochs * per_epoch, per_epoch) for each in (known, config))
    if np.any(past != future):
        raise InputError(
            f"epochs={config.epochs}: the rates of the epochs in {str(folder.path)!r} would be others with "
            f"schedule={config.optimizer.schedule!r} and warmup_epochs={config.optimizer.warmup_epochs}; extend runs "
            f"of schedule='constant', or give milestones that leave the first {known.epochs} epochs as they were"
        )
    return _resumable(folder, known)


def lengthen(folder: RunFolder, config: RunConfig, record: Mapping[str, Any]) -> None:
    """Make a folder that of the longer run and set its result aside; a kill in between leaves the shorter run."""
    known, _ = folder.read_config()
    if known.epochs == config.epochs:  # another host has done it
        return
    with folder.lock():
        for name in ("result.json", "predictions.npz"):
            stem, _, kind = name.partition(".")
            if (folder.path / name).exists():
                (folder.path / name).replace(folder.path / f"{stem}_{known.epochs}_epochs.{kind}")
        write_json(folder.path / "config.json", record)


def _resumable(folder: RunFolder, known: RunConfig) -> RunFolder:
    remedy = f"the run in {str(folder.path)!r} has no checkpoint to go on from; train it anew"
    require(folder.checkpoints.exists() or not folder.finished, "keep", known.keep, remedy)
    return folder


def _rates(config: RunConfig, steps: int, per_epoch: int) -> jax.Array:
    """Return the factors of the peak rate of a run's first steps."""
    shape = schedule_shape(config.optimizer, config.epochs * per_epoch, per_epoch)
    with jax.numpy_dtype_promotion("standard"):
        return jnp.broadcast_to(shape(jnp.arange(steps)), steps)
