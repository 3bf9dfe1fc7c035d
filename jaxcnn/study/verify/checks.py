"""One kind of number, reported and computed again: equal up to rounding, or up to the error of random draws."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any, NamedTuple

import numpy as np

EXACT, DRAWN = 1e-6, 0.1
"""Largest relative difference of what is computed; largest difference of what is drawn, in widths of its interval."""


class Check(NamedTuple):
    """One kind of number of the report."""

    name: str
    numbers: int  #: How many were compared.
    equal: int  #: How many of them agree.
    difference: float  #: Largest absolute difference.
    remark: str = ""


def possible_limits(interval: list[float], least: float = -1) -> list[float]:
    """Cut [estimate, low, high, ...] to shares from `least` to 1; no limits if they are wider than that."""
    estimate, low, high, *rest = interval
    none = high - low > 1 - least
    return [estimate, -math.inf if none else max(low, least), math.inf if none else min(high, 1), *rest]


def limits_of(interval: dict[str, Any]) -> list[float]:
    """Return estimate, lower and upper limit."""
    return [interval["estimate"], *(interval[name] for name in ("low", "high"))]


def close_check(name: str, reported: Iterable[Any], recomputed: Iterable[Any], tolerance: float = EXACT) -> Check:
    """Compare numbers of any nesting; null in the report stands for what is not finite."""
    old, new = (np.array([as_number(v) for v in _flat(values)]) for values in (reported, recomputed))
    if old.shape != new.shape:
        return Check(name, max(old.size, new.size), 0, math.inf, f"{old.size} numbers reported, {new.size} recomputed")
    alike = np.isclose(old, new, rtol=tolerance, atol=1e-9) | (~np.isfinite(old) & ~np.isfinite(new))
    gap = np.abs(old - new)[np.isfinite(old) & np.isfinite(new)]
    return Check(name, old.size, int(alike.sum()), float(gap.max(initial=0.0)))


def split_pairs(pairs: list[tuple[Any, Any]]) -> tuple[list[Any], list[Any]]:
    """Return the first and the second values of some pairs."""
    return [old for old, _ in pairs], [new for _, new in pairs]


def drawn_check(name: str, triples: list[tuple[float, float, float]]) -> Check:
    """Compare limits that random draws gave, in widths of their interval."""
    gaps = [abs(old - new) / width for old, new, width in triples]
    return Check(name, len(gaps), sum(gap < DRAWN for gap in gaps), max(abs(old - new) for old, new, _ in triples))


def equal_check(name: str, reported: Iterable[Any], recomputed: Iterable[Any]) -> Check:
    """Compare values that must be equal."""
    pairs = list(zip(reported, recomputed, strict=True))
    return Check(name, len(pairs), sum(list(old) == list(new) for old, new in pairs), 0.0)


def _flat(values: Any) -> list[Any]:
    return [leaf for each in values for leaf in _flat(each)] if isinstance(values, Iterable) else [values]


def as_number(value: Any) -> float:
    """Return a number; null is NaN, as in the JSON that jaxcnn writes."""
    return math.nan if value is None else float(value)
