"""Optimizers whose learning rate and weight decay are arrays in their state."""

import math
from functools import lru_cache
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
import optax.contrib

from jaxcnn.errors import require
from jaxcnn.spec import OptimizerConfig
from jaxcnn.train.state import by_path

# (height, width, in, out) as (height * width * in, out): what goes in is reduced over, as in a dense layer.
KERNEL_AS_MATRIX = optax.contrib.MuonDimensionNumbers(reduction_axis=(0, 1, 2), output_axis=3)


class LayerGroups(NamedTuple):
    """Layers, by their top-level names, that are not trained as the others.

    Args:
        frozen: Their parameters stay as they are.
        trunk: Their learning rate is multiplied by `trunk_scale`.
        trunk_scale: The multiplier.
    """

    frozen: tuple[str, ...] = ()
    trunk: tuple[str, ...] = ()
    trunk_scale: float = 1.0


TRAIN_ALL = LayerGroups()


def schedule_shape(config: OptimizerConfig, total_steps: int, steps_per_epoch: int) -> optax.Schedule:
    """Make the schedule as a factor of the peak rate: step -> number in [0, 1].

    Linear warm-up, then constant, steps, a straight line to zero, or half a cosine to zero (Loshchilov & Hutter 2017,
    without restarts).
    """
    warmup = min(round(config.warmup_epochs * steps_per_epoch), total_steps - 1)
    if config.schedule == "constant":
        main = optax.constant_schedule(1.0)
    elif config.schedule == "cosine":
        main = optax.cosine_decay_schedule(1.0, max(total_steps - warmup, 1))
    elif config.schedule == "linear":
        main = optax.linear_schedule(1.0, 0.0, max(total_steps - warmup, 1))
    else:
        boundaries: dict[int, float] = {}
        for share in config.milestones:  # several may fall on one step
            step = max(round(share * total_steps) - warmup, 1)
            boundaries[step] = boundaries.get(step, 1.0) * config.factor
        main = optax.piecewise_constant_schedule(1.0, boundaries)
    if warmup > 0:
        # The first step already moves: a rate of exactly zero would waste it.
        ramp = optax.linear_schedule(1.0 / (warmup + 1), 1.0, warmup)
        main = optax.join_schedules([ramp, main], [warmup])
    return main


@lru_cache(maxsize=16)
def factors_by_epoch(config: OptimizerConfig, epochs: int, steps_per_epoch: int) -> np.ndarray:
    """Return the factor of the peak rate (epochs,) at the last step of each epoch."""
    last = np.arange(1, epochs + 1, dtype=np.int32) * steps_per_epoch - 1
    with jax.numpy_dtype_promotion("standard"):
        factors = jax.jit(schedule_shape(config, epochs * steps_per_epoch, steps_per_epoch))(last)
    return np.broadcast_to(np.asarray(factors), last.shape)


