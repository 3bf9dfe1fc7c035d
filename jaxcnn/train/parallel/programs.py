"""Programs: one run's steps bound to devices, and what every way of binding them shares."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jaxcnn.data import steps_per_epoch
from jaxcnn.data.stream import is_streamed
from jaxcnn.errors import require
from jaxcnn.tasks import Batch, Sums
from jaxcnn.train.state import TrainState
from jaxcnn.train.step import EvalStep, TrainStep

Device = Any  # jax.Device, which the type checker takes for a variable
AXIS = "batch"
# Splits up to this size live on the device for the whole run, where the device does not tell how much it holds; larger
# ones are gathered on the host, batch by batch.
RESIDENT_BYTES = 2**30
# Of a device that does: the rest is for parameters and activations.
RESIDENT_SHARE = 0.25
# Steps in one program at most. Ctrl-C is answered, and the console told, between two of them.
STRETCH_STEPS = 64

Arrays = Mapping[str, np.ndarray]
Feed = Callable[[np.ndarray, np.ndarray], Batch]
Stretch = Callable[[TrainState, np.ndarray, np.ndarray, jax.Array], tuple[TrainState, Sums]]


class Programs(NamedTuple):
    """The steps of one run, or of several in one program, bound to devices.

    Args:
        mode: jit, pmap or sharded, as recorded in the run.
        devices: How many devices share a step.
        train: (state, batch, key) -> (state, sums); the state given is consumed (donated).
        evaluate: (state, batch) -> (sums, predictions).
        place: Host state -> state on the devices.
        fetch: State on the devices -> host state, NumPy arrays.
        feed: A split's arrays -> function of (indices, mask) that returns a batch on the devices.
        stretch: A split's arrays, held on the devices -> function of (state, indices (S, B), masks (S, B), key) that
            makes S steps as one program and returns (state, sums (S,)); None: steps are dispatched one by one.
        members: How many runs one program trains. Where it does, their states, keys, indices and sums have a leading
            axis, which `join` makes and `part` takes apart.
        join: One tree a member -> one tree.
        part: One tree -> one a member.
        warm: What they were compiled for in this process, so that `warm_up` has nothing to do; None: not remembered.
    """

    mode: str
    devices: int
    train: TrainStep
    evaluate: EvalStep
    place: Callable[[TrainState], TrainState]
    fetch: Callable[[TrainState], TrainState]
    feed: Callable[[Arrays], Feed]
    stretch: Callable[[Arrays], Stretch] | None = None
    members: int = 1
    join: Callable[[Sequence[Any]], Any] = lambda parts: parts[0]
    part: Callable[[Any], list[Any]] = lambda tree: [tree]
    warm: set[Any] | None = None

    @property
    def record(self) -> dict[str, Any]:
        """What is recorded of them with a run."""
        scan = self.stretch is not None
        return {"mode": self.mode, "devices": self.devices, "scan": scan, "members": self.members}


def compiled(function: Callable[..., Any], *, deterministic: bool = False, **options: Any) -> Any:
    """Apply jax.jit; deterministic: on a GPU, use only kernels whose sums have a fixed order."""
    if deterministic and jax.default_backend() == "gpu":
        options["compiler_options"] = {"xla_gpu_deterministic_ops": True}
    return jax.jit(function, **options)


def memory_limit(device: Device | None = None) -> int | None:
    """Return the bytes of a device's memory that JAX may use; None where it is unknown (a CPU)."""
    stats = (jax.local_devices()[0] if device is None else device).memory_stats()
    return stats.get("bytes_limit") if stats else None


def memory_bytes(program: Any) -> int | None:
    """Return the bytes that a compiled program takes on one device; None where the backend does not say."""
    found = program.memory_analysis()
    if found is None:
        return None
    # Its own peak leaves temporaries out.
    parts = found.argument_size_in_bytes + found.output_size_in_bytes + found.temp_size_in_bytes
    return int(parts - found.alias_size_in_bytes)


def resident_limit() -> int:
    """Return the bytes of data that may stay on each device for the whole run."""
    limit = memory_limit()
    return RESIDENT_BYTES if limit is None else int(RESIDENT_SHARE * limit)


