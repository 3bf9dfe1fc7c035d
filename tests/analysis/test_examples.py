"""The examples in the docstrings of `jaxcnn.analysis` run, and every public function of its files has one."""

import doctest
import importlib
import inspect
import pkgutil

import pytest

from jaxcnn import analysis

FILES = [each.name for each in pkgutil.iter_modules(analysis.__path__)]
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


@pytest.mark.parametrize("name", sorted({*FILES} - EARLIER))
def test_examples(name):
    module = importlib.import_module(f"jaxcnn.analysis.{name}")
    assert doctest.testmod(module).failed == 0
    for function in vars(module).values():
        if inspect.isfunction(function) and function.__module__ == module.__name__ and function.__name__[0] != "_":
            assert ">>>" in (function.__doc__ or ""), f"{name}.{function.__name__} has no example"
