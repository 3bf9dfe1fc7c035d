"""Every public name has a docstring and is on an API page, and every name on a page exists."""

import doctest
import functools
import importlib
import inspect
import re
import subprocess
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

import jaxcnn
from tests.docs.pages import DOCS, ROOT, blocks, pages

PACKAGES = (
    "spec",
    "ops",
    "nn",
    "models",
    "tasks",
    "data",
    "train",
    "analysis",
    "interop",
    "export",
    "run",
    "study",
    "cli",
    "runtime.backend",
)
DIRECTIVE = re.compile(
    r"^\.\. (?:py:)?(auto\w+|currentmodule|data):: (\S+)\n(?:(?=\n)|((?:   .*\n|\n(?=   ))*))", re.MULTILINE
)


def documented(package: str) -> dict[tuple[str, str], str | None]:
    """Return (module, name) -> text on the page for data, None for what autodoc takes from a docstring."""
    entries, module = {}, f"jaxcnn.{package}"
    for block in blocks(DOCS / "api" / f"{package.rpartition('.')[2]}.md", "{eval-rst}"):
        for kind, name, body in DIRECTIVE.findall(block.text):
            if kind == "currentmodule":
                module = name
            else:
                entries[module, name] = re.sub(r"\n +:.*", "", body).strip() if kind == "data" else None
    return entries


def public(module: ModuleType) -> list[str]:
    """Return `__all__`, or the classes and functions that the module defines without an underscore."""
    if hasattr(module, "__all__"):
        return list(module.__all__)
    return [name for name, value in vars(module).items() if name[0] != "_" and defined_in(value, module)]


def defined_in(value: Any, module: ModuleType) -> bool:
    """Return whether a value is a class or function of this module."""
    return (inspect.isclass(value) or inspect.isfunction(value)) and value.__module__ == module.__name__


def public_names() -> list[tuple[str, str]]:
    """Return the public names of every package."""
    return [(package, name) for package in PACKAGES for name in public(importlib.import_module(f"jaxcnn.{package}"))]


@pytest.mark.parametrize(("package", "name"), public_names(), ids=[".".join(pair) for pair in public_names()])
def test_public_names_are_documented(package: str, name: str) -> None:
    """A name is on its package's page; a class or function has a docstring."""
    pages = {known for _, known in documented(package)}
    assert name in pages, f"docs/api/{package}.md lacks jaxcnn.{package}.{name}; add it under a heading that fits"
    value = getattr(importlib.import_module(f"jaxcnn.{package}"), name)
    if inspect.isclass(value) or inspect.isfunction(value):
        assert own_docstring(value), f"jaxcnn.{package}.{name} has no docstring"


def own_docstring(value: Any) -> str:
    """Return the docstring, unless it is the one that Python writes for a dataclass or NamedTuple."""
    text = value.__doc__ or ""
    return "" if re.match(rf"{value.__name__}\(", text) else text.strip()


@pytest.mark.parametrize("package", PACKAGES)
def test_documented_names_exist(package: str) -> None:
    """No page names what does not exist; data have text on the page, because autodoc has none."""
    entries = documented(package)
    assert entries
    for (module, name), text in entries.items():
        value = getattr(importlib.import_module(module), name)
        if text is None:
            assert inspect.isclass(value) or inspect.isfunction(value), f"{module}.{name}: use py:data and describe it"
            text = own_docstring(value)
        assert text, f"{module}.{name} has neither a docstring nor a text on its page"


def test_top_level_names_are_documented() -> None:
    """The names that `jaxcnn` exports are documented in their packages."""
    pages = {name for package in PACKAGES for _, name in documented(package)}
    assert not set(getattr(importlib.import_module("jaxcnn"), "__all__", ())) - pages


def test_api_index_lists_every_page() -> None:
    """The table of contents and the folder agree."""
    index = blocks(DOCS / "api" / "index.md", "{toctree}")[0].text.split()
    assert sorted(index[2:]) == sorted(page.stem for page in (DOCS / "api").glob("*.md") if page.stem != "index")
    assert {package.rpartition(".")[2] for package in PACKAGES} == set(index[2:])


def public_functions() -> list[tuple[str, Any]]:
    """Return the public functions of every package by name."""
    pairs = [*public_names(), ("analysis.complexity", "count")]
    values = [
        (f"{package}.{name}", getattr(importlib.import_module(f"jaxcnn.{package}"), name)) for package, name in pairs
    ]
    return [(name, value) for name, value in values if inspect.isfunction(value)]


@functools.cache
def shown_code() -> str:
    """Return all Python blocks of the documentation and all experiments."""
    texts = [block.text for page in pages() for block in blocks(page, "python")]
    return "\n".join([*texts, *(path.read_text() for path in (ROOT / "experiments").rglob("*.py"))])


@pytest.mark.slow
@pytest.mark.parametrize(("name", "function"), public_functions(), ids=[name for name, _ in public_functions()])
def test_every_public_function_has_an_example(name: str, function: Any, tmp_path: Path, monkeypatch: Any) -> None:
    """In its docstring, and then it runs unless it says `# doctest: +SKIP`; or on a page; or in an experiment."""
    monkeypatch.chdir(tmp_path)
    finder = doctest.DocTestFinder(recurse=False, exclude_empty=False)
    (test,) = finder.find(function, name, globs={**function.__globals__})
    short = name.rpartition(".")[2]
    assert test.examples or re.search(rf"\b{short}\(", shown_code()), f"jaxcnn.{name} has no example"
    assert doctest.DocTestRunner(verbose=False).run(test).failed == 0


def test_packages_are_attributes_after_import_jaxcnn_alone() -> None:
    """`import jaxcnn` is enough for `jaxcnn.nn.Conv`; `dir` lists packages and names."""
    code = "import sys, jaxcnn; assert 'flax' not in sys.modules; assert {'nn', 'ops', 'load'} <= {*dir(jaxcnn)}; "
    code += "print(jaxcnn.nn.Conv.__name__, jaxcnn.ops.conv2d.__name__, jaxcnn.run.run.__name__)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "Conv conv2d run\n"


def test_annotations_are_for_users_too() -> None:
    """PEP 561: type checkers read a package's annotations only beside a file `py.typed`."""
    assert (Path(jaxcnn.__file__).parent / "py.typed").exists()
