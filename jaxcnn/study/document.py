"""A report as a list of blocks, and its two forms: Markdown, and one self-contained HTML page that loads nothing."""

from __future__ import annotations

import html
import re
from collections.abc import Sequence
from typing import NamedTuple

STYLE = """
:root { color-scheme: light; }
body { margin: 0 auto; padding: 1rem 1.2rem 3rem; max-width: 64rem; color: #1a1a1a; background: #fff;
  font: 1rem/1.55 system-ui, sans-serif; overflow-wrap: break-word; }
h1 { font-size: 1.6rem; line-height: 1.25; margin: .6rem 0 1rem; }
h2 { font-size: 1.2rem; margin: 2.2rem 0 .6rem; }
.lead { border-left: .35rem solid #0072b2; background: #f2f7fb; padding: .8rem 1rem;
  font-size: 1.1rem; margin: 0 0 1rem; }
.scroll { overflow-x: auto; margin: 1rem 0; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; width: 100%; font-size: .94rem; }
th, td { padding: .4rem .45rem; text-align: right; border-bottom: 1px solid #ccc; white-space: nowrap; }
th { border-bottom: 2px solid #444; vertical-align: bottom; font-weight: 600; white-space: normal; min-width: 3rem; }
.facts th { text-align: left; vertical-align: top; border-bottom: 1px solid #ccc; width: 11rem; }
.facts td { text-align: left; white-space: normal; overflow-wrap: anywhere; }
thead th:first-child, .scroll td:first-child { position: sticky; left: 0; background: #fff; }
figure { margin: 1.2rem 0; max-width: 46rem; }
figure svg { display: block; width: 100%; height: auto; }
figcaption { color: #444; font-size: .92rem; margin-top: .4rem; }
pre { overflow-x: auto; background: #f4f4f4; padding: .8rem 1rem; }
@media (max-width: 34rem) { .facts th { width: 6.5rem; } body { padding: .6rem .8rem 2rem; } }
"""


class Heading(NamedTuple):
    """A section's title."""

    text: str


class Paragraph(NamedTuple):
    """Running text; `lead` sets it apart as what the page is about."""

    text: str
    lead: bool = False


class Table(NamedTuple):
    """Columns of numbers under a header."""

    header: Sequence[str]
    rows: Sequence[Sequence[str]]


class Facts(NamedTuple):
    """Names with their values, one a line."""

    items: Sequence[tuple[str, str]]


class Figure(NamedTuple):
    """A picture: its file beside the Markdown, its SVG inside the HTML."""

    path: str
    svg: str
    caption: str


class Code(NamedTuple):
    """Something to type."""

    text: str


Block = Heading | Paragraph | Table | Facts | Figure | Code


def to_markdown(title: str, blocks: Sequence[Block]) -> str:
    """Markdown (GitHub's tables) of a report.

    Args:
        title: First-level heading.
        blocks: What follows, in order. Texts are plain: whatever means something in Markdown or HTML is escaped.

    Returns:
        The file's text.
    """
    return "\n\n".join([f"# {_escape(title)}", *(_markdown(block) for block in blocks)]) + "\n"


def to_html(title: str, blocks: Sequence[Block]) -> str:
    """One HTML page of a report: no scripts, no links to other files, readable on a phone.

    Args:
        title: Title and first-level heading.
        blocks: What follows, in order. Texts are plain; a figure's SVG goes in as it is.

    Returns:
        The file's text.
    """
    body = "\n".join(_html(block, number) for number, block in enumerate(blocks))
    return (
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{html.escape(title)}</title>\n<style>{STYLE}</style>\n</head>\n<body>\n"
        f"<h1>{html.escape(title)}</h1>\n{body}\n</body>\n</html>\n"
    )


def _escape(text: str) -> str:
    return re.sub(r"([\\`*\[\]<>|&])", r"\\\1", " ".join(text.split()))


def _row(cells: Sequence[str]) -> str:
    return "| " + " | ".join(_escape(cell) for cell in cells) + " |"


def _markdown(block: Block) -> str:
    match block:
        case Heading(text):
            return f"## {_escape(text)}"
        case Paragraph(text, lead):
            return f"**{_escape(text)}**" if lead else _escape(text)
        case Table(header, rows):
            return "\n".join([_row(header), "|" + " ---: |" * len(header), *(_row(row) for row in rows)])
        case Facts(items):
            return "\n".join(["| | |", "| :--- | :--- |", *(_row(item) for item in items)])
        case Figure(path, _, caption):
            return f"![{_escape(caption)}]({path})"
        case Code(text):
            fence = "`" * max(3, 1 + max((len(run) for run in re.findall("`+", text)), default=0))
            return f"{fence}\n{text}\n{fence}"


def _html(block: Block, number: int) -> str:
    match block:
        case Heading(text):
            return f"<h2>{html.escape(text)}</h2>"
        case Paragraph(text, lead):
            return f'<p class="lead">{html.escape(text)}</p>' if lead else f"<p>{html.escape(text)}</p>"
        case Table(header, rows):
            head = "".join(f'<th scope="col">{html.escape(cell)}</th>' for cell in header)
            lines = ("".join(f"<td>{html.escape(cell)}</td>" for cell in row) for row in rows)
            body = "\n".join(f"<tr>{line}</tr>" for line in lines)
            return (
                f'<div class="scroll" tabindex="0"><table>\n<thead><tr>{head}</tr></thead>\n'
                f"<tbody>\n{body}\n</tbody></table></div>"
            )
        case Facts(items):
            lines = (f'<tr><th scope="row">{html.escape(k)}</th><td>{html.escape(v)}</td></tr>' for k, v in items)
            return '<table class="facts"><tbody>\n' + "\n".join(lines) + "\n</tbody></table>"
        case Figure(_, svg, caption):
            text = html.escape(caption)
            picture = _inline(svg, f"f{number}-", text)
            return f"<figure>\n{picture}\n<figcaption>{text}</figcaption>\n</figure>"
        case Code(text):
            return f"<pre>{html.escape(text)}</pre>"


def _inline(svg: str, prefix: str, label: str) -> str:
    """An SVG file as an element of a page: without its XML head, and with ids that no other figure has."""
    svg = svg[svg.index("<svg") :].strip()
    svg = re.sub(r'\bid="', f'id="{prefix}', svg)
    svg = re.sub(r'href="#', f'href="#{prefix}', svg)
    svg = svg.replace("url(#", f"url(#{prefix}")
    return svg.replace("<svg", f'<svg role="img" aria-label="{label}"', 1)
