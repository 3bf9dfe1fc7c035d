"""Rules of a verdict: each identifier selects the text that is printed and the functions that decide."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Literal, NamedTuple

from jaxcnn.errors import InputError
from jaxcnn.records import shortened

if TYPE_CHECKING:  # plans import this file, and need no SciPy
    from jaxcnn.study.statistics.seeds import Interval

Decision = str
"""deeper, wider, equivalent or inconclusive; of two families, the name of one in place of the first two."""
Scope = Literal["population", "test set", "none"]
LEVEL = 0.05
"""Significance level of every test of a study."""


class Rule(NamedTuple):
    """How contrasts become a verdict."""

    identifier: str  #: Name in `RULES`.
    text: str  #: The rule as the report prints it. Published plans store this text: never change it.
    #: Decides one contrast, as `decide_ends_holm`.
    decide: Callable[[Interval, Interval, float, Interval, float, float], tuple[Decision, Scope]]
    #: Decides over all budgets, as `combine_agreeing`.
    combine: Callable[[Sequence[tuple[Decision, Scope]]], tuple[Decision, Scope]]


def decide_ends_holm(
    population: Interval,
    population90: Interval,
    population_holm: float,
    fixed: Interval,
    fixed_holm: float,
    margin: float,
) -> tuple[Decision, Scope]:
    """Decide one contrast, deeper minus wider, by the rule "ends-holm-1".

    Args:
        population: Estimate over new seeds and new images.
        population90: Its 90 % interval.
        population_holm: Its p-value, corrected over the budgets.
        fixed: Estimate over new seeds on this test set.
        fixed_holm: Its p-value, corrected over the budgets.
        margin: Smallest difference that matters.

    Returns:
        The decision and its scope.

    >>> from jaxcnn.study.statistics.seeds import Interval
    >>> narrow, wide = Interval(0.02, 0.01, 0.03), Interval(0.02, -0.01, 0.05)
    >>> decide_ends_holm(narrow, narrow, 0.001, narrow, 0.001, margin=0.005)
    ('wider', 'population')
    >>> decide_ends_holm(wide, wide, 0.2, narrow, 0.01, margin=0.005)
    ('wider', 'test set')
    """
    if -margin < population90.low and population90.high < margin:
        return "equivalent", "population"
    if population_holm < LEVEL:
        return ("wider" if population.estimate > 0 else "deeper"), "population"
    if fixed_holm < LEVEL:
        return ("wider" if fixed.estimate > 0 else "deeper"), "test set"
    return "inconclusive", "none"


def combine_agreeing(outcomes: Sequence[tuple[Decision, Scope]]) -> tuple[Decision, Scope]:
    """Return the decision that all budgets share, with the narrowest scope, or inconclusive if they differ."""
    decisions, scopes = ({each[place] for each in outcomes} for place in (0, 1))
    if len(decisions) > 1 or decisions == {"inconclusive"}:
        return "inconclusive", "none"
    return outcomes[0][0], "test set" if "test set" in scopes else "population"


FAMILIES = "families-holm-1"
RULES = {
    rule.identifier: rule
    for rule in (
        Rule(
            "ends-holm-1",
            "The primary contrast of each budget is the test error of its deepest arm minus that of its shallowest and "
            "widest arm. (1) Equivalent, where the 90 % population interval (new seeds, new images) lies within the "
            "margin on both sides of zero (TOST at 5 %). (2) Else deeper or wider for the population, where its "
            "p-value, corrected by Holm over the budgets, is below 5 %. (3) Else deeper or wider on this test set "
            "only, where Welch's p-value over seeds, corrected by Holm, is below 5 %. (4) Else inconclusive. Several "
            "budgets share a verdict where all of them agree, and are inconclusive together where they do not.",
            decide_ends_holm,
            combine_agreeing,
        ),
        Rule(
            FAMILIES,
            "The primary contrast of each budget is the test error of its arm of the first family minus that of its "
            "arm of the second. (1) Equivalent, where the 90 % population interval (new seeds, new images) lies within "
            "the margin on both sides of zero (TOST at 5 %). (2) Else one family for the population, where the "
            "p-value, corrected by Holm over the budgets, is below 5 %. (3) Else one family on this test set only, "
            "where Welch's p-value over seeds, corrected by Holm, is below 5 %. (4) Else inconclusive. Several budgets "
            "share a verdict where all of them agree, and are inconclusive together where they do not.",
            decide_ends_holm,  # the first family takes the place of the deeper arm
            combine_agreeing,
        ),
    )
}


def rule_named(name: str) -> Rule:
    """Return the rule with this identifier, or with this text, which plans of format 2 stored in its place.

    Raises:
        InputError: This version has no such rule.
    """
    for rule in RULES.values():
        if name in (rule.identifier, rule.text):
            return rule
    raise InputError(f"rule={shortened(name)}: unknown; choose one of {', '.join(RULES)}")
