"""The only JSON and NaN codec: configs and results as plain JSON values and back, checked against their types."""

from __future__ import annotations

import math
import sys
import types
from collections.abc import Mapping
from dataclasses import MISSING, fields, is_dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal, Never, TypeVar, Union, get_args, get_origin, get_type_hints

from jaxcnn.errors import InputError

T = TypeVar("T")
RESTORE = "restore the file"
SHOWN = 80
"""Characters of a wrong value that an error message repeats."""


def as_record(value: Any) -> Any:
    """Return a value as plain JSON values; `from_record` reads it back.

    Dataclasses and named tuples become objects, sequences and arrays lists; numbers that are not finite become null.
    A dataclass that names itself by `kind` has that name among its fields.
    """
    if is_dataclass(value) and not isinstance(value, type):
        kind = getattr(value, "kind", None)
        record = {each.name: as_record(getattr(value, each.name)) for each in fields(value)}
        return {"kind": kind, **record} if kind else record
    content: Any = value
    if hasattr(content, "_asdict"):
        value = content._asdict()
    if isinstance(value, Mapping):
        return {str(key): as_record(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [as_record(item) for item in value]
    if hasattr(value, "tolist"):  # NumPy's and JAX's arrays and numbers
        return as_record(content.tolist())
    if isinstance(value, Path):
        return str(value)
    return None if isinstance(value, float) and not math.isfinite(value) else value


def from_record(kind: type[T], record: Any, where: str = "config", remedy: str = RESTORE) -> T:
    """Rebuild a dataclass or a named tuple from its JSON values.

    Args:
        kind: Its class. Fields may be plain types, unions, Literal, tuple[X, ...], Mapping[str, X] and such classes.
            A field that has a default may be missing. null in a field of type `float` is NaN. A class with a method
            `upgraded(record)` gets records of older versions through it; one with `of_kind(name)` picks the subclass
            that the record's `kind` names.
        record: An object with its fields; for a named tuple also the list of its values.
        where: Name of the record in error messages.
        remedy: What to do if it is wrong: the end of the message.

    Raises:
        InputError: A field that this version does not have, a missing field, a value of the wrong type, or a record
            that is no object.
    """
    hints = _hints(kind)
    if not is_dataclass(kind) and isinstance(record, list | tuple) and len(record) == len(hints):
        record = dict(zip(hints, record, strict=True))
    if not isinstance(record, Mapping):
        raise InputError(
            f"{where}: expected an object with the fields of {kind.__name__}, got {shortened(record)}; {remedy}"
        )
    if hasattr(kind, "of_kind"):
        kind = kind.of_kind(record.get("kind"), where)  # type: ignore[attr-defined]
        record, hints = {name: value for name, value in record.items() if name != "kind"}, _hints(kind)
    if hasattr(kind, "upgraded"):
        record = kind.upgraded(record)  # type: ignore[attr-defined]
    if unknown := sorted(set(record) - set(hints)):
        raise InputError(
            f"{where}: unknown field {shortened(unknown[0])}; {remedy}, or read it with the version that wrote it"
        )
    if missing := [name for name in _required(kind) if name not in record]:
        raise InputError(f"{where}: the field {missing[0]!r} is missing; {remedy}")
    make: Any = kind
    return make(**{name: _value(value, hints[name], where, name, remedy) for name, value in record.items()})


def check_choices(config: Any, prefix: str = "") -> None:
    """Refuse a value that its field's `Literal` type does not list, in a dataclass and in those inside it.

    Raises:
        InputError: There is one; the message names the field and the choices.
    """
    for name, hint in _hints(type(config)).items():
        value = getattr(config, name)
        if is_dataclass(value):
            check_choices(value, f"{prefix}{name}.")
        options = get_args(hint) if get_origin(hint) in (Union, types.UnionType) else (hint,)
        choices = [str(word) for each in options if get_origin(each) is Literal for word in get_args(each)]
        if choices and not any(_fits(value, each) for each in options):
            raise InputError(f"{prefix}{name}={value!r}: choose {' or '.join(choices)}")


def flat(tree: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Return a record without nesting: each value by its path, such as model.width."""
    values: dict[str, Any] = {}
    for name, value in tree.items():
        values |= flat(value, f"{prefix}{name}.") if isinstance(value, dict) else {prefix + name: value}
    return values


def differences(have: Mapping[str, Any], want: Mapping[str, Any]) -> str:
    """Return in words where two flat records differ, three fields at most; empty where they are equal."""
    names, texts = [name for name in {**have, **want} if have.get(name) != want.get(name)], []
    for name in names[:3]:
        old, new = have.get(name), want.get(name)
        objects = any(isinstance(value, list) and value and isinstance(value[0], dict) for value in (old, new))
        texts.append(f"{name} differ" if objects else f"{name} is {old!r}, not {new!r}")
    return ", ".join(texts) + (f", and {len(names) - 3} more" if len(names) > 3 else "")


def shortened(value: Any) -> str:
    """Return a value as an error message shows it, whatever its length."""
    text = repr(value)
    return text if len(text) <= SHOWN else f"{text[: SHOWN - 3]}..."


@lru_cache(maxsize=256)
def _hints(kind: type[Any]) -> dict[str, Any]:
    names = [each.name for each in fields(kind)] if is_dataclass(kind) else kind._fields
    hints = get_type_hints(kind)
    return {name: hints[name] for name in names}


def _required(kind: type[Any]) -> list[str]:
    if is_dataclass(kind):
        return [each.name for each in fields(kind) if each.default is MISSING and each.default_factory is MISSING]
    return [name for name in kind._fields if name not in kind._field_defaults]


def _is_record(hint: Any) -> bool:
    return isinstance(hint, type) and (is_dataclass(hint) or hasattr(hint, "_fields"))


def _value(value: Any, hint: Any, where: str, name: str, remedy: str) -> Any:
    """Return a JSON value as one of an annotated type; an error names the field."""
    if _is_record(hint):
        return from_record(hint, value, f"{where}.{name}", remedy)
    if hint is float and value is None:
        return math.nan
    origin, inner = get_origin(hint), get_args(hint)
    if origin in (Union, types.UnionType):
        records = [each for each in inner if _is_record(each)]
        if records and value is not None:
            return _value(value, records[0], where, name, remedy)
        hint = next((each for each in inner if _fits(value, each)), Never)
        origin, inner = get_origin(hint), get_args(hint)
    if hint is Never or not _fits(value, hint):
        raise InputError(f"{where}: {name}={shortened(value)} is not a value of that field; {remedy}")
    content: Any = value
    if origin is tuple:
        return tuple(_value(item, inner[0], where, f"{name}[{place}]", remedy) for place, item in enumerate(content))
    if origin in (dict, Mapping):
        return {key: _value(item, inner[1], where, f"{name}.{key}", remedy) for key, item in content.items()}
    return value


def _fits(value: Any, hint: Any) -> bool:
    """Return whether a JSON value is one of an annotated type, without a look at its items."""
    origin = get_origin(hint)
    if hint is Any:
        return True
    if origin is Literal:
        return isinstance(value, str) and value in get_args(hint)
    if origin is tuple:
        return isinstance(value, list | tuple)
    if origin in (dict, Mapping):
        return isinstance(value, Mapping)
    if hint in (int, float):
        number = isinstance(value, int if hint is int else int | float) and not isinstance(value, bool)
        return number and (isinstance(value, float) or abs(value) <= sys.float_info.max)  # JSON's may have any length
    return isinstance(value, hint)
