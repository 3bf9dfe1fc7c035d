"""The examples in the docstrings of `jaxcnn.analysis` run, and every public function of its files has one."""

import doctest
import importlib
import inspect
import pkgutil

import pytest

from jaxcnn import analysis

PACKAGE = "jaxcnn.analysis."
FILES = [each.name for each in pkgutil.walk_packages(analysis.__path__, PACKAGE) if not each.ispkg]
EARLIER = {
    "agreement",
    "cka",
    "coco_ap",
    "complexity",
    "detections",
    "instances",
    "run_length",
    "segmentation",
    "voc_ap",
}


@pytest.mark.parametrize("name", [name for name in FILES if name.rpartition(".")[2] not in EARLIER])
def test_examples(name):
    module = importlib.import_module(name)
    assert doctest.testmod(module).failed == 0
    for function in vars(module).values():
        if inspect.isfunction(function) and function.__module__ == module.__name__ and function.__name__[0] != "_":
            assert ">>>" in (function.__doc__ or ""), f"{name}.{function.__name__} has no example"
