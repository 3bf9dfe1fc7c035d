"""Records held to the types of their fields, whatever JSON puts there: read, or one sentence that names the field."""

import json
import math
import typing
from contextlib import suppress
from dataclasses import dataclass, field, is_dataclass, replace
from pathlib import Path

import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from jaxcnn.errors import InputError
from jaxcnn.records import as_record, check_choices, from_record, shortened
from jaxcnn.spec import Classification, RunConfig, StudyConfig, TaskConfig


class Point(typing.NamedTuple):
    """A named tuple inside a record."""

    x: float
    y: float
    name: str = ""


@dataclass(frozen=True)
class Shape:
    """Of every kind of field that records have."""

    points: tuple[Point, ...]
    count: int
    kind: typing.Literal["open", "closed"] = "open"
    centre: Point | None = None
    sizes: dict[str, float | None] = field(default_factory=dict)
    about: dict[str, typing.Any] = field(default_factory=dict)


WHOLE = {
    "points": [{"x": 1.5, "y": 2}, [3, 4, "c"]],
    "count": 2,
    "kind": "closed",
    "centre": {"x": 0, "y": 0},
    "sizes": {"a": 1, "b": None},
    "about": {"any": [1, {"thing": None}]},
}
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(st.characters()),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=5,
)


def test_classes_inside_records_are_read():
    found = from_record(Shape, WHOLE)
    assert found.points == (Point(1.5, 2), Point(3, 4, "c"))
    assert (found.count, found.kind, found.centre) == (2, "closed", Point(0, 0))
    assert (found.sizes, found.about) == (WHOLE["sizes"], WHOLE["about"])
    assert from_record(Shape, {"points": [], "count": 0}) == Shape((), 0)
    assert from_record(RunConfig, as_record(RunConfig())) == RunConfig()


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"count": 1.5}, "file: count=1.5"),
        ({"count": True}, "file: count=True"),
        ({"count": None}, "file: count=None"),
        ({"kind": "round"}, "file: kind='round'"),
        ({"kind": 3}, "file: kind=3"),
        ({"points": 7}, "file: points=7"),
        ({"points": [7]}, r"file\.points\[0\]: expected an object with the fields of Point, got 7"),
        ({"points": [[1, 2]]}, r"file\.points\[0\]: expected an object"),
        ({"points": [{"x": 1}]}, r"file\.points\[0\]: the field 'y' is missing"),
        ({"points": [{"x": 10**400, "y": 1}]}, r"file\.points\[0\]: x=1000"),
        ({"points": [{"x": 1, "y": 1, "name": 5}]}, r"file\.points\[0\]: name=5"),
        ({"centre": 0}, r"file\.centre: expected an object"),
        ({"sizes": {"a": "b"}}, r"file: sizes\.a='b'"),
        ({"sizes": []}, r"file: sizes=\[\]"),
        ({"about": None}, "file: about=None"),
        ({"extra": 1}, "file: unknown field 'extra'"),
    ],
)
def test_the_field_is_named(change, named):
    with pytest.raises(InputError, match=named) as error:
        from_record(Shape, WHOLE | change, "file", "write it anew")
    assert "write it anew" in str(error.value)
    assert len(str(error.value)) < 250


def test_a_missing_field_is_named():
    with pytest.raises(InputError, match="file: the field 'count' is missing; restore the file"):
        from_record(Shape, {"points": []}, "file")
    for record in (None, 3, "abc", []):
        with pytest.raises(InputError, match="file: expected an object with the fields of Shape"):
            from_record(Shape, record, "file")


@given(name=st.sampled_from(sorted(WHOLE)), value=JSON)
def test_whatever_json_holds_is_read_or_refused(name, value):
    value = json.loads(json.dumps(value))
    with suppress(InputError):
        found = from_record(Shape, WHOLE | {name: value})
        assert isinstance(found.count, int)
        assert all(isinstance(point, Point) for point in found.points)
        assert all(size is None or isinstance(size, int | float) for size in found.sizes.values())


class Measured(typing.NamedTuple):
    """Numbers that may not be finite."""

    loss: float
    best: float | None = None
    curve: tuple[float, ...] = ()
    by_class: dict[str, float] = {}  # noqa: RUF012


