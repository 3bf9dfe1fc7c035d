"""The plan's rule, branch by branch, and the sentences that say it."""

import json
import math
import re
from dataclasses import replace
from itertools import product
from pathlib import Path

import pytest

from jaxcnn.errors import InputError
from jaxcnn.study import write_report
from jaxcnn.study.statistics.seeds import Interval
from jaxcnn.study.verdict.analyse import analyse
from jaxcnn.study.verdict.rule import RULES, combine_agreeing, decide_ends_holm, rule_named
from jaxcnn.study.verdict.sentences import summarise
from tests.study.planted import family_arms, planted_study

PLANS = sorted((Path(__file__).parents[3] / "docs" / "results").rglob("plan.json"))
MARGIN = 0.01
HIGH, LOW = (0.20, 0.21, 0.20, 0.19, 0.20), (0.10, 0.11, 0.10, 0.09, 0.10)


def interval(estimate, half):
    return Interval(estimate, estimate - half, estimate + half)


@pytest.mark.parametrize(
    ("population90", "population", "population_holm", "fixed", "fixed_holm", "wanted"),
    [
        # 1: within the margin on both sides, significant or not
        ((0.0, 0.005), (0.0, 0.006), 0.9, (0.0, 0.004), 0.9, ("equivalent", "population")),
        ((0.006, 0.003), (0.006, 0.004), 0.001, (0.006, 0.002), 0.001, ("equivalent", "population")),
        # just outside on one side
        ((0.006, 0.004), (0.006, 0.005), 0.2, (0.006, 0.005), 0.2, ("inconclusive", "none")),
        ((-0.006, 0.004), (-0.006, 0.005), 0.2, (-0.006, 0.005), 0.2, ("inconclusive", "none")),
        # 2: deeper minus wider above zero: deeper errs more
        ((0.03, 0.01), (0.03, 0.012), 0.01, (0.03, 0.01), 0.01, ("wider", "population")),
        ((-0.03, 0.01), (-0.03, 0.012), 0.01, (-0.03, 0.01), 0.01, ("deeper", "population")),
        ((0.03, 0.01), (0.03, 0.012), 0.05, (0.03, 0.01), 0.05, ("inconclusive", "none")),
        # 3: on this test set only
        ((0.03, 0.04), (0.03, 0.05), 0.2, (0.03, 0.01), 0.01, ("wider", "test set")),
        ((-0.03, 0.04), (-0.03, 0.05), 0.2, (-0.03, 0.01), 0.01, ("deeper", "test set")),
        # 4
        ((0.0, 0.04), (0.0, 0.05), 0.9, (0.0, 0.04), 0.9, ("inconclusive", "none")),
        ((0.1, math.inf), (0.1, math.inf), 1.0, (0.1, math.inf), 1.0, ("inconclusive", "none")),
    ],
)
def test_every_branch_of_the_rule(population90, population, population_holm, fixed, fixed_holm, wanted):
    found = decide_ends_holm(
        interval(*population), interval(*population90), population_holm, interval(*fixed), fixed_holm, MARGIN
    )
    assert found == wanted


def test_swapping_the_arms_swaps_the_verdict():
    other = {"deeper": "wider", "wider": "deeper", "equivalent": "equivalent", "inconclusive": "inconclusive"}
    for estimate, half, p, q in product((0.0, 0.004, 0.03), (0.002, 0.02), (0.01, 0.5), (0.01, 0.5)):
        limits, swapped = interval(estimate, half), interval(-estimate, half)
        there = decide_ends_holm(limits, limits, p, limits, q, MARGIN)
        back = decide_ends_holm(swapped, swapped, p, swapped, q, MARGIN)
        if estimate:
            assert (other[there[0]], there[1]) == back


def words(findings):
    """All sentences of findings, after a look for numbers that are none."""
    text = " ".join([findings.sentence, findings.change, *(each.sentence for each in findings.contrasts)])
    assert not re.search(r"\b(nan|inf|None|-0\.00)\b", text), text
    assert "  " not in text
    return text


def test_deeper_wider_and_how_they_are_said(tmp_path):
    wider = analyse(planted_study(tmp_path / "a", {8: LOW, 14: LOW, 20: HIGH}, images=2000))
    deeper = analyse(planted_study(tmp_path / "b", {8: HIGH, 14: LOW, 20: LOW}, images=2000))
    assert (wider.decision, wider.scope, deeper.decision, deeper.scope) == (
        "wider",
        "population",
        "deeper",
        "population",
    )
    assert wider.sentence.startswith("Wider at 30,000 parameters: depth 8 (width 10) makes fewer errors than depth 20")
    assert "deeper minus wider is +10.00 percentage points" in words(wider)
    assert "deeper minus wider is -10.00 percentage points" in words(deeper)
    assert "over 5 seeds on these 2,000 test images" in wider.sentence
    assert "would overturn it" in wider.change


def test_equivalent_within_a_wide_margin(tmp_path):
    found = analyse(planted_study(tmp_path, {8: LOW, 20: LOW}, margin=0.1, images=2000))
    assert (found.decision, found.scope) == ("equivalent", "population")
    assert "differ by less than the margin of 10.00 points" in words(found)
    assert "would no longer count as equivalent" in found.change


def test_on_this_test_set_only(tmp_path):
    """Seeds that agree, on few images: sure of this test set, not of the next."""
    found = analyse(planted_study(tmp_path, {8: (0.10,) * 5, 20: (0.11,) * 5}, images=200))
    assert (found.decision, found.scope) == ("wider", "test set"), found.sentence
    assert "on this test set only" in words(found)
    assert "for new images the question is open" in found.sentence
    assert "comes from the number of test images" in found.change


