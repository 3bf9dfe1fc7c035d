"""A run's folder: what lies in it, written whole or not at all, never over another run's."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from jaxcnn.errors import InputError
from jaxcnn.records import as_record, from_record
from jaxcnn.runtime.files import atomic_write, holds_files, locked, read_sealed, seal, sha256, write_json, write_sealed
from jaxcnn.spec import RunConfig, identity

CHANGED = "it was changed after it was written"
REMEDY = "restore it, or delete the folder of this run and train it again"
BESIDE = ("config.json", "data.json", "environment.json")
"""Files that are written before the result; its seal covers them."""


class StoredResult(NamedTuple):
    """The form of result.json, beside its seal."""

    predictions_sha256: str | None
    metrics: dict[str, float]
    history: tuple[dict[str, float], ...]
    params: int
    macs: int
    seconds: dict[str, float]
    programs: dict[str, Any]
    diverged: dict[str, Any] | None
    files: dict[str, str] | None = None


class RunFolder:
    """The files of one run.

    config.json, data.json (what it was trained on), environment.json, metrics.jsonl (a line per epoch), checkpoints/,
    and, once it is finished, predictions.npz (the test split, per example) and result.json.
    """

    def __init__(self, path: Path):
        self.path = Path(path)

    @property
    def metrics(self) -> Path:
        """File of one JSON object per epoch."""
        return self.path / "metrics.jsonl"

    @property
    def checkpoints(self) -> Path:
        """Folder of the orbax checkpoints by step."""
        return self.path / "checkpoints"

    @property
    def finished(self) -> bool:
        """Whether the result is there: it is written last."""
        return (self.path / "result.json").exists()

    def drop_checkpoints(self) -> None:
        """Remove the checkpoints of a finished run that keeps none."""
        for name in ("checkpoints", "checkpoints_digests"):
            shutil.rmtree(self.path / name, ignore_errors=True)

    def refuse_other(self, config: Mapping[str, Any]) -> None:
        """Check that the folder is free or holds this configuration's run; write nothing.

        Raises:
            InputError: It holds another configuration's run, or files that are no run's.
        """
        if self.path.exists() and not self.path.is_dir():
            raise InputError(f"out={str(self.path)!r}: it is a file; name a folder")
        if (self.path / "config.json").exists():
            if difference := self.difference(config):
                raise InputError(
                    f"out={str(self.path)!r}: it holds a run of another configuration ({difference}); "
                    "choose another folder"
                )
        elif holds_files(self.path):
            raise InputError(f"out={str(self.path)!r}: it holds files but no run; choose an empty or a new folder")

    def difference(self, config: Mapping[str, Any]) -> str:
        """Return in words where the stored configuration differs from `config`; empty where they are the same run."""
        have, want = flat(identity(self._canonical(self.read("config.json")))), flat(identity(config))
        names = [name for name in {**have, **want} if have.get(name) != want.get(name)]
        shown = ", ".join(f"{name} is {have.get(name)!r}, not {want.get(name)!r}" for name in names[:3])
        return shown + (f", and {len(names) - 3} more" if len(names) > 3 else "")

    def claim(self, config: Mapping[str, Any]) -> None:
        """Make the folder this configuration's, or check that it is; raise as `refuse_other` does."""
        self.refuse_other(config)
        if (self.path / "config.json").exists():
            return
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            self.write("config.json", config)
        except OSError as error:
            raise InputError(
                f"out={str(self.path)!r}: cannot be written ({error.strerror}); choose another folder"
            ) from error

    @contextmanager
    def lock(self) -> Iterator[None]:
        """Hold the folder's lock while the block lasts; where system or file system has no locks, nothing is held.

        Raises:
            InputError: Another process holds it.
        """
        with ExitStack() as stack:
            try:
                free = stack.enter_context(locked(self.path))
            except (ImportError, OSError):
                free = True
            if not free:
                raise InputError(
                    f"out={str(self.path)!r}: another process is training this run; wait for its end, or choose "
                    "another folder"
                )
            yield

    def read(self, name: str) -> dict[str, Any]:
        """Read a JSON file of the run.

        Raises:
            InputError: It is missing or is no JSON object.
        """
        file = self.path / name
        try:
            record = json.loads(file.read_text(encoding="utf-8"))
        except FileNotFoundError:
            if not (self.path / "config.json").exists():
                raise InputError(f"run {str(self.path)!r}: not a run folder (it has no config.json)") from None
            raise InputError(
                f"run {str(self.path)!r}: {name} is missing, the run is not finished; train it to its end first"
            ) from None
        except (json.JSONDecodeError, UnicodeDecodeError, NotADirectoryError):
            raise InputError(f"{str(file)!r}: not readable as JSON; {REMEDY}") from None
        if not isinstance(record, dict):
            raise InputError(f"{str(file)!r}: not a JSON object; {REMEDY}")
        return record

    def write(self, name: str, content: Mapping[str, Any]) -> None:
        """Write a JSON file, whole or not at all."""
        write_json(self.path / name, content)

    def read_config(self) -> tuple[RunConfig, str | None]:
        """Read the run's config, and the import path of the user-defined module if it trained one.

        In that case the config's model is the default, which means nothing.
        """
        record = self.read("config.json")
        model = record.get("model")
        own = model.get("module") if isinstance(model, dict) else None
        if own is not None:
            record = {name: value for name, value in record.items() if name != "model"}
        return from_record(RunConfig, record, f"{self.path}/config.json"), own

    def write_predictions(self, arrays: Mapping[str, np.ndarray]) -> str:
        """Write predictions.npz atomically; return its SHA-256."""
        file = self.path / "predictions.npz"
        named: dict[str, Any] = dict(arrays)
        with atomic_write(file) as partial, partial.open("wb") as stream:  # a name would be given the suffix .npz
            np.savez_compressed(stream, **named)
        return sha256(file)

    def read_predictions(self, digest: str | None = None) -> dict[str, np.ndarray]:
        """Read the arrays of predictions.npz.

        Raises:
            InputError: It is not readable, or not the file whose SHA-256 is `digest`.
        """
        file = self.path / "predictions.npz"
        try:
            if digest is not None and sha256(file) != digest:
                raise InputError(f"{str(file)!r}: {CHANGED}; {REMEDY}")
            with np.load(file, allow_pickle=False) as stored:
                return {name: stored[name] for name in stored.files}
        except (OSError, ValueError) as error:
            if isinstance(error, InputError):
                raise
            raise InputError(f"{str(file)!r}: not readable ({error})") from error

    def write_result(self, content: StoredResult) -> None:
        """Write result.json, sealed, with the seals of the files beside it."""
        files = {name: seal(self.read(name)) for name in BESIDE}
        write_sealed(self.path / "result.json", as_record(content._replace(files=files)))

    def read_result(self) -> StoredResult:
        """Read what `write_result` wrote.

        Raises:
            InputError: The run is not finished, or this file or one beside it is damaged or was changed.
        """
        if not self.finished:
            self.read("result.json")  # says what is missing
        file = self.path / "result.json"
        record = {name: value for name, value in read_sealed(file, REMEDY).items() if name in StoredResult._fields}
        stored = from_record(StoredResult, record, f"{str(file)!r}: it is not the result of a run", REMEDY)
        for name, noted in (stored.files or {}).items():
            if name not in BESIDE or seal(self.read(name)) != noted:
                raise InputError(f"{str(self.path / name)!r}: {CHANGED}, or belongs to another run; {REMEDY}")
        return stored

    def _canonical(self, record: Mapping[str, Any]) -> dict[str, Any]:
        """Return the stored config in the form of this version, a user-defined module as it is recorded."""
        config, own = self.read_config()
        return as_record(config) | ({} if own is None else {"model": record["model"]})


def flat(tree: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Return a record without nesting: each value by its path, such as model.width."""
    values: dict[str, Any] = {}
    for name, value in tree.items():
        values |= flat(value, f"{prefix}{name}.") if isinstance(value, dict) else {prefix + name: value}
    return values
