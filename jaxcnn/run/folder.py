"""A run's result, and its folder: what lies in it, written whole or not at all, never over another run's."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from jaxcnn.data.sources.catalog import located
from jaxcnn.errors import InputError, require, similar_paths
from jaxcnn.records import as_record, differences, flat, from_record
from jaxcnn.runtime.files import atomic_write, holds_files, locked, read_sealed, seal, sha256, write_json, write_sealed
from jaxcnn.spec import RunConfig, identity

CHANGED = "it was changed after it was written"
REMEDY = "restore it from a copy, or move this run's folder away and train it again"
TRACED = ("model.computation.", "own.computation.")
"""Starts of the names of what a user-defined network and other user-defined parts compute."""
BESIDE = ("config.json", "data.json", "environment.json", "weights.json")
"""Files that are written before the result; its seal covers them. The last is there if the run has `weights`."""


@dataclass(frozen=True)
class RunResult:
    """Result of a run.

    Args:
        config: The run.
        directory: Its folder, None where nothing was written.
        metrics: The task's metrics of the last epoch, as train_, validation_ and (if evaluate_test) test_ numbers;
            classification: loss (nats) and accuracy.
        history: One record per epoch.
        predictions: Arrays of the test split, per example, as the task saves them (classification: labels, predictions,
            probability of the predicted class, correct); empty where evaluate_test is off.
        params: Trainable parameters.
        macs: Multiply-accumulates of one image's forward pass, convolutions and dense layers.
        seconds: compile, train, step (median over epochs, a step), total.
        environment: Versions and hardware.
        data: The data set: name, sizes, classes, shape, normalisation, hashes of the splits.
        programs: How the step was driven: mode (jit, pmap, sharded), devices, scan, members (runs in one program).
        diverged: None, or of the step whose loss or gradients were not finite: step, indices (of its examples in the
            training split), loss, parameter_norms and gradient_norms by path, nonfinite (paths). Nothing was learnt
            after it; the metrics are those of a network whose weights are NaN.
        finished: Time of its end in UTC, such as 2026-11-29T01:12:30Z; empty in records of former versions.
        details: What the task tells of the test split beside metrics (classification: class_accuracy, top5_accuracy,
            and confusion, the counts by label and prediction), in the order of the data's class names.
        extended: Numbers of epochs after which the run was finished, its test split read, before it was trained longer.
    """

    config: RunConfig
    directory: Path | None
    metrics: dict[str, float]
    history: tuple[dict[str, Any], ...]
    predictions: dict[str, np.ndarray]
    params: int
    macs: int
    seconds: dict[str, float]
    environment: dict[str, Any]
    data: dict[str, Any]
    programs: dict[str, Any] = field(default_factory=dict)
    diverged: dict[str, Any] | None = None
    finished: str = ""
    details: dict[str, Any] = field(default_factory=dict)
    extended: tuple[int, ...] = ()


class StoredResult(NamedTuple):
    """The form of result.json, beside its seal: fields of `RunResult`, and digests of other files."""

    predictions_sha256: str | None
    metrics: dict[str, float]
    history: tuple[dict[str, float], ...]
    params: int
    macs: int
    seconds: dict[str, float]
    programs: dict[str, Any]
    diverged: dict[str, Any] | None
    finished: str = ""
    files: dict[str, str] | None = None
    details: dict[str, Any] | None = None
    extended: tuple[int, ...] = ()
    test_hash: str | None = None


class RunFolder:
    """The files of one run.

    config.json, data.json (what it was trained on), environment.json, weights.json (the file it starts from, if it
    does), metrics.jsonl (a line per epoch), checkpoints/, and, once it is finished, predictions.npz (the test split,
    per example) and result.json.
    """

    def __init__(self, path: Path):
        self.path = Path(path)
        self.metrics, self.checkpoints = self.path / "metrics.jsonl", self.path / "checkpoints"

    @property
    def finished(self) -> bool:
        """Whether the result is there: it is written last."""
        return (self.path / "result.json").exists()

    @property
    def stages(self) -> tuple[int, ...]:
        """Numbers of epochs after which the run was finished, before it was extended."""
        return tuple(sorted(int(path.name.split("_")[1]) for path in self.path.glob("result_*_epochs.json")))

    def refuse_other(self, config: Mapping[str, Any]) -> None:
        """Check that the folder is free or holds this configuration's run; write nothing.

        Raises:
            InputError: It holds another configuration's run, or files that are no run's.
        """
        shown, free = repr(str(self.path)), self.path.is_dir() or not self.path.exists()
        require(free, "out", shown, "it is a file; name a folder")
        if (self.path / "config.json").exists():
            difference = self.difference(config)
            remedy = f"it holds a run of another configuration ({difference}); choose another folder"
            if (epochs := re.fullmatch(r"epochs is (\d+), not (\d+)", difference)) and int(epochs[1]) < int(epochs[2]):
                remedy += ", or train it longer with --extend (extend=True)"
            require(not difference, "out", shown, remedy)
        elif holds_files(self.path):
            raise InputError(f"out={shown}: it holds files but no run; choose an empty or a new folder")

    def difference(self, config: Mapping[str, Any]) -> str:
        """Return in words where the stored configuration differs from `config`; empty where they are the same run.

        Paths of data may differ: data can be moved, and data.json says which they are.
        """
        have, want = flat(identity(self._stored())), flat(identity(config))
        if self.names_other_data(config):
            have["data.name"] = want["data.name"]
        for start in TRACED:
            if have.get(f"{start}traced_by") != want.get(f"{start}traced_by"):  # not recorded, or by other versions
                have, want = ({n: v for n, v in each.items() if not n.startswith(start)} for each in (have, want))
        return differences(have, want)

    def names_other_data(self, config: Mapping[str, Any]) -> bool:
        """Return whether `config` gives another path of data than the stored one, so that data.json decides."""
        name = config["data"]["name"]
        return os.path.isabs(name) and (self.path / "data.json").exists() and name != self._stored()["data"]["name"]

    def claim(self, config: Mapping[str, Any]) -> None:
        """Make the folder this configuration's, or check that it is; raise as `refuse_other` does."""
        self.refuse_other(config)
        if (self.path / "config.json").exists():
            return
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            write_json(self.path / "config.json", config)
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
            free, remedy = True, "another process is training this run; wait for its end, or choose another folder"
            with suppress(ImportError, OSError):
                free = stack.enter_context(locked(self.path))
            require(free, "out", repr(str(self.path)), remedy)
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
                near = similar_paths(self.path)
                remedy = f"not a run folder (it has no config.json); give one that train wrote{near}"
                if (self.path / "plan.json").exists():
                    remedy = f"it is a study; give one of its runs, such as those that `jaxcnn runs {self.path}` lists"
                raise InputError(f"run {str(self.path)!r}: {remedy}") from None
            raise InputError(
                f"run {str(self.path)!r}: {name} is missing, the run is not finished; train it to its end first"
            ) from None
        except NotADirectoryError:
            raise InputError(f"run {str(self.path)!r}: it is a file; give a folder that train wrote") from None
        except (json.JSONDecodeError, UnicodeDecodeError):
            raise InputError(f"{str(file)!r}: not readable as JSON; {REMEDY}") from None
        if not isinstance(record, dict):
            raise InputError(f"{str(file)!r}: not a JSON object; {REMEDY}")
        return record

    def read_config(self) -> tuple[RunConfig, str | None]:
        """Read the run's config, and the import path of the user-defined module if it trained one.

        In that case the config's model is the default, which means nothing.
        """
        record = {name: value for name, value in self.read("config.json").items() if name != "own"}
        model = record.get("model")
        own = model.get("module") if isinstance(model, dict) else None
        if own is not None:
            record = {name: value for name, value in record.items() if name != "model"}
        elif isinstance(model, dict):  # what a network of a registered family computes
            record = record | {"model": {name: value for name, value in model.items() if name != "computation"}}
        return from_record(RunConfig, record, f"{self.path}/config.json"), own

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

    def store(self, result: RunResult) -> None:
        """Write the arrays, then result.json, sealed with the files beside it: it marks the run as finished."""
        file, digest, named = self.path / "predictions.npz", None, dict[str, Any](result.predictions)
        if named:
            with atomic_write(file) as partial, partial.open("wb") as stream:  # a name would be given the suffix .npz
                np.savez_compressed(stream, **named)
            digest = sha256(file)
        fields = {name: getattr(result, name) for name in StoredResult._fields if hasattr(result, name)}
        files = {name: seal(self.read(name)) for name in BESIDE if (self.path / name).exists()}
        write_sealed(
            self.path / "result.json",
            as_record(StoredResult(digest, files=files, test_hash=result.data.get("test_hash"), **fields)),
        )

    def read_result(self) -> StoredResult:
        """Read what `store` wrote.

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

    def _stored(self) -> dict[str, Any]:
        """Return the stored config in the form of this version, paths absolute, a user-defined module as recorded."""
        config, own = self.read_config()
        record, written = as_record(replace(config, data=located(config.data))), self.read("config.json")
        # A user-defined module, and what user-defined parts compute, as recorded.
        model = written.get("model", {})
        model = model if own else record["model"] | {"computation": model.get("computation", {})}
        return record | {"model": model} | ({"own": written["own"]} if "own" in written else {})


def load_result(directory: Path | str) -> RunResult:
    """Read a finished run.

    Raises:
        InputError: Not a run's folder, not finished, or damaged. The run of a user-defined module reads too, with the
            config's model at its default.

    >>> load_result("runs/first").metrics["test_accuracy"]  # doctest: +SKIP
    """
    folder = RunFolder(Path(directory))
    config, _ = folder.read_config()
    stored = folder.read_result()._asdict()
    digest, _, details, test = (stored.pop(name) for name in ("predictions_sha256", "files", "details", "test_hash"))
    predictions = folder.read_predictions(digest) if config.evaluate_test else {}
    data = folder.read("data.json") | ({} if test is None else {"test_hash": test})
    beside: dict[str, Any] = {"environment": folder.read("environment.json"), "data": data}
    return RunResult(config, folder.path, predictions=predictions, details=details or {}, **stored, **beside)
