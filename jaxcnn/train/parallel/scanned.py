"""Many steps in one compiled call: the step under `lax.scan`, its batches gathered from data on the device."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import jax

from jaxcnn.tasks import Sums
from jaxcnn.train.parallel.programs import gather
from jaxcnn.train.state import TrainState
from jaxcnn.train.step import TrainStep

# (state, arrays, indices (S, B), masks (S, B), key) -> (state, sums (S,))
Scanned = Callable[..., tuple[TrainState, Sums]]


def scanned(train: TrainStep) -> Scanned:
    """Make the pure function that trains one step per row of indices, without returning to the host.

    Convolutions inside a scan are many times slower on a CPU; on an accelerator a step of a small network takes less
    time than its dispatch, which this saves.
    """

    def stretch(
        state: TrainState, arrays: Mapping[str, jax.Array], indices: jax.Array, masks: jax.Array, key: jax.Array
    ) -> tuple[TrainState, Sums]:
        def step(state: TrainState, chosen: tuple[jax.Array, jax.Array]) -> tuple[TrainState, Any]:
            return train(state, gather(arrays, *chosen), key)

        return jax.lax.scan(step, state, (indices, masks))

    return stretch
