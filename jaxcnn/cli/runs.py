"""`jaxcnn runs`: a table of everything that was trained below a folder, from its files; JAX is not needed."""

import csv as tables
import json as texts
import os
import sys
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any

from tyro.conf import Positional, arg

from jaxcnn.cli.output import print_json, print_table
from jaxcnn.errors import InputError, printable, require

SHOWN = {
    "run": "run", "state": "state", "model": "model", "data": "data", "epochs": "epochs", "learning_rate": "lr",
    "seed": "seed", "params": "parameters", "validation_accuracy": "valid acc", "test_accuracy": "test acc",
    "seconds": "s", "finished": "finished (UTC)",
}  # fmt: skip
"""Columns of the table and their heads; CSV and JSON have more."""
DROPPED = ("finished (UTC)", "s", "parameters", "seed", "data", "epochs", "lr")


def runs(
    folder: Positional[Path] = Path("runs"), sort: str = "run", reverse: bool = False, csv: bool = False,
    json: bool = False,
) -> None:  # fmt: skip
    """List all runs below a folder, those of studies and unfinished ones too.

    Args:
        folder: Where to look.
        sort: Column to sort by, such as test_accuracy, learning_rate, params, seconds or finished.
        reverse: Sort downwards.
        csv: Print CSV, with more columns.
        json: Print JSON, with more columns.
    """
    require(folder.is_dir(), "folder", repr(str(folder)), "there is no such folder; name the one that holds the runs")
    require(not (csv and json), "csv", csv, "choose one of --csv and --json")
    rows = list(read_runs(folder))
    names = list(dict.fromkeys(name for row in rows for name in row))
    if rows and sort not in names:
        raise InputError(f"sort={sort!r}: there is no such column; choose one of {', '.join(names)}")
    known = [row for row in rows if row.get(sort) is not None]
    known.sort(key=lambda row: (isinstance(row[sort], str), row[sort]), reverse=reverse)
    rows = known + [row for row in rows if row.get(sort) is None]
    if json:
        print_json(rows)
    elif csv:
        table = tables.DictWriter(sys.stdout, names, lineterminator="\n")
        table.writeheader()
        table.writerows(rows)
    elif rows:
        shown = [[_cell(name, row) for name in SHOWN] for row in rows]
        print_table(shown, tuple(SHOWN.values()), drop=DROPPED)
    else:
        print(f"no runs below {printable(str(folder))}")


def compare(
    runs: Annotated[Positional[tuple[Path, ...]], arg(metavar="RUN RUN [RUN ...]", help_behavior_hint="(required)")],
    out: Path | None = None,
    json: bool = False,
) -> None:
    """Put runs side by side: what differs in their configuration, their costs and their metrics.

    Args:
        runs: Folders of finished runs.
        out: Also write an HTML page with the table and the curves of all runs, in place of such a file. Default: none.
        json: Print JSON.
    """
    from jaxcnn.run.compare import compare_runs, write_comparison

    require(len(runs) >= 2, "RUN", len(runs), "name the folders of two or more runs")
    rows, page = compare_runs(runs), None if out is None else write_comparison(runs, out)
    if json:
        names = rows[0][1:]
        print_json({name: dict(zip(names, values, strict=True)) for name, *values in rows[1:]})
    else:
        print_table(rows[1:], rows[0])
    if page is not None:
        print(f"page: {page}", file=sys.stderr if json else sys.stdout)


def read_runs(folder: Path) -> Iterator[dict[str, Any]]:
    """Yield a flat row per run below a folder, sorted by path: what its files say of it."""
    for here, inner, files in os.walk(folder):
        inner.sort()
        if "config.json" in files:
            config = _json(Path(here) / "config.json")
            if config and not all(isinstance(config.get(part), dict) for part in ("model", "data", "optimizer")):
                continue  # another program's
            inner.clear()  # its checkpoints
            yield read_run(Path(here), os.path.relpath(here, folder))


def read_run(folder: Path, name: str) -> dict[str, Any]:
    """Return the row of one run; metrics of an unfinished one are those of its last epoch."""
    config, result, lines = _json(folder / "config.json"), _json(folder / "result.json"), folder / "metrics.jsonl"
    history = [_parsed(line) for line in lines.read_text(errors="replace").splitlines()] if lines.exists() else []
    model, data, optimizer = (config.get(part) or {} for part in ("model", "data", "optimizer"))
    metrics = (
        result["metrics"]
        if isinstance(result.get("metrics"), dict)
        else {
            key: value for key, value in (history[-1] if history else {}).items() if key.startswith(("train_", "valid"))
        }
    )
    finished = folder / "result.json"
    state = "diverged" if result.get("diverged") else "finished" if result else "unfinished"
    widths = "-".join(map(str, model.get("stage_widths") or (model.get("width"),)))
    seconds, when = result.get("seconds"), result.get("finished")
    if result and not isinstance(when, str):  # the first runs did not record it
        when = datetime.fromtimestamp(finished.stat().st_mtime, UTC).isoformat()
    return {
        "run": name,
        "state": "damaged" if not config or (finished.exists() and not result) else state,
        "model": model.get("module") or f"{model.get('family')} {model.get('depth')}x{widths}",
        "data": data.get("name"),
        "epochs": len(history),
        "of": config.get("epochs"),
        "batch_size": config.get("batch_size"),
        "optimizer": optimizer.get("name"),
        "learning_rate": optimizer.get("learning_rate"),
        "weight_decay": optimizer.get("weight_decay"),
        "seed": config.get("seed"),
        "params": result.get("params"),
        "macs": result.get("macs"),
        **metrics,
        "seconds": seconds.get("total") if isinstance(seconds, dict) else None,
        "finished": when and when[:16].replace("T", " "),
    }


def _json(path: Path) -> dict[str, Any]:
    """Return a JSON object; an empty one where it is missing or damaged."""
    return _parsed(path.read_text(errors="replace")) if path.exists() else {}


def _parsed(text: str) -> dict[str, Any]:
    try:
        value = texts.loads(text)
    except ValueError:
        return {}
    return value if isinstance(value, dict) else {}


def _cell(name: str, row: dict[str, Any]) -> str:
    value = row.get(name)
    if name == "epochs":
        return f"{value}/{row['of']}"
    if name in ("validation_accuracy", "test_accuracy") and value is not None:
        return f"{value:.4f}"
    if isinstance(value, float):
        return f"{value:.4g}"
    return f"{value:,}" if name == "params" and value is not None else printable(str("" if value is None else value))
