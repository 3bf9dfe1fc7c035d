"""The pages of the documentation, and what stands in their fenced blocks."""

import re
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parents[2]
DOCS = ROOT / "docs"
FENCE = re.compile(r"^```(\S*)[^\n]*\n(.*?)^```[ \t]*$", re.MULTILINE | re.DOTALL)


class Block(NamedTuple):
    """A fenced block: its info string, its text, and the line of the page on which the text starts."""

    info: str
    text: str
    line: int


def pages() -> list[Path]:
    """Every Markdown page, and the README."""
    built = DOCS / "_build"
    return [ROOT / "README.md", *(page for page in sorted(DOCS.rglob("*.md")) if built not in page.parents)]


def blocks(page: Path, info: str) -> list[Block]:
    """The page's blocks of one info string, in order."""
    text = page.read_text(encoding="utf-8")
    return [
        Block(match[1], match[2], text.count("\n", 0, match.start(2)) + 1)
        for match in FENCE.finditer(text)
        if match[1] == info
    ]


def name(page: Path) -> str:
    """The page's path, as the test's name."""
    return str(page.relative_to(ROOT))
