"""Every experiment is short, says what to expect, and runs its SMOKE config."""

import ast
import importlib.util
from dataclasses import replace
from pathlib import Path

import pytest

from jaxcnn.run import cost

SCRIPTS = sorted((Path(__file__).parents[2] / "experiments").glob("*.py"))


def test_the_four_of_the_readme_are_there():
    assert {"lenet_mnist", "emnist_cnn", "resnet_cifar10", "deep_vs_wide"} <= {path.stem for path in SCRIPTS}


@pytest.mark.parametrize("path", SCRIPTS, ids=lambda path: path.stem)
def test_experiment(path, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(cost, "TURN_SECONDS", 0.001)  # what a step costs is of no interest here
    text = path.read_text()
    assert 30 <= len(text.splitlines()) <= 60
    docstring = ast.get_docstring(ast.parse(text))
    assert "Runtime: " in docstring, "the docstring states the measured runtime"
    assert "Expected: " in docstring, "and the recorded result"
    module_spec = importlib.util.spec_from_file_location(path.stem, path)
    module = importlib.util.module_from_spec(module_spec)
    module_spec.loader.exec_module(module)
    out = tmp_path / "out"
    module.main(replace(module.SMOKE, out=out))
    assert list(out.rglob("result.json")), "no run was finished"
