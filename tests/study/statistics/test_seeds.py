import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from jaxcnn.study.statistics.seeds import (
    ENDLESS_SEEDS,
    Interval,
    detectable,
    mean_interval,
    power,
    seeds_needed,
    tost_p,
    welch,
)


def leaves_out_zero(interval):
    return interval.low > 0 or interval.high < 0


VALUES = st.lists(st.floats(-100, 100), min_size=2, max_size=12)


def test_mean_interval_by_hand():
    # 1, 2, 3: mean 2, standard error 1 / sqrt(3), t(0.975, 2) = 4.302653 (tables).
    interval = mean_interval([1.0, 2.0, 3.0])
    assert interval.estimate == 2.0
    assert interval.high - interval.estimate == pytest.approx(4.302653 / math.sqrt(3), rel=1e-6)


def test_an_interval_is_cut_to_possible_values_or_says_nothing():
    assert Interval(0.01, -0.02, 0.04).within(0, 1) == Interval(0.01, 0.0, 0.04)
    assert Interval(0.1, -0.3, 0.5).within(-1, 1) == Interval(0.1, -0.3, 0.5)
    assert Interval(0.3, -0.9, 1.2).within(0, 1) == Interval(0.3, -math.inf, math.inf)
    assert not Interval(0.3, -math.inf, math.inf).within(0, 1).bounded


@settings(deadline=None, max_examples=50)
@given(VALUES, VALUES)
def test_intervals_are_scipys(first, second):
    if np.std(first) < 1e-6 or np.std(second) < 1e-6:
        return
    reference = stats.ttest_ind(first, second, equal_var=False).confidence_interval(0.95)
    ours, _ = welch(first, second)
    np.testing.assert_allclose(ours[1:], (reference.low, reference.high), rtol=1e-9, atol=1e-9)
    reference = stats.t.interval(0.95, len(first) - 1, np.mean(first), stats.sem(first))
    np.testing.assert_allclose(mean_interval(first)[1:], reference, rtol=1e-9, atol=1e-9)


def test_unequal_counts_and_another_confidence():
    first, second = [0.03, 0.05, 0.04], [0.01, 0.02, 0.05, 0.03, 0.02]
    reference = stats.ttest_ind(first, second, equal_var=False).confidence_interval(0.8)
    np.testing.assert_allclose(welch(first, second, confidence=0.8)[0][1:], reference, rtol=1e-9)


@settings(deadline=None, max_examples=50)
@given(VALUES, VALUES)
def test_p_is_scipys_and_agrees_with_the_interval(first, second):
    if np.std(first) < 1e-6 or np.std(second) < 1e-6:
        return
    interval, p = welch(first, second)
    assert p == pytest.approx(stats.ttest_ind(first, second, equal_var=False).pvalue, rel=1e-9, abs=1e-300)
    assert p == pytest.approx(welch(second, first)[1], rel=1e-9)
    assert (p < 0.05) == (not interval.low <= 0 <= interval.high)


def test_p_without_spread():
    assert welch([0.1], [0.9, 0.8])[1] == 1
    assert (welch([0.5, 0.5], [0.5, 0.5])[1], welch([0.5, 0.5], [0.4, 0.4])[1]) == (1, 0)
    # Five seeds each a whole step apart, rounding only: 1 / sqrt(2 / (12 x 5)) with 8 degrees of freedom.
    assert welch([0.2] * 5, [0.1] * 5, resolution=0.1)[1] == pytest.approx(2 * stats.t.sf(math.sqrt(30), 8))


def test_equivalence_is_two_of_scipys_one_sided_tests():
    rng = np.random.default_rng(3)
    first, second = rng.normal(0.10, 0.01, 12), rng.normal(0.102, 0.02, 9)
    both = stats.ttest_ind(first, second, equal_var=False)
    error = (first.mean() - second.mean()) / both.statistic
    for margin in (0.005, 0.02, 0.05):
        above = stats.ttest_ind(first + margin, second, equal_var=False, alternative="greater").pvalue
        below = stats.ttest_ind(first - margin, second, equal_var=False, alternative="less").pvalue
        found = tost_p(first.mean() - second.mean(), error, both.df, margin)
        assert found == pytest.approx(max(above, below))
        interval, _ = welch(first, second, confidence=0.9)
        assert (found < 0.05) == (-margin < interval.low and interval.high < margin)


def test_equivalence_at_the_ends():
    assert (tost_p(0.1, 0.0, 5, 0.2), tost_p(0.2, 0.0, 5, 0.2)) == (0, 1)
    assert tost_p(0.0, math.inf, 0.0, 0.2) == 1
    assert tost_p(-0.2, 0.1, 5, 0.2) == pytest.approx(0.5)
    with pytest.raises(ValueError, match="margin=0, "):
        tost_p(0.1, 0.1, 5, 0)
    with pytest.raises(ValueError, match=r"standard_error=nan"):
        tost_p(0.1, math.nan, 5, 0.1)


def test_one_seed_has_no_limits():
    assert mean_interval([0.1]) == Interval(0.1, -math.inf, math.inf)
    assert welch([0.1], [0.2, 0.3])[0][1:] == (-math.inf, math.inf)
    assert not leaves_out_zero(welch([0.1], [0.9])[0])


