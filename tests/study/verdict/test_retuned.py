"""Studies whose verdict includes its tuning: three contrasts, between, and what the report says of them."""

from dataclasses import replace

import numpy as np
import pytest
from scipy import stats

from jaxcnn.runtime.files import read_sealed
from jaxcnn.spec import Tuning
from jaxcnn.study import load_study, write_report
from jaxcnn.study.rule import RETUNED, RULES, decide_retuned, judge_between
from jaxcnn.study.statistics.multiplicity import holm_both_ways
from jaxcnn.study.statistics.population import crossed
from jaxcnn.study.statistics.seeds import Interval
from jaxcnn.study.statistics.smoothing import retune
from jaxcnn.study.tuning import surface
from jaxcnn.study.verdict.analyse import analyse, interior
from jaxcnn.study.verdict.sentences import describe, outlook
from jaxcnn.study.verify import verify
from tests.study.planted import ARMS, TEN_SETTINGS, family_arms, planted_study, valley

SMOOTH = replace(TEN_SETTINGS, method="smooth")
HIGH, LOW = (0.20, 0.21, 0.20, 0.19, 0.20), (0.10, 0.11, 0.10, 0.09, 0.10)
# Trials that differ by more than a smooth curve, so that tuning has a variance.
ROUGH = dict(zip(SMOOTH.learning_rates, (1.0, 1.12, 0.9, 1.08, 0.95), strict=True))


def study(directory, errors=None, **changes):
    """A planted study of three depths with trials off the curve."""
    options = {"tuning": SMOOTH, "images": 2000, "margin": 0.02}
    return planted_study(directory, errors or {8: LOW, 14: LOW, 20: HIGH}, **{**options, **changes})


def test_the_contrast_is_that_of_its_parts(tmp_path):
    result = study(tmp_path)
    findings = analyse(result)
    (ends,), (first, second) = findings.contrasts, findings.between
    assert result.plan.rule == RETUNED
    assert [(each.deeper.depth, each.wider.depth) for each in (ends, first, second)] == [(20, 8), (14, 8), (20, 14)]
    again = {arm.label: retune(surface(result.tuning.arms[arm.label].trials)) for arm in result.plan.arms}
    assert [each.retuning for each in findings.arms] == list(again.values())
    population = [
        crossed(
            result.errors(each.deeper),
            result.errors(each.wider),
            tuning=[again[each.deeper.label].variance, again[each.wider.label].variance],
        )
        for each in (ends, first, second)
    ]
    assert [each.population for each in (ends, first, second)] == [each.interval for each in population]
    different, equivalent = holm_both_ways(
        [each.p for each in population], [each.tost for each in (ends, first, second)]
    )
    assert [each.population_holm for each in (ends, first, second)] == pytest.approx(list(different))
    assert [each.tost_holm for each in (ends, first, second)] == pytest.approx(list(equivalent))
    assert set(ends.parts) == {"examples", "seeds", "tuning"}
    assert sum(ends.parts.values()) == pytest.approx(1)
    floor = population[0].standard_error * np.sqrt(1 - ends.parts["seeds"])
    assert ends.endless == pytest.approx(floor * (stats.norm.ppf(0.975) + stats.norm.ppf(0.8)))


def test_wider_includes_its_tuning_and_says_so(tmp_path):
    found = analyse(study(tmp_path))
    assert (found.decision, found.scope) == ("wider", "population")
    assert "for new seeds, new images and new tuning" in found.sentence
    assert "its variance: " in found.sentence
    assert "% test images, " in found.sentence
    assert "Another tuning would pick another setting in so many cases: depth 8 " in found.change
    assert "conditional on tuning" not in found.change


def test_a_depth_between_that_beats_both_ends(tmp_path):
    result = study(tmp_path, {8: HIGH, 14: LOW, 20: HIGH})
    found = analyse(result)
    assert (found.decision, found.scope) == ("between", "population")
    assert [each.decision for each in found.between] == ["deeper", "wider"]
    assert found.sentence.startswith(
        "Between at 30,000 parameters: depth 14 (width 7-14-27) makes fewer errors than both"
    )
    assert "points against depth 8 (95 % interval -1" in found.sentence
    assert "and -10.10 points against depth 20" in found.sentence


def test_the_interior_arm_is_chosen_on_validation_images_alone(tmp_path):
    """Depth 14 is best in tuning, depth 20 on the test images of its runs."""

    def error(arm, seed):
        return valley(best=14)(arm, seed) - 0.08 * (arm.depth == 20 and seed > 0)

    arms = family_arms((15_000,))
    result = planted_study(tmp_path, error, arms=arms, tuning=SMOOTH, images=2000, seeds=3)
    assert interior(result.plan, result.tuning, "15,000 parameters").depth == 14
    bare = planted_study(tmp_path / "bare", error, arms=arms, tuning=Tuning((0.1,), (5e-4,)), images=2000, seeds=3)
    assert interior(bare.plan, bare.tuning, "15,000 parameters").depth == 14, "the lower one of the middle two"
    assert analyse(bare).between[0].parts.keys() == {"seeds", "examples"}, "nothing was tuned"
    assert "for new seeds and new images;" in analyse(bare).between[0].sentence.replace(" over", ";")


