"""Configs and other records as plain JSON values, and back: every value is held to the type that its field has."""

from __future__ import annotations

import json
import types
from collections.abc import Mapping
from dataclasses import MISSING, asdict, fields, is_dataclass
from typing import Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

from jaxcnn.errors import InputError

T = TypeVar("T")
RESTORE = "restore the file"
SHOWN = 80
"""Letters of a wrong value that a sentence repeats."""


def as_record(config: object) -> dict[str, object]:
    """A config as plain JSON values; `from_record` reads it back."""
    return json.loads(json.dumps(asdict(config)))  # type: ignore[call-overload]


def from_record(kind: type[T], record: Any, where: str = "config", remedy: str = RESTORE) -> T:
    """Rebuild a dataclass or a named tuple from what JSON holds of it.

    Args:
        kind: Its class. Fields may be plain types, unions, Literal, tuple[X, ...], dict[str, X] and such classes again;
            a field that has a default may be missing.
        record: An object with its fields; of a named tuple also the list of its values.
        where: What the sentence calls it.
        remedy: What to do where it is wrong, as the end of a sentence.

    Raises:
        InputError: A field that this version does not know or that is missing, a value of another type than its field
            has, or a record that is no object.
    """
    hints = get_type_hints(kind)
    if not is_dataclass(kind) and isinstance(record, list | tuple) and len(record) == len(hints):
        record = dict(zip(hints, record, strict=True))
    if not isinstance(record, Mapping):
        raise InputError(
            f"{where}: expected an object with the fields of {kind.__name__}, found {shortened(record)}; {remedy}"
        )
    if unknown := sorted(set(record) - set(hints)):
        raise InputError(
            f"{where}: unknown field {shortened(unknown[0])}; {remedy}, or read it with the version that wrote it"
        )
    if missing := [name for name in _required(kind) if name not in record]:
        raise InputError(f"{where}: the field {missing[0]!r} is missing; {remedy}")
    return kind(**{name: _value(value, hints[name], where, name, remedy) for name, value in record.items()})


def shortened(value: Any) -> str:
    """A value as a sentence shows it, whatever its length."""
    text = repr(value)
    return text if len(text) <= SHOWN else f"{text[: SHOWN - 3]}..."


def _required(kind: type[Any]) -> list[str]:
    if is_dataclass(kind):
        return [each.name for each in fields(kind) if each.default is MISSING and each.default_factory is MISSING]
    return [name for name in kind._fields if name not in kind._field_defaults]


def _is_record(hint: Any) -> bool:
    return isinstance(hint, type) and (is_dataclass(hint) or hasattr(hint, "_fields"))


def _value(value: Any, hint: Any, where: str, name: str, remedy: str) -> Any:
    """A JSON value as one of an annotated type; the error names the field."""
    if _is_record(hint):
        return from_record(hint, value, f"{where}.{name}", remedy)
    origin, inner = get_origin(hint), get_args(hint)
    if origin in (Union, types.UnionType):
        records = [each for each in inner if _is_record(each)]
        if records and value is not None:
            return _value(value, records[0], where, name, remedy)
        hint = next((each for each in inner if _fits(value, each)), None)
        origin, inner = get_origin(hint), get_args(hint)
    if hint is None or not _fits(value, hint):
        raise InputError(f"{where}: {name}={shortened(value)} is no value of that field; {remedy}")
    if isinstance(value, list | tuple) and origin is tuple:
        return tuple(_value(item, inner[0], where, f"{name}[{place}]", remedy) for place, item in enumerate(value))
    if isinstance(value, Mapping) and origin is dict:
        return {key: _value(item, inner[1], where, f"{name}.{key}", remedy) for key, item in value.items()}
    return value


def _fits(value: Any, hint: Any) -> bool:
    """Whether a JSON value is one of an annotated type, as far as that can be said without its items."""
    origin = get_origin(hint)
    if hint is Any:
        return True
    if origin is Literal:
        return isinstance(value, str) and value in get_args(hint)
    if origin in (tuple, dict):
        return isinstance(value, list | tuple if origin is tuple else Mapping)
    if hint in (int, float):
        return isinstance(value, int if hint is int else int | float) and not isinstance(value, bool) and _finite(value)
    return isinstance(value, hint)


def _finite(value: float) -> bool:
    """Whether a number has a float, of whatever kind: JSON has integers of any length."""
    try:
        float(value)
    except OverflowError:
        return False
    return True
