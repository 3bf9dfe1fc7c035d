"""A name or a number in place of a config is refused where it is written, with what to write instead."""

from typing import Any

import pytest
from flax import linen

from jaxcnn.data import load
from jaxcnn.errors import InputError
from jaxcnn.spec import DataConfig, RunConfig, StudyConfig

CASES: dict[str, tuple[Any, str]] = {
    "model": ("lenet5", r"model='lenet5': give a ModelSpec, such as jaxcnn.named\(\"lenet5\"\)"),
    "data": ("digits", r"data='digits': give a DataConfig, such as DataConfig\(\"digits\"\)"),
    "optimizer": ("adam", r"optimizer='adam': give a OptimizerConfig, such as OptimizerConfig\(\"adam\""),
    "task": (None, r"task=NoneType: give a TaskConfig, such as Classification\(\)"),
    "base": ({}, r"base=dict: give a RunConfig"),
    "tuning": (0.1, r"tuning=0.1: give a Tuning, such as Tuning\(learning_rates=\(0.1,\)\)"),
    "seeds": (5, r"seeds=5: give a Seeds, such as Seeds\(pilot=3, cap=5\)"),
}


@pytest.mark.parametrize("name", CASES)
def test_another_object_in_place_of_a_config_says_what_to_write(name):
    value, message = CASES[name]
    kind: Any = RunConfig if hasattr(RunConfig(), name) else StudyConfig
    with pytest.raises(InputError, match=message):
        kind(**{name: value})


def test_a_module_in_place_of_a_spec_says_where_it_goes():
    model: Any = linen.Dense(10)
    with pytest.raises(InputError, match=r"model=Dense: give a ModelSpec, .* your own module in run\(config, model="):
        RunConfig(model=model)


def test_data_load_by_name():
    assert load("digits").sizes == load(DataConfig("digits")).sizes