def make_optimizer(
    config: OptimizerConfig, total_steps: int, steps_per_epoch: int, layers: LayerGroups = TRAIN_ALL
) -> optax.GradientTransformation:
    """Make an optax transformation whose `opt_state.hyperparams` hold `learning_rate` and `weight_decay` as arrays.

    SGD with (Nesterov) momentum, Adam, or Muon (Jordan et al. 2024, "Muon: an optimizer for hidden layers in neural
    networks"): the momentum of a convolution's kernel, as a matrix of height * width * in rows and `out` columns, keeps
    its singular vectors while its singular values all become about one; other parameters go by SGD. L2 decay is added
    to the gradient, decoupled decay to the update (Loshchilov & Hutter 2019); both spare every parameter of fewer than
    two dimensions: biases, batch-norm scales and offsets.

    Raises:
        InputError: A value out of range, by name; a frozen name that no parameter has (when the state is made).

    >>> make_optimizer(OptimizerConfig(), 100, 10).init({"kernel": jnp.ones((2, 3))}).hyperparams["weight_decay"].item()
    0.0005000000237487257
    """
    check(config)
    shape = schedule_shape(config, total_steps, steps_per_epoch)

    def build(learning_rate: Any, weight_decay: Any) -> optax.GradientTransformation:
        decay = optax.add_decayed_weights(weight_decay, mask=lambda tree: jax.tree.map(lambda p: p.ndim > 1, tree))
        direction = _direction(config)
        ordered = (decay, direction) if config.decay == "l2" else (direction, decay)
        clip = optax.clip_by_global_norm(config.clip_norm) if config.clip_norm else optax.identity()
        rates = (optax.scale_by_schedule(shape), optax.scale_by_learning_rate(learning_rate))
        if config.bias_scale != 1.0:
            rates = (optax.masked(optax.scale(config.bias_scale), lambda tree: _ending(tree, ("bias",))), *rates)
        if layers.trunk_scale != 1.0:
            rates = (optax.masked(optax.scale(layers.trunk_scale), lambda tree: _within(tree, layers.trunk)), *rates)
        moving = optax.chain(clip, *ordered, *rates)
        if not config.frozen and not layers.frozen:
            return moving

        def label(named: bool, within: bool) -> str:
            return "frozen" if named or within else "moving"

        return optax.partition(
            {"moving": moving, "frozen": optax.set_to_zero()},
            lambda params: jax.tree.map(label, _ending(params, config.frozen), _within(params, layers.frozen)),
        )

    tx = optax.inject_hyperparams(build)(
        learning_rate=jnp.float32(config.learning_rate), weight_decay=jnp.float32(config.weight_decay)
    )

    def init(params: Any) -> Any:
        for name in config.frozen:
            remedy = f"no parameter's path ends so; one is {next(iter(by_path(params)), None)!r}"
            require(any(jax.tree.leaves(_ending(params, (name,)))), "frozen", repr(name), remedy)
        return tx.init(params)

    def update(updates: Any, state: Any, params: Any = None) -> tuple[Any, Any]:
        # optax mixes integer counts with floats, which strict dtype promotion would refuse.
        with jax.numpy_dtype_promotion("standard"):
            return tx.update(updates, state, params)

    return optax.GradientTransformation(init, update)


def _direction(config: OptimizerConfig) -> optax.GradientTransformation:
    """Make the transformation from gradients to the direction of a step, before rates."""
    if config.name == "adam":
        return optax.scale_by_adam()
    momentum = optax.trace(config.momentum, nesterov=config.nesterov) if config.momentum else optax.identity()
    if config.name == "sgd":
        return momentum
    orthogonal = optax.contrib.scale_by_muon(
        beta=config.momentum,
        nesterov=config.nesterov,
        weight_dimension_numbers=lambda tree: jax.tree.map(lambda _: KERNEL_AS_MATRIX, tree),
    )
    return optax.partition(
        {"convolution": orthogonal, "rest": optax.chain(momentum, optax.scale(config.rest_scale))},
        lambda params: jax.tree.map(lambda p: "convolution" if p.ndim == 4 else "rest", params),
    )


def _ending(params: Any, names: tuple[str, ...]) -> Any:
    """Return a tree of booleans: whether a parameter's path ends in one of the names."""
    found = [any(f"/{path}".endswith(f"/{name}") for name in names) for path in by_path(params)]
    return jax.tree.unflatten(jax.tree.structure(params), found)


def _within(params: Any, layers: tuple[str, ...]) -> Any:
    """Return a tree of booleans: whether a parameter is one of those of some layers."""
    found = [path.split("/")[0] in layers for path in by_path(params)]
    return jax.tree.unflatten(jax.tree.structure(params), found)


def check(config: OptimizerConfig) -> None:
    """Refuse values that no optimizer can have, by an InputError that names the field and its value."""
    for name, value in vars(config).items():
        numbers = [number for number in (value if isinstance(value, tuple) else (value,)) if isinstance(number, float)]
        require(all(map(math.isfinite, numbers)), name, value, "must be finite; leave it out for the default")
    rate, clip, shares = config.learning_rate, config.clip_norm, config.milestones
    require(rate > 0, "learning_rate", rate, "must be positive, for example 0.1 for sgd")
    require(0 <= config.momentum < 1, "momentum", config.momentum, "must be in [0, 1); 0 disables it")
    require(clip is None or clip > 0, "clip_norm", clip, "must be positive; leave it out to disable it")
    require(all(0 < share < 1 for share in shares), "milestones", shares, "give shares of the run between 0 and 1")
    for name in ("weight_decay", "warmup_epochs"):
        require(getattr(config, name) >= 0, name, getattr(config, name), "must not be negative; 0 disables it")
    for name in ("bias_scale", "rest_scale", "factor"):
        require(getattr(config, name) > 0, name, getattr(config, name), "must be positive; 1 leaves the rate as it is")
