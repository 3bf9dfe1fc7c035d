"""Studies: arms solved for one budget, run over seeds, judged by a rule that was declared first, and reported."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from jaxcnn.study.arm import Arm
    from jaxcnn.study.budget import match_width
    from jaxcnn.study.report import rebuild, verdict_table, write_report
    from jaxcnn.study.results import StudyResult, load_study
    from jaxcnn.study.runner import run_study
    from jaxcnn.study.verdict import Verdict, judge, summarise

__all__ = [
    "Arm",
    "StudyResult",
    "Verdict",
    "judge",
    "load_study",
    "match_width",
    "rebuild",
    "run_study",
    "summarise",
    "verdict_table",
    "write_report",
]

_HOMES = {
    "Arm": "arm",
    "StudyResult": "results",
    "Verdict": "verdict",
    "judge": "verdict",
    "load_study": "results",
    "match_width": "budget",
    "rebuild": "report",
    "run_study": "runner",
    "summarise": "verdict",
    "verdict_table": "report",
    "write_report": "report",
}


def __getattr__(name: str) -> Any:
    """Import on first use: rebuilding a report needs neither JAX nor Flax."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
