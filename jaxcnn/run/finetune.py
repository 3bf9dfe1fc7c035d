"""A run that starts from the weights of a file: which of its layers are frozen, and what it records of the file."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path
from typing import Any

from flax import linen

from jaxcnn.data import Dataset
from jaxcnn.errors import InputError, require
from jaxcnn.interop import Weights, load_weights
from jaxcnn.interop.published import published
from jaxcnn.interop.weights import names_of, trunk_layers, variable_shapes
from jaxcnn.nn.frozen import layer_order
from jaxcnn.run.folder import RunFolder
from jaxcnn.runtime.files import write_json
from jaxcnn.spec import RunConfig
from jaxcnn.train.optimizer import LayerGroups

RECORD = "weights.json"


def group_layers(config: RunConfig, module: linen.Module, dataset: Dataset) -> LayerGroups:
    """Return the frozen layers of a run and those of its trunk; the file is not read.

    Raises:
        InputError: The network has no layer of the name `finetune.unfreeze_from`.
    """
    if config.weights is None:
        return LayerGroups()
    spec = replace(config.model, num_classes=len(dataset.class_names))
    names, shapes = names_of(config.weights, spec.family), variable_shapes(spec, dataset.image_shape)
    trunk = set(trunk_layers(spec, shapes, names))
    order = [name for name in layer_order(module, dataset.image_shape) if name in trunk]
    first, scale = config.finetune.unfreeze_from, config.finetune.trunk_scale
    if first is None:
        return LayerGroups(tuple(order), tuple(order), scale)
    places = [place for place, name in enumerate(order) if name == first or name.startswith(f"{first}_")]
    if not places:
        raise InputError(f"unfreeze_from={first!r}: the network has no such layer; choose one of {', '.join(order)}")
    return LayerGroups(tuple(order[: places[0]]), tuple(order), scale)


def weights_of(config: RunConfig, dataset: Dataset) -> Weights | None:
    """Return the weights that a run starts from, None for drawn ones; as `jaxcnn.interop.load_weights`."""
    if config.weights is None:
        return None
    spec = replace(config.model, num_classes=len(dataset.class_names))
    height, width, channels = dataset.image_shape
    return load_weights(config.weights, spec, (height, width, channels))


def with_absolute_weights(config: RunConfig) -> RunConfig:
    """Return a config whose file of weights is named by its absolute path; names of published weights stay."""
    if config.weights is None or published(config.weights) is not None:
        return config
    return replace(config, weights=os.path.abspath(Path(config.weights).expanduser()))


def record_weights(folder: RunFolder, record: dict[str, Any]) -> None:
    """Write into a run's folder which file it starts from, or refuse another one than it began with."""
    path = folder.path / RECORD
    if not path.exists():
        write_json(path, record)
        return
    stored = folder.read(RECORD).get("sha256")
    remedy = f"the file changed since the run began (SHA-256 {stored}); restore it, or choose another folder"
    require(stored == record["sha256"], "weights", repr(record["path"]), remedy)
