"""The only loop: fit over epochs, of one run or of several in one program."""

import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import numpy as np

from jaxcnn.data import batch_indices, epoch_order, steps_per_epoch
from jaxcnn.errors import InputError
from jaxcnn.tasks import Task
from jaxcnn.train.checkpoint import Checkpoints
from jaxcnn.train.evaluation import Sums, add, examples, totals_of
from jaxcnn.train.interrupt import Interrupted, graceful
from jaxcnn.train.parallel import Arrays, Programs, Stretch, advance, stretch_length
from jaxcnn.train.parallel.hosts import agreed
from jaxcnn.train.state import TrainState
from jaxcnn.train.writers import Bar, Writer, epoch_line

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


class Member(NamedTuple):
    """One run: what it does not share with others in its program. The arguments of `fit`, which explains them."""

    state: TrainState
    plan: Plan
    key: jax.Array
    sums: Mapping[str, float] | None = None
    checkpoints: Checkpoints | None = None
    writers: Sequence[Writer] = ()
    on_epoch: Callable[[dict[str, Any]], None] | None = None


Fitted = tuple[TrainState, list[dict[str, Any]]]


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
) -> Fitted:
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
        Interrupted: SIGINT or SIGTERM arrived; the state of the last whole step (on several hosts: epoch) is saved.
    """
    member = Member(state, plan, key, sums, checkpoints, writers, on_epoch)
    return fit_together([member], programs, task, train, validation, progress=progress, name=name)[0]


def fit_together(
    members: Sequence[Member],
    programs: Programs,
    task: Task,
    train: Arrays,
    validation: Arrays,
    *,
    progress: bool = False,
    name: str = "train",
) -> list[Fitted]:
    """Train several runs side by side, as many as the programs were made for; each ends as it would have alone.

    Args:
        members: The runs, all at the same step; their plans may differ in the seed only.
        programs: The steps, bound to devices.
        task: As for `fit`, and so are the other arguments.

    Returns:
        As `fit`, one a member. A record's seconds are the member's share of the time that all took.

    Raises:
        InputError: Members that cannot be trained side by side.
        Interrupted: SIGINT or SIGTERM arrived; all members are saved.
    """
    _refuse_unlike(members, programs)
    plan, step = members[0].plan, int(members[0].state.step)
    per_epoch = steps_per_epoch(examples(train), plan.batch_size)
    carried: list[Sums] = [dict(member.sums or {}) if step % per_epoch else {} for member in members]
    histories: list[list[dict[str, Any]]] = [[] for _ in members]
    run = _Course(members, programs, task, examples(train), advance(programs, train))
    feed = programs.feed(validation)
    # Several hosts stop after the same epoch: one that stopped a step earlier would leave the others waiting forever.
    alone = jax.process_count() == 1
    placed = programs.place(programs.join([member.state for member in members]))
    with graceful() as asked, Bar(plan.epochs * per_epoch, step, name, progress) as bar:
        for epoch in range(step // per_epoch, plan.epochs):
            start, begun = time.perf_counter(), step
            placed, carried, step = _epoch(placed, run, begun, carried, asked if alone else _never, bar)
            if step < (epoch + 1) * per_epoch:
                _stop(members, programs.part(programs.fetch(placed)), carried)
            seconds = (time.perf_counter() - start) / len(members)
            held_out = totals_of(placed, programs, feed, examples(validation), plan.batch_size)
            due = (epoch + 1) % plan.checkpoint_every == 0 or epoch + 1 == plan.epochs
            saved = _to_save(members, programs, placed) if due else [None] * len(members)
            records = [
                {
                    "epoch": epoch + 1, "step": step,
                    **_named("train", task.metrics(sums)), **_named("validation", task.metrics(unseen)),
                    "steps_timed": step - begun, "seconds": seconds,
                }
                for sums, unseen in zip(carried, held_out, strict=True)
            ]  # fmt: skip
            for member, history, record, state in zip(members, histories, records, saved, strict=True):
                history.append(record)
                _report(member, record, state)
            carried = [{} for _ in members]
            if progress:
                bar.print(epoch_line(_mean(records), plan.epochs))
            if agreed(asked()) and epoch + 1 < plan.epochs:
                _stop(members, programs.part(programs.fetch(placed)), carried)
    return list(zip(programs.part(programs.fetch(placed)), histories, strict=True))


class _Course(NamedTuple):
    """What stays the same from epoch to epoch; `length` examples, `advance` makes a stretch of steps."""

    members: Sequence[Member]
    programs: Programs
    task: Task
    length: int
    advance: Stretch


def _epoch(
    state: TrainState, run: _Course, begun: int, totals: list[Sums], asked: Callable[[], bool], bar: Bar
) -> tuple[TrainState, list[Sums], int]:
    """Steps from `begun` to the end of its epoch, or to the end of the stretch in which a signal arrived."""
    plan, join = run.members[0].plan, run.programs.join
    per_epoch = steps_per_epoch(run.length, plan.batch_size)
    epoch, length = begun // per_epoch, stretch_length(run.programs, per_epoch)
    end = (epoch + 1) * per_epoch
    orders = [epoch_order(run.length, member.plan.seed, epoch) for member in run.members]
    key = join([member.key for member in run.members])
    waiting: list[Any] = []
    step, told, told_at = begun, begun, time.perf_counter()
    while step < end:
        steps = range(step, min(step + length, end))
        chosen = [
            _stacked(run.length, member.plan, steps, order) for member, order in zip(run.members, orders, strict=True)
        ]
        indices, masks = (join([part[i] for part in chosen]) for i in (0, 1))
        state, sums = run.advance(state, indices, masks, key)
        waiting.append(sums)
        step = steps.stop
        now = time.perf_counter()
        if now - told_at > REPORT_SECONDS or step == end or asked():
            for part in jax.device_get(waiting):
                totals = [add(*pair) for pair in zip(totals, run.programs.part(part), strict=True)]
            waiting = []
            # Fetching waited for the device, so the clock is read again before it counts as speed.
            now = time.perf_counter()
            done = (step - told) * plan.batch_size * len(run.members)
            bar.update(step, _mean([run.task.metrics(sums) for sums in totals]), done / (now - told_at))
            told, told_at = step, now
        if asked():
            break
    return state, totals, step


def _stacked(count: int, plan: Plan, steps: range, order: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Indices and masks (S, B) of some steps of one epoch."""
    batches = [batch_indices(count, plan.batch_size, seed=plan.seed, step=step, order=order) for step in steps]
    return np.stack([indices for indices, _ in batches]), np.stack([mask for _, mask in batches])


