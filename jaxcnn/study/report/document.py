"""A report as a list of blocks, and its two forms: Markdown, and one self-contained HTML page that loads nothing."""

from __future__ import annotations

import html
import re
from collections.abc import Sequence
from itertools import groupby
from typing import NamedTuple

STYLE = """
:root { color-scheme: light; }
body { margin: 0 auto; padding: 1rem 1.2rem 3rem; max-width: 64rem; color: #1a1a1a; background: #fff;
  font: 1rem/1.55 system-ui, sans-serif; overflow-wrap: break-word; }
h1 { font-size: 1.6rem; line-height: 1.25; margin: .6rem 0 1rem; }
h2 { font-size: 1.3rem; line-height: 1.3; margin: 2.6rem 0 .6rem; padding-top: .8rem; border-top: 1px solid #bbb; }
h3 { font-size: 1.05rem; margin: 1.8rem 0 .4rem; }
p, li { max-width: 46rem; }
.lead { border-left: .35rem solid #0072b2; background: #f2f7fb; padding: .8rem 1rem;
  font-size: 1.1rem; margin: 0 0 1rem; max-width: none; }
nav { margin: 1.2rem 0; font-size: .94rem; }
nav a { display: inline-block; margin: .1rem .9rem .1rem 0; color: #004f80; padding: .15rem 0; }
.scroll { overflow-x: auto; margin: 1rem 0; }
.scroll:focus-visible { outline: 2px solid #0072b2; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; font-size: .92rem; min-width: 60%; }
caption { caption-side: top; text-align: left; font-weight: 600; padding: .2rem .45rem .4rem; }
th, td { padding: .36rem .5rem; text-align: right; border-bottom: 1px solid #ccc; white-space: nowrap;
  vertical-align: top; }
thead th { border-bottom: 2px solid #444; vertical-align: bottom; font-weight: 600; white-space: normal;
  min-width: 3rem; }
.words th, .words td { text-align: left; }
th.long, td.long { white-space: normal; min-width: 9rem; max-width: 24rem; }
tbody th { font-weight: 600; text-align: left; }
.facts { min-width: 0; width: 100%; }
.facts th { white-space: normal; width: 11rem; }
.facts td { text-align: left; white-space: normal; overflow-wrap: anywhere; }
.scroll th:first-child { position: sticky; left: 0; background: #fff; text-align: left; }
figure { margin: 1.2rem 0; max-width: 35rem; }
figure svg { display: block; width: 100%; height: auto; }
.figures { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(100%, 27rem), 1fr)); gap: 0 2rem; }
figcaption { color: #444; font-size: .92rem; margin-top: .4rem; }
pre { overflow-x: auto; background: #f4f4f4; padding: .8rem 1rem; }
.checks { padding-left: 1.8rem; }
.checks li { margin: .5rem 0; }
.mark { display: inline-block; border: 1px solid #666; border-radius: .2rem; padding: 0 .4rem; margin-right: .3rem;
  font-size: .88rem; font-weight: 600; white-space: nowrap; }
.evidence { color: #444; font-size: .94rem; display: block; }
@media (max-width: 34rem) { .facts th { width: 6.5rem; } body { padding: .6rem .8rem 2rem; }
  th.long { min-width: 7.5rem; max-width: 9rem; } }
@media print { nav { display: none; } figure, tr, .checks li { break-inside: avoid; } .scroll { overflow: visible; } }
"""


LONG_NAME, LONG_TEXT = 20, 34


class Heading(NamedTuple):
    """A section's title, level 2, or that of a part of one, level 3."""

    text: str
    level: int = 2


class Contents(NamedTuple):
    """Links to all sections of the page; nothing in Markdown, whose readers make their own."""


class Paragraph(NamedTuple):
    """Running text; `lead` sets it apart as what the page is about."""

    text: str
    lead: bool = False


class Bullets(NamedTuple):
    """Sentences of equal rank."""

    items: Sequence[str]


class Table(NamedTuple):
    """Rows under a header, the first cell of each naming it; `words` are for reading, otherwise numbers."""

    header: Sequence[str]
    rows: Sequence[Sequence[str]]
    caption: str = ""
    words: bool = False


class Facts(NamedTuple):
    """Names with their values, one a line."""

    items: Sequence[tuple[str, str]]


class Checks(NamedTuple):
    """A numbered checklist of (mark, what is asked, evidence)."""

    items: Sequence[tuple[str, str, str]]


class Figure(NamedTuple):
    """A picture: its file beside the Markdown, its SVG inside the HTML."""

    path: str
    svg: str
    caption: str


class Code(NamedTuple):
    """Something to type."""

    text: str


Block = Heading | Contents | Paragraph | Bullets | Table | Facts | Checks | Figure | Code


def to_markdown(title: str, blocks: Sequence[Block]) -> str:
    """Markdown (GitHub's tables) of a report.

    Args:
        title: First-level heading.
        blocks: What follows, in order. Texts are plain: whatever means something in Markdown or HTML is escaped.

    Returns:
        The file's text.
    """
    parts = [f"# {_escape(title)}", *(_markdown(block) for block in blocks)]
    return "\n\n".join(part for part in parts if part) + "\n"


def to_html(title: str, blocks: Sequence[Block]) -> str:
    """One HTML page of a report: no scripts, no links to other files, readable on a phone.

    Args:
        title: Title and first-level heading.
        blocks: What follows, in order. Texts are plain; a figure's SVG goes in as it is.

    Returns:
        The file's text.
    """
    numbers = range(len(blocks))
    runs = groupby(numbers, key=lambda number: isinstance(blocks[number], Figure) or -1 - number)
    body = "\n".join(_run([_html(blocks[number], number, blocks) for number in run]) for _, run in runs)
    return (
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{html.escape(title)}</title>\n<style>{STYLE}</style>\n</head>\n<body>\n"
        f"<h1>{html.escape(title)}</h1>\n{body}\n</body>\n</html>\n"
    )


