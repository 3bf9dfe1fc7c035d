"""Where model, data, task and training meet."""

import re
from collections.abc import Callable
from dataclasses import replace
from functools import lru_cache, partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import linen

from jaxcnn.analysis.complexity import Complexity, count
from jaxcnn.data import Dataset, make_augment, normalize, steps_per_epoch
from jaxcnn.data.augment import make_mix
from jaxcnn.errors import InputError
from jaxcnn.models import build
from jaxcnn.spec import DataConfig, OptimizerConfig, RunConfig
from jaxcnn.tasks import Batch, Task, classification
from jaxcnn.train import Programs, TrainState, make_eval_step, make_init, make_optimizer, make_programs, make_train_step
from jaxcnn.train.gradients import GradientsOf, make_gradients
from jaxcnn.train.optimizer import check as check_optimizer
from jaxcnn.train.parallel import choose, choose_scan
from jaxcnn.train.step import EvalStep, TrainStep

MOST_EXAMPLES = 2**24  # a step
INIT_IMAGES = 5000  # at most so many training images does an initialisation look at

MakeSteps = Callable[..., tuple[TrainStep, EvalStep]]  # (axis name, halt) -> steps


class Assembly(NamedTuple):
    """One run's parts, ready to be driven by `fit`."""

    module: linen.Module
    task: Task
    tx: optax.GradientTransformation
    programs: Programs
    init: Callable[[jax.Array], TrainState]
    cost: Complexity
    make_steps: MakeSteps
    gradients: GradientsOf


class Driving(NamedTuple):
    """How the step is driven on this machine, as resolved from a config."""

    mode: str
    scan: bool
    deterministic: bool


def assemble(config: RunConfig, dataset: Dataset, module: linen.Module | None = None) -> Assembly:
    """The parts of a run; equal architectures share their compiled programs within a process.

    Args:
        config: The run.
        dataset: The images it is trained on.
        module: A user's own module, in place of `config.model`.
    """
    check(config)
    classes = len(dataset.class_names)
    if config.model.num_classes not in (None, classes) and module is None:
        raise InputError(
            f"model.num_classes={config.model.num_classes}: data set {dataset.name} has {classes} classes; leave it out"
        )
    if module is None:
        module = build(replace(config.model, num_classes=classes))
    per_epoch = steps_per_epoch(dataset.sizes["train"], config.batch_size)
    arguments = (
        module,
        _shared(config),
        (config.epochs * per_epoch, per_epoch),
        class_weights(config.class_weights, dataset),
        (tuple(dataset.mean.tolist()), tuple(dataset.std.tolist())),
        dataset.image_shape,
        _driving(config, dataset),
    )
    check_optimizer(config.optimizer)
    try:
        hash(module)
        make = _assemble
    except TypeError:  # A module with list fields cannot be remembered, only compiled anew.
        make = _assemble.__wrapped__
    parts = make(*arguments)
    init = _with_images(_with_rates(parts.init, config.optimizer), module, dataset)
    return parts._replace(init=init)


def _driving(config: RunConfig, dataset: Dataset) -> Driving:
    mode = choose(config.parallel)
    return Driving(mode, choose_scan(config.scan, mode, dataset.train), config.deterministic)


def _shared(config: RunConfig) -> RunConfig:
    """What of a run its programs depend on; the rest at its default, so that runs that differ there share them."""
    optimizer = replace(config.optimizer, learning_rate=1.0, weight_decay=0.0)
    data = replace(DataConfig(), augment=config.data.augment, mix=config.data.mix)
    names = ("label_smoothing", "ema", "accumulate", "on_nonfinite", "sync_batch_norm", "compute_dtype", "test_flips")
    return replace(RunConfig(), optimizer=optimizer, data=data, **{name: getattr(config, name) for name in names})


def class_weights(asked: tuple[float, ...] | str | None, dataset: Dataset) -> tuple[float, ...] | None:
    """Weights of the classes in the loss: as given, or N / (K n_k) for "balanced" (as scikit-learn names it).

    Raises:
        InputError: Not one a class, or not a number that a weight can be.
    """
    classes = len(dataset.class_names)
    if asked is None:
        return None
    if asked == "balanced":
        counts = np.bincount(dataset.train["labels"], minlength=classes)
        return tuple(len(dataset.train["labels"]) / (classes * max(int(count), 1)) for count in counts)
    if isinstance(asked, str) or len(asked) != classes:
        raise InputError(
            f"class_weights={asked!r}: data set {dataset.name} has {classes} classes; give balanced, or one number each"
        )
    return tuple(float(weight) for weight in asked)


def check(config: RunConfig) -> None:
    """Refuse values that no run can have, by name."""
    least = {"epochs": 1, "batch_size": 1, "checkpoint_every": 1, "keep": 0, "accumulate": 1, "seed": 0}
    for name, smallest in least.items():
        value = getattr(config, name)
        if value < smallest:
            raise InputError(f"{name}={value}: must be at least {smallest}")
    if config.seed >= 2**63:
        raise InputError(f"seed={config.seed}: must be below 2^63; choose a smaller one")
    if config.batch_size > MOST_EXAMPLES:
        raise InputError(f"batch_size={config.batch_size}: must be at most {MOST_EXAMPLES}; choose a smaller one")
    for name in ("patience", "checkpoint_steps"):
        value = getattr(config, name)
        if value is not None and value < 1:
            raise InputError(f"{name}={value}: must be at least 1; leave it out to switch it off")
    if config.checkpoint_minutes is not None and not config.checkpoint_minutes >= 0:
        raise InputError(f"checkpoint_minutes={config.checkpoint_minutes}: must not be negative; leave it out")
    if config.ema is not None and not 0 < config.ema < 1:
        raise InputError(f"ema={config.ema}: must be between 0 and 1, for example 0.999; leave it out to switch it off")
    if config.accumulate > config.batch_size:
        raise InputError(
            f"accumulate={config.accumulate}: a batch of {config.batch_size} has no so many parts; lower it"
        )
    if config.on_nonfinite not in ("stop", "skip"):
        raise InputError(f"on_nonfinite={config.on_nonfinite!r}: choose stop or skip")
    if config.compute_dtype not in ("float32", "bfloat16"):
        raise InputError(f"compute_dtype={config.compute_dtype!r}: choose float32 or bfloat16")