def _never() -> bool:
    return False


def _refuse_unlike(members: Sequence[Member], programs: Programs) -> None:
    if len(members) != programs.members:
        raise InputError(f"members: {len(members)} given, and the programs were made for {programs.members}")
    if len({member.plan._replace(seed=0) for member in members}) > 1:
        raise InputError("members: their plans differ in more than the seed; train them one after another")
    if len(steps := {int(member.state.step) for member in members}) > 1:
        raise InputError(f"members: they are at steps {sorted(steps)}; train together those at the same step")


def _to_save(members: Sequence[Member], programs: Programs, placed: TrainState) -> list[TrainState | None]:
    """Host states where somebody saves them."""
    if all(member.checkpoints is None for member in members):
        return [None] * len(members)
    return programs.part(programs.fetch(placed))


def _report(member: Member, record: dict[str, Any], state: TrainState | None) -> None:
    for writer in member.writers:
        writer.write(record)
    if member.checkpoints is not None and state is not None:
        member.checkpoints.save(state, {})
    if member.on_epoch is not None:
        member.on_epoch(record)


def _stop(members: Sequence[Member], states: Sequence[TrainState], carried: Sequence[Sums]) -> None:
    for member, state, sums in zip(members, states, carried, strict=True):
        if member.checkpoints is not None:
            member.checkpoints.save(state, sums)
    step = int(states[0].step)
    if any(member.checkpoints is None for member in members):
        raise Interrupted(f"interrupted after step {step}; nothing was saved: no output folder was given")
    raise Interrupted(f"interrupted after step {step}, saved; the same command goes on from there")


def _mean(rows: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """What the console shows of several members: the mean of what is measured."""
    if len(rows) == 1:
        return dict(rows[0])
    return {
        name: float(np.mean([row[name] for row in rows])) if isinstance(first, float) else first
        for name, first in rows[0].items()
    }


def _named(prefix: str, metrics: Mapping[str, float]) -> dict[str, float]:
    return {f"{prefix}_{name}": value for name, value in metrics.items()}
