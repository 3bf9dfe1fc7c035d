import json

import pytest

from jaxcnn.errors import InputError
from jaxcnn.spec import DataConfig, RunConfig
from jaxcnn.study.plan import from_json, load_plan, make_plan, store_plan, to_json
from tests.study.planted import ARMS

BASE = RunConfig(data=DataConfig("digits", augment=("crop",)), epochs=3)


def test_the_contrast_is_deepest_against_shallowest_and_widest():
    wide = ARMS[0]._replace(width=12)
    plan = make_plan(BASE, [ARMS[0], ARMS[2], wide], [0, 1])
    assert (plan.deeper, plan.wider) == (ARMS[2].label, wide.label)
    assert plan.config(ARMS[2], 1) == RunConfig(ARMS[2].spec, BASE.data, epochs=3, seed=1)


def test_a_plan_survives_the_disk(tmp_path):
    plan = make_plan(BASE, ARMS, [0, 1], command="python x.py")
    store_plan(plan, tmp_path / "study")
    assert load_plan(tmp_path / "study") == plan
    assert from_json(json.loads(json.dumps(to_json(plan)))) == plan


@pytest.mark.parametrize(
    ("arms", "seeds", "message"),
    [
        (ARMS[:1], [0], "two depths"),
        ([], [0], "two depths"),
        ([ARMS[0], ARMS[0], ARMS[1]], [0], "depth8_width10 more than once"),
        (ARMS, [], "seeds="),
        (ARMS, [1, 1], "seeds="),
    ],
)
def test_what_cannot_be_compared(arms, seeds, message):
    with pytest.raises(InputError, match=message):
        make_plan(BASE, arms, seeds)


def test_another_study_in_the_folder_is_refused_and_nothing_overwritten(tmp_path):
    store_plan(make_plan(BASE, ARMS, [0, 1], command="first"), tmp_path)
    before = (tmp_path / "study.json").read_bytes()
    store_plan(make_plan(BASE, ARMS, [0, 1], command="second"), tmp_path)
    with pytest.raises(InputError, match=r"another configuration \(seeds differ\)"):
        store_plan(make_plan(BASE, ARMS, [0, 1, 2]), tmp_path)
    with pytest.raises(InputError, match="base"):
        store_plan(make_plan(RunConfig(epochs=9), ARMS, [0, 1]), tmp_path)
    with pytest.raises(InputError, match="primary_contrast, arms"):
        store_plan(make_plan(BASE, ARMS[:2], [0, 1]), tmp_path)
    assert (tmp_path / "study.json").read_bytes() == before


def test_folders_of_something_else(tmp_path):
    plan = make_plan(BASE, ARMS, [0])
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(InputError, match="other files"):
        store_plan(plan, tmp_path)
    with pytest.raises(InputError, match="is a file"):
        store_plan(plan, tmp_path / "notes.txt")
    assert [file.name for file in tmp_path.iterdir()] == ["notes.txt"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (None, "does not exist"),
        ("{", "cannot be read as JSON"),
        ("[1]", "is not a 'jaxcnn study plan 1' file"),
        ('{"format": "something else"}', "is not a 'jaxcnn study plan 1' file"),
        ('{"format": "jaxcnn study plan 1"}', "not a complete study plan"),
    ],
)
def test_damaged_plans(tmp_path, text, message):
    if text is not None:
        (tmp_path / "study.json").write_text(text)
    with pytest.raises(InputError, match=message):
        load_plan(tmp_path)


def test_a_plan_with_fields_of_another_version(tmp_path):
    store_plan(make_plan(BASE, ARMS, [0]), tmp_path)
    record = json.loads((tmp_path / "study.json").read_text())
    record["base"]["temperature"] = 3
    (tmp_path / "study.json").write_text(json.dumps(record))
    with pytest.raises(InputError, match="temperature"):
        load_plan(tmp_path)
