"""Several devices of one process: pmap."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import jax
import numpy as np

from jaxcnn.tasks import Batch, Sums
from jaxcnn.train.parallel.programs import AXIS, Arrays, Device, Feed, Programs, gather, pad, pick
from jaxcnn.train.state import TrainState
from jaxcnn.train.step import EvalStep, TrainStep


def data_parallel(train: TrainStep, evaluate: EvalStep, devices: int | Sequence[Device] | None = None) -> Programs:
    """Drive the steps by pmap: state replicated, batches split; they must have been made with axis_name=AXIS.

    A batch that does not divide by the devices is padded with masked examples.

    Args:
        train: The step.
        evaluate: Likewise.
        devices: Which, or how many; None: all of this process.
    """
    devices = pick(devices, jax.local_devices())
    count = len(devices)
    mapped_train = jax.pmap(train, AXIS, in_axes=(0, 0, None), donate_argnums=0, devices=devices)
    mapped_evaluate = jax.pmap(evaluate, AXIS, devices=devices)

    def train_all(state: TrainState, batch: Batch, key: jax.Array) -> tuple[TrainState, Sums]:
        state, sums = mapped_train(state, batch, key)
        return state, _first(sums)

    def evaluate_all(state: TrainState, batch: Batch) -> tuple[Sums, dict[str, Any]]:
        sums, decoded = mapped_evaluate(state, batch)
        return _first(sums), {k: np.asarray(v).reshape(-1, *v.shape[2:]) for k, v in decoded.items()}

    def place(state: TrainState) -> TrainState:
        stacked = jax.tree.map(lambda a: np.broadcast_to(np.asarray(a), (count, *np.shape(a))), state)
        # The identity under pmap lays one copy on each device.
        return jax.pmap(lambda tree: tree, devices=devices)(stacked)

    def fetch(state: TrainState) -> TrainState:
        return jax.device_get(_first(state))

    def feed(arrays: Arrays) -> Feed:
        def batch(indices: np.ndarray, mask: np.ndarray) -> Batch:
            whole = gather(arrays, *pad(indices, mask, count))
            return jax.tree.map(lambda v: v.reshape(count, -1, *v.shape[1:]), whole)

        return batch

    return Programs("pmap", count, train_all, evaluate_all, place, fetch, feed)


def _first(tree: Any) -> Any:
    return jax.tree.map(lambda a: a[0], tree)
