"""What a machine does to the one pure step: jit on a device, pmap over several. The only file that knows devices."""

import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jaxcnn.errors import InputError
from jaxcnn.tasks import Batch, Sums
from jaxcnn.train.state import TrainState
from jaxcnn.train.step import EvalStep, TrainStep

Device = Any  # jax.Device, which the type checker takes for a variable
AXIS = "batch"
# Splits up to this size live on the device for the whole run; larger ones are gathered on the host, batch by batch.
RESIDENT_BYTES = 2**30

Arrays = Mapping[str, np.ndarray]
Feed = Callable[[np.ndarray, np.ndarray], Batch]


class Programs(NamedTuple):
    """One run's steps, bound to devices.

    Args:
        mode: jit or pmap, as recorded in the run.
        devices: How many devices share a step.
        train: (state, batch, key) -> (state, sums); the state given is consumed (donated).
        evaluate: (state, batch) -> (sums, predictions).
        place: Host state -> state on the devices.
        fetch: State on the devices -> host state, NumPy arrays.
        feed: A split's arrays -> function of (indices, mask) that returns a batch on the devices.
    """

    mode: str
    devices: int
    train: TrainStep
    evaluate: EvalStep
    place: Callable[[TrainState], TrainState]
    fetch: Callable[[TrainState], TrainState]
    feed: Callable[[Arrays], Feed]


def choose(mode: Literal["auto", "jit", "pmap"], devices: Sequence[Device] | None = None) -> str:
    """jit or pmap: auto takes pmap where this process has several accelerators, and jit on a CPU.

    Virtual CPU devices share the same cores, so they are used only where pmap is asked for.
    """
    devices = jax.local_devices() if devices is None else devices
    if mode == "auto":
        return "pmap" if len(devices) > 1 and devices[0].platform != "cpu" else "jit"
    return mode


def single_device(train: TrainStep, evaluate: EvalStep) -> Programs:
    """jit on the default device."""

    def place(state: TrainState) -> TrainState:
        # A copy: the step consumes its state, and the caller's arrays must outlive it.
        return jax.tree.map(lambda a: jnp.array(a, copy=True), state)

    return Programs(
        "jit", 1, jax.jit(train, donate_argnums=0), jax.jit(evaluate), place, jax.device_get, _resident_feed
    )


def data_parallel(train: TrainStep, evaluate: EvalStep, devices: Sequence[Device] | None = None) -> Programs:
    """pmap over devices: the state replicated, each batch split; the steps must have been made with axis_name=AXIS.

    A batch that does not divide by the devices is padded with masked examples.
    """
    devices = list(jax.local_devices() if devices is None else devices)
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
            pad = -len(indices) % count
            indices = np.concatenate([indices, np.zeros(pad, indices.dtype)])
            mask = np.concatenate([mask, np.zeros(pad, mask.dtype)])
            whole = {**{k: v[indices] for k, v in arrays.items()}, "mask": mask}
            return jax.tree.map(lambda v: v.reshape(count, -1, *v.shape[1:]), whole)

        return batch

    return Programs("pmap", count, train_all, evaluate_all, place, fetch, feed)


def make_programs(mode: str, make_steps: Callable[[str | None], tuple[TrainStep, EvalStep]]) -> Programs:
    """Bind the steps to this machine's devices.

    Args:
        mode: jit or pmap (`choose` resolves auto).
        make_steps: axis name (None on one device) -> (train step, eval step).
    """
    if mode == "jit":
        return single_device(*make_steps(None))
    if mode == "pmap":
        return data_parallel(*make_steps(AXIS))
    raise InputError(f"parallel={mode!r}: choose auto, jit or pmap")


def warm_up(programs: Programs, state: TrainState, batch: Batch, key: jax.Array) -> float:
    """Compile both programs by running them once on a copy of a host state; returns the seconds it took.

    Kept apart from training so that no figure mixes the two.
    """
    start = time.perf_counter()
    spare, sums = programs.train(programs.place(state), batch, key)
    jax.block_until_ready((sums, programs.evaluate(spare, batch)[0]))
    return time.perf_counter() - start


def _resident_feed(arrays: Arrays) -> Feed:
    if sum(a.nbytes for a in arrays.values()) > RESIDENT_BYTES:
        return lambda indices, mask: jax.device_put({**{k: v[indices] for k, v in arrays.items()}, "mask": mask})
    on_device = jax.device_put(dict(arrays))
    return lambda indices, mask: _gather(on_device, indices, mask)


@jax.jit
def _gather(arrays: dict[str, jax.Array], indices: jax.Array, mask: jax.Array) -> Batch:
    return {**{k: v[indices] for k, v in arrays.items()}, "mask": mask}


def _first(tree: Any) -> Any:
    return jax.tree.map(lambda a: a[0], tree)
