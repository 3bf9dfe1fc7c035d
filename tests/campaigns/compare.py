"""Compare two run or study folders bit by bit: predictions, checkpoints, metrics and records; all but times."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

# Times, and the checksums and records that contain times: they differ between two undisturbed runs, too.
TIMED = {"seconds", "steps_timed", "finished", "sealed", "seal", "files", "environment", "environments", "command"}


def study_differences(whole: Path, other: Path) -> list[str]:
    """Return a sentence for each difference between two studies."""
    found = [line for name in ("plan.json", "tuning.json", "pilot.json", "runs.json")
             for line in _json_differences(whole, other, name)]  # fmt: skip
    found += _npz_differences(whole, other, "predictions.npz")
    first, second = ({str(file.parent.relative_to(folder)) for file in folder.glob("*/*/*/seed*/config.json")}
                     for folder in (whole, other))  # fmt: skip
    if first != second:
        found.append(f"runs: {sorted(first ^ second)} are in one study only")
    for run in sorted(first & second):
        found += [f"{run}/{line}" for line in run_differences(whole / run, other / run)]
    return found


def run_differences(whole: Path, other: Path) -> list[str]:
    """Return a sentence for each difference between two runs."""
    names = ("config.json", "data.json", "result.json")
    found = [line for name in names for line in _json_differences(whole, other, name)]
    metrics = [[without_times(json.loads(line)) for line in (folder / "metrics.jsonl").read_text().splitlines()]
               for folder in (whole, other)]  # fmt: skip
    if metrics[0] != metrics[1]:
        found.append("metrics.jsonl: the numbers of the epochs differ")
    if (whole / "predictions.npz").exists():  # trials of tuning have no predictions
        found += _npz_differences(whole, other, "predictions.npz")
    return found + array_differences("checkpoint", _checkpoint(whole), _checkpoint(other))


def without_times(value: Any) -> Any:
    """Return a JSON value without the fields that hold times."""
    if isinstance(value, Mapping):
        return {name: without_times(item) for name, item in value.items() if name not in TIMED}
    return [without_times(item) for item in value] if isinstance(value, list) else value


def array_differences(name: str, whole: Mapping[str, np.ndarray], other: Mapping[str, np.ndarray]) -> list[str]:
    """Return a sentence for each array whose type, shape or bytes differ."""
    found = [f"{name}: {key} is in one only" for key in sorted(set(whole) ^ set(other))]
    for key in sorted(set(whole) & set(other)):
        a, b = whole[key], other[key]
        if a.dtype != b.dtype or a.shape != b.shape:
            found.append(f"{name}: {key} is {a.dtype}{a.shape}, not {b.dtype}{b.shape}")
        elif a.tobytes() != b.tobytes():
            count = np.count_nonzero(~((a == b) | ((a != a) & (b != b))))
            found.append(f"{name}: {key} differs in {count} of {a.size} values")
    return found


def _checkpoint(run: Path) -> dict[str, np.ndarray]:
    """Return the latest checkpoint as arrays by path (step, parameters, statistics, optimizer state); or nothing."""
    folder = run / "checkpoints"
    if not folder.is_dir():
        return {}
    import jax
    from orbax.checkpoint import v1 as ocp

    with ocp.training.Checkpointer(str(folder.resolve())) as checkpoints:
        if checkpoints.latest is None:
            return {}
        leaves = jax.tree_util.tree_leaves_with_path(checkpoints.load(checkpoints.latest.step))
        return {jax.tree_util.keystr(path): np.asarray(leaf) for path, leaf in leaves}


def _npz_differences(whole: Path, other: Path, name: str) -> list[str]:
    if not (whole / name).exists() or not (other / name).exists():
        return [f"{name}: missing"]
    with np.load(whole / name, allow_pickle=False) as a, np.load(other / name, allow_pickle=False) as b:
        return array_differences(name, dict(a), dict(b))


def _json_differences(whole: Path, other: Path, name: str) -> list[str]:
    if not (whole / name).exists() or not (other / name).exists():
        return [f"{name}: missing"]
    a, b = (without_times(json.loads((folder / name).read_text())) for folder in (whole, other))
    return [] if a == b else [f"{name}: {_first_difference(a, b)}"]


def _first_difference(a: Any, b: Any, where: str = "") -> str:
    if isinstance(a, dict) and isinstance(b, dict):
        for key in {**a, **b}:
            if a.get(key) != b.get(key):
                return _first_difference(a.get(key), b.get(key), f"{where}.{key}")
    if isinstance(a, list) and isinstance(b, list) and len(a) == len(b):
        for number, (x, y) in enumerate(zip(a, b, strict=True)):
            if x != y:
                return _first_difference(x, y, f"{where}[{number}]")
    return f"{where or 'all'} is {str(a)[:80]} against {str(b)[:80]}"
