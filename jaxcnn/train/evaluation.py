"""Sums and predictions over a split, and how sums add up."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from jaxcnn.data import batch_indices, steps_per_epoch
from jaxcnn.train.parallel import Arrays, Feed, Programs, to_host
from jaxcnn.train.state import TrainState

Sums = dict[str, float]
DISPATCHED = 32


def evaluate(
    state: TrainState, programs: Programs, feed: Feed, count: int, batch_size: int
) -> tuple[Sums, dict[str, np.ndarray]]:
    """Compute sums over `count` examples in stored order, and the decoded predictions of each.

    Args:
        state: State on the devices (`programs.place`), of one run.
        feed: Batches of the split (`programs.feed(arrays)`).
        batch_size: Examples a step; the last batch is padded and masked.
    """
    summed: Sums = {}
    decoded: list[dict[str, np.ndarray]] = []
    for indices, mask in _in_order(count, batch_size):
        sums, predictions = programs.evaluate(state, feed(indices, mask))
        summed = add(summed, to_host(sums))
        real = np.flatnonzero(mask)
        decoded.append({k: np.asarray(v)[real] for k, v in predictions.items()})
    return summed, {k: np.concatenate([part[k] for part in decoded]) for k in decoded[0]}


def examples(arrays: Arrays) -> int:
    """Return the number of examples in a split: the leading length that its arrays share."""
    return len(next(iter(arrays.values())))


def _in_order(count: int, batch_size: int) -> list[tuple[np.ndarray, np.ndarray]]:
    steps = range(steps_per_epoch(count, batch_size))
    return [batch_indices(count, batch_size, seed=0, step=step, shuffle=False) for step in steps]


def totals(state: TrainState, programs: Programs, feed: Feed, count: int, batch_size: int) -> list[Sums]:
    """Compute the sums over a split, one per run of the programs; many batches are dispatched before one waits."""
    parts: list[Any] = []
    waiting: list[Any] = []
    batches = _in_order(count, batch_size)
    for place, (indices, mask) in enumerate(batches, 1):
        waiting.append(programs.evaluate(state, feed(indices, mask))[0])
        if place % DISPATCHED == 0 or place == len(batches):  # else streamed batches would pile up
            parts += [programs.part(sums) for sums in to_host(waiting)]
            waiting = []
    return [add({}, *of_one) for of_one in zip(*parts, strict=True)]


def add(totals: Sums, *parts: Mapping[str, Any]) -> Sums:
    """Add sums one after another in float64, so that totals do not depend on how many steps were fetched at once."""
    result = dict(totals)
    for part in parts:
        for name, values in part.items():
            for value in np.ravel(values):
                result[name] = result.get(name, 0.0) + float(value)
    return result
