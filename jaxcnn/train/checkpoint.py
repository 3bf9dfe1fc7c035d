"""Checkpoints through orbax: the state and the sums of the epoch under way, verified when they are read."""

import errno
import hashlib
import os
import shutil
import warnings
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import jax
import numpy as np

from jaxcnn.errors import InputError
from jaxcnn.runtime.files import atomic_write
from jaxcnn.train.parallel.hosts import first_host, wait_for_hosts
from jaxcnn.train.state import TrainState, by_path

DAMAGED = "_damaged"
"""Ends the name of the folder beside the checkpoints to which those that cannot be used are moved."""
DIGESTS = "_digests"
"""Ends the name of the folder beside them that holds a file a step: the SHA-256 of what the checkpoint's files hold."""
LOSS = "validation_loss"
SPARE_BYTES = 2**20  # beside the arrays: descriptions, and what a file system rounds up


class Damaged(Exception):
    """A checkpoint that cannot be used; the message is the reason."""


class Checkpoints:
    """The checkpoints of one run directory. Use as a context manager.

    Args:
        directory: Where they lie; made when the first is saved.
        keep: How many of the latest are kept; the one with the lowest validation loss is kept beside them.
    """

    def __init__(self, directory: Path, keep: int = 2):
        self._directory, self._keep = directory, keep
        self._opened: Any = None
        self._losses: dict[int, float] = {}

    @property
    def _orbax(self) -> Any:
        if self._opened is None:
            # A sixth of the imports' time, and a new run needs it at its first save only.
            from orbax.checkpoint import v1 as ocp

            policy: Any = self
            self._opened = ocp.training.Checkpointer(
                str(self._directory.resolve()), preservation_policy=policy, cleanup_tmp_directories=True
            )
            for each in self._opened.checkpoints:
                if self._changed(each.step):  # Of damaged bytes orbax and its threads say more than one sentence.
                    continue
                with suppress(Exception):  # a damaged one is none of the best
                    self._losses[each.step] = float(self._opened.metadata(each.step).custom_metadata[LOSS])
        return self._opened

    def __enter__(self) -> "Checkpoints":
        return self

    def __exit__(self, *exception: object) -> None:
        if self._opened is not None:
            self._opened.close()
            self._opened = None

    @property
    def steps(self) -> list[int]:
        """Steps of the checkpoints, ascending."""
        return [each.step for each in self._orbax.checkpoints] if self._directory.exists() else []

    @property
    def latest(self) -> int | None:
        """Step of the latest checkpoint, None where there is none."""
        return steps[-1] if (steps := self.steps) else None

    @property
    def best(self) -> int | None:
        """Step of the checkpoint with the lowest validation loss, None where none was saved with one."""
        return self._best(steps) if (steps := self.steps) else None

    def _best(self, steps: Sequence[int]) -> int | None:
        """Return the step of the lowest loss, of equal ones the earliest."""
        return min((step for step in steps if step in self._losses), key=lambda s: (self._losses[s], s), default=None)

    def should_preserve(self, checkpoints: Sequence[Any], *, context: Any) -> list[bool]:
        """Return which checkpoints stay: the latest few, and the best on validation. A protocol of orbax."""
        best, first = self._best([each.step for each in checkpoints]), len(checkpoints) - self._keep
        return [place >= first or each.step == best for place, each in enumerate(checkpoints)]

    def save(self, state: TrainState, sums: Mapping[str, float], metrics: Mapping[str, Any] | None = None) -> None:
        """Save a host state under its own step; an existing checkpoint of that step is left as it is.

        Args:
            state: Host state.
            sums: Sums of the epoch under way; empty at its end.
            metrics: The epoch's record, at its end; its validation loss decides which checkpoint is the best.

        Raises:
            InputError: It cannot be written: the disk is full, or the folder is not writable. What is there stays.
        """
        step, tree = int(state.step), jax.tree.map(np.asarray, state._asdict())
        if step in self.steps:
            return
        beside: Any = {"sums": dict(sums), "sha256": digest_of_arrays(tree), "leaves": shapes(tree)}
        loss = None if metrics is None else metrics.get(LOSS)
        if loss is not None and np.isfinite(loss):
            self._losses[step] = beside[LOSS] = float(loss)
        existing = next(path for path in (self._directory, *self._directory.absolute().parents) if path.exists())
        try:
            # Before orbax starts, whose threads each print their own errors.
            if shutil.disk_usage(existing).free < sum(leaf.nbytes for leaf in jax.tree.leaves(tree)) + SPARE_BYTES:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            self._orbax.save(step, tree, force=True, custom_metadata=beside)
            self._note_bytes(step)
        except Exception as error:  # orbax and tensorstore have no errors of their own for what a disk does
            if (reason := _reason(error)) is None:
                raise
            raise InputError(
                f"checkpoint {str(self._directory)!r}: step {step} cannot be written ({reason}); free some space or "
                "fix the permissions, and run the same command again to resume from the checkpoint before"
            ) from error

    def restore(
        self, like: TrainState | Mapping[str, Any], *, step: int | None = None, repair: bool = False
    ) -> tuple[TrainState, dict[str, float]]:
        """Restore the latest undamaged checkpoint, with the structure of `like`; warn of damaged ones.

        Args:
            like: A state of the same model and optimiser; or the shapes of `params` and `batch_stats` alone, for a
                state for evaluation, whatever optimizer trained it: weights, statistics and moving averages if kept.
            step: This checkpoint and no other.
            repair: Move damaged ones aside, into a folder beside the checkpoints, so that the run can save
                these steps again.

        Returns:
            The host state, and the sums of the epoch under way.

        Raises:
            InputError: There is none that is whole, or it belongs to another model; the leaves that differ are named.
        """
        tree = dict(like) if isinstance(like, Mapping) else like._asdict()
        expected = jax.tree.map(lambda a: np.empty(np.shape(a), a.dtype), tree)
        steps = self.steps if step is None else [step]
        if not steps:
            raise InputError(f"checkpoint {self._directory}: there is none; train first")
        broken: dict[int, str] = {}
        for number in reversed(steps):
            try:
                found = self._load(number, expected)
            except Damaged as reason:
                broken[number] = f"checkpoint {str(self._directory / str(number))!r}: it is damaged ({reason})"
                continue
            for other, sentence in broken.items():
                warnings.warn(f"{sentence}; using the one before it", stacklevel=2)
                if repair:
                    self._set_aside(other)
            return found
        raise InputError(
            f"{broken[steps[-1]]}, and none before it is whole; restore it from a copy, or move this run's folder away "
            "and train it again"
        )

    def _load(self, step: int, expected: Any) -> tuple[TrainState, dict[str, float]]:
        if self._changed(step):
            raise Damaged("its files are not those that were written")
        try:
            stored: Any = self._orbax.metadata(step)
            have, beside = shapes(stored.metadata), dict(stored.custom_metadata)
            digest, leaves = beside["sha256"], beside["leaves"]
        except Exception as error:
            raise Damaged(f"it cannot be read: {_line(error)}") from None
        if have != leaves:
            raise Damaged("it does not hold the arrays that were saved")
        partial = "opt_state" not in expected
        if partial:  # weights alone: whatever optimizer trained them
            have = {name: shape for name, shape in have.items() if name.split("/")[0] in expected}
        refuse_other_model(have, shapes(expected), self._directory)
        try:
            tree: Any = self._orbax.load(step, None if partial else expected)
        except Exception as error:
            raise Damaged(f"it cannot be read: {_line(error)}") from None
        if digest_of_arrays(tree) != digest:
            raise Damaged("its checksum is wrong")
        if partial:
            none: Any = np.int32(0)
            state = TrainState(none, tree["params"], tree.get("batch_stats", {}), {}, none, tree.get("ema", {}))
            return jax.tree.map(np.asarray, state), {}
        return TrainState(**tree), dict(beside.get("sums", {}))

    def _changed(self, step: int) -> bool:
        """Return whether a checkpoint's files differ from their recorded digest."""
        noted = self._digests / str(step)
        return noted.exists() and noted.read_text(errors="replace") != digest_of_files(self._directory / str(step))

    @property
    def _digests(self) -> Path:
        return self._directory.with_name(self._directory.name + DIGESTS)

    def _note_bytes(self, step: int) -> None:
        """Record the digest of a checkpoint's files; after a kill before this, its arrays' checksum remains."""
        if not first_host():
            return
        self._digests.mkdir(exist_ok=True)
        for old in self._digests.iterdir():
            if not (self._directory / old.name).exists():
                old.unlink()
        with atomic_write(self._digests / str(step)) as partial:
            partial.write_text(digest_of_files(self._directory / str(step)))

    def _set_aside(self, step: int) -> None:
        self.__exit__()  # it remembers what there was
        if first_host():
            aside = self._directory.with_name(self._directory.name + DAMAGED)
            aside.mkdir(exist_ok=True)
            number = sum(path.name.split(".")[0] == str(step) for path in aside.iterdir())
            shutil.move(self._directory / str(step), aside / (f"{step}.{number}" if number else str(step)))
            (self._digests / str(step)).unlink(missing_ok=True)
        wait_for_hosts("set aside")


