"""Every script says what it costs and what to expect, and has a configuration for its smoke run (run by .ci/run)."""

import ast
import runpy
from pathlib import Path

import pytest

FOLDER = Path(__file__).parents[2] / "experiments"
EXPERIMENTS = sorted(FOLDER.glob("*.py"))
BENCHMARKS = [path for path in sorted((FOLDER / "benchmarks").glob("*.py")) if "\n    launch(" in path.read_text()]


def test_the_experiments_of_the_readme_exist():
    assert {"lenet_mnist", "emnist_cnn", "resnet_cifar10", "deep_vs_wide"} <= {path.stem for path in EXPERIMENTS}
    assert {"train_step", "study", "startup"} <= {path.stem for path in BENCHMARKS}


@pytest.mark.parametrize("path", [*EXPERIMENTS, *BENCHMARKS], ids=lambda path: path.stem)
def test_a_script_describes_itself(path, monkeypatch):
    text = path.read_text()
    docstring = ast.get_docstring(ast.parse(text))
    parts = {line.partition(": ")[0] for line in docstring.splitlines()}
    assert {"Runtime", "Expected"} | ({"Question"} if path in BENCHMARKS else set()) <= parts
    if path in EXPERIMENTS:
        assert 30 <= len(text.splitlines()) <= 60, "a script that a researcher edits is short"
    monkeypatch.syspath_prepend(str(path.parent))  # as Python does for a script
    module = runpy.run_path(str(path))
    assert isinstance(module["SMOKE"], module["Config"])
    assert callable(module["main"])