def test_two_depths_have_one_contrast(tmp_path):
    found = analyse(study(tmp_path, {8: LOW, 20: HIGH}))
    assert (found.between, found.decision) == ((), "wider")


@pytest.fixture
def undrawn(monkeypatch):
    """Figures take long and have tests of their own."""
    monkeypatch.setattr("jaxcnn.study.report.page.write_figure", lambda *_: "<svg></svg>")


def test_it_is_reported_and_verified(tmp_path, undrawn):
    result = study(tmp_path, {8: HIGH, 14: LOW, 20: HIGH})
    write_report(result, tmp_path)
    assert [check for check in verify(tmp_path, data=False) if check.equal < check.numbers] == []
    text = (tmp_path / "report.md").read_text()
    assert "The best interior depth, by validation images, and the ends" in text
    assert "What tuning chose, and what another tuning would" in text
    assert "share of variance from tuning" in text
    assert "Only the three contrasts of each budget are tests." in text
    assert repr(analyse(load_study(tmp_path))) == repr(analyse(result))
    assert read_sealed(tmp_path / "plan.json", "")["rule_text"] == RULES[RETUNED].text


def test_a_difference_that_holm_takes_away_says_so(tmp_path, undrawn):
    """p below 5 % and above after the correction for the other contrasts: the interval excludes zero."""
    found = analyse(study(tmp_path, {8: HIGH, 14: LOW, 20: HIGH})).contrasts[0]
    lost = found._replace(
        decision="inconclusive",
        scope="neither",
        population_p=0.03,
        population_holm=0.09,
        endless=0.01,
        population=Interval(0.05, 0.01, 0.09),
    )
    said = describe(lost, 0.005, 300)
    assert said.endswith("; the interval excludes zero, but its p of 0.030 is 0.090 after Holm's correction")
    assert outlook([lost], "digits").endswith("for one question alone; Holm's correction asks for more.")
    other = lost._replace(population_holm=0.03)
    assert "Holm" not in describe(other, 0.005, 300) + outlook([other], "digits")


def test_an_edited_variance_of_tuning_is_noticed(tmp_path, undrawn):
    result = study(tmp_path, {8: HIGH, 14: LOW, 20: HIGH})
    write_report(result, tmp_path)
    value = analyse(result).arms[0].retuning.others
    text = (tmp_path / "analysis.json").read_text()
    assert text.count(f'"others": {value}') >= 1
    (tmp_path / "analysis.json").write_text(text.replace(f'"others": {value}', f'"others": {1 - value}', 1))
    different = {check.name for check in verify(tmp_path, data=False) if check.equal < check.numbers}
    assert different == {"what another tuning would choose, drawn anew", "values of analysis.json, none missing"}


def test_an_edited_flattery_of_the_curve_is_noticed(tmp_path, undrawn):
    result = study(tmp_path, {8: HIGH, 14: LOW, 20: HIGH})
    write_report(result, tmp_path)
    file, value = tmp_path / "analysis.json", analyse(result).arms[0].retuning.optimism
    assert (
        "points for the lowest point of a curve are part of what they promised" in (tmp_path / "report.md").read_text()
    )
    text = file.read_text()
    file.write_text(text.replace(f'"optimism": {value}', f'"optimism": {value + 0.05}', 1))
    different = {check.name for check in verify(tmp_path, data=False) if check.equal < check.numbers}
    assert "what another tuning would choose, drawn anew" in different


@pytest.mark.parametrize(
    ("estimate", "p", "tost", "wanted"),
    [
        (0.02, 0.01, 0.9, ("wider", "population")),
        (-0.02, 0.01, 0.9, ("deeper", "population")),
        (0.02, 0.01, 0.04, ("equivalent", "population")),
        (0.0, 0.9, 0.04, ("equivalent", "population")),
        (0.02, 0.05, 0.05, ("inconclusive", "none")),
    ],
)
def test_every_branch_of_the_rule(estimate, p, tost, wanted):
    interval = Interval(estimate, -1.0, 1.0)
    # Seeds alone on this test set decide nothing.
    assert decide_retuned(interval, interval, p, interval, 0.0, 0.01, tost) == wanted


def test_between_needs_both_ends():
    nothing, deeper, wider = ("inconclusive", "none"), ("deeper", "population"), ("wider", "population")
    assert judge_between([nothing, deeper, wider]) == ("between", "population")
    assert judge_between([wider, deeper, wider]) == ("between", "population")
    for others in ([deeper, nothing], [nothing, wider], [wider, deeper], []):
        assert judge_between([wider, *others]) == wider


def test_old_rules_are_marked(tmp_path):
    grid = planted_study(tmp_path, {8: LOW, 14: LOW, 20: HIGH}, tuning=TEN_SETTINGS, images=2000)
    assert analyse(grid).change.endswith("what another tuning of the same arms would give.")
    assert analyse(grid).between == ()
    assert [each.retuning for each in analyse(grid).arms] == [None] * 3
    assert "conditional" not in analyse(planted_study(tmp_path / "one", {8: LOW, 20: HIGH}, arms=ARMS)).change