def test_seeds_that_agree_exactly_agree_only_to_one_image():
    images = 360
    same, one_more, many_more = [7 / images] * 5, [8 / images] * 5, [20 / images] * 5
    interval = mean_interval(same, resolution=1 / images)
    # 1 / sqrt(12) of an image over 5 seeds, t(0.975, 4) = 2.776445.
    assert interval.high - interval.estimate == pytest.approx(2.776445 / math.sqrt(12 * 5) / images, rel=1e-6)
    assert not leaves_out_zero(welch(same, same, resolution=1 / images)[0])
    assert leaves_out_zero(welch(many_more, same, resolution=1 / images)[0])
    # Two seeds each that differ by one image prove nothing.
    assert not leaves_out_zero(welch(one_more[:2], same[:2], resolution=1 / images)[0])
    assert mean_interval(same).high == pytest.approx(7 / images, abs=1e-15)
    assert welch([0.5, 0.5], [0.25, 0.25])[0] == Interval(0.25, 0.25, 0.25)


@pytest.mark.parametrize("bad", [[], [0.1, math.nan], [math.inf]])
def test_no_numbers_no_interval(bad):
    with pytest.raises(ValueError, match="finite"):
        mean_interval(bad)


@pytest.mark.parametrize(
    ("effect", "seeds"), [(0.5, 64), (0.75, 29), (1, 17), (1.33, 10), (1.5, 9), (2, 6), (3, 4), (100, 2), (1e14, 2)]
)
def test_seeds_needed_is_the_published_table(effect, seeds):
    # Two-sided t test, 5 %, power 0.8; Cohen 1988, table 2.4.1, and any power calculator.
    assert seeds_needed(effect, 1.0) == seeds
    assert seeds_needed(-10 * effect, 10.0) == seeds


def test_power_and_detectable_are_inverse():
    for seeds in (2, 5, 30):
        assert power(detectable(1.0, seeds), 1.0, seeds) == pytest.approx(0.8, abs=1e-9)
    assert detectable(1.0, 1) == math.inf
    assert power(0.0, 1.0, 5) == pytest.approx(0.05)
    assert power(1e4, 1.0, 5) == pytest.approx(1.0)
    assert seeds_needed(1e-4, 1.0) is None
    assert seeds_needed(0.0, 1.0) is None
    assert (seeds_needed(0.1, 0.0), seeds_needed(0.0, 0.0)) == (2, None)


def test_a_floor_is_what_more_seeds_do_not_reduce():
    """Images and tuning leave a standard error of 0.5: no number of seeds finds less than 2.8 times that."""
    assert abs(ENDLESS_SEEDS - stats.norm.ppf(0.975) - stats.norm.ppf(0.8)) < 1e-12
    assert detectable(1.0, 10**6, floor=0.5) == pytest.approx(0.5 * ENDLESS_SEEDS, rel=1e-3)
    assert detectable(0.0, 5, floor=0.5) == 0.5 * ENDLESS_SEEDS
    assert seeds_needed(1.3, 1.0, floor=0.5) is None
    needed = seeds_needed(1.6, 1.0, floor=0.5)
    assert power(1.6, 1.0, needed, 0.5) >= 0.8 > power(1.6, 1.0, needed - 1, 0.5)
    assert (seeds_needed(1.3, 0.0, floor=0.5), seeds_needed(1.5, 0.0, floor=0.5)) == (None, 2)
    for seeds in (2, 5, 30):
        assert power(detectable(1.0, seeds, 0.5), 1.0, seeds, 0.5) == pytest.approx(0.8, abs=1e-9)
        assert power(2.0, 1.0, seeds, 0.0) == power(2.0, 1.0, seeds)


def test_power_with_a_floor_is_what_simulation_gives():
    rng = np.random.default_rng(9)
    gap = 1.8 + 0.5 * rng.standard_normal(4000)  # the difference on each study's images
    first, second = rng.normal(gap[:, None], 1, (4000, 8)), rng.normal(0, 1, (4000, 8))
    part = (first.var(1, ddof=1) + second.var(1, ddof=1)) / 8
    freedom = (part + 0.25) ** 2 / (part**2 / 14)
    found = abs(first.mean(1) - second.mean(1)) / np.sqrt(part + 0.25) > stats.t.ppf(0.975, freedom)
    assert power(1.8, 1.0, 8, 0.5) == pytest.approx(found.mean(), abs=0.03)


def test_power_is_what_simulation_gives():
    rng = np.random.default_rng(7)
    first, second = rng.normal(1.5, 1, (4000, 5)), rng.normal(0, 1, (4000, 5))
    found = stats.ttest_ind(first, second, axis=1).pvalue < 0.05
    assert power(1.5, 1.0, 5) == pytest.approx(found.mean(), abs=0.03)


def test_intervals_cover_the_truth_as_often_as_they_say():
    rng = np.random.default_rng(11)
    inside = wrong = 0
    for _ in range(1500):
        deep, wide = rng.normal(0.03, 0.004, 5), rng.normal(0.03, 0.002, 5)
        contrast, _ = welch(deep, wide, resolution=1 / 360)
        inside += contrast.low <= 0 <= contrast.high
        wrong += leaves_out_zero(contrast)
    assert 0.93 <= inside / 1500 <= 0.975
    assert inside + wrong == 1500
