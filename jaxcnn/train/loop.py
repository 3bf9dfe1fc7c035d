"""The only loop: fit over epochs, of one run or of several in one program."""

import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from typing import Any, NamedTuple

import jax
import numpy as np

from jaxcnn.data import steps_per_epoch
from jaxcnn.data.stream import read_ahead
from jaxcnn.errors import InputError
from jaxcnn.runtime.signals import graceful
from jaxcnn.tasks import Task
from jaxcnn.train.checkpoint import Checkpoints
from jaxcnn.train.course import Course, mean, train_epoch
from jaxcnn.train.divergence import Unsound, halted, poisoned
from jaxcnn.train.evaluation import Sums, examples, totals_of
from jaxcnn.train.log import Bar, Writer, epoch_line
from jaxcnn.train.member import Member, Plan
from jaxcnn.train.parallel import Arrays, Feed, Programs, advance, warm_up
from jaxcnn.train.parallel.hosts import agreed
from jaxcnn.train.saving import Saving
from jaxcnn.train.state import TrainState
from jaxcnn.train.step import NONFINITE

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
    if programs.halting is not None and any(map(_has_diverged, members)):
        programs = programs.halting
    total = members[0].plan.epochs * steps_per_epoch(examples(train), members[0].plan.batch_size)
    bar = Bar(total, int(members[0].state.step), name, progress)
    with graceful() as asked, bar:
        job, saving = Job(task, train, validation, asked, bar, progress), Saving(members, programs)
        try:
            return _train(members, programs, job, saving)
        except Unsound:
            # Somewhere since the last save. The steps that look at every gradient find out where.
            return _train_again(saving.kept, members, programs, job)


class Job(NamedTuple):
    """What the members have in common: task, splits, whether a signal has arrived, and the console."""

    task: Task
    train: Arrays
    validation: Arrays
    asked: Callable[[], bool]
    bar: Bar
    progress: bool


def _train_again(kept: Sequence[Member], members: Sequence[Member], fast: Programs, job: Job) -> list[Fitted]:
    """Train from the last save with programs that halt."""
    programs = fast.halting
    assert programs is not None
    done = [list(map(dict, now.earlier[len(first.earlier) :])) for now, first in zip(kept, members, strict=True)]
    for member in kept:
        for writer in member.writers:
            writer.rewind(len(member.earlier))
    state, key = (programs.join([getattr(member, name) for member in kept]) for name in ("state", "key"))
    warm_up(programs, state, job.train, kept[0].plan.batch_size, key)  # apart from the seconds of an epoch
    fitted = _train(kept, programs, job, Saving(kept, programs))
    return [(state, [*before, *records]) for before, (state, records) in zip(done, fitted, strict=True)]


