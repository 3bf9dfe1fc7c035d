"""Reliability of a study: the protocol as a checklist, and the limits of its verdict."""

from __future__ import annotations

from collections.abc import Iterator

from jaxcnn.study.report.document import Bullets, Checks, Heading, Paragraph
from jaxcnn.study.report.style import Part
from jaxcnn.study.result import StudyResult
from jaxcnn.study.verdict.findings import Findings
from jaxcnn.study.verdict.formatting import RESOURCES

MARKS = {"yes": "✓ yes", "partly": "◐ partly", "no": "✗ no"}


def protocol_section(result: StudyResult, findings: Findings) -> Iterator[Part]:
    """Yield the checklist."""
    met = sum(point.met == "yes" for point in findings.protocol)
    yield Heading("Protocol checklist")
    yield Paragraph(f"{met} of {len(findings.protocol)} points are met in full, judged from the study's own records.")
    yield Checks([(MARKS[point.met], point.asks, point.evidence) for point in findings.protocol])


def limit_section(result: StudyResult, findings: Findings) -> Iterator[Part]:
    """Yield what the study does not show."""
    arms = result.plan.arms
    matched = " and ".join(RESOURCES[kind] for kind in dict.fromkeys(arm.kind for arm in arms))
    families = " and ".join(dict.fromkeys(arm.family for arm in arms))
    limits = [
        f"The verdict is about these arms of {families}, about {result.data['name']} and about this training recipe "
        "with its tuning grid and length; another recipe may give another answer.",
        f"The arms were matched in {matched}; their other costs differ, as the ledgers show.",
        "New images means images drawn like these test images, not other kinds of images or images from elsewhere.",
        "Only the primary contrast of each budget is a test. Curves, best depths, fronts, training errors and classes "
        "are descriptions; only the classes are corrected for their number.",
        "Time and memory are those of the machine and versions below.",
    ]
    if any(finding.edge for finding in findings.arms):
        limits.append("Arms best at the edge of the grid may have been tuned less well than the others.")
    if not any(arm.trials for arm in result.tuning.arms.values()):
        limits.append("No arm was tuned: an arm may lose because the shared setting suits it less.")
    if any(contrast.seeds < 2 for contrast in findings.contrasts):
        limits.append("One seed per arm shows no spread, so there is no interval and no test.")
    if any(finding.diverged for finding in findings.arms):
        limits.append("Some runs diverged: their errors count, but they reflect the recipe more than the arm.")
    yield Heading("Limits")
    yield Bullets(limits)
