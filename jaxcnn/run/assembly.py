"""Where model, data, task and training meet."""

import re
from collections.abc import Callable
from dataclasses import replace
from functools import lru_cache
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import linen

from jaxcnn.analysis.complexity import Complexity, count
from jaxcnn.data import Dataset, make_augment, normalize, steps_per_epoch
from jaxcnn.errors import InputError
from jaxcnn.models import build
from jaxcnn.spec import OptimizerConfig, RunConfig
from jaxcnn.tasks import Batch, Task, classification
from jaxcnn.train import Programs, TrainState, make_eval_step, make_init, make_optimizer, make_programs, make_train_step
from jaxcnn.train.optimizer import check as check_optimizer
from jaxcnn.train.parallel import choose, choose_scan
from jaxcnn.train.step import EvalStep, TrainStep

INIT_IMAGES = 5000  # at most so many training images does an initialisation look at

MakeSteps = Callable[[str | None], tuple[TrainStep, EvalStep]]


class Assembly(NamedTuple):
    """One run's parts, ready to be driven by `fit`."""

    module: linen.Module
    task: Task
    tx: optax.GradientTransformation
    programs: Programs
    init: Callable[[jax.Array], TrainState]
    cost: Complexity
    make_steps: MakeSteps


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
        replace(config.optimizer, learning_rate=1.0, weight_decay=0.0),
        (config.epochs * per_epoch, per_epoch),
        config.label_smoothing,
        config.data.augment,
        (tuple(dataset.mean.tolist()), tuple(dataset.std.tolist())),
        dataset.image_shape,
        (config.compute_dtype, config.sync_batch_norm),
        config.test_flips,
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


def check(config: RunConfig) -> None:
    """Refuse values that no run can have, by name."""
    for name, least in (("epochs", 1), ("batch_size", 1), ("checkpoint_every", 1), ("seed", 0)):
        value = getattr(config, name)
        if value < least:
            raise InputError(f"{name}={value}: must be at least {least}")
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
        return state._replace(params=data_init(state.params, seen))

    return fresh


@lru_cache(maxsize=8)
def _assemble(
    module: linen.Module,
    optimizer: OptimizerConfig,
    steps: tuple[int, int],
    label_smoothing: float,
    augment: tuple[str, ...],
    statistics: tuple[tuple[float, ...], tuple[float, ...]],
    image_shape: tuple[int, ...],
    layers: tuple[str, bool],
    test_flips: bool,
    driving: Driving,
) -> Assembly:
    """A pure function of values, remembered so that the seeds of one arm compile once."""
    task = classification(label_smoothing)
    tx = make_optimizer(optimizer, *steps)
    compute_dtype, synchronised = layers
    mean, std = (np.asarray(part, np.float32) for part in statistics)
    prepare = make_prepare(mean, std, augment, compute_dtype)

    def make_steps(axis_name: str | None):
        spread = module
        if axis_name is not None and synchronised:
            spread = synchronise(module, axis_name)
        return (
            make_train_step(spread, tx, task, prepare=prepare, axis_name=axis_name),
            make_eval_step(module, task, prepare=prepare, axis_name=axis_name, flips=test_flips),
        )

    programs = make_programs(
        driving.mode,
        make_steps,
        local_statistics=not synchronised,
        scan=driving.scan,
        deterministic=driving.deterministic,
    )
    init = make_init(module, tx, image_shape)
    return Assembly(module, task, tx, programs, init, count(module, image_shape), make_steps)


def synchronise(module: linen.Module, axis_name: str) -> linen.Module:
    """The same module with batch-norm statistics taken over a mapped axis.

    A module without an `axis_name` field is returned as it is: it keeps statistics per device.
    """
    return module.clone(axis_name=axis_name) if hasattr(module, "axis_name") else module


def make_prepare(
    mean: np.ndarray, std: np.ndarray, augment: tuple[str, ...] = (), compute_dtype: str = "float32"
) -> Callable[[jax.Array | None, Batch, int | jax.Array], Batch]:
    """What happens to a batch on the device: augmentation (with a key), then normalisation of uint8 images.

    Layers compute in the type of their input, so the images' type here is that of all activations.
    """
    change = make_augment(augment)

    def prepare(key: jax.Array | None, batch: Batch, start: int | jax.Array) -> Batch:
        images = batch["images"]
        if key is not None and change is not None:
            images = change(key, images, start)
        return {**batch, "images": normalize(images, mean, std).astype(compute_dtype)}

    return prepare


def module_record(module: linen.Module) -> dict[str, str]:
    """How a user's own module is recorded in place of the spec: its import path and its fields.

    A field that is a function shows its address, which each process chooses anew: it is left out.
    """
    kind = type(module)
    fields = re.sub(r" at 0x[0-9a-f]+", "", repr(module))
    return {"module": f"{kind.__module__}:{kind.__qualname__}", "fields": fields}
