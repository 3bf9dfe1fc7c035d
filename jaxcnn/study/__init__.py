"""Studies: arms solved for one budget, tuned alike, run over seeds, judged by a rule declared first, and reported."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from jaxcnn.spec import Seeds, StudyConfig, Tuning
    from jaxcnn.study.arm import Arm
    from jaxcnn.study.budget.match import match_depth, match_width, match_widths
    from jaxcnn.study.execution.run_study import run_study
    from jaxcnn.study.plan import Plan, make_plan
    from jaxcnn.study.report.compare import write_joined
    from jaxcnn.study.report.page import rebuild, show_report, verdict_table, write_report
    from jaxcnn.study.result import StudyResult, load_study
    from jaxcnn.study.verdict.analyse import analyse
    from jaxcnn.study.verdict.findings import Findings

__all__ = [
    "Arm",
    "Findings",
    "Plan",
    "Seeds",
    "StudyConfig",
    "StudyResult",
    "Tuning",
    "analyse",
    "load_study",
    "make_plan",
    "match_depth",
    "match_width",
    "match_widths",
    "rebuild",
    "run_study",
    "show_report",
    "verdict_table",
    "write_joined",
    "write_report",
]

_HOMES = {
    "Arm": "study.arm",
    "Findings": "study.verdict.findings",
    "Plan": "study.plan",
    "Seeds": "spec",
    "StudyConfig": "spec",
    "StudyResult": "study.result",
    "Tuning": "spec",
    "analyse": "study.verdict.analyse",
    "load_study": "study.result",
    "make_plan": "study.plan",
    "match_depth": "study.budget.match",
    "match_width": "study.budget.match",
    "match_widths": "study.budget.match",
    "rebuild": "study.report.page",
    "run_study": "study.execution.run_study",
    "show_report": "study.report.page",
    "verdict_table": "study.report.page",
    "write_joined": "study.report.compare",
    "write_report": "study.report.page",
}


def __getattr__(name: str) -> Any:
    """Import a name on first use: rebuilding a report needs neither JAX nor Flax."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"jaxcnn.{_HOMES[name]}"), name)
