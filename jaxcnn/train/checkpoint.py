"""Checkpoints through orbax: the state, and the little that the loop carries beside it."""

from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np

from jaxcnn.errors import InputError
from jaxcnn.train.state import TrainState


class Restored(NamedTuple):
    """A state and the loop's carry: sums of the epoch under way."""

    state: TrainState
    sums: dict[str, float]


class Checkpoints:
    """The checkpoints of one run directory. Use as a context manager.

    Args:
        directory: Where they lie; made when the first is saved.
        keep: How many of the latest are kept.
    """

    def __init__(self, directory: Path, keep: int = 2):
        self._directory, self._keep = directory, keep

    @cached_property
    def _orbax(self) -> Any:
        # A sixth of the imports' time, and a new run needs it at its first save only.
        from orbax.checkpoint import v1 as ocp

        policy: Any = ocp.training.preservation_policies.LatestN(self._keep)  # its annotations miss its own protocol
        return ocp.training.Checkpointer(
            str(self._directory.resolve()), preservation_policy=policy, cleanup_tmp_directories=True
        )

    def __enter__(self) -> "Checkpoints":
        return self

    def __exit__(self, *exception: object) -> None:
        if "_orbax" in self.__dict__:
            self._orbax.close()

    @property
    def latest(self) -> int | None:
        """Step of the latest whole checkpoint, None where there is none."""
        if not self._directory.exists():
            return None
        return self._orbax.latest.step if self._orbax.latest else None

    def save(self, state: TrainState, sums: dict[str, float]) -> None:
        """Save a host state under its own step; an existing checkpoint of that step is left as it is."""
        step = int(state.step)
        if step != self.latest:
            beside: Any = {"sums": sums}
            self._orbax.save(step, _as_tree(state), force=True, custom_metadata=beside)

    def restore(self, like: TrainState) -> Restored:
        """The latest checkpoint, with the structure of `like`.

        Raises:
            InputError: There is none, or it belongs to another model; the leaves that differ are named.
        """
        if self.latest is None:
            raise InputError(f"checkpoint {self._directory}: there is none; train first")
        stored: Any = self._orbax.metadata(self.latest)
        expected = jax.tree.map(lambda a: np.empty(np.shape(a), a.dtype), _as_tree(like))
        _compare(stored.metadata, expected, self._directory)
        tree = self._orbax.load(self.latest, expected)
        return Restored(TrainState(**tree), dict((stored.custom_metadata or {}).get("sums", {})))


def _as_tree(state: TrainState) -> dict[str, Any]:
    return jax.tree.map(np.asarray, state._asdict())


def _compare(stored: Any, expected: Any, directory: Path) -> None:
    def shapes(tree: Any) -> dict[str, tuple[int, ...]]:
        return {_name(path): tuple(leaf.shape) for path, leaf in jax.tree_util.tree_leaves_with_path(tree)}

    have, want = shapes(stored), shapes(expected)
    if have == want:
        return
    gone = [f"- {name} {have[name]}" for name in have if have.get(name) != want.get(name)]
    new = [f"+ {name} {want[name]}" for name in want if have.get(name) != want.get(name)]
    shown = "; ".join(gone[:3] + new[:3])
    hidden = len(gone[3:]) + len(new[3:])
    shown += f"; and {hidden} more" if hidden else ""
    raise InputError(
        f"checkpoint {directory}: it belongs to another model or optimizer (- stored, + expected: {shown}); "
        "use the configuration it was trained with, or another output folder"
    )


def _name(path: Any) -> str:
    """One spelling for dictionary keys, fields and positions, since stored trees are plain dictionaries."""
    return "/".join(str(getattr(k, "key", getattr(k, "name", getattr(k, "idx", k)))) for k in path)
