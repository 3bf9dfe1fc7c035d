"""The only loop: fit over epochs, evaluate over a split."""

import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import numpy as np

from jaxcnn.data import batch_indices, epoch_order, steps_per_epoch
from jaxcnn.tasks import Task
from jaxcnn.train.checkpoint import Checkpoints
from jaxcnn.train.interrupt import Interrupted, graceful
from jaxcnn.train.parallel import Arrays, Feed, Programs
from jaxcnn.train.state import TrainState
from jaxcnn.train.writers import Bar, Writer, epoch_line

Sums = dict[str, float]
# How often the console is told: fetching a number waits for the device.
REPORT_SECONDS = 0.25


class Plan(NamedTuple):
    """How long and in which order `fit` trains.

    Args:
        epochs: Passes over the training split.
        batch_size: Examples a step, all devices together.
        seed: Of the order; the batch of a step is a function of (seed, step).
        checkpoint_every: Epochs between checkpoints; the last epoch is always saved.
    """

    epochs: int
    batch_size: int
    seed: int
    checkpoint_every: int = 1


def fit(
    state: TrainState,
    programs: Programs,
    task: Task,
    train: Arrays,
    validation: Arrays,
    plan: Plan,
    key: jax.Array,
    *,
    sums: Mapping[str, float] | None = None,
    checkpoints: Checkpoints | None = None,
    writers: Sequence[Writer] = (),
    on_epoch: Callable[[dict[str, Any]], None] | None = None,
    progress: bool = False,
    name: str = "train",
) -> tuple[TrainState, list[dict[str, Any]]]:
    """Train from `state.step` to the end of the plan.

    Args:
        state: Host state; a restored one goes on where it was, to the bit.
        programs: The steps, bound to devices.
        task: Names what the sums mean.
        train: Arrays of the training split, one leading length.
        validation: Likewise; evaluated after each epoch.
        plan: Length and order.
        key: The run's key; every step folds its own number in.
        sums: Sums of an epoch under way, as restored beside the state.
        checkpoints: Where the state is saved; None: nowhere.
        writers: Each takes one record an epoch.
        on_epoch: Called with each record after the writers.
        progress: Show the console's progress bar.
        name: The bar's label.

    Returns:
        The final host state, and the records of the epochs trained here.

    Raises:
        Interrupted: SIGINT or SIGTERM arrived; the state of the last whole step is saved.
    """
    per_epoch = steps_per_epoch(examples(train), plan.batch_size)
    first = int(state.step) // per_epoch
    carried: Sums = dict(sums or {}) if int(state.step) % per_epoch else {}
    feed, validation_feed = programs.feed(train), programs.feed(validation)
    placed, records = programs.place(state), []
    with graceful() as asked, Bar(plan.epochs * per_epoch, int(state.step), name, progress) as bar:
        for epoch in range(first, plan.epochs):
            start = time.perf_counter()
            begun = int(state.step) if epoch == first else epoch * per_epoch
            placed, carried, step = _epoch(placed, programs, task, feed, train, plan, key, begun, carried, asked, bar)
            if step < (epoch + 1) * per_epoch:
                _stop(programs.fetch(placed), carried, checkpoints)
            seconds = time.perf_counter() - start
            record = {"epoch": epoch + 1, "step": step, **_named("train", task.metrics(carried))}
            held_out, _ = evaluate(placed, programs, validation_feed, examples(validation), plan.batch_size)
            record |= _named("validation", task.metrics(held_out))
            record |= {"steps_timed": step - begun, "seconds": seconds}
            records.append(record)
            for writer in writers:
                writer.write(record)
            carried = {}
            if checkpoints is not None and ((epoch + 1) % plan.checkpoint_every == 0 or epoch + 1 == plan.epochs):
                checkpoints.save(programs.fetch(placed), {})
            if on_epoch is not None:
                on_epoch(record)
            if progress:
                bar.print(epoch_line(record, plan.epochs))
            if asked() and epoch + 1 < plan.epochs:
                _stop(programs.fetch(placed), {}, checkpoints)
    return programs.fetch(placed), records


def evaluate(
    state: TrainState, programs: Programs, feed: Feed, count: int, batch_size: int
) -> tuple[Sums, dict[str, np.ndarray]]:
    """Sums over `count` examples in stored order, and the decoded predictions of each.

    Args:
        state: State on the devices (`programs.place`).
        programs: The steps.
        feed: Batches of the split (`programs.feed(arrays)`).
        count: Examples in the split.
        batch_size: Examples a step; the last batch is padded and masked.
    """
    totals: Sums = {}
    decoded: list[dict[str, np.ndarray]] = []
    for step in range(steps_per_epoch(count, batch_size)):
        indices, mask = batch_indices(count, batch_size, seed=0, step=step, shuffle=False)
        sums, predictions = programs.evaluate(state, feed(indices, mask))
        totals = _add(totals, jax.device_get(sums))
        real = np.flatnonzero(mask)
        decoded.append({k: np.asarray(v)[real] for k, v in predictions.items()})
    return totals, {k: np.concatenate([part[k] for part in decoded]) for k in decoded[0]}


def examples(arrays: Arrays) -> int:
    """Examples in a split: the leading length that its arrays share."""
    return len(next(iter(arrays.values())))


def _epoch(
    state: TrainState,
    programs: Programs,
    task: Task,
    feed: Feed,
    train: Arrays,
    plan: Plan,
    key: jax.Array,
    begun: int,
    totals: Sums,
    asked: Callable[[], bool],
    bar: Bar,
) -> tuple[TrainState, Sums, int]:
    """Steps from `begun` to the end of its epoch, or to the first step after a signal."""
    waiting: list[Any] = []
    step, told, told_at = begun, begun, time.perf_counter()
    count = examples(train)
    epoch = begun // steps_per_epoch(count, plan.batch_size)
    order = epoch_order(count, plan.seed, epoch)
    while step < (epoch + 1) * steps_per_epoch(count, plan.batch_size):
        indices, mask = batch_indices(count, plan.batch_size, seed=plan.seed, step=step, order=order)
        state, sums = programs.train(state, feed(indices, mask), key)
        waiting.append(sums)
        step += 1
        now = time.perf_counter()
        last = step == (epoch + 1) * steps_per_epoch(count, plan.batch_size)
        if now - told_at > REPORT_SECONDS or last or asked():
            totals = _add(totals, *jax.device_get(waiting))
            waiting = []
            # Fetching waited for the device, so the clock is read again before it counts as speed.
            now = time.perf_counter()
            bar.update(step, task.metrics(totals), (step - told) * plan.batch_size / (now - told_at))
            told, told_at = step, now
        if asked():
            break
    return state, totals, step


def _stop(state: TrainState, sums: Sums, checkpoints: Checkpoints | None) -> None:
    if checkpoints is None:
        raise Interrupted(f"interrupted after step {int(state.step)}; nothing was saved: no output folder was given")
    checkpoints.save(state, sums)
    raise Interrupted(f"interrupted after step {int(state.step)}, saved; the same command goes on from there")


def _add(totals: Sums, *parts: Mapping[str, Any]) -> Sums:
    """One after another in float64, so that totals do not depend on how often the console asked."""
    result = dict(totals)
    for part in parts:
        for name, value in part.items():
            result[name] = result.get(name, 0.0) + float(value)
    return result


def _named(prefix: str, metrics: Mapping[str, float]) -> dict[str, float]:
    return {f"{prefix}_{name}": value for name, value in metrics.items()}