def test_inconclusive_says_what_it_would_take(tmp_path):
    found = analyse(planted_study(tmp_path, {8: (0.1, 0.2, 0.15), 20: (0.13, 0.19, 0.16)}))
    assert (found.decision, found.scope) == ("inconclusive", "none")
    assert "cannot be told apart" in words(found)
    assert "seeds per arm detect a true difference of" in found.change
    assert re.search(r"takes (about [\d,]+|more than 1,000) seeds per arm", found.change)


def test_one_seed(tmp_path):
    found = analyse(planted_study(tmp_path, {8: (0.3,), 20: (0.1,)}))
    assert (found.decision, found.scope) == ("inconclusive", "none")
    assert "one seed each, which shows no spread" in words(found)
    assert found.change.startswith("Two or more seeds per arm are needed")


@pytest.mark.parametrize("errors", [0.0, 0.1, 1.0])
def test_runs_that_agree_exactly(tmp_path, errors):
    found = analyse(planted_study(tmp_path, {8: (errors,) * 3, 20: (errors,) * 3}, margin=0.05, images=2000))
    words(found)
    assert found.decision in ("equivalent", "inconclusive")


def test_diverged_runs_leave_their_errors_and_no_nan_in_the_verdict(tmp_path):
    found = analyse(planted_study(tmp_path, {8: LOW, 20: HIGH}, diverged={(20, 0), (20, 1)}, images=2000))
    words(found)
    assert found.decision == "wider"
    assert [arm.diverged for arm in found.arms] == [0, 2]


def budgets(directory, by_budget):
    """A study of several budgets: the deepest arm's error less the widest's, by budget."""

    def error(arm, seed):
        gap = by_budget[arm.budget] * (arm.depth == 32)
        return 0.2 + gap + 0.004 * ((seed * 7) % 3 - 1)

    return analyse(
        planted_study(directory, error, arms=family_arms(tuple(by_budget)), seeds=5, margin=0.02, images=2000)
    )


def test_budgets_that_agree(tmp_path):
    for gap, verdict in ((0.1, "wider"), (-0.1, "deeper"), (0.0, "equivalent")):
        found = budgets(tmp_path / verdict, {15_000: gap, 60_000: gap})
        assert (found.decision, found.scope) == (verdict, "population"), found.sentence
        assert found.sentence.startswith(f"{verdict.capitalize()} at every budget. Test error of the deeper")
        assert f": {verdict} at 15,000 parameters, depth 32 minus 8: " in found.sentence
        assert "At 15,000 parameters: " in found.change
        assert "At 60,000 parameters: " in words(found)


def test_budgets_that_disagree(tmp_path):
    found = budgets(tmp_path, {15_000: 0.1, 60_000: -0.1})
    assert (found.decision, found.scope) == ("inconclusive", "none")
    assert [contrast.decision for contrast in found.contrasts] == ["wider", "deeper"]
    assert words(found).startswith("Inconclusive over all budgets, which disagree. Test error of the deeper")
    assert "wider at 15,000 parameters, depth 32 minus 8: +10.00 (" in found.sentence


def test_the_scope_over_budgets_is_the_narrowest(tmp_path):
    assert combine_agreeing([("wider", "population"), ("wider", "test set")]) == ("wider", "test set")
    assert combine_agreeing([("wider", "population"), ("deeper", "population")]) == ("inconclusive", "none")
    assert combine_agreeing([("inconclusive", "none")] * 2) == ("inconclusive", "none")
    contrasts = [
        each._replace(decision="inconclusive", scope="none")
        for each in budgets(tmp_path, {15_000: 0.1, 60_000: 0.1}).contrasts
    ]
    assert summarise("inconclusive", "none", contrasts, ()).startswith("Inconclusive over all budgets. Test error")


@pytest.mark.parametrize("plan", PLANS, ids=lambda plan: plan.parent.name)
def test_published_plans_name_their_rule_by_its_text(plan):
    assert rule_named(json.loads(plan.read_text())["rule"]) is RULES["ends-holm-1"]


def test_a_rule_is_chosen_by_its_identifier_or_its_text_and_an_unknown_one_is_refused(tmp_path):
    result = planted_study(tmp_path, {8: LOW, 20: HIGH}, images=2000)
    rule = RULES["ends-holm-1"]
    findings = [analyse(replace(result, plan=replace(result.plan, rule=name))) for name in (rule.identifier, rule.text)]
    assert repr(findings[0]) == repr(findings[1])
    with pytest.raises(InputError, match=r"rule='ends-holm-2': this version has no such rule \(ends-holm-1\)"):
        analyse(replace(result, plan=replace(result.plan, rule="ends-holm-2")))


def test_the_rule_of_the_plan_decides(tmp_path, monkeypatch):
    result = planted_study(tmp_path, {8: LOW, 20: HIGH}, images=2000)
    other = RULES["ends-holm-1"]._replace(
        identifier="never", text="Never decide.", decide=lambda *_: ("inconclusive", "none")
    )
    monkeypatch.setitem(RULES, "never", other)
    assert analyse(result).decision == "wider"
    changed = replace(result, plan=replace(result.plan, rule="never"))
    assert analyse(changed).decision == "inconclusive"
    assert "Never decide." in write_report(changed, tmp_path / "report").read_text()