def size(arrays: Arrays) -> int:
    """Return the bytes of a split."""
    return sum(array.nbytes for array in arrays.values())


def resident(arrays: Arrays) -> bool:
    """Return whether a split may stay on each device: it is in memory, and small enough."""
    return not is_streamed(arrays) and size(arrays) <= resident_limit()


def gather(arrays: Mapping[str, Any], indices: Any, mask: Any) -> Batch:
    """Gather the examples at some indices as a batch."""
    return {**{name: values[indices] for name, values in arrays.items()}, "mask": mask}


def pad(indices: np.ndarray, mask: np.ndarray, devices: int) -> tuple[np.ndarray, np.ndarray]:
    """Fill a batch (..., B) with masked examples until it divides by the devices."""
    missing = [(0, 0)] * (indices.ndim - 1) + [(0, -indices.shape[-1] % devices)]
    return np.pad(indices, missing), np.pad(mask, missing)


def pick(devices: int | Sequence[Device] | None, available: Sequence[Device]) -> list[Device]:
    """Return the devices to use: those given, the first few, or all; refuse fewer than one and more than there are."""
    if devices is None:
        return list(available)
    if not isinstance(devices, int):
        return list(devices)
    count = len(available)
    require(1 <= devices <= count, "devices", devices, f"there are {count}; give 1 to {count}")
    return list(available[:devices])


def stretch_length(programs: Programs, per_epoch: int) -> int:
    """Return the steps of one compiled call: an even part of the epoch, so that at most one other length compiles."""
    if programs.stretch is None:
        return 1
    return -(-per_epoch // -(-per_epoch // STRETCH_STEPS))


def advance(programs: Programs, arrays: Arrays) -> Stretch:
    """Return the function that trains a stretch of steps over a split: one call, or a single step at a time."""
    if programs.stretch is not None:
        return programs.stretch(arrays)
    feed = programs.feed(arrays)

    def one(state: TrainState, indices: np.ndarray, masks: np.ndarray, key: jax.Array) -> tuple[TrainState, Sums]:
        return programs.train(state, feed(indices[..., 0, :], masks[..., 0, :]), key)

    return one


def warm_up(programs: Programs, state: TrainState, arrays: Arrays, batch_size: int, key: jax.Array) -> float:
    """Compile all programs by running them once on copies of a host state; returns the seconds it took.

    Not again for shapes that they were compiled for: of a study's short run, that would be a tenth. Kept apart from
    training so that no figure mixes the two. State and key are joined where there are several members.
    """
    per_epoch = steps_per_epoch(len(next(iter(arrays.values()))), batch_size)
    length = stretch_length(programs, per_epoch)
    start, step = time.perf_counter(), advance(programs, arrays)
    shapes = batch_size, length, per_epoch, *((name, each.shape, each.dtype) for name, each in arrays.items())
    if programs.warm is not None and shapes in programs.warm:
        return 0.0
    chosen = np.zeros(batch_size, np.int32), np.ones(batch_size, np.float32)
    placed = state
    for steps in sorted({length, per_epoch % length or length}):
        indices, masks = (programs.join([np.stack([part] * steps)] * programs.members) for part in chosen)
        placed, sums = step(programs.place(state), indices, masks, key)
        jax.block_until_ready(sums)
    jax.block_until_ready(programs.evaluate(placed, programs.feed(arrays)(*chosen))[0])
    if programs.warm is not None:
        programs.warm.add(shapes)
    return time.perf_counter() - start


def to_host(tree: Any) -> Any:
    """Return a tree of device arrays as arrays of NumPy.

    On a CPU one by one: `jax.device_get` prepares a copy that is not needed there, and takes 5.8 ms for the state of
    ResNet-26 where this takes 0.6; a study of small networks does it after every epoch.
    """
    return jax.tree.map(np.asarray, tree) if jax.default_backend() == "cpu" else jax.device_get(tree)


def copied(state: TrainState) -> TrainState:
    """Copy a host state to the default device: the step consumes the copy, the caller's arrays stay."""
    return jax.tree.map(lambda a: jnp.array(a, copy=True), state)
