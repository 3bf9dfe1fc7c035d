"""Features of a frozen trunk, computed once for a whole run: its steps then train the head alone."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxcnn.data import Dataset, Split, normalize
from jaxcnn.nn import ClassifierHead, Network
from jaxcnn.run.assemble import Parts
from jaxcnn.run.finetune import weights_of
from jaxcnn.spec import RunConfig
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
