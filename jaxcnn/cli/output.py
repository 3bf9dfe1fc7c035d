"""What commands print: tables and JSON."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from typing import Any

from jaxcnn.records import as_record

LONGEST_TEXT = 300


def print_json(value: Any) -> None:
    """Print records and plain values as one line of JSON."""
    print(json.dumps(as_record(value)))


def print_table(
    rows: Iterable[Sequence[Any]], columns: Sequence[str] = (), title: str = "", caption: str = "",
    drop: Sequence[str] = (),
) -> None:  # fmt: skip
    """Print rows as a table; columns of numbers are aligned to the right and stay whole.

    Where a terminal is too narrow, columns are left out, the first of `drop` first.
    """
    from rich.table import Table
    from rich.text import Text

    from jaxcnn.runtime.console import print_fitting

    texts = [[shorten(value) for value in row] for row in rows]

    def make(without: Sequence[str]) -> Table:
        head = bool(columns)
        table = Table(title=title, title_justify="left", caption=caption, caption_justify="left", show_header=head)
        kept = [place for place, column in enumerate(columns) if column not in without]
        for place in kept:
            cells = [row[place] for row in texts if row[place]]
            numbers = all(cell.removeprefix("+").removeprefix("-")[:1].isdecimal() for cell in cells)
            if numbers or not any(" " in cell for cell in cells):  # what has no words to wrap stays on one line
                least = max(map(len, [columns[place], *cells]))
                table.add_column(columns[place], justify="right" if numbers else "left", no_wrap=True, min_width=least)
            else:
                table.add_column(columns[place])
        for row in texts:
            table.add_row(*(Text(row[place]) for place in kept or range(len(row))))
        return table

    print_fitting(make, drop)


def shorten(value: Any) -> str:
    """Return a value as the text of a table cell: lists without brackets, long texts cut off."""
    text = ", ".join(map(str, value)) if isinstance(value, list | tuple) else str(value)
    return text if len(text) <= LONGEST_TEXT else text[: LONGEST_TEXT - 3] + "..."
