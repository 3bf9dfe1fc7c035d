"""What happens when a loss or gradients are not finite: how the step is found, and what is recorded of it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxcnn.tasks import Batch
from jaxcnn.train.evaluation import Sums, add
from jaxcnn.train.gradients import GradientsOf
from jaxcnn.train.parallel import Arrays, Programs
from jaxcnn.train.state import TrainState, by_path
from jaxcnn.train.step import NONFINITE


def finite(params: Any) -> bool:
    """Return whether weights on the host are finite. A loss may be although they are not: a ReLU can make 0 of NaN."""
    return all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(params))


def poisoned(state: TrainState, which: Sequence[bool]) -> TrainState:
    """Return the state with NaN for weights where a run has diverged: such a network is measured like any other.

    Args:
        state: Of one run, or of several with a leading axis; on the host or on devices.
        which: Whether it has diverged, for each run.
    """
    if not any(which):
        return state
    several = len(which) > 1

    def spoil(values: Any) -> Any:
        lost = np.where(which, np.nan, 0.0).astype(values.dtype)
        return values + (lost.reshape(-1, *[1] * (values.ndim - 1)) if several else lost[0])

    params, ema = jax.tree.map(spoil, (state.params, state.ema))
    return state._replace(params=params, ema=ema)


def states_before(
    states: Sequence[TrainState],
    sums: Sequence[Sums],
    batches: Iterable[tuple[np.ndarray, np.ndarray]],
    programs: Programs,
    train: Arrays,
    key: jax.Array,
    lanes: Sequence[int],
) -> dict[int, tuple[TrainState, Sums]]:
    """Train steps again, one by one, to find the state before the first one that is not finite.

    Args:
        states: Host states to start from, one per run.
        sums: Sums of the epoch so far, likewise.
        batches: Indices and masks (1, B) of each step, joined over the runs, as is the key.
        lanes: The runs that diverged.

    Returns:
        By run: its host state before that step, `skipped` set to 1, and its sums up to there. A run whose step is not
        found again (kernels on an accelerator may add in another order) has those of the last step.
    """
    feed, state = programs.feed(train), programs.place(programs.join(states))
    before, totals, found = list(states), [dict(part) for part in sums], {}
    for indices, masks in batches:
        state, added = programs.train(state, feed(indices[..., 0, :], masks[..., 0, :]), key)
        after, parts = programs.part(programs.fetch(state)), programs.part(jax.device_get(added))
        for lane in lanes:
            if lane not in found and (parts[lane][NONFINITE] > 0 or not finite(after[lane].params)):
                found[lane] = (before[lane]._replace(skipped=np.int32(1)), totals[lane])
        if len(found) == len(lanes):
            break
        before, totals = after, [add(*pair) for pair in zip(totals, parts, strict=True)]
    return {lane: found.get(lane, (before[lane]._replace(skipped=np.int32(1)), totals[lane])) for lane in lanes}


def diagnose(gradients: GradientsOf, state: TrainState, batch: Batch, key: jax.Array) -> dict[str, Any]:
    """Measure a step that was not finite, as plain values.

    Args:
        gradients: As the step computes them, on one device.
        state: Host state before that step.
        batch: Its examples.

    Returns:
        loss; parameter_norms and gradient_norms: Euclidean norms by the path of the parameter; and nonfinite: the
        paths whose gradients are not finite. Numbers that are not finite are given as they are.
    """

    def measured(state: TrainState, batch: Batch, key: jax.Array) -> tuple[jax.Array, Any, Any]:
        descent = gradients(state, batch, key)
        norms = [jax.tree.map(lambda a: jnp.linalg.norm(a.ravel()), tree) for tree in (state.params, descent.grads)]
        return descent.loss, *norms

    loss, params, grads = jax.device_get(jax.jit(measured)(state, batch, key))
    parameters, gradient = ({path: float(norm) for path, norm in by_path(norms).items()} for norms in (params, grads))
    nonfinite = [path for path, norm in gradient.items() if not np.isfinite(norm)]
    return {"loss": float(loss), "parameter_norms": parameters, "gradient_norms": gradient, "nonfinite": nonfinite}
