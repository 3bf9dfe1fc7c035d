"""What a training step costs on this machine: memory of the compiled program, and time measured in turns."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import lru_cache
from typing import Any, NamedTuple

import jax
import numpy as np
from flax import linen

from jaxcnn.data import Dataset, batch_indices
from jaxcnn.errors import InputError
from jaxcnn.run.assembly import Assembly, assemble
from jaxcnn.spec import ModelSpec, RunConfig
from jaxcnn.train import TrainState, make_init
from jaxcnn.train.parallel.programs import memory_bytes

# A turn of this length is long beside the clock's grain and short beside the machine's drift.
TURN_SECONDS, MOST_STEPS = 0.25, 200
Pair = tuple[RunConfig, linen.Module | None]


class StepCost(NamedTuple):
    """What compiling a training step tells.

    Args:
        memory_bytes: Arguments + outputs + temporaries - aliases of the program on one device; None where the backend
            does not say.
        compile_seconds: Tracing and compiling; short where a persistent cache knew the program.
    """

    memory_bytes: int | None
    compile_seconds: float


class StepTime(NamedTuple):
    """Time of a training step, measured.

    Args:
        median: Seconds a step, over the rounds.
        spread: Interquartile range over the rounds, in seconds.
        compile_seconds: Tracing and compiling, apart.
        rounds: Seconds a step in each round.
    """

    median: float
    spread: float
    compile_seconds: float
    rounds: tuple[float, ...]


class Cost(NamedTuple):
    """Memory and time of one training step, as plain numbers.

    Args:
        memory: Bytes of the compiled program (see `StepCost`), None where the backend does not say.
        step: Seconds, the median over the rounds.
        spread: Seconds, the interquartile range over the rounds.
        compile: Seconds of tracing and compiling.
    """

    memory: int | None
    step: float
    spread: float
    compile: float


class Prepared(NamedTuple):
    """One arm ready to be timed; `held` is a cell with the state, which every step consumes and replaces."""

    step: Callable[..., Any]
    feed: Callable[[np.ndarray, np.ndarray], Any]
    batches: tuple[tuple[np.ndarray, np.ndarray], ...]
    key: jax.Array
    held: list[TrainState]
    cost: StepCost


def step_cost(config: RunConfig, dataset: Dataset, module: linen.Module | None = None) -> StepCost:
    """Peak memory of the compiled training step, on one device that holds the whole batch. Nothing is run.

    Args:
        config: The run: model, batch size, optimiser and augmentation matter.
        dataset: The images: their shape, type and number of classes matter.
        module: A user's own module, in place of `config.model`.
    """
    return _compile(assemble(replace(config, parallel="jit"), dataset, module), config, dataset)[1]


def measure_steps(
    pairs: Sequence[Pair], dataset: Dataset, *, rounds: int = 5, steps: int | None = None, warmup: int = 2
) -> list[StepTime]:
    """Time training steps of several arms in alternating rounds, so that drift of the machine meets all alike.

    A step is what `fit` does where it dispatches steps one by one: gather the batch, train. Every round times every arm
    once, each round beginning with another arm.

    Args:
        pairs: (config, module) of each arm; module None takes `config.model`.
        dataset: The images, for all arms.
        rounds: Times that every arm is measured.
        steps: Steps an arm and round; None: as many as fill a quarter of a second.
        warmup: Steps before the first round, not timed.

    Returns:
        One time an arm, in order.

    Raises:
        InputError: No pairs, or a number out of range.
    """
    return [timed for timed, _ in _measure(pairs, dataset, rounds, steps, warmup)]


def measure_costs(
    pairs: Sequence[Pair], dataset: Dataset, *, rounds: int = 5, steps: int | None = None, warmup: int = 2,
    prepared: Sequence[Prepared] | None = None,
) -> tuple[Cost, ...]:  # fmt: skip
    """Memory and measured step time of several arms; each is compiled once.

    Arguments as for `measure_steps`, and `prepared`: the same pairs, compiled before.
    """
    return tuple(
        Cost(cost.memory_bytes, timed.median, timed.spread, cost.compile_seconds)
        for timed, cost in _measure(pairs, dataset, rounds, steps, warmup, prepared)
    )


def prepare(pairs: Sequence[Pair], dataset: Dataset, go_on: Callable[[], bool] = lambda: True) -> list[Prepared]:
    """What `measure_costs` does before it measures: compile every arm.

    Args:
        pairs: (config, module) of each arm.
        dataset: The images.
        go_on: Asked before each arm; where it says no, the arms so far are returned.
    """
    feeds: dict[str, Any] = {}
    return [_prepare(config, module, dataset, feeds) for config, module in pairs if go_on()]


def make_stopwatch(
    input_shape: Sequence[int], num_classes: int, batch_size: int, *, rounds: int = 3
) -> Callable[[ModelSpec | linen.Module], float]:
    """A function that times a model's training step on random images, in seconds (median of a few turns).

    The last few models stay compiled, so that measuring them again takes no time beyond the steps.

    Args:
        input_shape: (H, W, C) of one image.
        num_classes: Length of the logits.
        batch_size: Examples a step.
        rounds: Turns a measurement.
    """
    dataset = _random_images(tuple(input_shape), num_classes, batch_size)

    def prepare(model: ModelSpec | linen.Module) -> Prepared:
        own = isinstance(model, linen.Module)
        config = RunConfig(batch_size=batch_size) if own else RunConfig(model=model, batch_size=batch_size)
        prepared = _prepare(config, model if own else None, dataset, {})
        _turn(prepared, 2)
        return prepared

    remembered = lru_cache(maxsize=4)(prepare)

    def seconds(model: ModelSpec | linen.Module) -> float:
        try:
            hash(model)
        except TypeError:  # A module with list fields cannot be remembered, only compiled anew.
            prepared = prepare(model)
        else:
            prepared = remembered(model)
        steps = _steps(prepared)
        return float(np.median([_turn(prepared, steps) for _ in range(rounds)]))

    return seconds


def _measure(
    pairs: Sequence[Pair],
    dataset: Dataset,
    rounds: int,
    steps: int | None,
    warmup: int,
    prepared: Sequence[Prepared] | None = None,
) -> list[tuple[StepTime, StepCost]]:
    if not pairs:
        raise InputError("pairs=(): give at least one (config, module)")
    for name, value in (("rounds", rounds), ("steps", 1 if steps is None else steps), ("warmup", warmup)):
        if value < 1:
            raise InputError(f"{name}={value}: must be at least 1")
    arms = prepare(pairs, dataset) if prepared is None else prepared
    for arm in arms:
        _turn(arm, warmup)
    counts = [_steps(arm) if steps is None else steps for arm in arms]
    times: list[list[float]] = [[] for _ in arms]
    for turn in range(rounds):
        for offset in range(len(arms)):
            index = (turn + offset) % len(arms)
            times[index].append(_turn(arms[index], counts[index]))
    return [(_summary(values, arm.cost.compile_seconds), arm.cost) for values, arm in zip(times, arms, strict=True)]


def _summary(values: Sequence[float], compile_seconds: float) -> StepTime:
    low, middle, high = np.quantile(values, (0.25, 0.5, 0.75))
    return StepTime(float(middle), float(high - low), compile_seconds, tuple(values))


def _prepare(config: RunConfig, module: linen.Module | None, dataset: Dataset, feeds: dict[str, Any]) -> Prepared:
    parts = assemble(config, dataset, module)
    programs = parts.programs
    # One copy of the images on the device serves all arms.
    if programs.mode not in feeds:
        feeds[programs.mode] = programs.feed(dataset.train)
    init_key, key = jax.random.split(jax.random.key(config.seed))
    state = programs.place(jax.device_get(parts.init(init_key)))
    count = dataset.sizes["train"]
    batches = tuple(
        batch_indices(count, config.batch_size, seed=config.seed, step=step)
        for step in range(min(8, max(1, count // config.batch_size)))
    )
    if programs.mode == "jit":
        step, cost = _compile(parts, config, dataset, state)
    else:
        # Several devices: the program that training runs is compiled by its first call; memory is that of one device.
        start = time.perf_counter()
        state, sums = programs.train(state, feeds[programs.mode](*batches[0]), key)
        jax.block_until_ready(sums)
        step, seconds = programs.train, time.perf_counter() - start
        share = replace(config, batch_size=-(-config.batch_size // programs.devices))
        cost = StepCost(step_cost(share, dataset, module).memory_bytes, seconds)
    return Prepared(step, feeds[programs.mode], batches, key, [state], cost)


def _compile(
    parts: Assembly, config: RunConfig, dataset: Dataset, state: TrainState | None = None
) -> tuple[Callable[..., Any], StepCost]:
    """The training step compiled for its shapes; without a state, no array of the model's is made."""
    if state is None:
        init: Any = make_init(parts.module, parts.tx, dataset.image_shape)
        # Without jit: its compiler options may not be nested.
        state = jax.eval_shape(init.__wrapped__, jax.random.key(0))
    state = jax.tree.map(_shape, state)
    batch = {name: _shape(array, config.batch_size) for name, array in dataset.train.items()}
    batch["mask"] = jax.ShapeDtypeStruct((config.batch_size,), np.float32)
    program: Any = parts.programs.train
    start = time.perf_counter()
    compiled = program.lower(state, batch, jax.random.key(0)).compile()
    seconds = time.perf_counter() - start
    return compiled, StepCost(memory_bytes(compiled), seconds)


