"""The analysis of a study as analysis.json stores it."""

from typing import Any

from jaxcnn.records import as_record
from jaxcnn.study.arm import Arm
from jaxcnn.study.plan import study_identity
from jaxcnn.study.result import StudyResult
from jaxcnn.study.rule import rule_named
from jaxcnn.study.verdict.findings import ContrastFinding, Findings

FORMAT = "jaxcnn study analysis 2"


def analysis_record(result: StudyResult, findings: Findings) -> dict[str, Any]:
    """Return the plain values of analysis.json: what was declared, what was found, and where."""
    record = {
        "format": FORMAT,
        "plan": study_identity(result.directory),
        "command": result.plan.command,
        "hypothesis": result.plan.hypothesis,
        "rule": result.plan.rule,
        "rule_text": rule_named(result.plan.rule).text,
        "margin": result.plan.margin,
        "data": result.data,
        "environments": result.environments,
        **findings._asdict(),
        "arms": [each._asdict() | {"arm": _arm_record(each.arm)} for each in findings.arms],
        "contrasts": [contrast_record(each) for each in findings.contrasts],
        "shared": [contrast_record(each) for each in findings.shared],
        "between": [contrast_record(each) for each in findings.between],
    }
    return as_record(record)


def contrast_record(contrast: ContrastFinding) -> dict[str, Any]:
    """Return the record of a contrast, its arms with their labels."""
    record = contrast._asdict() | {"deeper": _arm_record(contrast.deeper), "wider": _arm_record(contrast.wider)}
    return {name: value for name, value in record.items() if name != "resampled" or value}


def _arm_record(arm: Arm) -> dict[str, Any]:
    return {"label": arm.label, "budget_label": arm.budget_label, **arm._asdict()}