def _run(elements: Sequence[str]) -> str:
    """Figures that follow each other stand side by side where there is room."""
    joined = "\n".join(elements)
    return f'<div class="figures">\n{joined}\n</div>' if len(elements) > 1 else joined


def _escape(text: str) -> str:
    text = re.sub(r"([\\`*\[\]<>|&~$])", r"\\\1", " ".join(text.split()))
    # An underscore inside a word means nothing; at a word's edge it may begin or end an emphasis.
    text = re.sub(r"(?<![A-Za-z0-9])_|_(?![A-Za-z0-9])", r"\\_", text)
    # What would make a line a heading, a list or a rule.
    return re.sub(r"^(\d*)([.)#+=-])(?=\s|$|[#=-])", r"\1\\\2", text)


def _row(cells: Sequence[str]) -> str:
    return "| " + " | ".join(_escape(cell) for cell in cells) + " |"


def _markdown(block: Block) -> str:
    match block:
        case Heading(text, level):
            return f"{'#' * level} {_escape(text)}"
        case Contents():
            return ""
        case Paragraph(text, lead):
            return f"**{_escape(text)}**" if lead else _escape(text)
        case Bullets(items):
            return "\n".join(f"- {_escape(item)}" for item in items)
        case Table():
            return _markdown_table(block)
        case Facts(items):
            return "\n".join(["| | |", "| :--- | :--- |", *(_row(item) for item in items)])
        case Checks(items):
            lines = ((number, *map(_escape, item)) for number, item in enumerate(items, start=1))
            return "\n".join(f"{number}. **{mark}** {asks}: {evidence}" for number, mark, asks, evidence in lines)
        case Figure(path, _, caption):
            return f"![{_escape(caption)}]({path})\n\n{_escape(caption)}"
        case Code(text):
            fence = "`" * max(3, 1 + max((len(run) for run in re.findall("`+", text)), default=0))
            return f"{fence}\n{text}\n{fence}"


def _markdown_table(table: Table) -> str:
    side = " :--- |" if table.words else " ---: |"
    lines = [_row(table.header), "| :--- |" + side * (len(table.header) - 1), *(_row(row) for row in table.rows)]
    return "\n".join([f"**{_escape(table.caption)}**\n"] * bool(table.caption) + lines)


def _html(block: Block, number: int, blocks: Sequence[Block]) -> str:
    match block:
        case Heading(text, level):
            return f'<h{level} id="part{number}">{html.escape(text)}</h{level}>'
        case Contents():
            found = ((n, each.text) for n, each in enumerate(blocks) if isinstance(each, Heading) and each.level == 2)
            links = "\n".join(f'<a href="#part{n}">{html.escape(text)}</a>' for n, text in found)
            return f'<nav aria-label="Contents">\n{links}\n</nav>'
        case Paragraph(text, lead):
            return f'<p class="lead">{html.escape(text)}</p>' if lead else f"<p>{html.escape(text)}</p>"
        case Bullets(items):
            return "<ul>\n" + "\n".join(f"<li>{html.escape(item)}</li>" for item in items) + "\n</ul>"
        case Table():
            return _html_table(block)
        case Facts(items):
            lines = (f'<tr><th scope="row">{html.escape(k)}</th><td>{html.escape(v)}</td></tr>' for k, v in items)
            return '<table class="facts"><tbody>\n' + "\n".join(lines) + "\n</tbody></table>"
        case Checks(items):
            lines = (
                f'<li><span class="mark">{html.escape(mark)}</span> {html.escape(asks)}'
                f'<span class="evidence">{html.escape(evidence)}</span></li>'
                for mark, asks, evidence in items
            )
            return '<ol class="checks">\n' + "\n".join(lines) + "\n</ol>"
        case Figure(_, svg, caption):
            text = html.escape(caption)
            return f"<figure>\n{_inline(svg, f'f{number}-', text)}\n<figcaption>{text}</figcaption>\n</figure>"
        case Code(text):
            return f"<pre>{html.escape(text)}</pre>"


def _html_table(table: Table) -> str:
    head = "".join(f'<th scope="col">{html.escape(cell)}</th>' for cell in table.header)
    rows = (
        _cell("th", row[0], ' scope="row"', LONG_NAME) + "".join(_cell("td", cell, "", LONG_TEXT) for cell in row[1:])
        for row in table.rows
    )
    body = "\n".join(f"<tr>{row}</tr>" for row in rows)
    caption = f"<caption>{html.escape(table.caption)}</caption>" if table.caption else ""
    kind = ' class="words"' if table.words else ""
    return (
        f'<div class="scroll" tabindex="0"><table{kind}>{caption}\n<thead><tr>{head}</tr></thead>\n'
        f"<tbody>\n{body}\n</tbody></table></div>"
    )


def _cell(tag: str, text: str, attributes: str, most: int) -> str:
    """A cell of a table; only a long one may break into lines."""
    long = ' class="long"' if len(text) > most else ""
    return f"<{tag}{attributes}{long}>{html.escape(text)}</{tag}>"


def _inline(svg: str, prefix: str, label: str) -> str:
    """An SVG file as an element of a page: without its XML head, and with ids that no other figure has."""
    svg = svg[svg.index("<svg") :].strip()
    svg = re.sub(r'\bid="', f'id="{prefix}', svg)
    svg = re.sub(r'href="#', f'href="#{prefix}', svg)
    svg = svg.replace("url(#", f"url(#{prefix}")
    return svg.replace("<svg", f'<svg role="img" aria-label="{label}"', 1)
