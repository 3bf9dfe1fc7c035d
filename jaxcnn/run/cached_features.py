"""Features of a frozen trunk, computed once for a whole run: its steps then train the head alone."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxcnn.data import Dataset, Split, normalize
from jaxcnn.interop import load_weights
from jaxcnn.models import build
from jaxcnn.nn import ClassifierHead, Network
from jaxcnn.run.assemble import Parts
from jaxcnn.run.finetune import weights_of
from jaxcnn.spec import ModelSpec, RunConfig
from jaxcnn.train import make_eval_step, make_programs, make_train_step
from jaxcnn.train.step import EvalStep, TrainStep

MOST_BYTES = 2e9
"""Largest features, in bytes, of the training and validation images together."""


def with_cached_features(parts: Parts, config: RunConfig, dataset: Dataset) -> Parts:
    """Return the parts of a run whose steps see features of its frozen trunk, where that gives the same result.

    It does where all of the trunk is frozen, nothing augments, and the head is a classifier, which sees the last map
    alone. Other runs, and those on several devices, keep their parts.
    """
    module, data = parts.module, config.data
    changing = data.augment or data.mix or data.stream or parts.own.augment or parts.task.test_flips
    frozen = isinstance(module, Network) and module.frozen and config.finetune.unfreeze_from is None
    weights = None if changing or not frozen or parts.programs.mode != "jit" else weights_of(config, dataset)
    if weights is None or not isinstance(module, Network) or not isinstance(module.head, ClassifierHead):
        return parts
    pooled, variables, size = module.head.average, weights.variables, config.batch_size

    @jax.jit
    def features(images: jax.Array) -> jax.Array:
        seen = normalize(images, dataset.mean, dataset.std).astype(config.compute_dtype)
        maps: Any = module.apply(variables, seen, method="features")
        last: jax.Array = maps[-1]
        return jnp.mean(last, axis=(1, 2), keepdims=True) if pooled else last

    shape = jax.eval_shape(features, jax.ShapeDtypeStruct((1, *dataset.image_shape), np.uint8))
    if shape.size * 4 * (dataset.sizes["train"] + dataset.sizes["validation"]) > MOST_BYTES:
        return parts

    def seen(split: Split) -> Split:
        count = len(split["images"])
        rows = (np.arange(start, start + size) % count for start in range(0, count, size))
        found = [np.asarray(features(split["images"][indices])) for indices in rows]
        return {**split, "images": np.concatenate(found)[:count]}

    def make_steps(axis_name: str | None) -> tuple[TrainStep, EvalStep]:
        head = module.clone(from_map=True)
        train = make_train_step(
            head, parts.tx, parts.task, accumulate=config.accumulate, ema=config.ema,
            skip_nonfinite=config.on_nonfinite == "skip",
        )  # fmt: skip
        return train, make_eval_step(head, parts.task)

    programs = make_programs(
        "jit", make_steps, local_statistics=False, scan=parts.programs.stretch is not None,
        deterministic=config.deterministic,
    )  # fmt: skip
    return parts._replace(programs=programs, seen=seen)


def mean_features(weights: Path | str, spec: ModelSpec, images: np.ndarray, *, batch: int = 25) -> list[np.ndarray]:
    """Return the maps of a trunk with published weights, each averaged over its pixels: (N, C), the finest map first.

    Args:
        weights: File or name, as for `jaxcnn.interop.load_weights`.
        spec: The network; its head plays no part.
        images: uint8 (N, H, W, 3), normalised here as for the weights.
        batch: Images at once.

    Raises:
        InputError: As `load_weights`.

    >>> [each.shape for each in mean_features("torchvision/resnet18", named("resnet18"), photos)]  # doctest: +SKIP
    [(8, 64), (8, 64), (8, 128), (8, 256), (8, 512)]
    """
    spec = replace(spec, num_classes=spec.num_classes or 2)
    height, width, channels = images.shape[1:]
    loaded, module = load_weights(weights, spec, (height, width, channels)), build(spec)
    mean, std = (np.asarray(loaded.record["preprocessing"][name], np.float32) for name in ("mean", "std"))

    @jax.jit
    def averages(images: jax.Array) -> list[jax.Array]:
        maps: Any = module.apply(loaded.variables, normalize(images, mean, std), method="features")
        return [each.mean(axis=(1, 2)) for each in maps]

    rows = (np.arange(start, start + batch) % len(images) for start in range(0, len(images), batch))
    found = [jax.device_get(averages(images[indices])) for indices in rows]
    return [np.concatenate(each)[: len(images)] for each in zip(*found, strict=True)]
