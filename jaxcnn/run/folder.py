"""A run's folder: what lies in it, written whole or not at all, never over another run's."""

import json
import math
import shutil
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from jaxcnn.errors import InputError
from jaxcnn.records import from_record
from jaxcnn.runtime.files import holds_files, in_one_move, locked, read_sealed, seal, sha256, write_json, write_sealed
from jaxcnn.spec import RunConfig

CHANGED = "it was changed after it was written"
REMEDY = "restore it, or delete the folder of this run and train it again"
BESIDE = ("config.json", "data.json", "environment.json")
"""Written before the result, and held to by its seal."""


class StoredResult(NamedTuple):
    """The form of result.json, beside its seal: null where a number was not finite."""

    predictions_sha256: str | None
    metrics: dict[str, float | None]
    history: tuple[dict[str, float | None], ...]
    params: int
    macs: int
    seconds: dict[str, float | None]
    programs: dict[str, Any]
    diverged: dict[str, Any] | None
    files: dict[str, str] | None = None


class RunDirectory:
    """The files of one run.

    config.json (what was asked), data.json (what it was trained on), environment.json, metrics.jsonl (a line an epoch),
    checkpoints/, and, once it is finished, predictions.npz (the test split, per example) and result.json.
    """

    def __init__(self, path: Path):
        self.path = Path(path)

    @property
    def metrics(self) -> Path:
        """One JSON object an epoch."""
        return self.path / "metrics.jsonl"

    def drop_checkpoints(self) -> None:
        """Remove those of a finished run that keeps none."""
        for name in ("checkpoints", "checkpoints_digests"):
            shutil.rmtree(self.path / name, ignore_errors=True)

    @property
    def checkpoints(self) -> Path:
        """Orbax checkpoints by step."""
        return self.path / "checkpoints"

    @property
    def finished(self) -> bool:
        """Whether the result is there: it is written last."""
        return (self.path / "result.json").exists()

    def refuse_other(self, config: Mapping[str, Any]) -> None:
        """Check that the folder is this configuration's, or free; writes nothing.

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
            return
        if holds_files(self.path):
            raise InputError(f"out={str(self.path)!r}: it holds files but no run; choose an empty or a new folder")

    def difference(self, config: Mapping[str, Any]) -> str:
        """Where the configuration held here is not `config`, in words; empty where they are the same run."""
        held = self.read("config.json")
        return "" if _identity(held) == _identity(config) else _difference(held, config)

    def claim(self, config: Mapping[str, Any]) -> None:
        """Make the folder this configuration's, or find that it is; raises as `refuse_other` does."""
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
    def held(self) -> Iterator[None]:
        """Hold the folder while the block lasts: no other process can do so meanwhile.

        Where system or file system has no locks, nothing is held.

        Raises:
            InputError: Another process holds it.
        """
        with ExitStack() as stack:
            try:
                mine = stack.enter_context(locked(self.path))
            except (ImportError, OSError):
                mine = True
            if not mine:
                raise InputError(
                    f"out={str(self.path)!r}: another process is training this run; wait for its end, or choose "
                    "another folder"
                )
            yield

    def read(self, name: str) -> dict[str, Any]:
        """A JSON file of the run.

        Raises:
            InputError: It is missing or is no JSON object.
        """
        file = self.path / name
        try:
            record = json.loads(file.read_text(encoding="utf-8"))
            if not isinstance(record, dict):
                raise InputError(f"{str(file)!r}: not a JSON object; {REMEDY}")
            return record
        except FileNotFoundError:
            if not (self.path / "config.json").exists():
                raise InputError(f"run {str(self.path)!r}: not a run folder (it has no config.json)") from None
            raise InputError(
                f"run {str(self.path)!r}: {name} is missing, the run is not finished; train it to its end first"
            ) from None
        except (json.JSONDecodeError, UnicodeDecodeError, NotADirectoryError):
            raise InputError(f"{str(file)!r}: not readable as JSON; {REMEDY}") from None

    def write(self, name: str, content: Mapping[str, Any]) -> None:
        """Write a JSON file, whole or not at all."""
        write_json(self.path / name, content)

    def read_config(self) -> tuple[RunConfig, str | None]:
        """The run that was asked for, and the import path of the user's own module where it trained one.

        In that case the config's model is the default, which says nothing.
        """
        record = self.read("config.json")
        model = record.get("model")
        own = model.get("module") if isinstance(model, dict) else None
        if own is not None:
            record = {name: value for name, value in record.items() if name != "model"}
        return from_record(RunConfig, record, f"{self.path}/config.json"), own

    def write_predictions(self, arrays: Mapping[str, np.ndarray]) -> str:
        """Write predictions.npz in one move; returns its SHA-256."""
        file = self.path / "predictions.npz"
        named: dict[str, Any] = dict(arrays)
        with in_one_move(file) as partial, partial.open("wb") as stream:  # a name would be given the suffix .npz
            np.savez_compressed(stream, **named)
        return sha256(file)

    def read_predictions(self, digest: str | None = None) -> dict[str, np.ndarray]:
        """The arrays of predictions.npz.

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

    def write_result(self, content: Mapping[str, Any]) -> None:
        """Write result.json, sealed, with the seals of the files beside it: numbers that are not finite become null."""
        files = {name: seal(self.read(name)) for name in BESIDE}
        write_sealed(self.path / "result.json", _finite(content) | {"files": files})

    def read_result(self) -> dict[str, Any]:
        """What `write_result` wrote, null as NaN.

        Raises:
            InputError: The run is not finished, or this file or one beside it is damaged or was changed.
        """
        if not self.finished:
            self.read("result.json")  # says what is missing
        file = self.path / "result.json"
        record = read_sealed(file, REMEDY)
        known = {name: value for name, value in record.items() if name in StoredResult._fields}
        stored = from_record(StoredResult, known, f"{str(file)!r}: it is not the result of a run", REMEDY)
        for name, held in (stored.files or {}).items():
            if name not in BESIDE or seal(self.read(name)) != held:
                raise InputError(f"{str(self.path / name)!r}: {CHANGED}, or belongs to another run; {REMEDY}")
        return _with_nan(record)


def _finite(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _with_nan(record: dict[str, Any]) -> dict[str, Any]:
    """Metrics and history as numbers again."""

    def numbers(row: Mapping[str, Any]) -> dict[str, Any]:
        return {key: math.nan if value is None else value for key, value in row.items()}

    rows = {"metrics": numbers(record["metrics"]), "history": [numbers(row) for row in record["history"]]}
    return record | rows


def _identity(config: Mapping[str, Any]) -> dict[str, Any]:
    """What makes two configurations the same run: all but where the data lie on this machine and who decodes them."""
    plain = json.loads(json.dumps(config))
    if isinstance(plain.get("data"), dict):
        for name in ("data_dir", "workers"):
            plain["data"].pop(name, None)
    return plain


def _difference(held: Mapping[str, Any], wanted: Mapping[str, Any]) -> str:
    """The first few fields that differ, as `field: held, not wanted`."""
    have, want = _flat(_identity(held)), _flat(_identity(wanted))
    names = [name for name in {**have, **want} if have.get(name) != want.get(name)]
    shown = ", ".join(f"{name} is {have.get(name)!r}, not {want.get(name)!r}" for name in names[:3])
    return shown + (f", and {len(names) - 3} more" if len(names) > 3 else "")


def _flat(tree: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for name, value in tree.items():
        flat |= _flat(value, f"{prefix}{name}.") if isinstance(value, dict) else {prefix + name: value}
    return flat
