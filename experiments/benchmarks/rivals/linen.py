"""Plain flax.linen, optax and jit, as Flax's own examples write them."""

from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import optax
from flax import linen as nn
from flax.training import train_state
from networks import CLASSES, LEARNING_RATE, MOMENTUM, SHAPES, WEIGHT_DECAY, batch

He = nn.initializers.variance_scaling(2.0, "fan_out", "normal")


class LeNet5(nn.Module):
    dtype: Any

    @nn.compact
    def __call__(self, x: jax.Array, train: bool) -> jax.Array:
        x = nn.relu(nn.Conv(6, (5, 5), dtype=self.dtype)(x))
        x = nn.max_pool(x, (2, 2), (2, 2))
        x = nn.relu(nn.Conv(16, (5, 5), padding="VALID", dtype=self.dtype)(x))
        x = nn.max_pool(x, (2, 2), (2, 2))
        x = x.reshape(x.shape[0], -1)
        x = nn.relu(nn.Dense(120, dtype=self.dtype)(x))
        x = nn.relu(nn.Dense(84, dtype=self.dtype)(x))
        return nn.Dense(CLASSES, dtype=self.dtype)(x)


class ResNet(nn.Module):
    """Residual net for 32x32 images: basic blocks, or pre-activation blocks as in Wide ResNets."""

    blocks: int
    widths: tuple[int, ...]
    preact: bool
    dtype: Any

    @nn.compact
    def __call__(self, x: jax.Array, train: bool) -> jax.Array:
        conv = partial(nn.Conv, use_bias=False, padding=1, kernel_init=He, dtype=self.dtype)
        project = partial(nn.Conv, kernel_size=(1, 1), use_bias=False, kernel_init=He, dtype=self.dtype)
        norm = partial(nn.BatchNorm, use_running_average=not train, momentum=0.9, dtype=self.dtype)
        x = conv(16, (3, 3))(x)
        x = x if self.preact else nn.relu(norm()(x))
        for stage, width in enumerate(self.widths):
            for block in range(self.blocks):
                stride = 2 if stage > 0 and block == 0 else 1
                changes = stride != 1 or x.shape[-1] != width
                if self.preact:
                    active = nn.relu(norm()(x))
                    y = nn.relu(norm()(conv(width, (3, 3), stride)(active)))
                    x = (project(width, strides=stride)(active) if changes else x) + conv(width, (3, 3))(y)
                else:
                    y = nn.relu(norm()(conv(width, (3, 3), stride)(x)))
                    y = norm()(conv(width, (3, 3))(y))
                    x = nn.relu(y + (norm()(project(width, strides=stride)(x)) if changes else x))
        x = nn.relu(norm()(x)) if self.preact else x
        return nn.Dense(CLASSES, dtype=self.dtype)(x.mean((1, 2)))


NETWORKS = {
    "lenet5": LeNet5,
    "resnet20": partial(ResNet, 3, (16, 32, 64), False),
    "wrn_16_4": partial(ResNet, 2, (64, 128, 256), True),
}


class TrainState(train_state.TrainState):
    batch_stats: Any


def make(network: str, batch_size: int, dtype: str, variant: str = "") -> tuple[int, Callable[[int], float]]:
    """Return the number of parameters, and steps -> loss."""
    model = NETWORKS[network](dtype=jnp.dtype(dtype))
    variables = model.init(jax.random.key(0), jnp.zeros((1, *SHAPES[network])), train=False)
    tx = optax.chain(
        optax.add_decayed_weights(WEIGHT_DECAY, mask=lambda params: jax.tree.map(lambda p: p.ndim > 1, params)),
        optax.sgd(LEARNING_RATE, momentum=MOMENTUM, nesterov=True),
    )
    state = TrainState.create(
        apply_fn=model.apply, params=variables["params"], tx=tx, batch_stats=variables.get("batch_stats", {})
    )

    @partial(jax.jit, donate_argnums=0)
    def train_step(state: TrainState, images: jax.Array, labels: jax.Array) -> tuple[TrainState, jax.Array]:
        def loss_fn(params: Any) -> tuple[jax.Array, Any]:
            logits, updated = state.apply_fn(
                {"params": params, "batch_stats": state.batch_stats}, images, train=True, mutable=["batch_stats"]
            )
            losses = optax.softmax_cross_entropy_with_integer_labels(logits.astype(jnp.float32), labels)
            return losses.mean(), updated.get("batch_stats", {})

        (loss, batch_stats), grads = jax.value_and_grad(loss_fn, has_aux=True)(state.params)
        return state.apply_gradients(grads=grads, batch_stats=batch_stats), loss

    images, labels = jax.device_put(batch(network, batch_size))

    def run(steps: int) -> float:
        nonlocal state
        loss = jnp.nan
        for _ in range(steps):
            state, loss = train_step(state, images, labels)
        jax.block_until_ready(state)
        return float(loss)

    return sum(p.size for p in jax.tree.leaves(variables["params"])), run
