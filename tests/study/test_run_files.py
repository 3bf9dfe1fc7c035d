"""A whole seal over a wrong value: every file of a study is read, or refused in one sentence that names it."""

import copy
import json
import random
from contextlib import suppress

import pytest

from jaxcnn.errors import InputError
from jaxcnn.runtime.files import seal
from jaxcnn.spec import Tuning
from jaxcnn.study.execution.progress import standing
from jaxcnn.study.execution.worker import Reader
from jaxcnn.study.plan import load_plan
from jaxcnn.study.report.page import write_report
from jaxcnn.study.result import load_study
from tests.study.planted import planted_study

FILES = ("plan.json", "tuning.json", "pilot.json", "runs.json", "costs.json")
GONE = object()
VALUES = (
    GONE, None, True, -1, 0, 2**63, 10**25, 10**400, 0.5, -1e308, "", "abc", "\ud800", [], [1, 2], [[[]]], {}, {"a": 1},
)  # fmt: skip


@pytest.fixture(scope="module")
def planted(tmp_path_factory):
    """Folder of a tuned study of two arms."""
    out = tmp_path_factory.mktemp("planted") / "study"
    planted_study(out, {8: (0.1, 0.2), 20: (0.2, 0.3)}, tuning=Tuning((0.05, 0.1), (1e-4,), extensions=0), epochs=2)
    return out


@pytest.fixture
def kept(planted):
    """The same; what a test writes into it is undone."""
    held = {name: (planted / name).read_bytes() for name in FILES}
    yield planted
    for name, content in held.items():
        (planted / name).write_bytes(content)


def put(path, place, value):
    """Another value at a place of a sealed file, with the seal that belongs to it."""
    record = inside = json.loads(path.read_bytes())
    for step in place[:-1]:
        inside = inside[step]
    if value is GONE:
        del inside[place[-1]]
    else:
        inside[place[-1]] = copy.deepcopy(value)
    path.write_text(json.dumps(record | {"seal": seal(record)}))


def places(tree, here=()):
    """The place of every value of a JSON tree."""
    pairs = tree.items() if isinstance(tree, dict) else enumerate(tree) if isinstance(tree, list) else ()
    for key, value in pairs:
        yield (*here, key)
        yield from places(value, (*here, key))


ARM = ("arms", "params30000_depth8_width10")


