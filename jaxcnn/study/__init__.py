"""Studies: arms solved for one budget, tuned alike, run over seeds, judged by a rule declared first, and reported."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from jaxcnn.spec import Seeds, StudyConfig, Tuning
    from jaxcnn.study.arm import Arm
    from jaxcnn.study.budget.match import match_depth, match_width, match_widths
    from jaxcnn.study.execution.run_study import run_study
    from jaxcnn.study.explain import explain_study
    from jaxcnn.study.plan import Plan, make_plan
    from jaxcnn.study.report.compare import write_joined
    from jaxcnn.study.report.page import show_report, verdict_table, write_report
    from jaxcnn.study.result import StudyResult, load_study
    from jaxcnn.study.verdict.analyse import analyse
    from jaxcnn.study.verdict.findings import Findings

__all__ = [
    "Arm", "Findings", "Plan", "Seeds", "StudyConfig", "StudyResult", "Tuning", "analyse", "explain_study",
    "load_study", "make_plan", "match_depth", "match_width", "match_widths", "run_study", "show_report",
    "verdict_table", "write_joined", "write_report",
]  # fmt: skip

_HOMES = {
    "spec": ("Seeds", "StudyConfig", "Tuning"),
    "study.arm": ("Arm",),
    "study.budget.match": ("match_depth", "match_width", "match_widths"),
    "study.execution.run_study": ("run_study",),
    "study.explain": ("explain_study",),
    "study.plan": ("Plan", "make_plan"),
    "study.report.compare": ("write_joined",),
    "study.report.page": ("show_report", "verdict_table", "write_report"),
    "study.result": ("StudyResult", "load_study"),
    "study.verdict.analyse": ("analyse",),
    "study.verdict.findings": ("Findings",),
}


def __getattr__(name: str) -> Any:
    """Import a name on first use: rebuilding a report needs neither JAX nor Flax."""
    for home, names in _HOMES.items():
        if name in names:
            return getattr(import_module(f"jaxcnn.{home}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
