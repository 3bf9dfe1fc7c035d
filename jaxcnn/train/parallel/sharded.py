"""All devices of all hosts as one mesh: jit, the state replicated, each batch split."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import jax
import numpy as np
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec

from jaxcnn.tasks import Batch
from jaxcnn.train.parallel.one_device import scanned
from jaxcnn.train.parallel.programs import (
    AXIS,
    Arrays,
    Device,
    Feed,
    Programs,
    Stretch,
    compiled,
    gather,
    pad,
    pick,
    resident,
)  # fmt: skip
from jaxcnn.train.state import TrainState
from jaxcnn.train.step import EvalStep, TrainStep

WHOLE, ROWS, ROWS_OF_STEPS = PartitionSpec(), PartitionSpec(AXIS), PartitionSpec(None, AXIS)


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

    A batch that does not divide by the devices is padded with masked examples. With several processes each gathers only
    its own devices' rows; states, sums and predictions come out whole on every one of them.

    Args:
        train: The step.
        evaluate: Likewise.
        devices: Which, or how many; None: all, of every process.
        axis_name: AXIS where the steps were made with it: they are then mapped over the mesh (`shard_map`) and exchange
            only what they say, so that batch norm may keep each device's own statistics.
        scan: Stretches of steps as one program, the data on every device.
        deterministic: On a GPU, equal runs are equal to the bit, and slower.
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
    program = compiled(stretch, in_shardings=spread, donate_argnums=0, **options)

    def feed(arrays: Arrays) -> Feed:
        if not resident(arrays):
            return lambda indices, mask: _from_host(arrays, *pad(indices, mask, len(devices)), rows)
        on_devices = _put_all(arrays, whole)

        def batch(indices: np.ndarray, mask: np.ndarray) -> Batch:
            return collect(on_devices, *(_put(part, rows) for part in pad(indices, mask, len(devices))))

        return batch

    def held(arrays: Arrays) -> Stretch:
        on_devices = _put_all(arrays, whole)

        def steps(state: TrainState, indices: np.ndarray, masks: np.ndarray, key: jax.Array):
            chosen = (_put(part, rows_of_steps) for part in pad(indices, masks, len(devices)))
            return program(state, on_devices, *chosen, key)

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
