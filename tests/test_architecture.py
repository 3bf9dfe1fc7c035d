"""The house keeps its shape: layers, light imports, sizes, names."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
SOURCES = sorted((ROOT / "jaxcnn").rglob("*.py"))


def test_layers_hold():
    done = subprocess.run(
        [str(Path(sys.executable).parent / "lint-imports")], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout


def test_importing_jaxcnn_starts_nothing():
    code = (
        "import sys, jaxcnn, jaxcnn.spec, jaxcnn.cli; assert 'jax' not in sys.modules; assert 'flax' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_every_public_name_loads():
    import jaxcnn

    for name in jaxcnn.__all__:
        assert getattr(jaxcnn, name).__doc__, name
    with pytest.raises(AttributeError, match="no_such_name"):
        _ = jaxcnn.no_such_name


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(ROOT)))
def test_files_are_one_idea_each(path):
    text = path.read_text()
    assert len(text.splitlines()) <= 300
    assert ast.get_docstring(ast.parse(text)), "a module says what it is"
    assert path.stem not in {"utils", "helpers", "common", "core", "manager"}
    assert path.stem not in sys.stdlib_module_names or path.stem in {"statistics"}
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            docstring = ast.get_docstring(node, clean=False)
            length = node.end_lineno - node.lineno + 1 - (docstring.count("\n") + 1 if docstring else 0)
            assert length <= 50, f"{node.name} has {length} lines of code"
