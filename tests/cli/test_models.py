"""`jaxcnn models`: published counts, and the depths and options of every family, user-defined ones included."""

import json

import pytest

from jaxcnn.cli.models import option_meanings
from jaxcnn.models import FAMILIES
from tests.cli.calls import call, refused


def test_json_has_the_published_counts(capsys):
    code, out, _ = call(capsys, "models", "lenet5", "--json")
    assert code == 0
    page = json.loads(out)
    assert (page["params"], page["macs"]) == (61_706, 416_520)  # LeCun et al. 1998, modern form
    assert sum(layer["params"] for layer in page["layers"]) == page["params"]
    code, out, _ = call(capsys, "models", "resnet20", "--input", "32x32x3")
    assert code == 0
    assert "269,722" in out


def test_models_and_families_are_listed(capsys):
    _, out, _ = call(capsys, "models")
    assert "wrn_28_10" in out
    assert all(name in out for name in FAMILIES)
    listed = json.loads(call(capsys, "models", "--json")[1])
    assert {"name": "resnet20", "family": "resnet", "depth": 20, "width": 16} in listed


@pytest.mark.parametrize("name", sorted(FAMILIES))
def test_a_family_shows_its_depths_and_options(capsys, name):
    page = json.loads(call(capsys, "models", name, "--json")[1])
    assert page["rule"] == FAMILIES[name].rule
    assert page["depths"] == sorted(page["depths"]) != []
    assert tuple(option["name"] for option in page["options"]) == FAMILIES[name].option_names
    assert all(option["meaning"].endswith(".") for option in page["options"])


def test_a_family_as_text(capsys):
    code, out, _ = call(capsys, "models", "resnet")
    assert code == 0
    assert out.startswith("resnet: needs 6n+2 weighted layers\ndepths: 8, 14, 20, ")
    assert "--model.stochastic-depth" in out
    assert (
        option_meanings(FAMILIES["resnet"].options)["skip"]
        == "Use shortcuts; False: a plain network of the same layers."
    )
    assert "no options of its own" in call(capsys, "models", "airbench")[1]


def test_unknown_names_and_shapes_are_refused(capsys):
    assert "nearest are 20 and 26" in refused(capsys, "models", "resnet21")
    assert "name='rasnet': unknown model" in refused(capsys, "models", "rasnet")
    assert "no_such_module" in refused(capsys, "models", "no_such_module:tiny")
    assert "--input 32" in refused(capsys, "models", "lenet5", "--input", "32")


def test_a_head_shows_its_task_and_options(capsys):
    page = json.loads(call(capsys, "models", "fcn", "--json")[1])
    assert (page["head"], page["task"]) == ("fcn", "segmentation")
    assert [option["name"] for option in page["options"]] == ["head_width", "head_dropout", "head_skips"]
    assert "--model.head fcn" in call(capsys, "models", "fcn")[1]
    counts = json.loads(call(capsys, "models", "fcn_resnet50", "--json")[1])
    assert counts["params"] == 32_957_013
    assert json.loads(call(capsys, "models", "unet_2015", "--json")[1])["params"] == 31_030_658
