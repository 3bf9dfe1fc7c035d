"""Where model, data, task and training meet: the parts of a run, made once per architecture."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import replace
from functools import lru_cache
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import linen

from jaxcnn.analysis.complexity import Complexity, count
from jaxcnn.data import Dataset, Split, make_augment, normalize, steps_per_epoch
from jaxcnn.data.augment import Augment, make_mix, make_move, make_move_boxes
from jaxcnn.data.dataset import target_words
from jaxcnn.errors import InputError, require
from jaxcnn.models import build
from jaxcnn.nn import Network, synchronised
from jaxcnn.records import check_choices
from jaxcnn.run.finetune import group_layers, weights_of
from jaxcnn.run.own_module import check_module, own_network
from jaxcnn.run.own_parts import Own, Traced, arrays_of, make_tx, started_from, traced_parts
from jaxcnn.spec import MODEL_TASKS, Classification, RunConfig
from jaxcnn.tasks import Batch, Task, make_task, resolve_task
from jaxcnn.train import Programs, TrainState, make_eval_step, make_init, make_optimizer, make_programs, make_train_step
from jaxcnn.train.gradients import GradientsOf, Prepare, make_gradients
from jaxcnn.train.optimizer import LayerGroups
from jaxcnn.train.optimizer import check as check_optimizer
from jaxcnn.train.parallel import choose, choose_scan
from jaxcnn.train.parallel.programs import memory_limit
from jaxcnn.train.step import EvalStep, TrainStep

MOST_EXAMPLES = 2**24
"""Largest batch size."""
INIT_IMAGES = 5000
"""Largest number of training images that an initialisation from data looks at."""
MakeSteps = Callable[[str | None], tuple[TrainStep, EvalStep]]  # axis name -> steps


class Parts(NamedTuple):
    """The parts of a run, shared by runs of one architecture.

    Args:
        module: The network.
        task: Its task.
        tx: The optimizer, at learning rate 1 and weight decay 0 (see `initial_state`).
        programs: Its steps, compiled for this machine's devices.
        init: PRNG key -> fresh state.
        complexity: Counted parameters and MACs.
        make_steps: Axis name -> pure training and evaluation steps.
        gradients: Loss and gradients of a batch, for a look at a step that went wrong.
        traced: What user-defined parts compute; empty where all parts are jaxcnn's.
        own: The user-defined parts.
        seen: Split -> the split whose images the steps see (see `jaxcnn.run.cached_features`).
    """

    module: linen.Module
    task: Task
    tx: optax.GradientTransformation
    programs: Programs
    init: Callable[[jax.Array], TrainState]
    complexity: Complexity
    make_steps: MakeSteps
    gradients: GradientsOf
    traced: Traced
    own: Own = Own()
    seen: Callable[[Split], Split] = lambda split: split


def assemble(config: RunConfig, dataset: Dataset, own: Own | linen.Module | None = None) -> Parts:
    """Make the parts of a run; equal architectures share their compiled programs within a process.

    Args:
        config: The run.
        dataset: The images it is trained on.
        own: User-defined parts, or a module alone, in place of those of the config.

    Raises:
        InputError: A value that no run can have, or data without the task's targets.
    """
    check(config)
    own = (own if isinstance(own, Own) else Own(own)).checked()
    classes = len(dataset.class_names)
    if config.model.num_classes not in (None, classes) and own.model is None:
        raise InputError(
            f"model.num_classes={config.model.num_classes}: data set {dataset.name} has {classes} classes; leave it out"
        )
    if own.model is None and own.task is None:
        check_task(config)
    network = own_network(config, own.model, classes)
    module = build(replace(config.model, num_classes=classes)) if network is None else network
    if own.task is None:
        config = replace(config, task=resolve_task(config.task, dataset.train, dataset.class_names))
    if config.weights is not None and (network is not None or not isinstance(module, Network)):
        raise InputError(f"weights={config.weights!r}: it is for named models; give variables for your own module")
    layers = group_layers(config, module, dataset)
    module = module.clone(frozen=layers.frozen) if layers.frozen else module
    task = own.task or make_task(config.task)
    check_targets(task, config.task.kind if own.task is None else own.task.name, dataset)
    if network is not None or own.task is not None:
        check_module(module, task, dataset.image_shape, classes)
    traced = traced_parts(own, config, dataset.image_shape, classes, arrays_of(dataset))
    per_epoch = steps_per_epoch(dataset.sizes["train"], config.batch_size)
    mode, single = choose(config.parallel), network is not None or config.checkpoint_steps is not None
    arguments = (
        module,
        own._replace(model=None, variables=None),
        _programs_key(config),
        (config.epochs * per_epoch, per_epoch),
        (tuple(dataset.mean.tolist()), tuple(dataset.std.tolist())),
        dataset.image_shape,
        (mode, choose_scan(config.scan, mode, dataset.train, single=single), config.deterministic),
        layers,
        tuple((name, *each.items()) for name, each in traced.items()),  # a part that was edited is another one
    )
    try:
        hash(arguments)
    except TypeError:  # A module or task with list fields cannot be cached: compile anew.
        parts = _assemble.__wrapped__(*arguments)
    else:
        parts = _assemble(*arguments)
    return parts._replace(own=own, traced=traced)


def initial_state(parts: Parts, config: RunConfig, dataset: Dataset, key: jax.Array) -> TrainState:
    """Return the host state a run starts from: drawn, with the run's learning rate and weight decay.

    Rates are arrays in the optimizer's state, so that one program serves all; a user-defined optax chain has its own. A
    network that initialises itself from data gets training images.
    """
    _check_memory(parts, config, key)
    state = parts.init(key)
    if (data_init := getattr(parts.module, "data_init", None)) is not None:
        # Spread over the split, which may be stored class by class.
        pixels = dataset.train["images"]
        images = normalize(pixels[:: -(-len(pixels) // INIT_IMAGES)], dataset.mean, dataset.std)
        state = state.with_params(data_init(state.params, images))
    if (weights := weights_of(config, dataset)) is not None:
        state = started_from(state, parts.tx, weights.variables)
    if parts.own.variables is not None:
        state = started_from(state, parts.tx, parts.own.variables)
    if not isinstance(parts.own.tx, optax.GradientTransformation):
        rates = {"learning_rate": config.optimizer.learning_rate, "weight_decay": config.optimizer.weight_decay}
        arrays = {name: jnp.float32(value) for name, value in rates.items()}
        opt_state = state.opt_state._replace(hyperparams={**state.opt_state.hyperparams, **arrays})
        state = state._replace(opt_state=opt_state)
    return jax.device_get(state)


def _check_memory(parts: Parts, config: RunConfig, key: jax.Array) -> None:
    """Refuse a network that no memory here holds: where an allocation fails, JAX may wait for ever."""
    room = memory_limit() or os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    need = sum(leaf.size * leaf.dtype.itemsize for leaf in jax.tree.leaves(jax.eval_shape(parts.init, key)))
    width = config.model.width if parts.own.model is None else "its own module"
    size = f"{need / 1e9:,.0f} GB of {room / 1e9:,.0f} GB memory"
    remedy = f"parameters and optimizer take {size}; choose a smaller one, or budget"
    require(need <= room, "width", width, remedy)


def check(config: RunConfig) -> None:
    """Refuse values that no run can have, by an InputError that names the field and its value."""
    check_choices(config)
    least = {"epochs": 1, "batch_size": 1, "checkpoint_every": 1, "keep": 0, "accumulate": 1, "seed": 0}
    for name, smallest in least.items():
        require(getattr(config, name) >= smallest, name, getattr(config, name), f"must be at least {smallest}")
    seed, size, minutes, ema = config.seed, config.batch_size, config.checkpoint_minutes, config.ema
    require(seed < 2**63, "seed", seed, "must be below 2^63; choose a smaller one")
    require(size <= MOST_EXAMPLES, "batch_size", size, f"must be at most {MOST_EXAMPLES}; choose a smaller one")
    require(config.accumulate <= size, "accumulate", config.accumulate, f"must not exceed batch_size={size}")
    for name in ("patience", "checkpoint_steps"):
        value = getattr(config, name)
        require(value is None or value >= 1, name, value, "must be at least 1; leave it out to disable it")
    require(minutes is None or minutes >= 0, "checkpoint_minutes", minutes, "must not be negative; leave it out")
    between = "must be between 0 and 1, for example 0.999; leave it out to disable it"
    require(ema is None or 0 < ema < 1, "ema", ema, between)
    check_optimizer(config.optimizer)
    scale = config.finetune.trunk_scale
    require(0 < scale < float("inf"), "trunk_scale", scale, "must be positive; 1 leaves the rate as it is")
    frozen = config.finetune.unfreeze_from is None
    require(scale == 1 or not frozen, "trunk_scale", scale, "nothing of the trunk is trained; give unfreeze_from, too")


def check_task(config: RunConfig) -> None:
    """Refuse a task that is made for the outputs of another model, where both are jaxcnn's."""
    needed, known = config.model.task, {*MODEL_TASKS.values(), Classification}
    if type(config.task) in known and type(config.task) is not needed:
        fitting = [name for name, kind in MODEL_TASKS.items() if kind is type(config.task)]
        others = f"model {' or '.join(map(repr, sorted(fitting)))} (a family or a head)" if fitting else "a classifier"
        raise InputError(
            f"task={config.task.kind!r}: the outputs of the model are made for {needed.kind}; leave task out, or "
            f"choose {others}"
        )


