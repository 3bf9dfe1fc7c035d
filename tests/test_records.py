"""Records held to the types of their fields, whatever JSON puts there: read, or one sentence that names the field."""

import json
import typing
from contextlib import suppress
from dataclasses import dataclass, field

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jaxcnn.errors import InputError
from jaxcnn.records import as_record, from_record, shortened
from jaxcnn.spec import RunConfig


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


def test_long_values_are_cut():
    assert shortened("x" * 1000) == "'" + "x" * 76 + "..."
    assert shortened(3) == "3"
