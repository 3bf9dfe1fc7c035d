"""Python blocks run, page by page; command lines name commands and flags that exist, with values they accept."""

import re
import runpy
import shlex
import sys
from functools import partial, wraps
from inspect import isfunction
from pathlib import Path
from typing import Any

import pytest
import tyro

from jaxcnn.cli import main
from tests.docs.pages import ROOT, Block, blocks, name, pages

RUN = [page for page in pages() if blocks(page, "python")]
COMMANDS = [
    (page, block.line + number, " ".join(line.split()))
    for page in pages()
    for block in blocks(page, "sh")
    for number, line in enumerate(re.sub(r"\\\n", "  ", block.text).splitlines())
    if re.match(r"(jaxcnn|python -m (jaxcnn|tests)|python (experiments|docs)/)", line.split("#")[0].strip())
]


class Parsed(Exception):
    """Raised in place of running a command whose flags were all understood."""


@pytest.fixture
def parse_only(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let `tyro.cli` parse, then stop, without calling what it parsed for."""
    parse = tyro.cli

    def stop(kind: Any, **keywords: Any) -> None:
        function, start = (kind.func, kind.keywords) if isinstance(kind, partial) else (kind, {})
        if isfunction(function):
            kind = partial(wraps(function)(lambda *_, **__: None), **start)
        parse(kind, **keywords)
        raise Parsed

    monkeypatch.setattr(tyro, "cli", stop)


@pytest.mark.parametrize("page", RUN, ids=name)
def test_python_blocks_run(page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In order, in one namespace, in an empty folder; a traceback names the page and its line."""
    monkeypatch.chdir(tmp_path)
    namespace: dict[str, Any] = {"__name__": "__main__"}
    for block in blocks(page, "python"):
        exec(compile("\n" * (block.line - 1) + block.text, str(page), "exec"), namespace)


@pytest.mark.parametrize(("page", "line", "command"), COMMANDS, ids=[f"{name(p)}:{line}" for p, line, _ in COMMANDS])
@pytest.mark.usefixtures("parse_only")
def test_command_lines_parse(page: Path, line: int, command: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A command stops where its flags are parsed; a script must exist, and so must its flags."""
    words = shlex.split(command, comments=True)
    if words[0] == "python" and words[1] != "-m":
        script = ROOT / words[1]
        assert script.is_file(), f"{name(page)}:{line} names {words[1]}, which does not exist"
        if words[1].startswith("docs/"):
            return
        monkeypatch.setattr(sys, "argv", words[1:])
        monkeypatch.syspath_prepend(str(script.parent))  # as Python does with a script's folder
        with pytest.raises(Parsed):
            runpy.run_path(str(script), run_name="__main__")
        return
    if words[:2] == ["python", "-m"] and words[2].startswith("tests."):
        monkeypatch.setattr(sys, "argv", words[2:])
        with pytest.raises(Parsed):
            runpy.run_module(words[2], run_name="__main__")
        return
    arguments = words[words.index("jaxcnn") + 1 :]
    if arguments[-1] in ("--help", "--version"):
        with pytest.raises(SystemExit) as end:
            main(arguments)
        assert end.value.code == 0
        return
    with pytest.raises(Parsed):
        main(arguments)


def test_blocks_are_found(tmp_path: Path) -> None:
    """The finder itself: info strings, text, lines."""
    page = tmp_path / "page.md"
    page.write_text("a\n\n```python\nx = 1\n```\n\n```text\nnot run\n```\n\n```python\ny = 2\n```\n")
    assert blocks(page, "python") == [Block("python", "x = 1\n", 4), Block("python", "y = 2\n", 12)]
    assert len(RUN) >= 5
    assert len(COMMANDS) >= 10
