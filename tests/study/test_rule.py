"""Rules of a verdict, branch by branch, and how a plan names one."""

import json
import math
from dataclasses import replace
from itertools import product
from pathlib import Path

import pytest

from jaxcnn.errors import InputError
from jaxcnn.study import analyse, write_report
from jaxcnn.study.rule import RULES, combine_agreeing, decide_ends_holm, rule_named
from jaxcnn.study.statistics.seeds import Interval
from tests.study.planted import planted_study

PLANS = sorted((Path(__file__).parents[2] / "docs" / "results").rglob("plan.json"))
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


def test_the_scope_over_budgets_is_the_narrowest():
    assert combine_agreeing([("wider", "population"), ("wider", "test set")]) == ("wider", "test set")
    assert combine_agreeing([("wider", "population"), ("deeper", "population")]) == ("inconclusive", "none")
    assert combine_agreeing([("inconclusive", "none")] * 2) == ("inconclusive", "none")


@pytest.mark.parametrize("plan", PLANS, ids=lambda plan: plan.parent.name)
def test_published_plans_name_their_rule_by_its_text(plan):
    """The first ones by its text alone, later ones by its identifier, with the text beside it."""
    record = json.loads(plan.read_text())
    rule = rule_named(record["rule"])
    assert rule is RULES[record["rule"] if "rule_text" in record else "ends-holm-1"]
    assert rule.text == record.get("rule_text", record["rule"])


def test_a_rule_is_chosen_by_its_identifier_or_its_text_and_an_unknown_one_is_refused(tmp_path):
    result = planted_study(tmp_path, {8: LOW, 20: HIGH}, images=2000)
    rule = RULES["ends-holm-1"]
    findings = [analyse(replace(result, plan=replace(result.plan, rule=name))) for name in (rule.identifier, rule.text)]
    assert repr(findings[0]) == repr(findings[1])
    with pytest.raises(InputError, match="rule='ends-holm-2': unknown; choose one of ends-holm-1"):
        analyse(replace(result, plan=replace(result.plan, rule="ends-holm-2")))


def test_the_rule_of_the_plan_decides(tmp_path, monkeypatch):
    result = planted_study(tmp_path, {8: LOW, 20: HIGH}, images=2000)
    other = RULES["ends-holm-1"]._replace(
        identifier="never", text="Never decide.", decide=lambda *_: ("inconclusive", "none")
    )
    monkeypatch.setitem(RULES, "never", other)
    monkeypatch.setattr("jaxcnn.study.report.page.write_figure", lambda figure, folder, name: "<svg></svg>")
    assert analyse(result).decision == "wider"
    changed = replace(result, plan=replace(result.plan, rule="never"))
    assert analyse(changed).decision == "inconclusive"
    assert "Never decide." in write_report(changed, tmp_path / "report").read_text()
