"""The only loop: fit over epochs, of one run or of several in one program."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, NoReturn

import jax
import numpy as np

from jaxcnn.data import batch_indices, epoch_order, steps_per_epoch
from jaxcnn.data.stream import read_ahead
from jaxcnn.errors import InputError
from jaxcnn.runtime.signals import Interrupted, graceful
from jaxcnn.spec import RunConfig
from jaxcnn.tasks import Task
from jaxcnn.train.checkpoint import Checkpoints
from jaxcnn.train.divergence import finite, poisoned, states_before
from jaxcnn.train.evaluation import Sums, add, examples, totals
from jaxcnn.train.log import Bar, Writer, epoch_line
from jaxcnn.train.optimizer import factors_by_epoch
from jaxcnn.train.parallel import Arrays, Programs, advance, stretch_length, to_host
from jaxcnn.train.parallel.hosts import agreed
from jaxcnn.train.state import TrainState
from jaxcnn.train.step import NONFINITE

REPORT_SECONDS = 0.25
"""Time between two updates of the console: fetching a number waits for the device."""
Order = Callable[[int, int, int], np.ndarray]
Record = dict[str, Any]
OnStep = Callable[[Record, Callable[[], TrainState]], None]


@dataclass
class Run:
    """One run while it trains; `fit` brings it to its end.

    Args:
        config: The run; its length, order, checkpoints and patience are read here.
        state: Host state.
        key: The run's PRNG key; every step folds its own number in.
        checkpoints: Where the state is saved. Default: nowhere.
        writers: Each takes a record and the state per epoch.
        on_epoch: Called with each record after the writers.
        on_step: Called after every step with a record of that step alone and a function that fetches its state. Steps
            are then not to be scanned.
        scheduled: Whether its learning rates are those of `config.optimizer`, so that they are recorded.
        history: Records of the epochs so far.
        sums: Sums of the epoch under way, where a run resumes within one.
        diverged: Step whose loss or gradients were not finite, `state` being the state before it.
    """

    config: RunConfig
    state: TrainState
    key: jax.Array
    checkpoints: Checkpoints | None = None
    writers: Sequence[Writer] = ()
    on_epoch: Callable[[Record], None] | None = None
    on_step: OnStep | None = None
    scheduled: bool = True
    history: list[Record] = field(default_factory=list)
    sums: Sums = field(default_factory=dict)
    diverged: int | None = None

    @property
    def out_of_patience(self) -> bool:
        """Whether the validation loss has not become lower for `patience` epochs."""
        patience = self.config.patience
        if patience is None or not self.history:
            return False
        if "validation_loss" not in self.history[0]:
            raise InputError(f"patience={patience}: the task's metrics have no loss; leave patience out")
        losses = [record["validation_loss"] for record in self.history]
        return len(losses) - 1 - int(np.argmin(losses)) >= patience


def fit(
    runs: Sequence[Run],
    programs: Programs,
    task: Task,
    train: Arrays,
    validation: Arrays,
    *,
    order: Order = epoch_order,
    progress: bool = False,
    name: str = "train",
) -> None:
    """Train runs from their states to the end of their configs: one, or several side by side in one program.

    Each ends as it would have ended alone, with its final host state in `state` and a record per epoch in `history`; a
    restored one goes on to the bit. A run whose loss or gradients are not finite ends there (unless its config skips
    such steps): `diverged` is the step, `state` the state before it.

    Args:
        runs: All at the same step; their configs may differ in seed, learning rate and weight decay only.
        programs: The steps, bound to devices, made for as many runs.
        task: Names what the sums mean.
        train: Arrays of the training split, one leading length; those of `validation` are evaluated after each epoch.
        order: (number of examples, seed, epoch) -> indices of the examples in the order of that epoch, as many in every
            epoch, in batches that are full whatever `config.batches` says. Default: a permutation.
        progress: Show the progress bar, with the label `name`.

    Raises:
        InputError: Runs that cannot be trained side by side.
        Interrupted: SIGINT or SIGTERM arrived; the state of the last whole step (several hosts: epoch) is saved.

    >>> from flax import linen
    >>> from jaxcnn.spec import OptimizerConfig, RunConfig
    >>> from jaxcnn.tasks import classification
    >>> from jaxcnn.train import make_eval_step, make_init, make_optimizer, make_train_step, single_device
    >>> task, module, tx = classification(), linen.Dense(10), make_optimizer(OptimizerConfig(), 4, 2)
    >>> programs = single_device(make_train_step(module, tx, task), make_eval_step(module, task))
    >>> split = {"images": np.ones((8, 64), np.float32), "labels": np.zeros(8, np.int32)}
    >>> state, key = make_init(module, tx, (64,))(jax.random.key(0)), jax.random.key(1)
    >>> one = Run(RunConfig(epochs=2, batch_size=4), state, key)
    >>> fit([one], programs, task, split, split)
    >>> len(one.history)
    2
    """
    _refuse_unlike(runs, programs)
    config, step = runs[0].config, int(runs[0].state.step)
    count = len(order(examples(train), config.seed, 0))
    per_epoch = steps_per_epoch(count, config.batch_size)
    sums = [run.sums if step % per_epoch else {} for run in runs]
    for run in runs:
        if config.on_nonfinite == "stop" and int(run.state.skipped) > 0:  # it was saved between its end and its record
            run.diverged = int(run.state.step)
    shape = replace(config.optimizer, learning_rate=1.0, milestones=tuple(config.optimizer.milestones), frozen=())
    factors = factors_by_epoch(shape, config.epochs, per_epoch)
    ended, feed = [False for _ in runs], programs.feed(validation)
    trainer = _Trainer(runs, programs, task, train, count, order)
    state = programs.place(programs.join([run.state for run in runs]))
    ahead = read_ahead(
        train if len(runs) == 1 and order is epoch_order else {},
        batch_size=config.batch_size, seed=config.seed, start=step, stop=config.epochs * per_epoch,
        shard=(jax.process_index(), jax.process_count()), even=trainer.even, workers=config.data.workers,
    )  # fmt: skip
    with graceful() as stop_requested, Bar(config.epochs * per_epoch, step, name, progress) as bar, ahead:
        for epoch in range(step // per_epoch, config.epochs):
            if all(ended) or runs[0].out_of_patience:
                break
            # Several hosts stop after the same epoch: one that stopped before would leave the others waiting forever.
            stop = stop_requested if jax.process_count() == 1 else lambda: False
            started, first, end = time.perf_counter(), step, (epoch + 1) * per_epoch
            state, sums, step = trainer.train(state, sums, range(step, end), bar, stop)
            seconds = (time.perf_counter() - started) / len(runs)
            states, sums = trainer.settle(state, sums, step)
            if step < end and any(run.diverged is None for run in runs):
                trainer.stop(states, sums, step)
            lost = [run.diverged is not None for run in runs]
            with read_ahead(validation, batch_size=config.batch_size, shuffle=False):
                unseen = totals(poisoned(state, lost), programs, feed, examples(validation), config.batch_size)
            for place, run in enumerate(runs):
                run.state = states[place]
                if not ended[place]:
                    reached = step if run.diverged is None else run.diverged
                    record = _record(task, epoch + 1, reached, sums[place], unseen[place], config)
                    if run.scheduled:
                        record["learning_rate"] = run.config.optimizer.learning_rate * float(factors[epoch])
                    run.history.append(record | {"steps_timed": reached - first, "seconds": seconds})
                    # Before the checkpoint: a line too many is dropped when a run resumes, one too few would be missed.
                    for writer in run.writers:
                        writer.write(run.history[-1], run.state)
            last = all(lost) or epoch + 1 == config.epochs or runs[0].out_of_patience
            if any(lost) or (config.keep > 0 if last else (epoch + 1) % config.checkpoint_every == 0):
                ill = [part if gone else {} for part, gone in zip(sums, lost, strict=True)]
                trainer.save(states, ill, step, [run.history[-1] for run in runs], skip=ended)
            reported = [run for run, over in zip(runs, ended, strict=True) if not over]
            for run in reported:
                if run.on_epoch is not None:
                    run.on_epoch(run.history[-1])
            if progress:
                line = epoch_line(mean([run.history[-1] for run in reported]), config.epochs)
                bar.print(line, highlight=False, soft_wrap=True)
            sums, ended = [{} for _ in runs], lost
            if agreed(stop_requested()) and not last:
                trainer.stop(states, sums, step)


class _Trainer:
    """The steps of runs in one program: trained, saved, and looked into where a number is not finite."""

    def __init__(
        self, runs: Sequence[Run], programs: Programs, task: Task, train: Arrays, count: int, order: Order
    ) -> None:
        self.runs, self.programs, self.task, self.count, self.order = runs, programs, task, count, order
        self.config, self.train_arrays = runs[0].config, train
        self.advance, self.key = advance(programs, train), programs.join([run.key for run in runs])
        self.per_epoch = steps_per_epoch(count, self.config.batch_size)
        self.even = self.config.batches == "even" and order is epoch_order  # other orders plan whole batches
        step = int(runs[0].state.step)
        self.saved = step, time.monotonic()
        self.checked = step, [run.state for run in runs], [dict(run.sums) for run in runs]
        """Step, host states and sums at which all numbers were finite."""
        self.settled: set[int] = set()
        """Runs that have diverged and hold the state before that step."""

    def batches(self, steps: range, orders: Sequence[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
        """Return indices and masks (S, B) of some steps of one epoch, joined over the runs."""
        size, chosen = self.config.batch_size, []
        for run, order in zip(self.runs, orders, strict=True):
            how: Any = {"seed": run.config.seed, "order": order, "even": self.even}
            rows = [batch_indices(self.count, size, step=step, **how) for step in steps]
            chosen.append((np.stack([indices for indices, _ in rows]), np.stack([mask for _, mask in rows])))
        indices, masks = (self.programs.join([part[i] for part in chosen]) for i in (0, 1))
        return indices, masks

    def orders(self, epoch: int) -> list[np.ndarray]:
        """Return the order of an epoch, one per run."""
        return [self.order(examples(self.train_arrays), run.config.seed, epoch) for run in self.runs]

    def train(
        self, state: TrainState, sums: list[Sums], steps: range, bar: Bar, stop_requested: Callable[[], bool]
    ) -> tuple[TrainState, list[Sums], int]:
        """Train an epoch's steps until a signal arrives or every run has diverged: device state, sums, step reached."""
        orders, length = self.orders(steps.start // self.per_epoch), stretch_length(self.programs, self.per_epoch)
        step, waiting, reported, reported_at = steps.start, [], steps.start, time.perf_counter()
        while step < steps.stop and any(run.diverged is None for run in self.runs) and not stop_requested():
            stretch = range(step, min(step + length, steps.stop))
            state, added = self.advance(state, *self.batches(stretch, orders), self.key)
            waiting.append(added)
            step, now = stretch.stop, time.perf_counter()
            self.report(state, added, step)
            due = self.due(step)
            if now - reported_at > REPORT_SECONDS or step == steps.stop or due or stop_requested():
                for part in to_host(waiting):
                    sums = [add(*pair) for pair in zip(sums, self.programs.part(part), strict=True)]
                waiting = []
                for run, part in zip(self.runs, sums, strict=True):
                    if self.config.on_nonfinite == "stop" and run.diverged is None and part.get(NONFINITE, 0.0) > 0:
                        run.diverged = step  # at this step or before it: `settle` finds it
                # Fetching waited for the device, so the clock is read again before it counts as speed.
                now = time.perf_counter()
                done = (step - reported) * self.config.batch_size * len(self.runs)
                bar.show(step, mean([self.task.metrics(part) for part in sums]), done / (now - reported_at))
                reported, reported_at = step, now
                if due and step < steps.stop:
                    self.save(*self.settle(state, sums, step), step)
        return state, sums, step

    def report(self, state: TrainState, added: Any, step: int) -> None:
        """Call the runs' `on_step`, as far as they have one and have not diverged."""
        if all(run.on_step is None for run in self.runs):
            return
        for place, (run, sums) in enumerate(zip(self.runs, self.programs.part(to_host(added)), strict=True)):
            if run.on_step is not None and run.diverged is None:
                metrics = {f"train_{name}": value for name, value in self.task.metrics(add({}, sums)).items()}
                record = {"step": step, "epoch": (step - 1) // self.per_epoch + 1, **metrics}
                run.on_step(record, lambda place=place: self.programs.part(self.programs.fetch(state))[place])

    def settle(self, state: TrainState, sums: list[Sums], step: int) -> tuple[list[TrainState], list[Sums]]:
        """Return host states and sums, those of a run that has just diverged as they were before that step.

        The fast program does not look at gradients; it only counts losses that are not finite. So weights are looked at
        here, and where a number is not finite the steps since the last look are trained once more, one by one.
        """
        states = self.programs.part(self.programs.fetch(state))
        if self.config.on_nonfinite == "stop":
            for run, lane in zip(self.runs, states, strict=True):
                if run.diverged is None and not finite(lane.params):
                    run.diverged = step
            lanes = [i for i, run in enumerate(self.runs) if run.diverged is not None and i not in self.settled]
            if lanes:
                first, kept, carried = self.checked
                orders = self.orders(first // self.per_epoch)
                batches = (self.batches(range(each, each + 1), orders) for each in range(first, step))
                before = states_before(kept, carried, batches, self.programs, self.train_arrays, self.key, lanes)
                for lane in lanes:
                    run = self.runs[lane]
                    run.state, run.sums = before[lane]
                    run.sums = run.sums or dict.fromkeys(sums[lane], 0.0)  # it was the first step of an epoch
                    run.diverged = int(run.state.step)
                self.settled |= set(lanes)
            for lane in self.settled:
                states[lane], sums[lane] = self.runs[lane].state, self.runs[lane].sums
        self.checked = step, states, sums if step % self.per_epoch else [{} for _ in sums]
        return states, sums

    def save(
        self, states: Sequence[TrainState], sums: Sequence[Sums], step: int, records: Sequence[Record] | None = None,
        skip: Sequence[bool] = (),
    ) -> None:  # fmt: skip
        """Save every run that has checkpoints, with the epoch's record at the end of one."""
        for place, run in enumerate(self.runs):
            if run.checkpoints is not None and not (skip and skip[place]):
                run.checkpoints.save(states[place], sums[place], None if records is None else records[place])
        self.saved = step, time.monotonic()

    def due(self, step: int) -> bool:
        """Return whether to save within an epoch: enough steps or minutes have passed since the last save."""
        (last, since), every, minutes = self.saved, self.config.checkpoint_steps, self.config.checkpoint_minutes
        if step == last or not any(run.checkpoints for run in self.runs):
            return False
        if every is not None and step - last >= every:
            return True
        # Several hosts save together, and their clocks differ.
        return minutes is not None and jax.process_count() == 1 and time.monotonic() - since >= 60 * minutes

    def stop(self, states: Sequence[TrainState], sums: Sequence[Sums], step: int) -> NoReturn:
        """Save and raise `Interrupted`, because a signal asked for it."""
        self.save(states, sums, step)
        if any(run.checkpoints is None for run in self.runs):
            raise Interrupted(f"interrupted after step {step}; nothing was saved: no output folder was given")
        raise Interrupted(f"interrupted after step {step}, saved; run the same command again to resume", resumable=True)


def mean(rows: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Return what the console shows of several runs: the mean of each measured number."""
    if len(rows) == 1:
        return dict(rows[0])
    return {
        name: float(np.mean([row[name] for row in rows])) if isinstance(first, float) else first
        for name, first in rows[0].items()
    }


def _record(task: Task, epoch: int, step: int, sums: Sums, unseen: Sums, config: RunConfig) -> Record:
    """Return what is reported of an epoch, without its time."""
    record: Record = {"epoch": epoch, "step": step}
    for split, measured in (("train", sums), ("validation", unseen)):
        record |= {f"{split}_{name}": value for name, value in task.metrics(measured).items()}
    return record | ({"skipped": int(sums[NONFINITE])} if config.on_nonfinite == "skip" else {})


def _refuse_unlike(runs: Sequence[Run], programs: Programs) -> None:
    config = runs[0].config
    if len(runs) != programs.members:
        raise InputError(f"runs: {len(runs)} given, but the programs were made for {programs.members}")
    if len(runs) > 1 and config.patience is not None:
        raise InputError(f"patience={config.patience}: runs in one program end together; train them one after another")
    if len({_alike(run.config) for run in runs}) > 1:
        raise InputError("runs: their configs differ in more than seed and rates; train them one after another")
    if len(steps := {int(run.state.step) for run in runs}) > 1:
        raise InputError(f"runs: they are at steps {sorted(steps)}; train together only those at the same step")


def _alike(config: RunConfig) -> RunConfig:
    """Return a config without what runs in one program may differ in."""
    return replace(config, seed=0, optimizer=replace(config.optimizer, learning_rate=0.0, weight_decay=0.0))