@given(st.floats(), st.none() | st.floats(allow_nan=False, allow_infinity=False), st.lists(st.floats(), max_size=3))
def test_numbers_that_are_not_finite_become_null_and_nan(loss, best, curve):
    """And what is written is JSON as everybody reads it: without NaN and Infinity."""
    record = as_record(Measured(loss, best, tuple(curve), {"a": loss}))
    found = from_record(Measured, json.loads(json.dumps(record, allow_nan=False)))
    wanted = [value if math.isfinite(value) else math.nan for value in (loss, *curve, loss)]
    np.testing.assert_array_equal([found.loss, *found.curve, found.by_class["a"]], wanted)
    assert found.best == best


def test_arrays_paths_and_nested_records_become_plain_values():
    content = {
        "numpy": np.float32(1.5), "array": np.array([1.0, np.nan]), "jax": jnp.arange(2), "path": Path("a/b"),
        "point": Point(1.0, math.inf), "shape": Shape((), 2), 3: (None, True, "text"),
    }  # fmt: skip
    record = as_record(content)
    assert json.loads(json.dumps(record, allow_nan=False)) == record
    assert record["numpy"] == 1.5
    assert (record["array"], record["jax"], record["path"]) == ([1.0, None], [0, 1], "a/b")
    assert record["point"] == {"x": 1.0, "y": None, "name": ""}
    assert (record["3"], record["shape"]["count"]) == ([None, True, "text"], 2)


@dataclass(frozen=True)
class Ranking(TaskConfig):
    """A task of a user."""

    kind: typing.ClassVar[str] = "ranking"
    margin: float = 0.2
    mode: typing.Literal["hard", "soft"] = "hard"


def test_a_task_is_read_back_as_its_own_kind():
    for task in (Ranking(0.3), Classification(0.1, (1.0, 2.0)), Classification(class_weights="balanced")):
        record = json.loads(json.dumps(as_record(RunConfig(task=task))))
        assert record["task"]["kind"] == task.kind
        assert from_record(RunConfig, record).task == task


@pytest.mark.parametrize(
    ("task", "message"),
    [
        (
            {"kind": "guessing"},
            r"config\.task: task 'guessing' is unknown; choose .*classification.*or import the module",
        ),
        ({"margin": 0.1}, "task None is unknown"),
        ({"kind": "ranking", "label_smoothing": 0.1}, r"config\.task: unknown field 'label_smoothing'"),
        ({"kind": "ranking", "mode": "easy"}, "mode='easy' is not a value of that field"),
        ({"kind": "classification", "class_weights": "equal"}, "class_weights='equal'"),
        ({"kind": "classification", "class_weights": [1, "a"]}, r"class_weights\[1\]='a'"),
        (3, "expected an object"),
    ],
)
def test_wrong_tasks_are_named(task, message):
    with pytest.raises(InputError, match=message):
        from_record(RunConfig, {"task": task})


def literals(config, prefix=""):
    """Paths of all fields that take one of a few words, in a dataclass and in those inside it."""
    for name, hint in typing.get_type_hints(type(config)).items():
        if is_dataclass(value := getattr(config, name, None)):
            yield from literals(value, f"{prefix}{name}.")
        elif "Literal" in str(hint):
            yield prefix + name


def with_value(config, path, value):
    name, _, rest = path.partition(".")
    return replace(config, **{name: with_value(getattr(config, name), rest, value) if rest else value})


CONFIGS = [RunConfig(), StudyConfig(), RunConfig(task=Ranking())]


@pytest.mark.parametrize(("config", "path"), [(each, path) for each in CONFIGS for path in literals(each)])
def test_every_choice_is_held_to_its_type(config, path):
    check_choices(config)
    with pytest.raises(InputError, match=rf"^{path}='nonsense': choose "):
        check_choices(with_value(config, path, "nonsense"))


def test_the_choices_are_those_that_were_written_by_hand():
    paths = {path for each in CONFIGS for path in literals(each)}
    assert paths >= {
        "data.on_bad", "optimizer.name", "optimizer.decay", "optimizer.schedule", "task.class_weights", "on_nonfinite",
        "parallel", "compute_dtype", "place", "base.parallel", "task.mode",
    }  # fmt: skip
    check_choices(RunConfig(task=Classification(class_weights=(1.0, 2.0))))


def test_long_values_are_cut():
    assert shortened("x" * 1000) == "'" + "x" * 76 + "..."
    assert shortened(3) == "3"
