"""The checklist of twelve points says yes only to what a study's records show."""

import re
from dataclasses import replace

from jaxcnn.study.verdict.analyse import analyse
from tests.study.planted import ONE_SETTING, family_arms, planted_study, rich_study


def points(result):
    found = analyse(result).protocol
    assert [point.number for point in found] == list(range(1, 13))
    for point in found:
        assert point.asks
        assert point.evidence
        assert not re.search(r"\b(nan|inf|None)\b", point.evidence), point
    return {point.number: point for point in found}


def test_a_large_study(tmp_path):
    found = points(rich_study(tmp_path))
    assert found[4].met == found[5].met == found[9].met == found[12].met == "yes"
    assert "3 budgets with 4, 4, 4 depths" in found[4].evidence
    assert "never by a tuning run" in found[5].evidence
    # One kind of budget, one half of with and without skips, controls that are not part of one study.
    assert found[2].met == found[3].met == found[11].met == "partly"
    assert "with skips only" in found[2].evidence


def test_a_bare_study(tmp_path):
    found = points(planted_study(tmp_path, {8: (0.1,), 20: (0.2,)}, tuning=ONE_SETTING, costs=False))
    assert [found[number].met for number in (4, 6, 7, 8, 9)] == ["no"] * 5
    assert "memory and time were not measured" in found[3].evidence
    assert "without a pilot" in found[8].evidence
    assert "single seed" in found[9].evidence


def test_arms_off_their_budget_fail_the_third_point(tmp_path):
    arms = [arm._replace(mismatch=0.012) for arm in family_arms((15_000,))]
    found = points(rich_study(tmp_path, arms=arms))
    assert found[3].met == "no"
    assert "largest mismatch 1.20 %" in found[3].evidence


def test_an_arm_at_an_edge_is_named(tmp_path):
    found = points(rich_study(tmp_path, best_rate=lambda arm: 0.001 if arm.depth == 32 else 0.1))
    assert found[6].met == "partly"
    assert "best at an edge: depth 32 at 15,000 parameters" in found[6].evidence


def test_seeds_below_the_number_needed_are_only_partly_enough(tmp_path):
    result = rich_study(tmp_path)
    few = replace(result, pilot=result.pilot._replace(spread=0.01, needed=64))
    assert points(few)[8].met == "partly"
    assert "needs 64 seeds; 5 seeds per arm" in points(few)[8].evidence
    unknown = replace(result, pilot=result.pilot._replace(needed=None))
    assert "more than 1,000" in points(unknown)[8].evidence
    enough = replace(result, pilot=result.pilot._replace(needed=5))
    assert points(enough)[8].met == "yes"
