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


def print_table(rows: Iterable[Sequence[Any]], columns: Sequence[str] = (), title: str = "", caption: str = "") -> None:
    """Print rows as a table; columns of numbers are aligned to the right."""
    from rich.console import Console
    from rich.table import Table

    table = Table(title=title, title_justify="left", caption=caption, caption_justify="left", show_header=bool(columns))
    texts = [[shorten(value) for value in row] for row in rows]
    for place, column in enumerate(columns):
        numbers = all(row[place].removeprefix("+").removeprefix("-")[:1].isdecimal() for row in texts if row[place])
        table.add_column(column, justify="right" if numbers else "left")
    for row in texts:
        table.add_row(*row)
    Console().print(table)


def shorten(value: Any) -> str:
    """Return a value as the text of a table cell: lists without brackets, long texts cut off."""
    text = ", ".join(map(str, value)) if isinstance(value, list | tuple) else str(value)
    return text if len(text) <= LONGEST_TEXT else text[: LONGEST_TEXT - 3] + "..."
