"""jaxcnn: the step that `jaxcnn train` runs, normalisation and metrics included, with the entry points' settings."""

from collections.abc import Callable
from typing import Any

from jaxcnn.cli.entry import prepare_backend

prepare_backend()

import jax  # noqa: E402
import numpy as np  # noqa: E402
import optax  # noqa: E402
from networks import CLASSES, LEARNING_RATE, MEAN, MOMENTUM, SHAPES, SPECS, STD, WEIGHT_DECAY, batch, pixels  # noqa: E402

from jaxcnn.data import Dataset  # noqa: E402
from jaxcnn.models import build, named  # noqa: E402
from jaxcnn.run.assemble import assemble, initial_state  # noqa: E402
from jaxcnn.runtime.environment import environment  # noqa: E402
from jaxcnn.spec import OptimizerConfig, RunConfig  # noqa: E402
from jaxcnn.train.state import apply, make_init  # noqa: E402


def make(network: str, batch_size: int, dtype: Any, variant: str = "") -> tuple[int, Callable[[int], float]]:
    """Return the number of parameters, and steps -> loss."""
    dataset = random_images(network, batch_size)
    recipe = OptimizerConfig(
        learning_rate=LEARNING_RATE, momentum=MOMENTUM, weight_decay=WEIGHT_DECAY, schedule="constant", warmup_epochs=0
    )
    config = RunConfig(
        named(SPECS[network]), optimizer=recipe, batch_size=batch_size, parallel="jit", compute_dtype=dtype
    )
    parts = assemble(config, dataset)
    programs = parts.programs
    state = programs.place(initial_state(parts, config, dataset, jax.random.key(0)))
    batch = programs.feed(dataset.train)(np.arange(batch_size, dtype=np.int32), np.ones(batch_size, np.float32))
    key = jax.random.key(1)

    def run(steps: int) -> float:
        nonlocal state
        sums: Any = None
        for _ in range(steps):
            state, sums = programs.train(state, batch, key)
        jax.block_until_ready(state)
        return float(sums["loss"]) / batch_size

    return parts.complexity.params, run


def make_inference(network: str, batch_size: int, dtype: Any, variant: str = "") -> tuple[int, Callable[[int], float]]:
    """Return the number of parameters, and steps -> mean logit; images come standardised, as for the others."""
    module = build(named(SPECS[network]), num_classes=CLASSES)
    variables = make_init(module, optax.identity(), SHAPES[network])(jax.random.key(0)).trained
    images = jax.device_put(batch(network, batch_size)[0].astype(dtype))
    forward = jax.jit(lambda variables, images: apply(module, variables, (images,), train=False)[0])

    def run(steps: int) -> float:
        logits: Any = None
        for _ in range(steps):
            logits = forward(variables, images)
        return float(np.mean(jax.block_until_ready(logits)))

    return sum(p.size for p in jax.tree.leaves(variables["params"])), run


def random_images(network: str, size: int) -> Dataset:
    """Return the rivals' images as a data set."""
    images, labels = pixels(network, size)
    split = {"images": images, "labels": labels}
    mean, std = np.full(images.shape[-1], MEAN, np.float32), np.full(images.shape[-1], STD, np.float32)
    shape, names = (images.shape[1], images.shape[2], images.shape[3]), tuple(map(str, range(CLASSES)))
    return Dataset("random", split, split, lambda: split, names, shape, mean, std, "", {"train": size})


def about() -> dict[str, Any]:
    """Return versions and hardware, as every run records them."""
    return environment()