def _shape(array: Any, length: int | None = None) -> jax.ShapeDtypeStruct:
    shape = tuple(array.shape) if length is None else (length, *array.shape[1:])
    return jax.ShapeDtypeStruct(shape, array.dtype)


def _steps(arm: Prepared) -> int:
    """Steps that fill a turn, by the time of one."""
    return min(MOST_STEPS, max(1, round(TURN_SECONDS / max(_turn(arm, 1), 1e-9))))


def _turn(arm: Prepared, steps: int) -> float:
    """Seconds a step over some steps."""
    start, state, sums = time.perf_counter(), arm.held.pop(), None
    for step in range(steps):
        state, sums = arm.step(state, arm.feed(*arm.batches[step % len(arm.batches)]), arm.key)
    jax.block_until_ready((state, sums))
    arm.held.append(state)
    return (time.perf_counter() - start) / steps


def _random_images(shape: tuple[int, ...], classes: int, batch_size: int) -> Dataset:
    rng, count = np.random.default_rng(0), 2 * batch_size
    images = rng.integers(0, 256, (count, *shape), np.uint8)
    train = {"images": images, "labels": rng.integers(0, classes, count).astype(np.int32)}
    mean, std = np.full(shape[-1], 0.5, np.float32), np.full(shape[-1], 0.25, np.float32)
    names = tuple(map(str, range(classes)))
    return Dataset(
        "random", train, train, lambda: train, names, (shape[0], shape[1], shape[2]), mean, std, "", {"train": count}
    )
