"""What a training step costs on this machine: memory of the compiled program, and time measured in turns."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import lru_cache, partial
from typing import Any, NamedTuple, cast

import jax
import numpy as np
from flax import linen

from jaxcnn.data import Dataset, batch_indices, steps_per_epoch
from jaxcnn.errors import require
from jaxcnn.run.assemble import Parts, assemble
from jaxcnn.run.own_parts import Own
from jaxcnn.spec import ModelSpec, RunConfig, StepCost
from jaxcnn.train import TrainState
from jaxcnn.train.parallel.programs import Arrays, Stretch, advance, memory_bytes, resident, stretch_length
from jaxcnn.train.parallel.programs import size as split_size

OBJECTS = 4
"""Number of objects of each random image, where a task has any."""
TURN_SECONDS, MOST_STEPS = 0.1, 200
"""A turn of this length is long beside the clock's resolution and short beside the machine's drift."""
Pair = tuple[RunConfig, Own | linen.Module | None]


class Compiled(NamedTuple):
    """A network ready to be timed.

    Args:
        step: Function of (state, indices (S, B), masks (S, B), key) that makes S training steps, as `fit` calls it.
        batches: Indices and masks to take in turn.
        key: PRNG key.
        states: List of one state, which every step consumes and replaces.
        memory: Bytes of the program, None where the backend does not say.
        seconds: Seconds of tracing and compiling.
    """

    step: Stretch
    batches: tuple[tuple[np.ndarray, np.ndarray], ...]
    key: jax.Array
    states: list[TrainState]
    memory: int | None
    seconds: float


def step_memory(config: RunConfig, dataset: Dataset, own: Own | linen.Module | None = None) -> int | None:
    """Compute the peak memory of the compiled training step in bytes, on one device that holds the whole batch.

    Nothing is run. Of the images only shape, dtype and number of classes matter; `own` is a user-defined module instead
    of `config.model`, or all user-defined parts.
    """
    parts = assemble(replace(config, parallel="jit"), dataset, own)
    return _compile(parts, config, dataset, jax.eval_shape(parts.init, jax.random.key(0)))[1]


def measure_costs(
    pairs: Sequence[Pair], dataset: Dataset, *, rounds: int = 5, steps: int | None = None, warmup: int = 2
) -> tuple[StepCost, ...]:
    """Measure memory and time of the training steps of several networks (`time_steps`).

    Args:
        pairs: (config, module or all user-defined parts) of each network; None takes those of the config.
        dataset: The images, for all networks.
        rounds: Times that every network is measured.
        steps: Steps per turn. Default: as many as fill a tenth of a second.
        warmup: Steps before the first round, not timed.

    Returns:
        One cost per network, in order.

    Raises:
        InputError: No pairs, or a number out of range.
    """
    require(len(pairs) > 0, "pairs", "()", "give at least one (config, module)")
    networks = compile_all(pairs, dataset)
    quartiles = [np.quantile(times, (0.25, 0.5, 0.75)) for times in time_steps(networks, rounds, steps, warmup)]
    return tuple(
        StepCost(network.memory, float(middle), float(high - low), network.seconds)
        for network, (low, middle, high) in zip(networks, quartiles, strict=True)
    )


def time_steps(
    networks: Sequence[Compiled], rounds: int = 5, steps: int | None = None, warmup: int = 2
) -> list[list[float]]:
    """Time the training steps of several networks in turns: seconds per step, one list per network.

    A step is what `fit` does: gather the batch, train; one by one, or many in one call. Each round begins with another
    network, so that drift of the machine affects all alike. Arguments as for `measure_costs`.
    """
    for name, value in (("rounds", rounds), ("steps", 1 if steps is None else steps), ("warmup", warmup)):
        require(value >= 1, name, value, "must be at least 1")
    for network in networks:
        _turn(network, warmup)
    counts = [_steps_per_turn(network) if steps is None else steps for network in networks]
    times: list[list[float]] = [[] for _ in networks]
    for turn in range(rounds):
        for offset in range(len(networks)):
            index = (turn + offset) % len(networks)
            times[index].append(_turn(networks[index], counts[index]))
    return times


def compile_all(pairs: Sequence[Pair], dataset: Dataset) -> list[Compiled]:
    """Compile the training step of every network; one copy of the images on the device serves all."""
    on_device = jax.device_put(dict(dataset.train)) if resident(dataset.train) else dataset.train
    return [_prepare(config, own, dataset, on_device) for config, own in pairs]


def make_stopwatch(
    input_shape: Sequence[int], num_classes: int, batch_size: int, *, rounds: int = 3
) -> Callable[[ModelSpec | linen.Module], float]:
    """Make a function that times a model's training step on random images and targets of its task, in seconds.

    A time is the median of a few turns.

    The last few models stay compiled, so that measuring them again takes no time beyond the steps.

    Args:
        input_shape: (H, W, C) of one image.
        rounds: Turns per measurement.
    """

    def prepare(model: ModelSpec | linen.Module) -> Compiled:
        own = isinstance(model, linen.Module)
        config = RunConfig(batch_size=batch_size, scan=False)
        config = config if own else replace(config, model=model)
        dataset = _random_images(tuple(input_shape), num_classes, batch_size, config.task.kind)
        network = _prepare(config, model if own else None, dataset, dataset.train)
        _turn(network, 2)
        return network

    cached = lru_cache(maxsize=4)(prepare)

    def seconds(model: ModelSpec | linen.Module) -> float:
        try:
            hash(model)
        except TypeError:  # A module with list fields cannot be cached: compile anew.
            network = prepare(model)
        else:
            network = cached(model)
        steps = _steps_per_turn(network)
        return float(np.median([_turn(network, steps) for _ in range(rounds)]))

    return seconds


def _prepare(
    config: RunConfig, own: Own | linen.Module | None, dataset: Dataset, on_device: Arrays
) -> Compiled:  # fmt: skip
    parts = assemble(config, dataset, own)
    programs, count, key = parts.programs, dataset.sizes["train"], jax.random.key(config.seed)
    state = programs.place(_drawn(jax.eval_shape(parts.init, key)))
    length = _length(parts, config, dataset)
    rows = [
        batch_indices(count, config.batch_size, seed=config.seed, step=step)
        for step in range(length * min(8, max(1, count // (length * config.batch_size))))
    ]
    batches = tuple(
        (np.stack([indices for indices, _ in some]), np.stack([mask for _, mask in some]))
        for some in (rows[first : first + length] for first in range(0, len(rows), length))
    )
    if programs.mode == "jit":
        compiled, memory, seconds = _compile(parts, config, dataset, state)
        if programs.stretch is None:
            programs = programs._replace(train=compiled)
            step = advance(programs, on_device)
        else:
            step = partial(compiled, dict(on_device))
    else:
        # Several devices: the program that training runs is compiled by its first call; memory is that of one device.
        start, step = time.perf_counter(), advance(programs, dataset.train)
        state, sums = step(state, *batches[0], key)
        jax.block_until_ready(sums)
        seconds = time.perf_counter() - start
        memory = step_memory(replace(config, batch_size=-(-config.batch_size // programs.devices)), dataset, own)
    return Compiled(step, batches, key, [state], memory, seconds)


def _length(parts: Parts, config: RunConfig, dataset: Dataset) -> int:
    return stretch_length(parts.programs, steps_per_epoch(dataset.sizes["train"], config.batch_size))


def _compile(
    parts: Parts, config: RunConfig, dataset: Dataset, state: Any
) -> tuple[Callable[..., Any], int | None, float]:
    """Compile the program of one device for the shapes of a state; return it, its memory and the seconds it took.

    The memory leaves out the images, which a program of several steps holds.
    """
    programs, key, start = parts.programs, jax.random.key(0), time.perf_counter()
    state, size = jax.tree.map(_shape, state), config.batch_size
    if programs.stretch is None:
        batch = {name: _shape(array, size) for name, array in dataset.train.items()}
        batch["mask"] = jax.ShapeDtypeStruct((size,), np.float32)
        compiled = cast("Any", programs.train).lower(state, batch, key).compile()
    else:
        images, length = jax.tree.map(_shape, dict(dataset.train)), _length(parts, config, dataset)
        chosen = (jax.ShapeDtypeStruct((length, size), dtype) for dtype in (np.int32, np.float32))
        compiled = cast("Any", programs.stretch({})).func.lower(images, state, *chosen, key).compile()
    memory = memory_bytes(compiled)
    if memory is not None and programs.stretch is not None:
        memory -= split_size(dataset.train)
    return compiled, memory, time.perf_counter() - start


def _shape(array: Any, length: int | None = None) -> jax.ShapeDtypeStruct:
    shape = tuple(array.shape) if length is None else (length, *array.shape[1:])
    return jax.ShapeDtypeStruct(shape, array.dtype)


def _drawn(shapes: TrainState) -> TrainState:
    """Return a state to time steps with, without compiling the network's own: weights drawn, everything else zero.

    The learning rate too is zero, so the weights stay as they are however many steps are timed.
    """
    rng = np.random.default_rng(0)
    params = jax.tree.map(lambda leaf: rng.normal(0, 0.05, leaf.shape).astype(leaf.dtype), shapes.params)
    return jax.tree.map(lambda leaf: np.zeros(leaf.shape, leaf.dtype), shapes)._replace(params=params)


def _steps_per_turn(network: Compiled) -> int:
    return min(MOST_STEPS, max(1, round(TURN_SECONDS / max(_turn(network, 1), 1e-9))))


def _turn(network: Compiled, steps: int) -> float:
    """Return the seconds per step over so many steps, or over as many as one call makes at least."""
    length = len(network.batches[0][0])
    calls = -(-steps // length)
    start, state, sums = time.perf_counter(), network.states.pop(), None
    for call in range(calls):
        state, sums = network.step(state, *network.batches[call % len(network.batches)], network.key)
    jax.block_until_ready((state, sums))
    network.states.append(state)
    return (time.perf_counter() - start) / (calls * length)


def _random_images(shape: tuple[int, ...], classes: int, batch_size: int, task: str) -> Dataset:
    rng, count = np.random.default_rng(0), 2 * batch_size
    targets = shape[:2] if task == "segmentation" else ()
    targets = (OBJECTS,) if task in ("detection", "instances", "localization") else targets
    labels = rng.integers(0, classes, (count, *targets)).astype(np.int32)
    train = {"images": rng.integers(0, 256, (count, *shape), np.uint8), "labels": labels}
    if targets == (OBJECTS,):
        corners = np.sort(rng.random((count, OBJECTS, 2, 2)), axis=2)  # (top, left), (bottom, right)
        train["boxes"] = corners.reshape(count, OBJECTS, 4).astype(np.float32)
        train["instances"] = rng.integers(0, OBJECTS + 1, (count, *shape[:2]), np.uint8)
        train |= {"crowd": np.zeros(labels.shape, bool), "sizes": np.full((count, 2), shape[:2], np.int32)}
    mean, std = np.full(shape[-1], 0.5, np.float32), np.full(shape[-1], 0.25, np.float32)
    names = tuple(map(str, range(classes)))
    return Dataset(
        "random", train, train, lambda: train, names, (shape[0], shape[1], shape[2]), mean, std, "", {"train": count}
    )
