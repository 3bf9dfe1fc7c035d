"""The record of the images of a run, and the check that they are still the same."""

from __future__ import annotations

from collections.abc import Mapping
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
        "arrays": {name: (list(each.shape[1:]), str(each.dtype)) for name, each in dataset.train.items()},
        "skipped": list(dataset.skipped),
        "sampled": dataset.sampled,
    }


def check_data(folder: RunFolder, dataset: Dataset) -> Dataset:
    """Return a data set as `check_recorded` does for a run's data.json, or as it is where nothing is recorded yet."""
    if not (folder.path / "data.json").exists():
        return dataset
    return check_recorded(folder.read("data.json"), dataset, f"the run in {str(folder.path)!r}")


def check_recorded(stored: Mapping[str, Any], dataset: Dataset, where: str) -> Dataset:
    """Return a data set with the recorded mean and deviation, after a check that it is the recorded one.

    Args:
        stored: What `describe` returned, in this version or a former one.
        dataset: The images of today.
        where: What recorded them, for errors: "the run in 'runs/first'".

    Raises:
        InputError: The images, their classes or their splits have changed.
    """
    now = describe(dataset)
    if now["split_by"] == "name" and stored.get("split_by", "index") == "index":
        raise InputError(
            f"data {dataset.name!r}: validation and test images of {where} were chosen by index, as former versions "
            f"did, and are now chosen by their names, so that it trained on images that are test images now; its "
            f"result can be read and it can predict, but to evaluate or resume it train it again in a new folder"
        )
    for name in RECORDED:
        if name in stored and not _equal(name, stored[name], now[name]):
            difference = f" ({shortened(stored[name])}, now {shortened(now[name])})"
            raise changed(dataset, name, where, "" if name == "content" else difference)
    statistics = {name: np.asarray(stored[name], np.float32) for name in ("mean", "std") if name in stored}
    return dataset._replace(**statistics)


def changed(dataset: Dataset, what: str, where: str, difference: str = "") -> InputError:
    """Return the error for images that are not the recorded ones."""
    return InputError(
        f"data {dataset.name!r}: its {what} changed since {where} began{difference}; restore the data, give the place "
        "of the recorded ones as data, or choose another folder"
    )


def _equal(name: str, stored: Any, now: Any) -> bool:
    if name in ("mean", "std"):  # former versions may have rounded otherwise
        try:
            return np.shape(stored) == np.shape(now) and bool(np.allclose(stored, now, rtol=0, atol=1e-6))
        except (TypeError, ValueError):  # not numbers: the file was damaged
            return False
    return stored == now
