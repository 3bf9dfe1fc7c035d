"""Rules of a verdict: each identifier selects the text that is printed and the functions that decide."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Literal, NamedTuple

from jaxcnn.errors import InputError
from jaxcnn.records import shortened

if TYPE_CHECKING:  # plans import this file, and need no SciPy
    from jaxcnn.study.statistics.seeds import Interval

Decision = str
"""deeper, wider, between, equivalent or inconclusive; of two families, the name of one in place of the first two."""
Scope = Literal["population", "test set", "none"]
LEVEL = 0.05
"""Significance level of every test of a study."""


class Rule(NamedTuple):
    """How contrasts become a verdict."""

    identifier: str  #: Name in `RULES`.
    text: str  #: The rule as the report prints it. Published plans store this text: never change it.
    #: Decides one contrast, as `decide_retuned`.
    decide: Callable[[Interval, Interval, float, Interval, float, float, float], tuple[Decision, Scope]]
    #: Decides over all budgets, as `combine_agreeing`.
    combine: Callable[[Sequence[tuple[Decision, Scope]]], tuple[Decision, Scope]]
    #: Decides a budget from its contrasts, as `judge_between`.
    judge: Callable[[Sequence[tuple[Decision, Scope]]], tuple[Decision, Scope]] = lambda outcomes: outcomes[0]
    families: bool = False  #: For studies of two families.
    #: Its p-values and intervals hold for new tuning, too; each budget has three contrasts, and TOST is corrected.
    retuned: bool = False


def decide_ends_holm(
    population: Interval,
    population90: Interval,
    population_holm: float,
    fixed: Interval,
    fixed_holm: float,
    margin: float,
    tost_holm: float = 1.0,
) -> tuple[Decision, Scope]:
    """Decide one contrast, deeper minus wider, by the rule "ends-holm-1".

    Args:
        population: Estimate over new seeds and new images.
        population90: Its 90 % interval.
        population_holm: Its p-value, corrected over the budgets.
        fixed: Estimate over new seeds on this test set.
        fixed_holm: Its p-value, corrected over the budgets.
        margin: Smallest difference that matters.
        tost_holm: Not used by this rule.

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


def decide_retuned(
    population: Interval,
    population90: Interval,
    population_holm: float,
    fixed: Interval,
    fixed_holm: float,
    margin: float,
    tost_holm: float,
) -> tuple[Decision, Scope]:
    """Decide one contrast, deeper minus wider, by the rule "retuned-1": for the population, or not at all.

    Args:
        population: Estimate over new seeds, new images and new tuning; the other arguments are those of
            `decide_ends_holm`, corrected over all contrasts and both kinds of tests.
        tost_holm: P-value of equivalence, corrected likewise.

    >>> from jaxcnn.study.statistics.seeds import Interval
    >>> some = Interval(0.02, 0.01, 0.03)
    >>> decide_retuned(some, some, 0.01, some, 0.01, margin=0.005, tost_holm=1.0)
    ('wider', 'population')
    """
    if tost_holm < LEVEL:
        return "equivalent", "population"
    if population_holm < LEVEL:
        return ("wider" if population.estimate > 0 else "deeper"), "population"
    return "inconclusive", "none"


def judge_between(outcomes: Sequence[tuple[Decision, Scope]]) -> tuple[Decision, Scope]:
    """Return the decision of a budget: between where its interior arm beats both ends, else that of the two ends.

    Args:
        outcomes: Of the deepest against the widest arm, then, with three or more depths, of the interior arm against
            the widest, and of the deepest against the interior arm.

    >>> judge_between([("inconclusive", "none"), ("deeper", "population"), ("wider", "population")])
    ('between', 'population')
    """
    if [decision for decision, _ in outcomes[1:]] == ["deeper", "wider"]:
        return "between", "population"
    return outcomes[0]


ENDS, FAMILIES, RETUNED, RETUNED_FAMILIES = "ends-holm-1", "families-holm-1", "retuned-1", "retuned-families-1"
FOLDS = "retuned-folds-1"
RULES = {
    rule.identifier: rule
    for rule in (
        Rule(
            ENDS,
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
            families=True,
        ),
        Rule(
            RETUNED,
            "Each budget has three contrasts of test error: its deepest arm minus its shallowest and widest; the "
            "interior arm minus the widest; the deepest minus the interior arm (the first one alone where there are "
            "two depths). The interior arm is the one with the lowest error by the curve through its tuning trials, on "
            "validation images; without tuning the middle one. Intervals and p-values hold for new seeds, new images "
            "and new tuning. For each contrast two hypotheses are tested at 5 %: no difference, and a difference as "
            "large as the margin (TOST); all of them are one family, corrected by Holm's procedure with Shaffer's "
            "factors. (1) Between, where the interior arm makes fewer errors than both ends. (2) Else the ends decide: "
            "equivalent, where their difference is smaller than the margin; deeper or wider, where it is not zero; "
            "else inconclusive. Several budgets share a verdict where all of them agree, and are inconclusive together "
            "where they do not.",
            decide_retuned,
            combine_agreeing,
            judge_between,
            retuned=True,
        ),
        Rule(
            FOLDS,
            "Cross-validated: the images are divided into folds, each of which is the test split of its own runs once "
            "in every repeat, with settings that were tuned on the other folds alone. Each budget has three contrasts "
            "of test error: its deepest arm minus its shallowest and widest; the interior arm minus the widest; the "
            "deepest minus the interior arm (the first one alone where there are two depths). The interior arm is the "
            "middle one by depth. Intervals and p-values hold for new seeds, new images and new tuning. For each "
            "contrast two hypotheses are tested at 5 %: no difference, and a difference as large as the margin (TOST); "
            "all of them are one family, corrected by Holm's procedure with Shaffer's factors. (1) Between, where the "
            "interior arm makes fewer errors than both ends. (2) Else the ends decide: equivalent, where their "
            "difference is smaller than the margin; deeper or wider, where it is not zero; else inconclusive. Several "
            "budgets share a verdict where all of them agree, and are inconclusive together where they do not.",
            decide_retuned,
            combine_agreeing,
            judge_between,
            retuned=True,
        ),
        Rule(
            RETUNED_FAMILIES,
            "The contrast of each budget is the test error of its arm of the first family minus that of its arm of the "
            "second. Intervals and p-values hold for new seeds, new images and new tuning. Two hypotheses are tested "
            "at 5 %: no difference, and a difference as large as the margin (TOST); those of all budgets are one "
            "family, corrected by Holm's procedure with Shaffer's factors. Equivalent, where the difference is smaller "
            "than the margin; one family, where it is not zero; else inconclusive. Several budgets share a verdict "
            "where all of them agree, and are inconclusive together where they do not.",
            decide_retuned,
            combine_agreeing,
            families=True,
            retuned=True,
        ),
    )
}


def rule_for(method: str, *, families: bool, folds: bool = False) -> str:
    """Return the identifier of the rule of a study by its way of tuning (`Tuning.method`), and if it has folds."""
    if folds and not families:
        return FOLDS
    named = {("grid", False): ENDS, ("grid", True): FAMILIES, ("smooth", False): RETUNED}
    return named.get((method, families), RETUNED_FAMILIES)


def rule_named(name: str) -> Rule:
    """Return the rule with this identifier, or with this text, which plans of format 2 stored in its place.

    Raises:
        InputError: This version has no such rule.
    """
    for rule in RULES.values():
        if name in (rule.identifier, rule.text):
            return rule
    raise InputError(f"rule={shortened(name)}: unknown; choose one of {', '.join(RULES)}")