def _line(error: Exception) -> str:
    """Return the first line of an error as part of a message."""
    text = " ".join(str(error).split()) or type(error).__name__
    return text if len(text) <= 120 else text[:117] + "..."


def _reason(error: BaseException | None) -> str | None:
    """Return the system's reason for a failed write, None where it was not the system."""
    while error is not None:
        if isinstance(error, OSError) and error.strerror:
            return error.strerror
        for said in ("No space left on device", "Permission denied", "Read-only file system", "Disk quota exceeded"):
            if said.lower() in str(error).lower():
                return said
        error = error.__cause__ or error.__context__
    return None


def digest_of_arrays(tree: Any) -> str:
    """Compute the SHA-256 over names, types, shapes and values of all leaves."""
    digest = hashlib.sha256()
    for path, leaf in sorted(by_path(tree).items()):
        values = np.ascontiguousarray(leaf)
        digest.update(f"{path} {values.dtype} {np.shape(leaf)}\n".encode())
        digest.update(values.tobytes())
    return digest.hexdigest()


def digest_of_files(folder: Path) -> str:
    """Compute the SHA-256 over names and contents of all files below a folder; unreadable ones count by name."""
    digest = hashlib.sha256()
    for file in sorted(path for path in folder.rglob("*") if path.is_file()):
        digest.update(f"{file.relative_to(folder)}\n".encode())
        with suppress(OSError):
            digest.update(file.read_bytes())
    return digest.hexdigest()


def shapes(tree: Any) -> dict[str, list[int]]:
    """Return the shape of each leaf by its path."""
    return {path: list(leaf.shape) for path, leaf in by_path(tree).items()}


def refuse_other_model(have: dict[str, list[int]], want: dict[str, list[int]], directory: Path) -> None:
    """Refuse a checkpoint whose leaves are not those of the model; name them."""
    if have == want:
        return
    gone = [f"- {name} {tuple(have[name])}" for name in have if have.get(name) != want.get(name)]
    new = [f"+ {name} {tuple(want[name])}" for name in want if have.get(name) != want.get(name)]
    shown = "; ".join(gone[:3] + new[:3])
    hidden = len(gone[3:]) + len(new[3:])
    shown += f"; and {hidden} more" if hidden else ""
    raise InputError(
        f"checkpoint {directory}: it belongs to another model or optimizer (- stored, + expected: {shown}); "
        "use the configuration it was trained with, or another output folder"
    )
