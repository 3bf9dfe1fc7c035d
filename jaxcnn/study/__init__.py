"""Studies: arms solved for one budget, tuned alike, run over seeds, judged by a rule declared first, and reported."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from jaxcnn.study.analysis import analyse
    from jaxcnn.study.arm import Arm
    from jaxcnn.study.budget import match_depth, match_width, match_widths
    from jaxcnn.study.cluster import Cluster
    from jaxcnn.study.findings import Findings
    from jaxcnn.study.joined import write_joined
    from jaxcnn.study.plan import Plan, Seeds, Tuning, make_plan
    from jaxcnn.study.report import rebuild, show_report, verdict_table, write_report
    from jaxcnn.study.results import StudyResult, load_study
    from jaxcnn.study.runner import run_study

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
    "Cluster": "cluster",
    "Findings": "findings",
    "Plan": "plan",
    "Seeds": "plan",
    "StudyResult": "results",
    "Tuning": "plan",
    "analyse": "analysis",
    "load_study": "results",
    "make_plan": "plan",
    "match_depth": "budget",
    "match_width": "budget",
    "match_widths": "budget",
    "rebuild": "report",
    "run_study": "runner",
    "show_report": "report",
    "verdict_table": "report",
    "write_joined": "joined",
    "write_report": "report",
}


def __getattr__(name: str) -> Any:
    """Import on first use: rebuilding a report needs neither JAX nor Flax."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
