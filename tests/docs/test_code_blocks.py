"""Python blocks run, page by page; command lines name commands and flags that exist, with values they accept."""

import runpy
import sys
from collections.abc import Iterator
from functools import partial, wraps
from inspect import isfunction
from pathlib import Path
from typing import Any

import pytest
import tyro

from jaxcnn.cli import main
from jaxcnn.models import FAMILIES
from jaxcnn.study.rule import RULES
from tests.docs.pages import ROOT, Block, blocks, commands, name, pages, write_files

FAST = ("README.md", "docs/howto/task.md")
"""Pages whose blocks run by default; those of the others train for a while: slow."""
PYTHON = [
    pytest.param(page, marks=[] if name(page) in FAST else [pytest.mark.slow], id=name(page))
    for page in pages()
    if blocks(page, "python")
]
COMMANDS = [(page, line, words) for page in pages() for line, words in commands(page)]
LONGEST = {"docs/howto/family.md": 60, "docs/howto/task.md": 120}
"""Largest number of lines of the file that a page shows."""


class Parsed(Exception):
    """Raised instead of running a command whose flags were all understood."""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Work in an empty folder with docs/ in it, from which modules are imported; what they register is removed."""
    modules, tables = set(sys.modules), [(table, dict(table)) for table in (FAMILIES, RULES)]
    (tmp_path / "docs").symlink_to(ROOT / "docs")
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    yield tmp_path
    for module in set(sys.modules) - modules:
        if Path(getattr(sys.modules[module], "__file__", None) or "").parent == tmp_path:
            del sys.modules[module]
    for table, before in tables:
        table.clear()
        table.update(before)


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


@pytest.mark.slow
@pytest.mark.parametrize("page", PYTHON)
def test_python_blocks_run(page: Path, folder: Path) -> None:
    """All blocks of a page run in order in one namespace; a traceback names the page and its line."""
    write_files(page, folder)
    namespace: dict[str, Any] = {"__name__": "__main__"}
    for block in blocks(page, "python"):
        if block.file is None:
            exec(compile("\n" * (block.line - 1) + block.text, str(page), "exec"), namespace)


@pytest.mark.parametrize(("page", "line", "words"), COMMANDS, ids=[f"{name(p)}:{line}" for p, line, _ in COMMANDS])
@pytest.mark.usefixtures("parse_only")
def test_command_lines_parse(
    page: Path, line: int, words: list[str], folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A command stops after its flags are parsed; a script must exist, and so must its flags."""
    write_files(page, folder)
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
        monkeypatch.delitem(sys.modules, words[2], raising=False)  # runpy warns of a module that another test imported
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


@pytest.mark.parametrize("page", LONGEST)
def test_a_family_and_a_task_are_one_short_file(page: str) -> None:
    """The pages show one file each, with docstrings and comments, of at most so many lines."""
    (file,) = (block for block in blocks(ROOT / page, "python") if block.file)
    assert file.text.count("\n") <= LONGEST[page]


@pytest.mark.slow
def test_a_new_family_trains_from_the_command_line(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The commands of the how-to page run as they stand, but for the study, which is only parsed above."""
    page = ROOT / "docs" / "howto" / "family.md"
    write_files(page, folder)
    run = [words[1:] for _, words in commands(page) if words[1] in ("models", "train", "evaluate")]
    assert {words[0] for words in run} == {"models", "train", "evaluate"}
    for words in run:
        main(words)
    printed = capsys.readouterr().out
    assert "--model.kernel" in printed  # `jaxcnn models` lists the family's own option
    assert "validation accuracy" in printed


def test_blocks_are_found(tmp_path: Path) -> None:
    """Blocks have their info string, text and line; files and commands are told apart from what is run."""
    page = tmp_path / "page.md"
    page.write_text(
        "a\n\n```python\nx = 1\n```\n\n```text\nnot run\n```\n\n```python file=two.py\ny = 2\n```\n"
        "```sh\npip list\njaxcnn data \\\n  digits  # a set\n```\n"
    )
    assert blocks(page, "python") == [Block("python", "x = 1\n", 4), Block("python", "y = 2\n", 12, "two.py")]
    assert commands(page) == [(16, ["jaxcnn", "data", "digits"])]
    assert [file.read_text() for file in write_files(page, tmp_path)] == ["y = 2\n"]
    assert len(PYTHON) >= 5
    assert len(COMMANDS) >= 10
