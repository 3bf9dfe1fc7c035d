"""Why the deepest or the widest arm errs less: measures of trained networks, kept beside a study, and their reading."""

from __future__ import annotations

from collections.abc import Mapping
from statistics import fmean
from typing import Any, NamedTuple

from jaxcnn.records import as_record, from_record
from jaxcnn.runtime.files import read_sealed, sha256, write_sealed
from jaxcnn.study.plan import study_identity
from jaxcnn.study.result import StudyResult
from jaxcnn.study.statistics.seeds import Interval, welch
from jaxcnn.study.verdict.findings import ContrastFinding
from jaxcnn.study.verdict.formatting import arm_name, percent, signed, signed_span

FILE, FORMAT = "explanation.json", "jaxcnn study explanation 1"
REMEDY = "remove it; --explain computes it again"
SIDES = ("deeper", "wider")
"""Names of the two arms in the measures; of two families the first stands for deeper."""


class BudgetExplanation(NamedTuple):
    """What was measured of the deeper and the wider arm of one budget."""

    budget: str  #: The budget in words.
    seeds: tuple[int, ...]  #: Seeds whose final weights were looked at; with folds, those of the first fold.
    #: Error of each seed on all training images with the final weights, without augmentation and dropout, by side.
    train_errors: Mapping[str, tuple[float, ...]]
    measures: Mapping[str, Any]  #: Record of `jaxcnn.analysis.explain`, its arms called deeper and wider.

    def mean(self, side: str) -> float:
        """Return the training error of a side, mean over seeds."""
        return fmean(self.train_errors[side])


class Explanation(NamedTuple):
    """Fields of explanation.json."""

    predictions_sha256: str  #: The study's runs, as runs.json names them.
    images: tuple[int, int]  #: Numbers of training and test images of all measures but the training errors.
    train_images: int  #: Number of training images.
    budgets: tuple[BudgetExplanation, ...]  #: One per budget, in the plan's order.


def runs_digest(result: StudyResult) -> str:
    """Return what an explanation names the runs by: the SHA-256 of predictions.npz."""
    return sha256(result.directory / "predictions.npz")


def read_explanation(result: StudyResult) -> Explanation | None:
    """Read a study's explanation; None where none was made, or for other runs than the present ones.

    Raises:
        InputError: It is damaged.

    >>> read_explanation(load_study("runs/study")).budgets[0].train_errors  # doctest: +SKIP
    """
    path = result.directory / FILE
    if not path.exists():
        return None
    record = read_sealed(path, REMEDY)
    bound = {"format": FORMAT, "plan": study_identity(result.directory), "predictions_sha256": runs_digest(result)}
    if any(record.get(name) != value for name, value in bound.items()):
        return None
    content = {name: value for name, value in record.items() if name not in ("format", "plan", "seal")}
    return from_record(Explanation, content, str(path), REMEDY)


def write_explanation(result: StudyResult, explanation: Explanation) -> None:
    """Write explanation.json beside the study, sealed and bound to its plan and runs."""
    bound = {"format": FORMAT, "plan": study_identity(result.directory)}
    write_sealed(result.directory / FILE, {**bound, **as_record(explanation)})


def conclusion(contrast: ContrastFinding, each: BudgetExplanation, train_images: int) -> str:
    """Say by training error whether the arm that errs more cannot be optimised as well or does not generalise as well.

    The first holds if its training error is higher, the 95 % interval (Welch, over seeds) is above zero, and the
    difference is at least half of that in test error; the second if the interval ends below that half.
    """
    names = dict(zip(SIDES, contrast.sides, strict=True))
    start = f"On all training images the {names['deeper']} arm ({arm_name(contrast.deeper)}) errs "
    start += f"{percent(each.mean('deeper'))} %, the {names['wider']} arm ({arm_name(contrast.wider)}) "
    start += f"{percent(each.mean('wider'))} %"
    if contrast.decision not in contrast.sides:
        return f"{start}. No difference in test error is claimed that this could explain."
    worse, better = SIDES if contrast.decision == contrast.sides[1] else SIDES[::-1]
    gap = abs(contrast.population.estimate)
    more: Interval = welch(each.train_errors[worse], each.train_errors[better], resolution=1 / train_images)[0]
    shown = f"{signed(more.estimate)} points, 95 % interval {signed_span(more)}"
    text = f"{start}. The {names[worse]} arm makes {percent(gap)} points more test errors"
    if more.low > 0 and more.estimate >= gap / 2:
        return (
            f"{text}, and it cannot be optimised as well: it already makes more errors on the images that it was "
            f"trained on ({shown})."
        )
    if more.high < gap / 2:
        return (
            f"{text}, and it does not generalise as well: on the images that it was trained on it errs about as little "
            f"as the other, or less ({shown})."
        )
    return f"{text}; whether it cannot be optimised or does not generalise as well stays open ({shown})."
