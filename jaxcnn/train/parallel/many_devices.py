"""Several devices: pmap over those of one process, or jit over a mesh of those of all hosts.

Either way the state is replicated and each batch split; one that does not divide is padded with masked examples.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import jax
import numpy as np
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec

from jaxcnn.tasks import Batch, Sums
from jaxcnn.train.parallel.one_device import scanned
from jaxcnn.train.parallel.programs import AXIS, Arrays, Device, Feed, Programs, compiled, gather, pad, pick, resident
from jaxcnn.train.state import TrainState
from jaxcnn.train.step import EvalStep, TrainStep

WHOLE, ROWS, ROWS_OF_STEPS = PartitionSpec(), PartitionSpec(AXIS), PartitionSpec(None, AXIS)


def data_parallel(train: TrainStep, evaluate: EvalStep, devices: int | Sequence[Device] | None = None) -> Programs:
    """Drive the steps, made with axis_name=AXIS, by pmap on some devices, or so many; None: all of this process.

    >>> programs = data_parallel(train, evaluate, devices=2)  # doctest: +SKIP
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
        return jax.tree.map(lambda a: np.asarray(a.addressable_data(0))[0], state)

    def feed(arrays: Arrays) -> Feed:
        def batch(indices: np.ndarray, mask: np.ndarray) -> Batch:
            whole = gather(arrays, *pad(indices, mask, count))
            return jax.tree.map(lambda v: v.reshape(count, -1, *v.shape[1:]), whole)

        return batch

    return Programs("pmap", count, train_all, evaluate_all, place, fetch, feed)


def sharded(
    train: TrainStep,
    evaluate: EvalStep,
    devices: int | Sequence[Device] | None = None,
    *,
    axis_name: str | None = None,
    scan: bool = False,
    deterministic: bool = False,
) -> Programs:
    """Drive the steps by jit over a mesh: the step is written for one device and the compiler spreads it.

    With several processes each gathers only its own devices' rows; states, sums and predictions come out whole on every
    one of them.

    Args:
        devices: Which, or how many; None: all, of every process.
        axis_name: AXIS where the steps were made with it: they are then mapped over the mesh (`shard_map`) and exchange
            only what they say, so that batch norm may keep each device's own statistics.

    The other options are those of `make_programs`.

    >>> programs = sharded(train, evaluate, scan=True)  # doctest: +SKIP
    """
    devices = pick(devices, jax.devices())
    mesh, stretch = Mesh(np.array(devices), (AXIS,), axis_types=(AxisType.Auto,)), scanned(train)
    whole, rows, rows_of_steps = (NamedSharding(mesh, spec) for spec in (WHOLE, ROWS, ROWS_OF_STEPS))
    if axis_name is not None:
        train = _mapped(train, mesh, (WHOLE, ROWS, WHOLE), WHOLE)
        stretch = _mapped(stretch, mesh, (WHOLE, WHOLE, ROWS_OF_STEPS, ROWS_OF_STEPS, WHOLE), WHOLE)
        evaluate = _mapped(evaluate, mesh, (WHOLE, ROWS), (WHOLE, ROWS))
    options: dict[str, Any] = {"out_shardings": whole, "deterministic": deterministic}
    spread = (whole, whole, rows_of_steps, rows_of_steps, whole)
    program = compiled(stretch, in_shardings=spread, donate_argnums=1, **options)

    def feed(arrays: Arrays) -> Feed:
        if not resident(arrays):
            return lambda indices, mask: _from_host(arrays, *pad(indices, mask, len(devices)), rows)
        on_devices = _put_all(arrays, whole)

        def batch(indices: np.ndarray, mask: np.ndarray) -> Batch:
            return collect(on_devices, *(_put(part, rows) for part in pad(indices, mask, len(devices))))

        return batch

    def held(arrays: Arrays):
        on_devices = _put_all(arrays, whole)

        def steps(state: TrainState, indices: np.ndarray, masks: np.ndarray, key: jax.Array):
            chosen = (_put(part, rows_of_steps) for part in pad(indices, masks, len(devices)))
            return program(on_devices, state, *chosen, key)

        return steps

    collect = jax.jit(gather, in_shardings=(whole, rows, rows), out_shardings=rows)
    return Programs(
        mode="sharded",
        devices=len(devices),
        train=compiled(train, in_shardings=(whole, rows, whole), donate_argnums=0, **options),
        evaluate=compiled(evaluate, in_shardings=(whole, rows), **options),
        place=lambda state: jax.tree.map(lambda a: _put(a, whole), state),
        fetch=jax.device_get,
        feed=feed,
        stretch=held if scan else None,
    )


def _put_all(arrays: Arrays, sharding: NamedSharding) -> dict[str, jax.Array]:
    return {name: _put(values, sharding) for name, values in arrays.items()}


def _mapped(function: Any, mesh: Mesh, in_specs: Any, out_specs: Any) -> Any:
    """Apply shard_map without its check of what varies.

    With the check, a gradient of replicated parameters arrives summed over devices already; the step, which is written
    for pmap too, sums it itself, and would silently multiply it by their number.
    """
    return jax.shard_map(function, mesh=mesh, in_specs=in_specs, out_specs=out_specs, check_vma=False)


def _put(values: Any, sharding: NamedSharding) -> jax.Array:
    """Place an array that every process holds on the mesh; each places only what its own devices need."""
    values = np.asarray(values)
    return jax.make_array_from_callback(values.shape, sharding, lambda index: values[index])


def _from_host(arrays: Arrays, indices: np.ndarray, mask: np.ndarray, rows: NamedSharding) -> Batch:
    """Place a batch on the mesh; each process gathers its own devices' rows only."""

    def split(values: np.ndarray) -> jax.Array:
        def own(index: Any) -> np.ndarray:
            return np.asarray(values[indices[index[0]]])

        return jax.make_array_from_callback((len(indices), *values.shape[1:]), rows, own)

    return {**{name: split(values) for name, values in arrays.items()}, "mask": _put(mask, rows)}


def _first(tree: Any) -> Any:
    """Return the first device's copy of what pmap returned, from that device alone.

    a[0] is a program of all devices, which exchange the row. XLA on a CPU has as many threads as devices; of a hundred
    such programs in flight each may hold some of them, and wait for the others for ever.
    """
    return jax.tree.map(lambda a: a.addressable_data(0).reshape(a.shape[1:]), tree)