def check_targets(task: Task, kind: str, dataset: Dataset) -> None:
    """Refuse data that do not have the targets of a task, by an InputError that says what they have."""
    arrays, ranks = dataset.train, task.ranks or (None,) * len(task.targets)
    axes = {name: np.ndim(arrays[name]) - 1 for name in task.targets if name in arrays}
    if any(
        axes.get(name, -1) != (axes.get(name) if rank is None else rank)
        for name, rank in zip(task.targets, ranks, strict=True)
    ):
        needs = target_words(ranks[0] or 0, task.targets)
        has = target_words(np.ndim(arrays["labels"]) - 1, arrays) if "labels" in arrays else "images alone"
        raise InputError(
            f"task={kind!r}: it needs {needs}, and data set {dataset.name} has {has}; choose another data set, or a "
            f"model for {has}"
        )


def _programs_key(config: RunConfig) -> RunConfig:
    """Return a config with what its programs ignore at fixed values: runs that differ only there share programs.

    A field that is not named here is part of the key, so that a new option never keeps its default by accident.
    """
    ignored = (
        "model", "epochs", "batch_size", "batches", "patience", "seed", "parallel", "scan", "deterministic",
        "checkpoint_every", "checkpoint_steps", "checkpoint_minutes", "keep", "evaluate_test",
    )  # fmt: skip
    ignored_data = (
        "name", "data_dir", "validation", "train_size", "size", "fit", "on_bad", "stream", "workers", "classes",
        "images", "data_seed", "split_seed", "train_seed", "fold", "groups", "ignore", "normalize",
    )  # fmt: skip
    default = RunConfig()
    return replace(
        config,
        **{name: getattr(default, name) for name in ignored},
        data=replace(config.data, **{name: getattr(default.data, name) for name in ignored_data}),
        optimizer=replace(config.optimizer, learning_rate=1.0, weight_decay=0.0),
    )


