"""Keras 3 on JAX: functional models and the jitted stateless loop of Keras' guide for JAX."""
# pyright: reportMissingImports=false

import os
from collections.abc import Callable
from typing import Any

os.environ["KERAS_BACKEND"] = "jax"

import jax
import jax.numpy as jnp
import keras
from keras import layers
from networks import CLASSES, LEARNING_RATE, MOMENTUM, SHAPES, WEIGHT_DECAY, batch

# Keras' own weight_decay is decoupled; this adds WEIGHT_DECAY * kernel to the gradient, as the others do.
DECAY: Any = keras.regularizers.L2(WEIGHT_DECAY / 2)


def conv(x: Any, width: int, kernel: int, stride: int = 1) -> Any:
    return layers.Conv2D(
        width, kernel, stride, "same", use_bias=False, kernel_initializer="he_normal", kernel_regularizer=DECAY
    )(x)


def norm(x: Any) -> Any:
    return layers.BatchNormalization(momentum=0.9, epsilon=1e-5)(x)


def relu(x: Any) -> Any:
    return layers.ReLU()(x)


def dense(x: Any, units: int, activation: str | None = None) -> Any:
    return layers.Dense(units, activation, kernel_regularizer=DECAY)(x)


def lenet5() -> Any:
    inputs = keras.Input(SHAPES["lenet5"])
    x = layers.Conv2D(6, 5, padding="same", activation="relu", kernel_regularizer=DECAY)(inputs)
    x = layers.MaxPooling2D()(x)
    x = layers.Conv2D(16, 5, activation="relu", kernel_regularizer=DECAY)(x)
    x = layers.Flatten()(layers.MaxPooling2D()(x))
    x = dense(dense(x, 120, "relu"), 84, "relu")
    return keras.Model(inputs, dense(x, CLASSES))


def basic_block(x: Any, width: int, stride: int) -> Any:
    y = relu(norm(conv(x, width, 3, stride)))
    y = norm(conv(y, width, 3))
    changes = stride != 1 or x.shape[-1] != width
    return relu(layers.add([y, norm(conv(x, width, 1, stride)) if changes else x]))


def preact_block(x: Any, width: int, stride: int) -> Any:
    active = relu(norm(x))
    y = conv(relu(norm(conv(active, width, 3, stride))), width, 3)
    changes = stride != 1 or x.shape[-1] != width
    return layers.add([y, conv(active, width, 1, stride) if changes else x])


def resnet(blocks: int, widths: tuple[int, ...], preact: bool) -> Any:
    inputs = keras.Input((32, 32, 3))
    x = conv(inputs, 16, 3)
    x = x if preact else relu(norm(x))
    for stage, width in enumerate(widths):
        for block in range(blocks):
            x = (preact_block if preact else basic_block)(x, width, 2 if stage > 0 and block == 0 else 1)
    x = layers.GlobalAveragePooling2D()(relu(norm(x)) if preact else x)
    return keras.Model(inputs, dense(x, CLASSES))


NETWORKS = {
    "lenet5": lenet5,
    "resnet20": lambda: resnet(3, (16, 32, 64), False),
    "wrn_16_4": lambda: resnet(2, (64, 128, 256), True),
}


def make(network: str, batch_size: int, dtype: str, variant: str = "") -> tuple[int, Callable[[int], float]]:
    """Return the number of parameters, and steps -> loss."""
    keras.mixed_precision.set_global_policy("float32" if dtype == "float32" else f"mixed_{dtype}")
    model = NETWORKS[network]()
    optimizer: Any = keras.optimizers.SGD(LEARNING_RATE, momentum=MOMENTUM, nesterov=True)
    optimizer.build(model.trainable_variables)
    loss_fn: Any = keras.losses.SparseCategoricalCrossentropy(from_logits=True)

    def compute_loss(trainable: Any, other: Any, images: jax.Array, labels: jax.Array) -> Any:
        called: Any = model.stateless_call(trainable, other, images, training=True, return_losses=True)
        logits, other, penalties = called
        loss = loss_fn(labels, logits)
        return jnp.add(loss, sum(penalties)), (loss, other)

    def train_step(state: Any, images: jax.Array, labels: jax.Array) -> Any:
        trainable, other, moments = state
        (_, (loss, other)), grads = jax.value_and_grad(compute_loss, has_aux=True)(trainable, other, images, labels)
        trainable, moments = optimizer.stateless_apply(moments, grads, trainable)
        return (trainable, other, moments), loss

    step = jax.jit(train_step, donate_argnums=0)
    groups = (model.trainable_variables, model.non_trainable_variables, optimizer.variables)
    state: Any = [[variable.value for variable in group] for group in groups]
    images, labels = jax.device_put(batch(network, batch_size))

    def run(steps: int) -> float:
        nonlocal state
        loss: Any = jnp.nan
        for _ in range(steps):
            state, loss = step(state, images, labels)
        jax.block_until_ready(state)
        return float(loss)

    return sum(int(variable.size) for variable in state[0]), run