def _train(members: Sequence[Member], programs: Programs, job: Job, saving: Saving) -> list[Fitted]:
    plan, step = members[0].plan, int(members[0].state.step)
    per_epoch = steps_per_epoch(examples(job.train), plan.batch_size)
    carried: list[Sums] = [dict(member.sums or {}) if step % per_epoch else {} for member in members]
    feed, histories = programs.feed(job.validation), saving.histories
    run = Course(members, programs, job.task, examples(job.train), advance(programs, job.train), saving)
    # Several hosts stop after the same epoch: one that stopped a step earlier would leave the others waiting forever.
    asked = job.asked if jax.process_count() == 1 else _never
    placed, gone = programs.place(programs.join([member.state for member in members])), [False] * len(members)
    with _decoded_ahead(members, job.train, step):
        for epoch in range(step // per_epoch, plan.epochs):
            if all(gone) or _out_of_patience(members[0], histories[0]):
                break
            start, begun = time.perf_counter(), step
            placed, carried, step = train_epoch(placed, run, begun, carried, asked, job.bar)
            lost = [halted(sums) and not plan.skip_nonfinite for sums in carried]
            if step < (epoch + 1) * per_epoch and not all(lost):
                saving.stop(placed, carried, step)
            seconds = (time.perf_counter() - start) / len(members)
            held_out = _validated(poisoned(placed, lost), programs, feed, job.validation, plan)
            reached = _steps(placed, programs) if any(lost) else [step] * len(members)
            timed = [{"steps_timed": stop - begun, "seconds": seconds} for stop in reached]
            records = [
                None if over else _record(job.task, epoch + 1, stop, sums, unseen, plan) | times
                for over, stop, sums, unseen, times in zip(gone, reached, carried, held_out, timed, strict=True)
            ]
            _write(members, histories, records)
            last = all(lost) or epoch + 1 == plan.epochs or _out_of_patience(members[0], histories[0])
            if any(lost) or (plan.save_last if last else (epoch + 1) % plan.checkpoint_every == 0):
                saving.save(placed, [sums if ill else {} for sums, ill in zip(carried, lost, strict=True)], records)
            carried, gone = [{} for _ in members], lost
            _tell(members, records, job.bar if job.progress else None)
            if agreed(job.asked()) and not last:
                saving.stop(placed, carried, step)
    return list(zip(programs.part(programs.fetch(placed)), histories, strict=True))


def _validated(state: TrainState, programs: Programs, feed: Feed, validation: Arrays, plan: Plan) -> list[Sums]:
    """Sums of the validation split, one a member."""
    with read_ahead(validation, batch_size=plan.batch_size, shuffle=False):
        return totals_of(state, programs, feed, examples(validation), plan.batch_size)


def _decoded_ahead(members: Sequence[Member], train: Arrays, step: int) -> AbstractContextManager[None]:
    """Streamed images of the coming steps are decoded while the devices compute; several members ask for too many."""
    plan = members[0].plan
    return read_ahead(
        train if len(members) == 1 else {}, batch_size=plan.batch_size, seed=plan.seed, start=step,
        stop=plan.epochs * steps_per_epoch(examples(train), plan.batch_size),
        shard=(jax.process_index(), jax.process_count()), workers=plan.workers,
    )  # fmt: skip


def _record(task: Task, epoch: int, step: int, sums: Sums, unseen: Sums, plan: Plan) -> dict[str, Any]:
    """What is reported of an epoch, without its time."""
    found: dict[str, Any] = {"epoch": epoch, "step": step}
    found |= _named("train", task.metrics(sums)) | _named("validation", task.metrics(unseen))
    return found | ({"skipped": int(sums[NONFINITE])} if plan.skip_nonfinite else {})


def _write(
    members: Sequence[Member], histories: Sequence[list[dict[str, Any]]], records: Sequence[dict[str, Any] | None]
) -> None:
    """Before the checkpoint: a line too many is dropped when a run goes on, one too few would be missed."""
    for member, history, record in zip(members, histories, records, strict=True):
        if record is not None:
            history.append(record)
            for writer in member.writers:
                writer.write(record)


def _tell(members: Sequence[Member], records: Sequence[dict[str, Any] | None], bar: Bar | None) -> None:
    """The members' callers, and the console."""
    for member, record in zip(members, records, strict=True):
        if member.on_epoch is not None and record is not None:
            member.on_epoch(record)
    if bar is not None:
        line = mean([record for record in records if record is not None])
        bar.print(epoch_line(line, members[0].plan.epochs))


def _steps(placed: TrainState, programs: Programs) -> list[int]:
    """Steps that each member has made; one that diverged stays where it was."""
    return [int(state.step) for state in programs.part(programs.fetch(placed))]


def _out_of_patience(member: Member, history: Sequence[Mapping[str, Any]]) -> bool:
    """Whether the validation loss has not become lower for as many epochs as the plan bears."""
    losses = [record["validation_loss"] for record in (*member.earlier, *history)]
    if member.plan.patience is None or not losses:
        return False
    return len(losses) - 1 - int(np.argmin(losses)) >= member.plan.patience


def _has_diverged(member: Member) -> bool:
    """Whether it had when it was saved: its state must stay as it is."""
    return not member.plan.skip_nonfinite and (int(member.state.skipped) > 0 or halted(member.sums or {}))


def _never() -> bool:
    return False


def _refuse_unlike(members: Sequence[Member], programs: Programs) -> None:
    if len(members) != programs.members:
        raise InputError(f"members: {len(members)} given, and the programs were made for {programs.members}")
    if len(members) > 1 and members[0].plan.patience is not None:
        raise InputError(
            f"patience={members[0].plan.patience}: runs in one program end together; train them one after another"
        )
    if len({member.plan._replace(seed=0) for member in members}) > 1:
        raise InputError("members: their plans differ in more than the seed; train them one after another")
    if len(steps := {int(member.state.step) for member in members}) > 1:
        raise InputError(f"members: they are at steps {sorted(steps)}; train together those at the same step")


def _named(prefix: str, metrics: Mapping[str, float]) -> dict[str, float]:
    return {f"{prefix}_{name}": value for name, value in metrics.items()}
