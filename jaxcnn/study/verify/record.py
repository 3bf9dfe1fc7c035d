"""The words, names and settings of analysis.json, against those that the study's sealed files give."""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from jaxcnn.errors import InputError
from jaxcnn.study.result import load_study
from jaxcnn.study.verdict.analyse import analyse
from jaxcnn.study.verdict.record import analysis_record
from jaxcnn.study.verify.checks import DRAWN, EXACT, Check
from jaxcnn.study.verify.stored import as_pairs

BY_CHANCE = {"bootstrap", "retuning", "superiority", "fit", "population", "population90"}
"""What bootstraps decide in part: compared as coarsely as the width of such an interval allows."""


def record_check(directory: Path, analysis: dict[str, Any]) -> Check:
    """Compare every value of analysis.json with the analysis that the files give today: none is missing or another.

    This is the report's own analysis, and finds what was edited or left out; the other checks compute numbers by
    formulas of their own.
    """
    name = "values of analysis.json, none missing"
    try:
        result = load_study(directory)
    except InputError as error:  # the check of seals names the file
        return Check(name, 0, 0, 0.0, f"not checked: {str(error).split(';')[0]}")
    expected = dict(_leaves(as_pairs(analysis_record(result, analyse(result)))))
    stored = dict(_leaves(analysis))
    bad = [each for each in sorted(expected.keys() | stored.keys()) if not _alike(each, expected, stored)]
    count = len(expected.keys() | stored.keys())
    shown = ", ".join(bad[:3]) + (f" and {len(bad) - 3} more" if len(bad) > 3 else "")
    return Check(name, count, count - len(bad), 0.0, shown)


def _leaves(value: Any, name: str = "") -> Iterator[tuple[str, Any]]:
    if isinstance(value, dict):
        for key, each in value.items():
            yield from _leaves(each, f"{name}.{key}" if name else str(key))
    elif isinstance(value, list | tuple):
        yield f"{name}.length", len(value)
        for number, each in enumerate(value):
            yield from _leaves(each, f"{name}.{number}")
    else:
        yield name, value


def _alike(name: str, expected: dict[str, Any], stored: dict[str, Any]) -> bool:
    if name not in expected or name not in stored:
        return False
    one, other = expected[name], stored[name]
    if isinstance(one, float) and isinstance(other, int | float):
        rough = not BY_CHANCE.isdisjoint(name.split("."))
        return math.isclose(one, other, rel_tol=DRAWN if rough else EXACT, abs_tol=0.01 if rough else 1e-9)
    return one == other
