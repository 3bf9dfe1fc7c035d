"""Sphinx configuration: MyST pages, the API from docstrings, no files from elsewhere."""

import dataclasses
import os
import re
from importlib.metadata import version as installed
from typing import Any

# The API pages import jaxcnn, which needs no accelerator for that.
os.environ.setdefault("JAX_PLATFORMS", "cpu")

project = "jaxcnn"
author = "the jaxcnn authors"
copyright = "the jaxcnn authors"
release = version = installed("jaxcnn")

extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon"]
exclude_patterns = ["_build"]
html_theme = "furo"
html_title = f"jaxcnn {release}"
html_static_path = ["_static"]
html_css_files = ["jaxcnn.css"]
smartquotes_action = "D"  # dashes; quotes are code here
html_copy_source = False
html_show_sourcelink = False
html_show_copyright = False

myst_enable_extensions = ["deflist"]
myst_heading_anchors = 3

autodoc_typehints = "signature"
autodoc_typehints_format = "short"
autodoc_member_order = "bysource"
autodoc_preserve_defaults = True
python_use_unqualified_type_names = True
maximum_signature_line_length = 88
napoleon_numpy_docstring = False
napoleon_use_rtype = False
napoleon_custom_sections = ["Reference"]


def plain_docstring(app: Any, what: str, name: str, obj: Any, options: Any, lines: list[str]) -> None:
    """Turn docstrings, plain text with `code` in single backticks, into valid reStructuredText.

    Runs before napoleon. Interactive examples (from >>> to the next blank line) stay as they are.
    """
    example = False
    for i, line in enumerate(lines):
        if i and lines[i - 1].strip() in ("Returns:", "Yields:"):
            # An empty type: else napoleon takes the text before the first colon for one.
            line = re.sub(r"^( *)", r"\1: ", line)
        example = line.lstrip().startswith(">>>") or (example and bool(line.strip()))
        if not example:
            parts = re.split(r"(`[^`]+`)", line)
            lines[i] = "".join(f"`{p}`" if p.startswith("`") and len(p) > 2 else escape(p) for p in parts)


def escape(text: str) -> str:
    """Escape characters that reStructuredText takes for markup."""
    return re.sub(r"([*|]|(?<=\w)_(?=\W|$))", r"\\\1", text)


def module_signature(
    app: Any, what: str, name: str, obj: Any, options: Any, signature: str | None, returns: str | None
) -> tuple[str, str | None] | None:
    """Return the signature of a Flax module: its own fields, without the `parent` and `name` of every module."""
    fields = dataclasses.fields(obj) if what == "class" and dataclasses.is_dataclass(obj) else ()
    if "parent" not in {field.name for field in fields}:
        # `<factory>` is no Python, and without Python Sphinx cannot lay a signature out.
        return (signature.replace("<factory>", "..."), returns) if signature and "<factory>" in signature else None
    return f"({', '.join(_field(field) for field in fields if field.name not in ('parent', 'name'))})", None


def _field(field: Any) -> str:
    if field.default is dataclasses.MISSING:
        return field.name
    return f"{field.name}={'...' if callable(field.default) else repr(field.default)}"


def setup(app: Any) -> None:
    """Connect both functions; napoleon's own hook has priority 500."""
    app.connect("autodoc-process-docstring", plain_docstring, priority=400)
    app.connect("autodoc-process-signature", module_signature)
