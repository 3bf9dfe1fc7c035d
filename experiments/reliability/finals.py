"""Whether two folders hold the same results to the bit: predictions, checkpoints, metrics; all but times."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

# What differs between two runs that nothing happened to: times, and the seals and records that hold times.
CLOCKED = {"seconds", "steps_timed", "seal", "files", "environment", "environments", "command"}


def study_differences(whole: Path, other: Path) -> list[str]:
    """Where a study's results differ from those of one left alone, in words; empty where they do not."""
    names = ("plan.json", "tuning.json", "pilot.json", "runs.json")
    found = [line for name in names for line in _json(whole, other, name)]
    found += _arrays(whole, other, "predictions.npz")
    runs, theirs = (sorted(str(file.parent.relative_to(folder)) for file in folder.glob("*/*/*/seed*/config.json"))
                    for folder in (whole, other))  # fmt: skip
    if runs != theirs:
        found.append(f"runs: {sorted(set(runs) ^ set(theirs))} are in one study only")
    for run in set(runs) & set(theirs):
        found += [f"{run}/{line}" for line in run_differences(whole / run, other / run)]
    return found


def run_differences(whole: Path, other: Path) -> list[str]:
    """Where a run's results differ from those of one left alone, in words; empty where they do not."""
    found = [line for name in ("config.json", "data.json", "result.json") for line in _json(whole, other, name)]
    lines = [(folder / "metrics.jsonl") for folder in (whole, other)]
    metrics = [[plain(json.loads(line)) for line in file.read_text().splitlines()] for file in lines if file.exists()]
    if len(metrics) < 2 or metrics[0] != metrics[1]:
        found.append("metrics.jsonl: the epochs' numbers differ")
    if (whole / "predictions.npz").exists():  # trials of tuning never open the test split
        found += _arrays(whole, other, "predictions.npz")
    return found + unequal("checkpoint", checkpoint(whole / "checkpoints"), checkpoint(other / "checkpoints"))


def plain(value: Any) -> Any:
    """JSON without what a clock says."""
    if isinstance(value, Mapping):
        return {name: plain(item) for name, item in value.items() if name not in CLOCKED}
    return [plain(item) for item in value] if isinstance(value, list) else value


def unequal(name: str, whole: Mapping[str, np.ndarray], other: Mapping[str, np.ndarray]) -> list[str]:
    """Arrays that are not the same to the bit, by name: type, shape and bytes."""
    found = [f"{name}: {key} is in one only" for key in sorted(set(whole) ^ set(other))]
    for key in sorted(set(whole) & set(other)):
        a, b = whole[key], other[key]
        if a.dtype != b.dtype or a.shape != b.shape:
            found.append(f"{name}: {key} is {a.dtype}{a.shape}, not {b.dtype}{b.shape}")
        elif a.tobytes() != b.tobytes():
            count = np.count_nonzero(~((a == b) | ((a != a) & (b != b))))
            found.append(f"{name}: {key} differs in {count} of {a.size} values")
    return found


def checkpoint(folder: Path) -> dict[str, np.ndarray]:
    """The latest checkpoint as arrays by path: step, parameters, statistics, optimiser state; empty: there is none."""
    if not folder.is_dir():
        return {}
    import jax
    from orbax.checkpoint import v1 as ocp

    with ocp.training.Checkpointer(str(folder.resolve())) as checkpoints:
        if checkpoints.latest is None:
            return {}
        tree: Any = checkpoints.load(checkpoints.latest.step)
        return {
            jax.tree_util.keystr(path): np.asarray(leaf) for path, leaf in jax.tree_util.tree_leaves_with_path(tree)
        }


def _arrays(whole: Path, other: Path, name: str) -> list[str]:
    held = []
    for folder in (whole, other):
        if not (folder / name).exists():
            return [f"{name}: missing"]
        with np.load(folder / name, allow_pickle=False) as arrays:
            held.append({key: arrays[key] for key in arrays.files})
    return unequal(name, held[0], held[1])


def _json(whole: Path, other: Path, name: str) -> list[str]:
    if not (whole / name).exists() or not (other / name).exists():
        return [f"{name}: missing"]
    mine, theirs = (plain(json.loads((folder / name).read_text())) for folder in (whole, other))
    return [] if mine == theirs else [f"{name}: {_first(mine, theirs)}"]


def _first(mine: Any, theirs: Any, where: str = "") -> str:
    """The first place at which two JSON values differ."""
    if isinstance(mine, dict) and isinstance(theirs, dict):
        for key in {**mine, **theirs}:
            if mine.get(key) != theirs.get(key):
                return _first(mine.get(key), theirs.get(key), f"{where}.{key}")
    if isinstance(mine, list) and isinstance(theirs, list) and len(mine) == len(theirs):
        for number, (a, b) in enumerate(zip(mine, theirs, strict=True)):
            if a != b:
                return _first(a, b, f"{where}[{number}]")
    return f"{where or 'all'} is {str(mine)[:80]} against {str(theirs)[:80]}"
