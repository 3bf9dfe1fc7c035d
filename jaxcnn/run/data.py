"""The record of the images of a run, and the check that they are still the same."""

from __future__ import annotations

from typing import Any

import numpy as np

from jaxcnn.data import Dataset
from jaxcnn.data.splits import content_hash
from jaxcnn.errors import InputError
from jaxcnn.records import shortened
from jaxcnn.run.folder import RunFolder

RECORDED = ("class_names", "sizes", "image_shape", "validation_hash", "mean", "std", "content")
"""Fields of data.json that must stay as they are; those of former versions have no `content`."""


def describe(dataset: Dataset) -> dict[str, Any]:
    """Return what is recorded of a data set: enough to name it, to check it and to predict with the model later."""
    return {
        "name": dataset.name,
        "sizes": dict(dataset.sizes),
        "class_names": list(dataset.class_names),
        "image_shape": list(dataset.image_shape),
        "mean": dataset.mean.tolist(),
        "std": dataset.std.tolist(),
        "split_by": dataset.split_by,
        "validation_hash": dataset.validation_hash,
        "content": {"train": content_hash(dataset.train), "validation": content_hash(dataset.validation)},
        "skipped": list(dataset.skipped),
        "sampled": dataset.sampled,
    }


def check_data(folder: RunFolder, dataset: Dataset) -> Dataset:
    """Return the data set with the statistics that a run recorded, after a check that it is the one recorded.

    Where nothing is recorded yet, the data set is returned as it is.

    Raises:
        InputError: The images, their classes or their splits have changed.
    """
    if not (folder.path / "data.json").exists():
        return dataset
    stored, now = folder.read("data.json"), describe(dataset)
    if now["split_by"] == "name" and stored.get("split_by", "index") == "index":
        raise InputError(
            f"run {str(folder.path)!r}: its validation and test images were chosen by index, as former versions did, "
            f"and are now chosen by their names, so that test images of today were trained on; its result can be read "
            f"and it can predict, but to evaluate or resume it train it again in a new folder"
        )
    for name in RECORDED:
        if name in stored and not _equal(name, stored[name], now[name]):
            raise changed(folder, dataset.name, name, f" ({shortened(stored[name])}, now {shortened(now[name])})")
    return dataset._replace(
        **{name: np.asarray(stored[name], np.float32) for name in ("mean", "std") if name in stored}
    )


def changed(folder: RunFolder, data: str, what: str, difference: str = "") -> InputError:
    """Return the error for images that are not those of a run."""
    return InputError(
        f"data {data!r}: its {what} changed since the run in {str(folder.path)!r} began{difference}; restore the data, "
        "give the place of the recorded ones as data, or choose another folder"
    )


def _equal(name: str, stored: Any, now: Any) -> bool:
    if name in ("mean", "std"):  # former versions may have rounded otherwise
        return len(stored) == len(now) and bool(np.allclose(stored, now, rtol=0, atol=1e-6))
    return stored == now
