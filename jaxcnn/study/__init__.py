"""Studies: arms solved for one budget, tuned alike, run over seeds, judged by a rule declared first, and reported."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from jaxcnn.study.arm import Arm
    from jaxcnn.study.budget.match import match_depth, match_width, match_widths
    from jaxcnn.study.execution.cluster import Cluster
    from jaxcnn.study.execution.run_study import run_study
    from jaxcnn.study.plan import Plan, Seeds, Tuning, make_plan
    from jaxcnn.study.report.compare import write_joined
    from jaxcnn.study.report.page import rebuild, show_report, verdict_table, write_report
    from jaxcnn.study.result import StudyResult, load_study
    from jaxcnn.study.verdict.analyse import analyse
    from jaxcnn.study.verdict.findings import Findings

__all__ = [
    "Arm",
    "Cluster",
    "Findings",
    "Plan",
    "Seeds",
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
    "Arm": "arm",
    "Cluster": "execution.cluster",
    "Findings": "verdict.findings",
    "Plan": "plan",
    "Seeds": "plan",
    "StudyResult": "result",
    "Tuning": "plan",
    "analyse": "verdict.analyse",
    "load_study": "result",
    "make_plan": "plan",
    "match_depth": "budget.match",
    "match_width": "budget.match",
    "match_widths": "budget.match",
    "rebuild": "report.page",
    "run_study": "execution.run_study",
    "show_report": "report.page",
    "verdict_table": "report.page",
    "write_joined": "report.compare",
    "write_report": "report.page",
}


def __getattr__(name: str) -> Any:
    """Import on first use: rebuilding a report needs neither JAX nor Flax."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
