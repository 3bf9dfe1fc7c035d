"""The verdict in words."""

import re
from dataclasses import replace

import pytest

from jaxcnn.study.verdict.analyse import analyse
from jaxcnn.study.verdict.sentences import summarise
from tests.study.planted import ARMS, family_arms, planted_study

HIGH, LOW = (0.20, 0.21, 0.20, 0.19, 0.20), (0.10, 0.11, 0.10, 0.09, 0.10)


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
    assert wider.sentence.startswith(
        "Wider at 30,000 parameters: depth 8 (width 10-20-39) makes fewer errors than depth 20"
    )
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


def test_budgets_that_are_all_inconclusive(tmp_path):
    contrasts = [
        each._replace(decision="inconclusive", scope="none")
        for each in budgets(tmp_path, {15_000: 0.1, 60_000: 0.1}).contrasts
    ]
    assert summarise("inconclusive", "none", contrasts, ()).startswith("Inconclusive over all budgets. Test error")


def test_intervals_of_error_rates_stay_within_0_and_100_or_are_none(tmp_path):
    """Two seeds that differ by tens of points: Student's limits would be -89 and +176."""
    far = {8: (0.32, 0.55), 14: (0.1, 0.9), 20: (0.2, 0.9)}
    findings = analyse(planted_study(tmp_path, far, images=100))
    (contrast,) = findings.contrasts
    intervals = [each.test_error for each in findings.arms]
    assert not any(interval.bounded for interval in intervals)
    assert not contrast.population.bounded
    assert contrast.population.estimate == pytest.approx(0.115)
    assert "cannot be told apart with 2 seeds each, which differ too much for an interval" in findings.sentence
    assert "2 seeds per arm detect no possible difference on this test set" in findings.change
    near = analyse(planted_study(tmp_path / "near", {8: (0.0, 0.01), 20: (0.02, 0.05)}, images=100))
    for each in near.arms:
        assert 0 <= each.test_error.low <= each.test_error.estimate <= each.test_error.high <= 1
    for each in near.contrasts[0].classes:
        assert -1 <= each.difference.low <= each.difference.high <= 1 or not each.difference.bounded


def test_arms_whose_first_stage_is_alike_are_told_apart(tmp_path):
    stages = {8: (4, 9, 17), 14: (4, 8, 15)}
    arms = [
        arm._replace(width=4, spec=replace(arm.spec, width=4, stage_widths=stages[arm.depth]))
        for arm in ARMS[:2]
    ]  # fmt: skip
    findings = analyse(planted_study(tmp_path, {8: LOW, 14: HIGH}, arms=arms, images=2000))
    assert "depth 8 (width 4-9-17) makes fewer errors than depth 14 (width 4-8-15)" in findings.sentence
