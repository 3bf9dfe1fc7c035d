import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from jaxcnn.study.statistics.multiplicity import benjamini_hochberg, holm, holm_both_ways

P_VALUES = st.lists(st.floats(0, 1), min_size=1, max_size=20)


def test_holm_by_hand():
    # Wikipedia, "Holm-Bonferroni method": 0.01, 0.04, 0.03, 0.005; at 5 % the first and the last are claimed.
    np.testing.assert_allclose(holm([0.01, 0.04, 0.03, 0.005]), [0.03, 0.06, 0.06, 0.02])
    # 3 x 0.5 is held at 1; equal p values get equal answers.
    np.testing.assert_allclose(holm([0.5, 0.5, 0.02]), [1, 1, 0.06])
    assert holm([]).size == benjamini_hochberg([]).size == 0


def test_benjamini_and_hochbergs_own_example():
    # Benjamini & Hochberg 1995, section 4.1 (thrombolysis): of 15 hypotheses 4 are rejected at 5 %, by Bonferroni 3.
    p = [0.0001, 0.0004, 0.0019, 0.0095, 0.0201, 0.0278, 0.0298, 0.0344, 0.0459]
    p += [0.3240, 0.4262, 0.5719, 0.6528, 0.7590, 1.000]
    assert (benjamini_hochberg(p) <= 0.05).sum() == 4
    assert (holm(p) <= 0.05).sum() == 3


def test_both_hypotheses_of_a_contrast_by_hand():
    # One contrast: at most one of its two hypotheses is true, so neither pays for the other.
    for found in zip(holm_both_ways([0.03], [0.04]), ([0.03], [0.04]), strict=True):
        np.testing.assert_allclose(*found)
    # Two contrasts: factor 2, until both hypotheses of one are decided; then 1. Sorted: .01, .02, .03, .5.
    different, equivalent = holm_both_ways([0.01, 0.5], [0.02, 0.03])
    np.testing.assert_allclose(different, [0.02, 0.5])
    np.testing.assert_allclose(equivalent, [0.04, 0.04])
    assert [each.size for each in holm_both_ways([], [])] == [0, 0]


@given(P_VALUES)
def test_both_hypotheses_pay_no_more_than_twice_as_many_tests(p):
    other = p[::-1]
    first, second = holm_both_ways(p, other)
    both = holm([*p, *other])
    assert (np.concatenate([first, second]) <= both).all()
    assert (np.concatenate([first, second]) >= np.array([*p, *other])).all()
    # Hopeless equivalence tests leave Holm over the contrasts.
    np.testing.assert_allclose(holm_both_ways(p, [1.0] * len(p))[0], np.minimum(np.array(holm_of_all(p)), 1))


def holm_of_all(p):
    """Holm's steps without lowering the factor: a contrast whose equivalence is open counts on."""
    order, adjusted, highest = np.argsort(p, kind="stable"), np.empty(len(p)), 0.0
    for place in order:
        highest = adjusted[place] = max(highest, len(p) * p[place])
    return adjusted


def test_false_statements_stay_below_the_level():
    """Three contrasts, one without a difference, one as large as the margin, one far beyond it: 10,000 studies."""
    rng = np.random.default_rng(0)
    error, margin = 0.4, 1.0
    truths = np.array([0.0, margin, 5.0])
    found = truths + error * rng.standard_normal((10_000, 3))
    different = 2 * stats.norm.sf(abs(found) / error)
    equivalent = stats.norm.sf((margin - abs(found)) / error)
    wrong = 0
    for first, second in zip(different, equivalent, strict=True):
        claims, same = holm_both_ways(first, second)
        wrong += bool(claims[0] < 0.05 or same[1] < 0.05 or same[2] < 0.05)
    assert wrong / 10_000 < 0.05 + 3 * np.sqrt(0.05 * 0.95 / 10_000)


@given(P_VALUES)
def test_benjamini_hochberg_is_scipys(p):
    np.testing.assert_allclose(benjamini_hochberg(p), stats.false_discovery_control(p), rtol=1e-12)


@given(P_VALUES)
def test_adjusting_only_raises_and_keeps_the_order(p):
    family, discoveries = holm(p), benjamini_hochberg(p)
    assert (family >= np.array(p)).all()
    assert (discoveries <= family * (1 + 1e-12)).all()
    assert (discoveries >= np.array(p) * (1 - 1e-12)).all()
    assert max(family.max(), discoveries.max()) <= 1
    order = np.argsort(p)
    assert (np.diff(family[order]) >= 0).all()
    assert (np.diff(discoveries[order]) >= 0).all()


@pytest.mark.parametrize("bad", [[0.1, 1.5], [-0.1], [float("nan")], [[0.1]]])
@pytest.mark.parametrize("adjust", [holm, benjamini_hochberg])
def test_what_is_no_probability_is_named(adjust, bad):
    with pytest.raises(ValueError, match="p_values="):
        adjust(bad)
