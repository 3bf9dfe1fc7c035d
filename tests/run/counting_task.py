"""A user-defined task, as short as it can be: name a digit by a number, without a metric called loss."""

from dataclasses import dataclass
from typing import ClassVar

import jax
import jax.numpy as jnp
import numpy as np

from jaxcnn.spec import TaskConfig
from jaxcnn.tasks import Task, images_only, register_task


@dataclass(frozen=True)
class Counting(TaskConfig):
    kind: ClassVar[str] = "counting"
    power: float = 2.0
    centre: float | None = None  # default: the mean label of the training split


def resolve(config, train, class_names):
    centre = float(np.mean(train["labels"])) if config.centre is None else config.centre
    return Counting(config.power, centre)


def make(config):
    def expected(logits):
        values = jnp.arange(logits.shape[-1], dtype=jnp.float32)
        return (jax.nn.softmax(logits.astype(jnp.float32)) * values[None]).sum(axis=1)

    def distance(logits, batch):
        return jnp.abs(expected(logits) - batch["labels"].astype(jnp.float32)) ** config.power * batch["mask"]

    def loss(logits, batch):
        pull = 1e-3 * (expected(logits) - config.centre) ** 2 * batch["mask"]
        return (distance(logits, batch) + pull).sum(), batch["mask"].sum()

    def sums(logits, batch):
        return {"distance": distance(logits, batch).sum(), "count": batch["mask"].sum()}

    def describe(prediction, class_names, top):
        return {"text": f"about {prediction['value']:.2f}", "value": float(prediction["value"])}

    return Task(
        "counting", ("labels",), images_only, loss, sums,
        decode=lambda logits: {"value": expected(logits)},
        metrics=lambda sums: {"error": sums["distance"] / sums["count"]},
        save=lambda predictions, split: {"labels": split["labels"], "value": predictions["value"]},
        describe=describe,
    )  # fmt: skip


register_task(Counting, make, resolve)
