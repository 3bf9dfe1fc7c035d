"""The package keeps its shape: layers, no import cycle, light imports, names, a docstring in every file."""

import ast
import subprocess
import sys
from pathlib import Path

import grimp
import pytest

ROOT = Path(__file__).parents[1]
SOURCES = sorted((ROOT / "jaxcnn").rglob("*.py"))


def test_the_contracts_of_import_linter_hold():
    command = str(Path(sys.executable).parent / "lint-imports")
    done = subprocess.run([command], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout


def test_no_file_imports_the_package_that_it_is_in():
    """Together with the contract on cycles between siblings, this excludes every import cycle."""
    graph = grimp.build_graph("jaxcnn", cache_dir=None)
    for module in graph.modules:
        for imported in graph.find_modules_directly_imported_by(module):
            assert not module.startswith(f"{imported}."), f"{module} imports {imported}; import from the file instead"


def test_importing_jaxcnn_starts_nothing():
    code = (
        "import sys, jaxcnn, jaxcnn.spec, jaxcnn.cli; assert 'jax' not in sys.modules; assert 'flax' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_a_worker_of_a_study_imports_no_package_that_only_reports_need():
    """Each takes 0.3 s or more, at the start of every command and of every worker."""
    slow = {"matplotlib", "scipy.optimize", "scipy.stats", "sklearn", "tensorflow_datasets", "onnx", "ray"}
    code = f"import sys, jaxcnn.study.execution.worker; found = {slow} & set(sys.modules); assert not found, found"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_every_public_name_loads():
    import jaxcnn

    for name in jaxcnn.__all__:
        assert getattr(jaxcnn, name).__doc__, name
    with pytest.raises(AttributeError, match="no_such_name"):
        _ = jaxcnn.no_such_name


def test_files_have_names_and_docstrings():
    for path in SOURCES:
        assert ast.get_docstring(ast.parse(path.read_text())), f"{path}: add a module docstring"
        assert path.stem not in {"utils", "helpers", "common", "core", "manager"}, f"{path}: name it by its idea"
        standard = path.stem in sys.stdlib_module_names - {"statistics"}
        assert not standard, f"{path}: has the name of a standard module; choose another"