def _with_rates(init: Callable[[jax.Array], TrainState], config: OptimizerConfig) -> Callable[[jax.Array], TrainState]:
    """Initialisation at a learning rate and weight decay of its own: they are arrays, so one program serves all."""
    rates = {"learning_rate": config.learning_rate, "weight_decay": config.weight_decay}

    def fresh(key: jax.Array) -> TrainState:
        state = init(key)
        arrays = {name: jnp.float32(value) for name, value in rates.items()}
        return state._replace(opt_state=state.opt_state._replace(hyperparams={**state.opt_state.hyperparams, **arrays}))

    return fresh


def _with_images(
    init: Callable[[jax.Array], TrainState], module: linen.Module, dataset: Dataset
) -> Callable[[jax.Array], TrainState]:
    """Initialisation that has seen training images, for a module with `data_init(params, images) -> params`."""
    data_init = getattr(module, "data_init", None)
    if data_init is None:
        return init

    def fresh(key: jax.Array) -> TrainState:
        state, pixels = init(key), dataset.train["images"]
        # Spread over the split, which may be stored class by class.
        seen = normalize(pixels[:: -(-len(pixels) // INIT_IMAGES)], dataset.mean, dataset.std)
        return state.with_params(data_init(state.params, seen))

    return fresh


@lru_cache(maxsize=8)
def _assemble(
    module: linen.Module,
    config: RunConfig,
    length: tuple[int, int],
    weights: tuple[float, ...] | None,
    statistics: tuple[tuple[float, ...], tuple[float, ...]],
    image_shape: tuple[int, ...],
    driving: Driving,
) -> Assembly:
    """A pure function of values, remembered so that the seeds of one arm compile once."""
    task = classification(config.label_smoothing, weights)
    tx = make_optimizer(config.optimizer, *length)
    mean, std = (np.asarray(part, np.float32) for part in statistics)
    prepare = make_prepare(mean, std, config.data.augment, config.compute_dtype, config.data.mix)
    synchronised, skip = config.sync_batch_norm, config.on_nonfinite == "skip"

    def make_steps(axis_name: str | None, halt: bool = False):
        spread = module
        if axis_name is not None and synchronised:
            spread = synchronise(module, axis_name)
        train = make_train_step(
            spread, tx, task, prepare=prepare, axis_name=axis_name, accumulate=config.accumulate, ema=config.ema,
            nonfinite="skip" if skip else "halt" if halt else "report",
        )  # fmt: skip
        return train, make_eval_step(module, task, prepare=prepare, axis_name=axis_name, flips=config.test_flips)

    bound = partial(
        make_programs,
        driving.mode,
        local_statistics=not synchronised,
        scan=driving.scan,
        deterministic=driving.deterministic,
    )
    # Compiled where a run diverges, and nowhere else.
    programs = bound(make_steps)._replace(halting=None if skip else bound(partial(make_steps, halt=True)))
    init = make_init(module, tx, image_shape, ema=config.ema is not None)
    gradients = make_gradients(module, task, prepare=prepare, accumulate=config.accumulate)
    return Assembly(module, task, tx, programs, init, count(module, image_shape), make_steps, gradients)


def synchronise(module: linen.Module, axis_name: str) -> linen.Module:
    """The same module with batch-norm statistics taken over a mapped axis.

    A module without an `axis_name` field is returned as it is: it keeps statistics per device.
    """
    return module.clone(axis_name=axis_name) if hasattr(module, "axis_name") else module


def make_prepare(
    mean: np.ndarray,
    std: np.ndarray,
    augment: tuple[str, ...] = (),
    compute_dtype: str = "float32",
    mix: tuple[str, ...] = (),
) -> Callable[[jax.Array | None, Batch, int | jax.Array], Batch]:
    """What happens to a batch on the device: augmentation and mixing (with a key), normalisation of uint8 images.

    Layers compute in the type of their input, so the images' type here is that of all activations.
    """
    change, blend = make_augment(augment), make_mix(mix)

    def prepare(key: jax.Array | None, batch: Batch, start: int | jax.Array) -> Batch:
        if key is not None and change is not None:
            batch = {**batch, "images": change(key, batch["images"], start)}
        if key is not None and blend is not None:
            batch = blend(key, batch, start)
        return {**batch, "images": normalize(batch["images"], mean, std).astype(compute_dtype)}

    return prepare


def module_record(module: linen.Module) -> dict[str, str]:
    """How a user's own module is recorded in place of the spec: its import path and its fields.

    A field that is a function shows its address, which each process chooses anew: it is left out.
    """
    kind = type(module)
    fields = re.sub(r" at 0x[0-9a-f]+", "", repr(module))
    return {"module": f"{kind.__module__}:{kind.__qualname__}", "fields": fields}
