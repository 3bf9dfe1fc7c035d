"""A document as a list of blocks, written as Markdown or as one self-contained HTML page."""

import re
from collections.abc import Callable, Iterable, Sequence
from html import escape
from itertools import groupby, repeat
from pathlib import Path
from typing import NamedTuple, TypeVar

T = TypeVar("T")

STYLE = "\n" + Path(__file__).with_name("page.css").read_text(encoding="utf-8")
PAGE_COLOURS = {"#000000": "currentColor", "#ffffff": "var(--paper)", "#e3e3e3": "var(--grid)"}
"""Colours of a figure that a page replaces by its own, which are others in the dark."""
LONG_NAME, LONG_TEXT = 20, 34
"""Characters above which the first cell of a row, or another one, may break into lines."""


class Heading(NamedTuple):
    """Title of a section, level 2, or of a part of one, level 3."""

    text: str
    level: int = 2


class Contents(NamedTuple):
    """Links to all sections of the page; empty in Markdown, whose viewers make their own."""


class Paragraph(NamedTuple):
    """Running text; `lead` highlights the main statement of the page."""

    text: str
    lead: bool = False


class Bullets(NamedTuple):
    """A bullet list."""

    items: Sequence[str]


class Table(NamedTuple):
    """Rows under a header, each named by its first cell; `words` aligns to the left, otherwise numbers to the right."""

    header: Sequence[str]
    rows: Sequence[Sequence[str]]
    caption: str = ""
    words: bool = False


def table(
    columns: Sequence[tuple[str, Callable[[T], str]]], items: Iterable[T], caption: str = "", *, words: bool = False
) -> Table:
    """Make a table with one row per item from columns of (name, function of an item)."""
    rows = [[cell(item) for _, cell in columns] for item in items]
    return Table([name for name, _ in columns], rows, caption, words)


class Facts(NamedTuple):
    """Names with their values, one per line."""

    items: Sequence[tuple[str, str]]


class Checks(NamedTuple):
    """A numbered checklist of (mark, requirement, evidence)."""

    items: Sequence[tuple[str, str, str]]


class Figure(NamedTuple):
    """A figure: its file beside the Markdown, its SVG inside the HTML."""

    path: str
    svg: str
    caption: str


class Code(NamedTuple):
    """Commands or code."""

    text: str


Block = Heading | Contents | Paragraph | Bullets | Table | Facts | Checks | Figure | Code


def to_markdown(title: str, blocks: Sequence[Block]) -> str:
    """Convert plain texts to Markdown with GitHub's tables; characters with a meaning there are escaped."""
    parts = [f"# {_plain(title)}", *(_markdown(block) for block in blocks)]
    return "\n\n".join(part for part in parts if part) + "\n"


def _plain(text: str) -> str:
    text = re.sub(r"([\\`*\[\]<>|&~$])", r"\\\1", " ".join(text.split()))
    # An underscore inside a word means nothing; at a word's edge it may begin or end an emphasis.
    text = re.sub(r"(?<![A-Za-z0-9])_|_(?![A-Za-z0-9])", r"\\_", text)
    # Characters that would make a line a heading, a list or a rule.
    return re.sub(r"^(\d*)([.)#+=-])(?=\s|$|[#=-])", r"\1\\\2", text)


def _row(cells: Sequence[str]) -> str:
    return f"| {' | '.join(map(_plain, cells))} |"


def _markdown(block: Block) -> str:
    match block:
        case Heading(text, level):
            return f"{'#' * level} {_plain(text)}"
        case Contents():
            return ""
        case Paragraph(text, lead):
            return f"**{_plain(text)}**" if lead else _plain(text)
        case Bullets(items):
            return "\n".join(f"- {_plain(item)}" for item in items)
        case Table(header, rows, caption, words):
            line = "| :--- |" + (" :--- |" if words else " ---: |") * (len(header) - 1)
            lines = [f"**{_plain(caption)}**\n"] if caption else []
            return "\n".join([*lines, _row(header), line, *map(_row, rows)])
        case Facts(items):
            return "\n".join(["| | |", "| :--- | :--- |", *map(_row, items)])
        case Checks(items):
            lines = [(number, *map(_plain, item)) for number, item in enumerate(items, start=1)]
            return "\n".join(f"{number}. **{mark}** {asks}: {evidence}" for number, mark, asks, evidence in lines)
        case Figure(path, _, caption):
            return f"![{_plain(caption)}]({path})\n\n{_plain(caption)}"
        case Code(text):
            fence = "`" * max(3, 1 + max((len(run) for run in re.findall("`+", text)), default=0))
            return f"{fence}\n{text}\n{fence}"


