"""What a model is trained to do, as one NamedTuple of pure functions."""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax

Batch = Mapping[str, jax.Array]
Sums = dict[str, jax.Array]


class Task(NamedTuple):
    """A task holds no arrays, no architecture and no state: five functions that `train` calls and never looks into.

    A batch is a mapping of arrays with one leading length N: `images` (N, H, W, C) float32, `mask` (N,) float32
    (0 marks padding), and whatever the task needs besides: `labels` (N,) or (N, H, W), `boxes` (N, M, 4), ...

    Args:
        name: The task's name, as recorded.
        inputs: batch -> positional arguments of the module. One-image tasks return `(images,)`; two-stage detectors add
            the boxes they sample from; a siamese module takes both images and folds them itself.
        loss: (outputs, batch) -> (sum, weight), two scalars; the step divides the sum by the weight of all devices
            together. Classification weighs by examples, detection by matched boxes, segmentation by labelled pixels.
        sums: (outputs, batch) -> scalars that add up over batches, devices and hosts; nothing is averaged before.
        decode: outputs -> predictions per example, what a user wants to see.
        metrics: summed sums (floats, on the host) -> metrics (floats).
    """

    name: str
    inputs: Callable[[Batch], tuple[Any, ...]]
    loss: Callable[[Any, Batch], tuple[jax.Array, jax.Array]]
    sums: Callable[[Any, Batch], Sums]
    decode: Callable[[Any], dict[str, jax.Array]]
    metrics: Callable[[Mapping[str, float]], dict[str, float]]