@pytest.mark.parametrize(
    ("name", "place", "value", "named"),
    [
        ("plan.json", ("study", "margin"), "abc", "margin='abc'"),
        ("plan.json", ("study", "margin"), 7, "margin=7"),
        ("plan.json", ("arms",), [], r"arms=\(\)"),
        ("plan.json", ("arms", 0, "depth"), "8", "depth='8'"),
        ("plan.json", ("arms", 0, "depth"), GONE, "'depth' is missing"),
        ("plan.json", ("arms", 0, "kind"), "joules", "'joules'"),
        ("plan.json", ("arms", 0, "budget"), -1, "budget of -1"),
        ("plan.json", ("arms", 0, "spec"), 3, "fields of ModelSpec"),
        ("plan.json", ("study", "tuning", "learning_rates"), 3, "learning_rates=3"),
        ("plan.json", ("study", "seeds", "cap"), 2**40, "cap <= 10000"),
        ("plan.json", ("study", "hypothesis"), None, "hypothesis=None"),
        ("plan.json", ("study", "base", "epochs"), None, "epochs=None"),
        ("tuning.json", ("shared",), [0.1], "fields of Setting"),
        ("tuning.json", ("shared", "learning_rate"), -0.1, "was not tried"),
        ("tuning.json", ("arms",), {}, "its arms are not those of plan"),
        ("tuning.json", (*ARM, "edge"), 0, "edge=0"),
        ("tuning.json", (*ARM, "trials"), [], "not tuned alike"),
        ("tuning.json", (*ARM, "trials", 0, "validation_error"), 1.5, "not between 0 and 1"),
        ("tuning.json", (*ARM, "trials", 0, "seed"), GONE, "'seed' is missing"),
        ("pilot.json", ("spread",), {}, r"spread=\{\}"),
        ("pilot.json", ("needed",), "3", "needed='3'"),
        ("pilot.json", ("seeds",), [0, "1"], r"seeds\[1\]='1'"),
        ("pilot.json", ("seeds",), GONE, "'seeds' is missing"),
        ("runs.json", ("data", "class_names"), GONE, "'class_names' is missing"),
        ("runs.json", ("data", "class_names"), ["a", "b"], "does not hold"),
        ("runs.json", ("data", "sizes", "test"), 7, "does not hold"),
        ("runs.json", ("data", "sizes"), {"test": 360}, "does not name all splits"),
        ("runs.json", ("environments",), [3], "environments"),
        ("runs.json", ("runs", 0, "metrics", "train_loss"), GONE, "no train_loss in its metrics"),
        ("runs.json", ("runs", 0, "metrics", "train_loss"), "low", "train_loss='low'"),
        ("runs.json", ("runs", 0, "metrics", "test_accuracy"), 2, "test_accuracy=2"),
        ("runs.json", ("runs", 0, "seconds", "total"), -1, "a time of"),
        ("runs.json", ("runs", 0, "history"), [], "no epochs"),
        ("runs.json", ("runs", 0, "history", 0), 3, r"history\[0\]=3"),
        ("runs.json", ("runs", 0), GONE, "does not hold the runs"),
        ("costs.json", (*ARM, "memory"), 0.5, "memory=0.5"),
        ("costs.json", (*ARM, "memory"), 10**25, "a cost of"),
        ("costs.json", (*ARM, "step"), -1, "a cost of"),
        ("costs.json", (*ARM, "step"), GONE, "'step' is missing"),
        ("costs.json", ("arms",), 3, "arms=3"),
    ],
)
def test_a_sealed_wrong_value_is_named(kept, name, place, value, named):
    put(kept / name, place, value)
    with pytest.raises(InputError, match=named) as error:
        load_study(kept)
    assert str(kept / name) in str(error.value)
    assert any(
        remedy in str(error.value)
        for remedy in ("restore it from a copy, or move it away and run", "begin a new study")
    )
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("name", FILES)
def test_any_value_anywhere_is_read_or_refused(kept, name):
    """A hundred of the values that JSON can hold, each where another was."""
    whole, rng = (kept / name).read_bytes(), random.Random(name)
    where = [place for place in places(json.loads(whole)) if place != ("seal",)]
    refused = 0
    for _ in range(100):
        put(kept / name, rng.choice(where), rng.choice(VALUES))
        for act in (load_study, looked_at) if name == "plan.json" else (load_study,):
            with suppress(InputError):
                act(kept)
                refused -= 1
            refused += 1
        (kept / name).write_bytes(whole)
    assert refused > 50


def looked_at(directory):
    """What `jaxcnn study status` does."""
    plan = load_plan(directory)
    return standing(plan, directory, Reader(plan, directory))


def test_what_was_not_finite_stays_readable(kept):
    """Times and losses that are null, as a run that diverged writes them, are no damage."""
    put(kept / "runs.json", ("runs", 0, "metrics", "train_loss"), None)
    put(kept / "runs.json", ("runs", 0, "seconds", "step"), None)
    put(kept / "costs.json", (*ARM, "spread"), None)
    assert load_study(kept).runs[0].diverged


def test_names_that_are_no_text_are_escaped_in_the_report(kept):
    """Names of files may hold bytes that no encoding knows, which Python gives as halves of characters."""
    put(kept / "plan.json", ("command",), "jaxcnn study --data b\udcff")
    put(kept / "runs.json", ("data", "name"), "b\udcff")
    put(kept / "runs.json", ("data", "class_names", 0), "c\udcff")
    page = write_report(load_study(kept), kept).read_text(encoding="utf-8")
    assert r"--data b\udcff" in page
    assert r"c\udcff" in page
