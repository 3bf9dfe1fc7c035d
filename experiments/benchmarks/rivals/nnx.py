"""flax.nnx with nnx.jit and nnx.Optimizer, as Flax's NNX guides write them."""

from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import optax
from flax import nnx
from networks import CLASSES, LEARNING_RATE, MOMENTUM, WEIGHT_DECAY, batch

He = nnx.initializers.variance_scaling(2.0, "fan_out", "normal")


class LeNet5(nnx.Module):
    def __init__(self, dtype: Any, rngs: nnx.Rngs):
        self.conv1 = nnx.Conv(1, 6, (5, 5), dtype=dtype, rngs=rngs)
        self.conv2 = nnx.Conv(6, 16, (5, 5), padding="VALID", dtype=dtype, rngs=rngs)
        self.dense1 = nnx.Linear(400, 120, dtype=dtype, rngs=rngs)
        self.dense2 = nnx.Linear(120, 84, dtype=dtype, rngs=rngs)
        self.dense3 = nnx.Linear(84, CLASSES, dtype=dtype, rngs=rngs)

    def __call__(self, x: jax.Array) -> jax.Array:
        x = nnx.max_pool(nnx.relu(self.conv1(x)), (2, 2), (2, 2))
        x = nnx.max_pool(nnx.relu(self.conv2(x)), (2, 2), (2, 2))
        x = nnx.relu(self.dense1(x.reshape(x.shape[0], -1)))
        return self.dense3(nnx.relu(self.dense2(x)))


def conv3(inside: int, outside: int, stride: int, **options: Any) -> nnx.Conv:
    return nnx.Conv(inside, outside, (3, 3), stride, padding=1, use_bias=False, kernel_init=He, **options)


def conv1(inside: int, outside: int, stride: int, **options: Any) -> nnx.Conv:
    return nnx.Conv(inside, outside, (1, 1), stride, use_bias=False, kernel_init=He, **options)


norm = partial(nnx.BatchNorm, momentum=0.9)


class BasicBlock(nnx.Module):
    def __init__(self, inside: int, width: int, stride: int, **options: Any):
        self.conv1, self.norm1 = conv3(inside, width, stride, **options), norm(width, **options)
        self.conv2, self.norm2 = conv3(width, width, 1, **options), norm(width, **options)
        changes = stride != 1 or inside != width
        self.project = (
            nnx.Sequential(conv1(inside, width, stride, **options), norm(width, **options)) if changes else None
        )

    def __call__(self, x: jax.Array) -> jax.Array:
        y = nnx.relu(self.norm1(self.conv1(x)))
        y = self.norm2(self.conv2(y))
        return nnx.relu(y + (x if self.project is None else self.project(x)))


class PreActBlock(nnx.Module):
    def __init__(self, inside: int, width: int, stride: int, **options: Any):
        self.norm1, self.conv1 = norm(inside, **options), conv3(inside, width, stride, **options)
        self.norm2, self.conv2 = norm(width, **options), conv3(width, width, 1, **options)
        changes = stride != 1 or inside != width
        self.project = conv1(inside, width, stride, **options) if changes else None

    def __call__(self, x: jax.Array) -> jax.Array:
        active = nnx.relu(self.norm1(x))
        y = self.conv2(nnx.relu(self.norm2(self.conv1(active))))
        return y + (x if self.project is None else self.project(active))


class ResNet(nnx.Module):
    def __init__(self, blocks: int, widths: tuple[int, ...], preact: bool, dtype: Any, rngs: nnx.Rngs):
        options: dict[str, Any] = {"dtype": dtype, "rngs": rngs}
        layers: list[Any] = [conv3(3, 16, 1, **options)]
        layers += [] if preact else [norm(16, **options), nnx.relu]
        inside, block_type = 16, PreActBlock if preact else BasicBlock
        for stage, width in enumerate(widths):
            for block in range(blocks):
                layers.append(block_type(inside, width, 2 if stage > 0 and block == 0 else 1, **options))
                inside = width
        layers += [norm(inside, **options), nnx.relu] if preact else []
        self.features = nnx.Sequential(*layers)
        self.dense = nnx.Linear(inside, CLASSES, **options)

    def __call__(self, x: jax.Array) -> jax.Array:
        return self.dense(self.features(x).mean((1, 2)))


NETWORKS = {
    "lenet5": LeNet5,
    "resnet20": partial(ResNet, 3, (16, 32, 64), False),
    "wrn_16_4": partial(ResNet, 2, (64, 128, 256), True),
}


def make(network: str, batch_size: int, dtype: str, variant: str = "") -> tuple[int, Callable[[int], float]]:
    """Return the number of parameters, and steps -> loss."""
    model = NETWORKS[network](dtype=jnp.dtype(dtype), rngs=nnx.Rngs(0))
    tx = optax.chain(
        optax.add_decayed_weights(WEIGHT_DECAY, mask=lambda params: jax.tree.map(lambda p: p.ndim > 1, params)),
        optax.sgd(LEARNING_RATE, momentum=MOMENTUM, nesterov=True),
    )
    optimizer = nnx.Optimizer(model, tx, wrt=nnx.Param)
    model.train()

    @nnx.jit
    def train_step(model: nnx.Module, optimizer: nnx.Optimizer, images: jax.Array, labels: jax.Array) -> jax.Array:
        def loss_fn(model: Any) -> jax.Array:
            logits = model(images).astype(jnp.float32)
            return optax.softmax_cross_entropy_with_integer_labels(logits, labels).mean()

        loss, grads = nnx.value_and_grad(loss_fn)(model)
        optimizer.update(model, grads)
        return loss

    images, labels = jax.device_put(batch(network, batch_size))

    def run(steps: int) -> float:
        loss = jnp.nan
        # As the performance guide advises for small models: the modules are flattened once, not at every call.
        step = nnx.cached_partial(train_step, model, optimizer)
        for _ in range(steps):
            loss = step(images, labels)
        jax.block_until_ready(nnx.state(model))
        return float(loss)

    return sum(p.size for p in jax.tree.leaves(nnx.state(model, nnx.Param))), run
