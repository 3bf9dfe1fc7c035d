"""The steps of one epoch: dispatched without waiting, told to the console, saved when that is due."""

import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import numpy as np

from jaxcnn.data import batch_indices, epoch_order, steps_per_epoch
from jaxcnn.tasks import Task
from jaxcnn.train.divergence import halted
from jaxcnn.train.evaluation import Sums, add
from jaxcnn.train.log import Bar
from jaxcnn.train.member import Member, Plan
from jaxcnn.train.parallel import Programs, Stretch, stretch_length
from jaxcnn.train.saving import Saving
from jaxcnn.train.state import TrainState

# How often the console is told: fetching a number waits for the device.
REPORT_SECONDS = 0.25


class Course(NamedTuple):
    """What stays the same from epoch to epoch; `length` examples, `advance` makes a stretch of steps."""

    members: Sequence[Member]
    programs: Programs
    task: Task
    length: int
    advance: Stretch
    saving: Saving


def train_epoch(
    state: TrainState, run: Course, begun: int, totals: list[Sums], asked: Callable[[], bool], bar: Bar
) -> tuple[TrainState, list[Sums], int]:
    """Steps from `begun` to the end of its epoch, or to the end of the stretch in which a signal arrived.

    Where all members have diverged it ends as soon as that is known.

    Args:
        state: On the devices.
        run: What stays the same.
        begun: The step to begin with.
        totals: Sums of the epoch so far, one a member.
        asked: Whether a signal has arrived.
        bar: Told now and then.

    Returns:
        State, sums and the step reached.

    Raises:
        Unsound: See `Saving.inspect`.
    """
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
        due = run.saving.due(step)
        if now - told_at > REPORT_SECONDS or step == end or due or asked():
            for part in jax.device_get(waiting):
                totals = [add(*pair) for pair in zip(totals, run.programs.part(part), strict=True)]
            waiting = []
            if step == end or any(map(halted, totals)):
                run.saving.inspect(state, totals)
            # Fetching waited for the device, so the clock is read again before it counts as speed.
            now = time.perf_counter()
            done = (step - told) * plan.batch_size * len(run.members)
            bar.update(step, mean([run.task.metrics(sums) for sums in totals]), done / (now - told_at))
            told, told_at = step, now
            if not plan.skip_nonfinite and all(map(halted, totals)):
                break
            if due and step < end:
                run.saving.save(state, totals)
        if asked():
            break
    return state, totals, step


def _stacked(count: int, plan: Plan, steps: range, order: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Indices and masks (S, B) of some steps of one epoch."""
    batches = [batch_indices(count, plan.batch_size, seed=plan.seed, step=step, order=order) for step in steps]
    return np.stack([indices for indices, _ in batches]), np.stack([mask for _, mask in batches])


def mean(rows: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """What the console shows of several members: the mean of what is measured."""
    if len(rows) == 1:
        return dict(rows[0])
    return {
        name: float(np.mean([row[name] for row in rows])) if isinstance(first, float) else first
        for name, first in rows[0].items()
    }
