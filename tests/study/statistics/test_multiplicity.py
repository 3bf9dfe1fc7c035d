import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from jaxcnn.study.statistics.multiplicity import benjamini_hochberg, holm

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
