"""The record of a benchmark, one JSON file per table, and its Markdown.

    {"title": "Training steps",                  what was measured
     "columns": ["network", "step, ms"],         names, with units
     "rows": [["lenet5", 7.1]],                  text, numbers or null, as many as there are columns
     "notes": ["..."],                           sentences below the table
     "environment": {...},                       processor, cores, platform, versions, and the result of `Watch`
     "rounds": {...}}                            optional: every measurement

`docs/tables.py` writes the tables of docs/benchmarks/ and docs/reliability/ into their pages. A ratio above 1 says that
ours is faster.
"""

import os
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from jaxcnn.runtime.files import write_json

Record = dict[str, Any]


class Summary(NamedTuple):
    """Median, least and interquartile range of several measurements."""

    median: float
    least: float
    iqr: float


def summarise(values: Sequence[float]) -> Summary:
    """Summarise at least one value."""
    low, middle, high = np.quantile(values, (0.25, 0.5, 0.75))
    return Summary(float(middle), float(min(values)), float(high - low))


def ratio(theirs: float | None, ours: float | None) -> float | None:
    """Return how many times as fast ours is; None where a time is unknown."""
    return None if theirs is None or ours is None else theirs / ours


class Watch:
    """Load of the machine by other processes, from creation to `read`."""

    def __init__(self):
        self.begun, self.cpu, self.load = time.perf_counter(), _cpu_seconds(), _load()

    def read(self) -> dict[str, Any]:
        """Return load averages, and the share of the cores used by processes that are not ours or our children."""
        wall, seen = (time.perf_counter() - self.begun) * (os.cpu_count() or 1), {"load": [self.load, _load()]}
        if self.cpu is None:
            return seen
        machine, ours = (after - before for after, before in zip(_cpu_seconds() or self.cpu, self.cpu, strict=True))
        return {**seen, "others": round(min(1.0, max(0.0, (machine - ours) / wall)), 3)}


def _load() -> float | None:
    return round(os.getloadavg()[0], 2) if hasattr(os, "getloadavg") else None


def _cpu_seconds() -> tuple[float, float] | None:
    """Return CPU seconds of the machine, and of this process and its finished children; None where unknown."""
    try:
        fields = [int(field) for field in Path("/proc/stat").read_text().split("\n")[0].split()[1:]]
    except (OSError, ValueError):
        return None
    times = os.times()
    # user, nice, system, idle, iowait, irq, softirq, ...
    busy = sum(fields[:3] + fields[5:7]) / os.sysconf("SC_CLK_TCK")
    return busy, times.user + times.system + times.children_user + times.children_system


def cell(value: Any) -> str:
    """Format a value: three significant digits, thousands with commas."""
    if value is None:
        return "–"
    if isinstance(value, int) and not isinstance(value, bool):
        return f"{value:,}"
    if isinstance(value, float):
        return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}" if abs(value) < 1 else f"{value:#.3g}"
    return str(value)


def markdown(record: Mapping[str, Any]) -> str:
    """Return a record as a Markdown table with its notes and where it was measured."""
    numeric = [
        all(isinstance(row[i], int | float | None) for row in record["rows"]) for i in range(len(record["columns"]))
    ]
    lines = [_line(record["columns"]), _line(["---:" if right else ":---" for right in numeric])]
    lines += [_line([cell(value) for value in row]) for row in record["rows"]]
    lines += [""] + [f"- {note}" for note in record.get("notes", [])]
    return "\n".join([*lines, f"- {place(record.get('environment', {}))}"])


def place(environment: Mapping[str, Any]) -> str:
    """Return a sentence on the machine and the versions."""
    accelerators = environment.get("devices", []) if environment.get("platform") != "cpu" else []
    where = [environment.get("processor", "an unknown processor"), f"{environment.get('cores', '?')} cores"]
    where += [f"{accelerators.count(kind)} × {kind}" for kind in dict.fromkeys(accelerators)]
    shown = ("python", "jax", "flax", "torch", "keras", "onnxruntime")
    found = environment.get("versions", {})
    where += [f"{name} {found[name]}" for name in shown if found.get(name, "missing") != "missing"]
    if "load" in environment:
        where.append(f"load {cell(environment['load'][0])} at the start")
    if "others" in environment:
        where.append(f"other processes on {100 * environment['others']:.0f} % of the cores meanwhile")
    return f"Measured on: {', '.join(map(str, where))}."


def write(out: Path, name: str, record: Record) -> Path:
    """Store a record as OUT/NAME.json (NAME_gpu.json from an accelerator) and print its table."""
    accelerator = record["environment"].get("platform", "cpu") != "cpu"
    out.mkdir(parents=True, exist_ok=True)
    path = out / f"{name}{'_gpu' if accelerator else ''}.json"
    write_json(path, record)
    print(f"\n{record['title']}\n\n{markdown(record)}\n\nstored: {path}")
    return path


def _line(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"
