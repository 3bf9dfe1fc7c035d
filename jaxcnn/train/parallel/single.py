"""One device: jit."""

from __future__ import annotations

from collections.abc import Callable

import jax
import numpy as np

from jaxcnn.train.parallel.programs import (
    Arrays,
    Feed,
    Programs,
    Stretch,
    compiled,
    copied,
    gather,
    resident,
)
from jaxcnn.train.parallel.scanned import Scanned, scanned
from jaxcnn.train.step import EvalStep, TrainStep


def single_device(train: TrainStep, evaluate: EvalStep, *, scan: bool = False, deterministic: bool = False) -> Programs:
    """Drive the steps by jit on the default device.

    Args:
        train: The step, made without an axis name.
        evaluate: Likewise.
        scan: Stretches of steps as one program, the data on the device.
        deterministic: On a GPU, equal runs are equal to the bit, and slower.
    """
    step = compiled(train, donate_argnums=0, deterministic=deterministic)
    stretch = compiled(scanned(train), donate_argnums=0, deterministic=deterministic)
    return Programs(
        mode="jit",
        devices=1,
        train=step,
        evaluate=compiled(evaluate, deterministic=deterministic),
        place=copied,
        fetch=jax.device_get,
        feed=feed,
        stretch=held(stretch) if scan else None,
    )


def feed(arrays: Arrays) -> Feed:
    """Return the function that gathers batches, on the device where it holds the split, else on the host."""
    if not resident(arrays):
        return lambda indices, mask: jax.device_put(gather(arrays, indices, mask))
    on_device = jax.device_put(dict(arrays))
    return lambda indices, mask: _gather(on_device, indices, mask)


def held(stretch: Scanned) -> Callable[[Arrays], Stretch]:
    """Return a scanned program with its data placed on the device once."""

    def over(arrays: Arrays) -> Stretch:
        on_device = jax.device_put(dict(arrays))

        def steps(state, indices: np.ndarray, masks: np.ndarray, key: jax.Array):
            return stretch(state, on_device, indices, masks, key)

        return steps

    return over


_gather = jax.jit(gather)
