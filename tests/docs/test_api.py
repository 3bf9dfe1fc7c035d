"""Every public name has a docstring and is on an API page, and every name on a page exists."""

import importlib
import inspect
import re
from types import ModuleType
from typing import Any

import pytest

from tests.docs.pages import DOCS, blocks

PACKAGES = (
    "spec",
    "ops",
    "nn",
    "models",
    "tasks",
    "data",
    "train",
    "analysis",
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
