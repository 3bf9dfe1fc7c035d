"""What happens when loss or gradients are not finite: how a run ends then, and what is known of that step."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxcnn.tasks import Batch
from jaxcnn.train.gradients import GradientsOf
from jaxcnn.train.state import TrainState
from jaxcnn.train.step import NONFINITE


class Unsound(Exception):
    """A number is not finite that should be, and the programs do not say since which step."""


def sound(params: Any) -> bool:
    """Whether weights on the host are finite. A loss may be although they are not: a ReLU can make 0 of NaN."""
    return all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(params))


def halted(sums: Mapping[str, float]) -> bool:
    """Whether an epoch's sums tell of a step that was not finite."""
    return sums.get(NONFINITE, 0.0) > 0


def poisoned(state: TrainState, which: Sequence[bool]) -> TrainState:
    """The state with NaN for weights where a run has diverged: what such a network says is measured like any other.

    Args:
        state: Of one run, or of several with a leading axis; on the host or on devices.
        which: Whether it has, for each.
    """
    if not any(which):
        return state
    several = len(which) > 1

    def spoil(values: Any) -> Any:
        lost = np.where(which, np.nan, 0.0).astype(values.dtype)
        return values + (lost.reshape(-1, *[1] * (values.ndim - 1)) if several else lost[0])

    params, ema = jax.tree.map(spoil, (state.params, state.ema))
    return state._replace(params=params, ema=ema)


def diagnose(gradients: GradientsOf, state: TrainState, batch: Batch, key: jax.Array) -> dict[str, Any]:
    """What can be said of a step that was not finite, as plain values.

    Args:
        gradients: As the step computes them, on one device.
        state: Host state before that step.
        batch: Its examples, "images", "labels" and "mask".
        key: The run's.

    Returns:
        loss; parameter_norms and gradient_norms: Euclidean norms by the path of the parameter; and nonfinite: the
        paths whose gradients are not finite. Numbers that are not finite are given as they are.
    """

    def measured(state: TrainState, batch: Batch, key: jax.Array) -> tuple[jax.Array, Any, Any]:
        found = gradients(state, batch, key)
        norms = [jax.tree.map(lambda a: jnp.linalg.norm(a.ravel()), tree) for tree in (state.params, found.grads)]
        return found.loss, *norms

    loss, params, grads = jax.device_get(jax.jit(measured)(state, batch, key))
    by_path = _by_path(grads)
    return {
        "loss": float(loss),
        "parameter_norms": _by_path(params),
        "gradient_norms": by_path,
        "nonfinite": [path for path, norm in by_path.items() if not np.isfinite(norm)],
    }


def _by_path(tree: Any) -> dict[str, float]:
    leaves = jax.tree_util.tree_leaves_with_path(tree)
    return {jax.tree_util.keystr(path, simple=True, separator="/"): float(norm) for path, norm in leaves}
