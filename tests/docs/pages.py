"""The pages of the documentation and their fenced blocks."""

import re
import shlex
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parents[2]
DOCS = ROOT / "docs"
FENCE = re.compile(r"^```(\S*)([^\n]*)\n(.*?)^```[ \t]*$", re.MULTILINE | re.DOTALL)
COMMAND = re.compile(r"(jaxcnn|python -m (jaxcnn|tests)|python (experiments|docs)/)")


class Block(NamedTuple):
    """A fenced block.

    Args:
        info: First word after the fence.
        text: Content.
        line: Line of the page on which the content starts.
        file: Name of the file that the content is (a fence ending in file=NAME). Default: the content is run.
    """

    info: str
    text: str
    line: int
    file: str | None = None


def pages() -> list[Path]:
    """Return every Markdown page, and the README."""
    built = DOCS / "_build"
    return [ROOT / "README.md", *(page for page in sorted(DOCS.rglob("*.md")) if built not in page.parents)]


def blocks(page: Path, info: str) -> list[Block]:
    """Return the page's blocks of one info string, in order."""
    text = page.read_text(encoding="utf-8")
    return [
        Block(info, match[3], text.count("\n", 0, match.start(3)) + 1, _file(match[2]))
        for match in FENCE.finditer(text)
        if match[1] == info
    ]


def _file(words: str) -> str | None:
    match = re.search(r"file=(\S+)", words)
    return match[1] if match else None


def commands(page: Path) -> list[tuple[int, list[str]]]:
    """Return the commands of this repository in the page's sh blocks: line and words."""
    return [
        (block.line + number, shlex.split(line, comments=True))
        for block in blocks(page, "sh")
        for number, line in enumerate(re.sub(r"\\\n", "  ", block.text).splitlines())
        if COMMAND.match(line.split("#")[0].strip())
    ]


def write_files(page: Path, folder: Path) -> list[Path]:
    """Write the files that a page shows; return them."""
    files = [block for block in blocks(page, "python") if block.file]
    for block in files:
        (folder / str(block.file)).write_text(block.text, encoding="utf-8")
    return [folder / str(block.file) for block in files]


def name(page: Path) -> str:
    """Return the page's path, for the name of a test."""
    return str(page.relative_to(ROOT))
