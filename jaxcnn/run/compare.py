"""Runs side by side: differences of their configurations, costs and metrics."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from jaxcnn.errors import InputError, require
from jaxcnn.pictures.document import Figure, Heading, Table, to_html
from jaxcnn.records import as_record, flat
from jaxcnn.run.folder import load_result
from jaxcnn.runtime.files import make_folder, write_text


def compare_runs(directories: Sequence[Path | str]) -> list[list[str]]:
    """Return a table of finished runs: a header, then a row per field that differs, per cost and per metric.

    Raises:
        InputError: No finished run, or one that comes twice.

    >>> compare_runs(["runs/a", "runs/b"])  # doctest: +SKIP
    [['', 'a', 'b'], ['seed', '0', '1'], ['parameters', '61,706', '61,706'], ...]
    """
    require(len(directories) > 0, "directories", "()", "name the folders of runs")
    places = [os.path.realpath(each) for each in directories]
    twice = [str(each) for each, place in zip(directories, places, strict=True) if places.count(place) > 1]
    if twice:
        raise InputError(f"directories holds the run {twice[0]!r} more than once: give each run once")
    results = [load_result(each) for each in directories]
    configs = [flat(as_record(each.config)) for each in results]
    fields = [name for name in dict.fromkeys(name for config in configs for name in config)
              if len({str(config.get(name)) for config in configs}) > 1]  # fmt: skip
    rows = [["", *_names(directories)]]
    rows += [[name, *("" if (v := config.get(name)) is None else str(v) for config in configs)] for name in fields]
    rows += [["parameters", *(f"{each.params:,}" for each in results)]]
    rows += [["MACs", *(f"{each.macs:,}" for each in results)]]
    rows += [[f"{name} seconds", *(f"{each.seconds[name]:.4g}" for each in results)] for name in results[0].seconds]
    for name in dict.fromkeys(name for each in results for name in each.metrics):
        values = [each.metrics.get(name) for each in results]
        rows.append([name.replace("_", " "), *("" if value is None else f"{value:.4f}" for value in values)])
    return rows


def write_comparison(directories: Sequence[Path | str], out: Path | str) -> Path:
    """Write one HTML page with the table of `compare_runs` and the curves of all runs; return it. It replaces a file.

    >>> write_comparison(["runs/a", "runs/b"], "runs/compared.html")  # doctest: +SKIP
    """
    from jaxcnn.pictures.curves import curve_figure
    from jaxcnn.pictures.style import to_svg

    out, rows = Path(out), compare_runs(directories)
    require(out.suffix == ".html", "out", repr(str(out)), "must end in .html")
    curves = curve_figure(
        {name: load_result(each).history for name, each in zip(rows[0][1:], directories, strict=True)}
    )
    blocks = [
        Table(rows[0], rows[1:], "Differences of the configurations, costs, metrics of the last epoch"),
        Heading("Curves"),
        Figure("", to_svg(curves), "Each metric by epoch, training and validation."),
    ]
    make_folder(out.parent)
    write_text(out, to_html(f"{len(directories)} runs side by side", blocks))
    return out


def _names(directories: Sequence[Path | str]) -> list[str]:
    """Return short names of folders, without the part of the paths that they share."""
    paths = [os.path.abspath(each) for each in directories]
    shared = os.path.commonpath(paths)
    shared = os.path.dirname(shared) if shared in paths else shared  # a run's folder may hold the others
    return [os.path.relpath(path, shared) for path in paths]
