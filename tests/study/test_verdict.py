import math

import pytest
from scipy import stats

from jaxcnn.study.verdict import judge, summarise
from tests.study.planted import planted_study

LOW, HIGH = (0.010, 0.012, 0.011, 0.013, 0.009), (0.030, 0.033, 0.031, 0.029, 0.032)


def test_deeper_and_wider(tmp_path):
    deeper = judge(planted_study(tmp_path / "deeper", {8: HIGH, 14: LOW, 20: LOW}))
    wider = judge(planted_study(tmp_path / "wider", {8: LOW, 14: LOW, 20: HIGH}))
    assert (deeper.decision, wider.decision) == ("deeper", "wider")
    assert deeper.contrast.estimate == pytest.approx(-wider.contrast.estimate) == pytest.approx(-0.02)
    reference = stats.ttest_ind(LOW, HIGH, equal_var=False).confidence_interval()
    assert deeper.contrast[1:] == pytest.approx((reference.low, reference.high))


def test_the_sentence_says_what_it_carries(tmp_path):
    verdict = judge(planted_study(tmp_path, {8: HIGH, 20: LOW}))
    assert verdict.sentence.startswith("Deeper: at 30,000 parameters depth 20 (width 5) has a lower test error than")
    for part in ("-2.00 percentage points", "95 % interval -2.", "5 seeds per arm", "360 digits images", "for none"):
        assert part in verdict.sentence
    assert "interval over test images" in verdict.scope


def test_not_resolved_says_what_it_would_take(tmp_path):
    verdict = judge(planted_study(tmp_path, {8: (0.02, 0.03, 0.025), 20: (0.022, 0.033, 0.026)}))
    assert verdict.decision == "not resolved"
    assert verdict.sentence.startswith("Not resolved")
    assert "seeds per arm find a true difference of" in verdict.scope
    assert "about " in verdict.scope


def test_one_seed(tmp_path):
    verdict = judge(planted_study(tmp_path, {8: (0.5,), 20: (0.01,)}))
    assert verdict.decision == "not resolved"
    assert "two or more seeds" in verdict.scope
    assert "inf" not in verdict.sentence + verdict.scope


def test_seeds_that_agree_exactly(tmp_path):
    same = judge(planted_study(tmp_path / "same", {8: (9 / 360,) * 3, 20: (9 / 360,) * 3}))
    apart = judge(planted_study(tmp_path / "apart", {8: (90 / 360,) * 3, 20: (9 / 360,) * 3}))
    assert (same.decision, apart.decision) == ("not resolved", "deeper")
    assert "more than 1,000 seeds" in same.scope
    assert "nan" not in same.sentence + same.scope + apart.sentence + apart.scope
    assert 0 < apart.contrast.half_width < 1 / 360


def test_rows(tmp_path):
    result = planted_study(tmp_path, {8: HIGH, 14: LOW, 20: LOW})
    rows = summarise(result)
    assert [row.arm.depth for row in rows] == [8, 14, 20]
    assert rows[0].test_errors == pytest.approx(HIGH)
    assert rows[0].test_error.estimate == pytest.approx(sum(HIGH) / 5)
    assert (rows[0].step, rows[0].train_error, rows[0].diverged) == (0.004, pytest.approx(0.005), 0)


def test_a_diverged_run_is_counted_and_named(tmp_path):
    result = planted_study(tmp_path, {8: HIGH, 20: LOW})
    result.runs[0].metrics["train_loss"] = math.nan
    assert [row.diverged for row in summarise(result)] == [1, 0]
