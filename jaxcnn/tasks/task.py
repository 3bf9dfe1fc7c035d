"""What a model is trained to do, as one NamedTuple of pure functions, and the table that finds it by its config."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import numpy as np

from jaxcnn.errors import InputError
from jaxcnn.spec import TaskConfig

Batch = Mapping[str, jax.Array]
Sums = dict[str, jax.Array]
Arrays = Mapping[str, np.ndarray]


def no_details(predictions: Arrays, split: Arrays) -> dict[str, Any]:
    """Return nothing beside the metrics."""
    return {}


class Task(NamedTuple):
    """A task holds no arrays, no architecture and no state: functions that `train` and `run` call.

    A batch is a mapping of arrays with one leading length N: `images` (N, H, W, C) float32, `mask` (N,) float32
    (0 marks padding), and the task's targets: `labels` (N,) or (N, H, W), `boxes` (N, M, 4), ...

    Args:
        name: Name of the task in records.
        targets: Names of the arrays that the data must have beside images.
        inputs: batch -> positional arguments of the module. One-image tasks return `(images,)`; two-stage detectors add
            the boxes they sample from; a siamese module takes both images and folds them itself.
        loss: (outputs, batch) -> (sum, weight), two scalars; the step divides the sum by the weight of all devices
            together. Classification weighs by examples, detection by matched boxes, segmentation by labelled pixels.
        sums: (outputs, batch) -> scalars that add up over batches, devices and hosts; nothing is averaged before.
        decode: outputs -> predictions per example.
        metrics: summed sums (floats, on the host) -> metrics (floats).
        save: (predictions, split), arrays of all examples -> the arrays that predictions.npz holds.
        describe: (prediction of one image, class names, number of alternatives) -> plain values by name, and `text`, a
            line for the console.
        test_flips: Evaluate on the mean of the outputs of an image and of its mirror image.
        outputs: (examples, classes) -> what the module must return: `jax.ShapeDtypeStruct`, or a tree of them. `run`
            checks a user-defined module against it, floats of any precision. Default: not checked.
        details: (predictions, split), as for `save` -> plain values that result.json holds beside the metrics.
        ranks: Number of axes of each target of one example: (0,) for a class, (2,) for a mask. Data whose targets have
            others are refused. Default: not checked.
        per_class: Number of images of each class in a training batch, where the loss compares images of a batch.
            Default: batches are drawn from all images.
    """

    name: str
    targets: tuple[str, ...]
    inputs: Callable[[Batch], tuple[Any, ...]]
    loss: Callable[[Any, Batch], tuple[jax.Array, jax.Array]]
    sums: Callable[[Any, Batch], Sums]
    decode: Callable[[Any], dict[str, jax.Array]]
    metrics: Callable[[Mapping[str, float]], dict[str, float]]
    save: Callable[[Arrays, Arrays], dict[str, np.ndarray]]
    describe: Callable[[Arrays, Sequence[str], int], dict[str, Any]]
    test_flips: bool = False
    outputs: Callable[[int, int], Any] | None = None
    details: Callable[[Arrays, Arrays], dict[str, Any]] = no_details
    ranks: tuple[int, ...] | None = None
    per_class: int | None = None


Make = Callable[[Any], Task]
Resolve = Callable[[Any, Arrays, Sequence[str]], TaskConfig]
_TASKS: dict[type[TaskConfig], tuple[Make, Resolve]] = {}


def images_only(batch: Batch) -> tuple[jax.Array]:
    """Return the inputs of a task whose module takes images alone.

    >>> [images.shape for images in images_only({"images": np.ones((2, 8, 8, 1))})]
    [(2, 8, 8, 1)]
    """
    return (batch["images"],)


def register_task(
    config: type[TaskConfig], make: Make, resolve: Resolve = lambda config, train, class_names: config
) -> None:
    """Say how a task's config becomes a task; `RunConfig(task=...)` and `run` then accept it.

    Args:
        config: Frozen dataclass of the task's options, a subclass of `TaskConfig` with a `kind` of its own.
        make: (resolved config) -> task.
        resolve: (config, arrays of the training split, class names) -> config without options that depend on the data,
            such as weights that follow from class counts.
    """
    _TASKS[config] = (make, resolve)


def resolve_task(config: TaskConfig, train: Arrays, class_names: Sequence[str]) -> TaskConfig:
    """Return a config whose options no longer depend on the training split: equal ones make equal tasks.

    Raises:
        InputError: The task is not registered, or its options do not fit the data.

    >>> from jaxcnn.spec import Classification
    >>> balanced = Classification(class_weights="balanced")
    >>> resolve_task(balanced, {"labels": np.array([0, 0, 1])}, ("cat", "dog")).class_weights
    (0.75, 1.5)
    """
    return _entry(config)[1](config, train, class_names)


def make_task(config: TaskConfig) -> Task:
    """Make the task of a config; its loss needs a resolved one.

    Raises:
        InputError: The task is not registered, or an option is out of range.

    >>> from jaxcnn.spec import Classification
    >>> make_task(Classification()).targets
    ('labels',)
    """
    return _entry(config)[0](config)


def _entry(config: TaskConfig) -> tuple[Make, Resolve]:
    if type(config) not in _TASKS:
        raise InputError(f"task={config!r}: not registered; call jaxcnn.tasks.register_task for it")
    return _TASKS[type(config)]
