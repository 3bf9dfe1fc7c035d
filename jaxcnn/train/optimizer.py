"""Optimisers whose learning rate and weight decay are arrays in their state."""

from typing import Any

import jax
import jax.numpy as jnp
import optax

from jaxcnn.errors import InputError
from jaxcnn.spec import OptimizerConfig


def schedule_shape(config: OptimizerConfig, total_steps: int, steps_per_epoch: int) -> optax.Schedule:
    """The schedule as a factor of the peak rate: step -> number in [0, 1].

    Linear warm-up, then constant, steps, or half a cosine to zero (Loshchilov & Hutter 2017, without restarts).
    """
    warmup = min(round(config.warmup_epochs * steps_per_epoch), total_steps - 1)
    if config.schedule == "constant":
        main = optax.constant_schedule(1.0)
    elif config.schedule == "cosine":
        main = optax.cosine_decay_schedule(1.0, max(total_steps - warmup, 1))
    else:
        boundaries = {max(round(share * total_steps) - warmup, 1): config.factor for share in config.milestones}
        main = optax.piecewise_constant_schedule(1.0, boundaries)
    if warmup > 0:
        # The first step already moves: a rate of exactly zero would waste it.
        ramp = optax.linear_schedule(1.0 / (warmup + 1), 1.0, warmup)
        main = optax.join_schedules([ramp, main], [warmup])
    return main


def make_optimizer(config: OptimizerConfig, total_steps: int, steps_per_epoch: int) -> optax.GradientTransformation:
    """An optax transformation; `learning_rate` and `weight_decay` are in `opt_state.hyperparams` as float32 arrays.

    SGD with (Nesterov) momentum or Adam. L2 decay is added to the gradient, decoupled decay to the update (Loshchilov &
    Hutter 2019); both spare every parameter of fewer than two dimensions: biases, batch-norm scales and offsets.

    Raises:
        InputError: A value out of range, by name.
    """
    check(config)
    shape = schedule_shape(config, total_steps, steps_per_epoch)

    def build(learning_rate: Any, weight_decay: Any) -> optax.GradientTransformation:
        decay = optax.add_decayed_weights(weight_decay, mask=_is_kernel)
        if config.name == "adam":
            direction = optax.scale_by_adam()
        elif config.momentum:
            direction = optax.trace(config.momentum, nesterov=config.nesterov)
        else:
            direction = optax.identity()
        ordered = (decay, direction) if config.decay == "l2" else (direction, decay)
        clip = optax.clip_by_global_norm(config.clip_norm) if config.clip_norm else optax.identity()
        return optax.chain(clip, *ordered, optax.scale_by_schedule(shape), optax.scale_by_learning_rate(learning_rate))

    tx = optax.inject_hyperparams(build)(
        learning_rate=jnp.float32(config.learning_rate), weight_decay=jnp.float32(config.weight_decay)
    )

    def update(updates: Any, state: Any, params: Any = None) -> tuple[Any, Any]:
        # optax mixes integer counts with floats, which strict dtype promotion would refuse.
        with jax.numpy_dtype_promotion("standard"):
            return tx.update(updates, state, params)

    return optax.GradientTransformation(tx.init, update)


def _is_kernel(params: Any) -> Any:
    return jax.tree.map(lambda p: p.ndim > 1, params)


def check(config: OptimizerConfig) -> None:
    """Refuse values that no optimiser can have, by name."""
    if not config.learning_rate > 0:
        raise InputError(f"learning_rate={config.learning_rate}: must be positive, for example 0.1 for sgd")
    if not 0 <= config.momentum < 1:
        raise InputError(f"momentum={config.momentum}: must be in [0, 1); 0 switches it off")
    if config.weight_decay < 0:
        raise InputError(f"weight_decay={config.weight_decay}: must not be negative; 0 switches it off")
    if config.clip_norm is not None and config.clip_norm <= 0:
        raise InputError(f"clip_norm={config.clip_norm}: must be positive; None switches it off")
    if config.warmup_epochs < 0:
        raise InputError(f"warmup_epochs={config.warmup_epochs}: must not be negative; 0 switches it off")
    if any(not 0 < share < 1 for share in config.milestones):
        raise InputError(f"milestones={config.milestones}: shares of the run, each between 0 and 1")