def to_html(title: str, blocks: Sequence[Block]) -> str:
    """Convert plain texts and figures to one HTML page: no scripts, no links to other files, readable on a phone."""
    # Consecutive figures stand side by side if there is room.
    numbers = range(len(blocks))
    runs = groupby(numbers, key=lambda number: isinstance(blocks[number], Figure) or -1 - number)
    groups = [[_html(blocks[number], number, blocks) for number in run] for _, run in runs]
    body = "\n".join(f'<div class="figures">\n{_lines(run)}</div>' if len(run) > 1 else run[0] for run in groups)
    return (
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{escape(title)}</title>\n<style>{STYLE}</style>\n</head>\n<body>\n"
        f"<h1>{escape(title)}</h1>\n{body}\n</body>\n</html>\n"
    )


def _lines(items: Iterable[str]) -> str:
    return "".join(f"{item}\n" for item in items)


def _html(block: Block, number: int, blocks: Sequence[Block]) -> str:
    match block:
        case Heading(text, level):
            return f'<h{level} id="part{number}">{escape(text)}</h{level}>'
        case Contents():
            sections = [
                (n, each.text) for n, each in enumerate(blocks) if isinstance(each, Heading) and each.level == 2
            ]
            links = _lines(f'<a href="#part{n}">{escape(text)}</a>' for n, text in sections)
            return f'<nav aria-label="Contents">\n{links}</nav>'
        case Paragraph(text, lead):
            return f'<p class="lead">{escape(text)}</p>' if lead else f"<p>{escape(text)}</p>"
        case Bullets(items):
            return f"<ul>\n{_lines(f'<li>{escape(item)}</li>' for item in items)}</ul>"
        case Table():
            return _html_table(block)
        case Facts(items):
            lines = _lines(f'<tr><th scope="row">{escape(k)}</th><td>{escape(v)}</td></tr>' for k, v in items)
            return f'<table class="facts"><tbody>\n{lines}</tbody></table>'
        case Checks(items):
            lines = _lines(
                f'<li><span class="mark">{escape(mark)}</span> {escape(asks)}'
                f'<span class="evidence">{escape(evidence)}</span></li>'
                for mark, asks, evidence in items
            )
            return f'<ol class="checks">\n{lines}</ol>'
        case Figure(_, svg, caption):
            text = escape(caption)
            # Without the XML declaration, and with ids that no other figure has.
            svg = svg[svg.index("<svg") :].strip()
            svg = re.sub(r'(\bid="|href="#|url\(#)', rf"\g<1>f{number}-", svg)
            svg = re.sub(r"(?<=[:] )(#000000|#ffffff|#e3e3e3)(?=[;\"])", lambda colour: PAGE_COLOURS[colour[1]], svg)
            svg = svg.replace('fill="#f3f3f3"', 'style="fill: var(--soft)"')  # behind a hatch
            svg = svg.replace("<svg", f'<svg role="img" aria-label="{text}"', 1)
            return f"<figure>\n{svg}\n<figcaption>{text}</figcaption>\n</figure>"
        case Code(text):
            return f"<pre>{escape(text)}</pre>"


def _html_table(table: Table) -> str:
    def cell(text: str, tag: str, attributes: str = "", most: int = LONG_TEXT) -> str:
        long = ' class="long"' if len(text) > most else ""
        return f"<{tag}{attributes}{long}>{escape(text)}</{tag}>"

    scope = ' scope="row"'
    head = "".join(f'<th scope="col">{escape(text)}</th>' for text in table.header)
    # A narrow screen shows the name of a cell's column in the cell.
    names = [f' data-name="{escape(text)}"' if table.words else "" for text in table.header[1:]]
    rows = _lines(
        f"<tr>{cell(name, 'th', scope, LONG_NAME)}{''.join(map(cell, rest, repeat('td'), names))}</tr>"
        for name, *rest in table.rows
    )
    caption = f"<caption>{escape(table.caption)}</caption>" if table.caption else ""
    kind = ' class="words"' if table.words else ""
    return (
        f'<div class="scroll" tabindex="0"><table{kind}>{caption}\n<thead><tr>{head}</tr></thead>\n'
        f"<tbody>\n{rows}</tbody></table></div>"
    )
