"""Choose how a run's step is parallelised."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import jax

from jaxcnn.errors import InputError, require
from jaxcnn.runtime import onednn
from jaxcnn.train.parallel.many_devices import data_parallel, sharded
from jaxcnn.train.parallel.one_device import single_device
from jaxcnn.train.parallel.programs import AXIS, Arrays, Device, Programs, resident, resident_limit, size
from jaxcnn.train.step import EvalStep, TrainStep

SMALL_SPLIT = 2**21
"""Bytes of the largest split over which a CPU scans: 8,000 images of 8 x 8 pixels."""


def choose(mode: str, devices: Sequence[Device] | None = None) -> str:
    """Resolve the mode: auto is sharded where there are several accelerators or hosts, and jit elsewhere.

    Virtual CPU devices share the same cores, so they are used only where that is asked for.

    Raises:
        InputError: There is no such mode.
    """
    if mode != "auto":
        require(mode in ("jit", "pmap", "sharded"), "parallel", repr(mode), "choose auto, jit, pmap, sharded")
        return mode
    devices = jax.devices() if devices is None else devices
    several = jax.process_count() > 1 or (len(devices) > 1 and devices[0].platform != "cpu")
    return "sharded" if several else "jit"


def choose_scan(scan: bool | None, mode: str, train: Arrays, *, single: bool = False) -> bool:
    """Decide whether to run many steps in one compiled call.

    Args:
        scan: As in the config. None: on an accelerator that holds the training split; on a CPU where the split has at
            most `SMALL_SPLIT` bytes, so that dispatch is a part of a step and an epoch is short enough to wait for.
        mode: "jit", "pmap" or "sharded".
        train: The training split.
        single: Whether a CPU is to make single steps: for saves between them, or because XLA's own convolutions, which
            a user's module may call, are many times slower inside a scan.

    Raises:
        InputError: scan=True under pmap, or with a split that does not fit.
    """
    fits = resident(train)
    if scan is None:
        if jax.default_backend() == "cpu":
            small = fits and size(train) <= SMALL_SPLIT
            return small and mode == "jit" and not single and onednn.bridge() is not None
        return fits and mode != "pmap"
    if scan and mode == "pmap":
        raise InputError("scan=True: pmap makes one step at a time; choose parallel='sharded', or leave scan out")
    if scan and not fits:
        raise InputError(
            f"scan=True: the training split of {size(train):,} bytes does not fit into the {resident_limit():,} bytes "
            "kept for data on the device; leave scan out, or train on fewer (train_size) or smaller (size) images"
        )
    return bool(scan)


def make_programs(
    mode: str,
    make_steps: Callable[[str | None], tuple[TrainStep, EvalStep]],
    *,
    devices: int | Sequence[Device] | None = None,
    local_statistics: bool = False,
    scan: bool = False,
    deterministic: bool = False,
) -> Programs:
    """Bind the steps to this machine's devices.

    Args:
        mode: jit, pmap or sharded (`choose` resolves auto).
        make_steps: axis name (None on one device) -> (train step, eval step).
        devices: pmap and sharded: which, or how many; None: all.
        local_statistics: sharded: batch norm keeps each device's own statistics (under pmap the steps themselves say).
        scan: Stretches of steps as one program (`choose_scan`); not with pmap.
        deterministic: On a GPU, equal runs are equal to the bit, and slower; not with pmap.

    Raises:
        InputError: No such mode, more devices than there are, or what pmap does not have.

    >>> programs = make_programs("jit", lambda axis_name: (train, evaluate))  # doctest: +SKIP
    """
    mode = choose(mode)
    if mode == "jit":
        return single_device(*make_steps(None), scan=scan, deterministic=deterministic)
    if mode == "sharded":
        axis_name = AXIS if local_statistics else None
        steps = make_steps(axis_name)
        return sharded(*steps, devices, axis_name=axis_name, scan=scan, deterministic=deterministic)
    if scan or deterministic:
        name = "scan" if scan else "deterministic"
        raise InputError(f"{name}=True: pmap has no such option; choose parallel='sharded'")
    return data_parallel(*make_steps(AXIS), devices)