@lru_cache(maxsize=8)
def _assemble(
    module: linen.Module,
    own: Own,
    config: RunConfig,
    length: tuple[int, int],
    statistics: tuple[tuple[float, ...], tuple[float, ...]],
    image_shape: tuple[int, ...],
    driving: tuple[str, bool, bool],
    layers: LayerGroups,
    traced: tuple[Any, ...],
) -> Parts:
    """Make parts as a pure function of values, cached so that the seeds of one arm compile once.

    `length`: steps of the run and of an epoch. `statistics`: mean and standard deviation of the training images.
    `driving`: how the step is driven on this machine (mode, scan, deterministic).
    """
    (mode, scan, deterministic), task = driving, own.task or make_task(config.task)
    tx = make_optimizer(config.optimizer, *length, layers) if own.tx is None else make_tx(own.tx)
    mean, std = (np.asarray(part, np.float32) for part in statistics)
    prepare = make_prepare(mean, std, config.data.augment, config.compute_dtype, config.data.mix, own.augment)

    def make_steps(axis_name: str | None) -> tuple[TrainStep, EvalStep]:
        shared = axis_name is not None and config.sync_batch_norm
        train = make_train_step(
            synchronised(module, axis_name) if shared and axis_name else module, tx, task, prepare=prepare,
            axis_name=axis_name, accumulate=config.accumulate, ema=config.ema,
            skip_nonfinite=config.on_nonfinite == "skip",
        )  # fmt: skip
        return train, make_eval_step(module, task, prepare=prepare, axis_name=axis_name)

    programs = make_programs(
        mode, make_steps, local_statistics=not config.sync_batch_norm, scan=scan, deterministic=deterministic
    )
    init = make_init(module, tx, image_shape, ema=config.ema is not None)
    gradients = make_gradients(module, task, prepare=prepare, accumulate=config.accumulate)
    complexity = count(module, image_shape)
    return Parts(module, task, tx, programs, init, complexity, make_steps, gradients, {})


def make_prepare(
    mean: np.ndarray,
    std: np.ndarray,
    augment: tuple[str, ...] = (),
    compute_dtype: str = "float32",
    mix: tuple[str, ...] = (),
    own: Augment | None = None,
) -> Prepare:
    """Make the function (key, batch, start) -> batch on the device: augment and mix (with a key), normalise.

    `own` is a user-defined augmentation, applied after those named.

    Layers compute in the dtype of their input, so the images' dtype here is that of all activations.
    """
    change, blend = make_augment(augment), make_mix(mix)
    move, move_instances, move_boxes = make_move(augment), make_move(augment, fill=0), make_move_boxes(augment)

    def prepare(key: jax.Array | None, batch: Batch, start: int | jax.Array) -> Batch:
        if key is not None and change is not None:
            if "labels" in batch and batch["labels"].ndim == 3:  # masks move with their images
                batch = {**batch, "labels": move(key, batch["labels"], start)}
            if "boxes" in batch and batch["boxes"].ndim == 3:
                size = batch["images"].shape[1], batch["images"].shape[2]
                boxes, labels = move_boxes(key, batch["boxes"], batch["labels"], size, start)
                batch = {**batch, "boxes": boxes, "labels": labels}
            if "instances" in batch:
                batch = {**batch, "instances": move_instances(key, batch["instances"], start)}
            batch = {**batch, "images": change(key, batch["images"], start)}
        if key is not None and own is not None:
            batch = {**batch, "images": own(jax.random.fold_in(key, len(augment)), batch["images"], start)}
        if key is not None and blend is not None:
            if "labels" in batch and batch["labels"].ndim != 1:
                raise InputError(f"mix={mix}: it mixes two classes of whole images, not masks; leave mix out")
            batch = blend(key, batch, start)
        return {**batch, "images": normalize(batch["images"], mean, std).astype(compute_dtype)}

    return prepare
