"""The curve through an arm's trials against known curves, NumPy's polynomials and a slow bootstrap."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jaxcnn.study.statistics.smoothing import retune, smooth

RATES = np.array([0.02, 0.05, 0.125, 0.3125, 0.78125])
STEPS = np.log(RATES / 0.125) / math.log(2.5)


def trials(rates=RATES, decays=(1e-3,), each=1, error=lambda step, decay: 0.03 + 0.002 * step**2, noise=0.0, seed=0):
    """Rates, decays and errors of trials on a known surface; `step` counts grid steps from 0.125."""
    rng = np.random.default_rng(seed)
    rows = [(rate, decay) for rate in rates for decay in decays for _ in range(each)]
    values = [
        error(math.log(rate / 0.125) / math.log(2.5), decay) + noise * rng.standard_normal() for rate, decay in rows
    ]
    return [row[0] for row in rows], [row[1] for row in rows], np.clip(values, 0, 1)


def test_a_parabola_is_found_exactly():
    found = smooth(*trials(), images=300)
    np.testing.assert_allclose(found.fitted, 0.03 + 0.002 * STEPS**2, atol=1e-12)
    assert (found.best, found.noise) == (2, pytest.approx(0, abs=1e-20))
    again = retune(found)
    assert (again.variance, again.others) == (pytest.approx(0, abs=1e-12), 0)


def test_the_fit_is_weighted_least_squares():
    """NumPy's polynomial through the means, weighted by the number of trials."""
    rates, decays, errors = trials(each=3, noise=0.003)
    rates, decays, errors = rates[:-2], decays[:-2], errors[:-2]  # the highest rate has one trial
    found, means = smooth(rates, decays, errors, images=300), np.append(errors[:12].reshape(4, 3).mean(1), errors[12])
    steps = np.log(RATES)
    reference = np.polyval(np.polyfit(steps, means, 2, w=np.sqrt([3, 3, 3, 3, 1])), steps)
    np.testing.assert_allclose(found.fitted, reference, rtol=1e-9)
    residuals = errors - np.append(np.repeat(reference[:4], 3), reference[4])
    assert found.noise == pytest.approx(np.sum(residuals**2) / (13 - 3))
    assert found.counts.tolist() == [3, 3, 3, 3, 1]


def test_a_curve_that_bends_downwards_becomes_a_line():
    found = smooth(*trials(error=lambda step, decay: 0.05 - 0.002 * step - 0.001 * step**2), images=300)
    assert np.diff(found.fitted, 2) == pytest.approx(0, abs=1e-12)
    assert found.best == 4


def test_two_decays_are_a_shift_and_three_a_parabola_by_their_rank():
    shift = smooth(*trials(decays=(0.0, 1e-3), error=lambda s, d: 0.03 + 0.002 * s**2 + 0.004 * (d == 0)), images=300)
    assert shift.settings[shift.best].tolist() == [0.125, 1e-3]
    ranks = {1e-5: -1, 1e-4: 0, 1e-3: 1}
    bent = smooth(
        *trials(decays=tuple(ranks), error=lambda s, d: 0.03 + 0.002 * s**2 + 0.003 * ranks[d] ** 2), images=300
    )
    assert bent.settings[bent.best].tolist() == [0.125, 1e-4]
    assert bent.noise == pytest.approx(0, abs=1e-20)


def test_settings_that_fail_are_left_out():
    """No parabola goes through a rate that diverges and four that are nearly as good as each other."""
    found = smooth(*trials(error=lambda step, decay: 1.0 if step > 1 else 0.03 + 0.001 * step**2), images=300)
    assert found.kept.tolist() == [True, True, True, True, False]
    assert found.fitted[4] == math.inf
    assert found.best == 2


@pytest.mark.parametrize(("rates", "decays"), [((0.1,), (1e-4,)), ((0.1, 0.2), (1e-4,)), ((0.1,), (0.0, 1e-4))])
def test_few_settings_need_no_curve(rates, decays):
    found = smooth(*trials(rates=rates, decays=decays), images=300)
    again = retune(found)
    assert np.isfinite(found.fitted).all()
    # As many parameters as settings: what a trial varies by is what its images alone give.
    assert found.noise == pytest.approx(0.6 * 0.03 * 0.97 / 300, rel=0.1)
    assert (again.others > 0) == (len(found.fitted) > 1)


def test_no_errors_at_all_leave_no_variance():
    found = smooth(*trials(error=lambda step, decay: 0.0), images=300)
    assert (found.best, found.noise, retune(found).variance) == (0, 0, 0)


def test_the_bootstrap_is_a_loop_over_fits():
    """The same with NumPy's polynomials, one draw at a time and other random numbers."""
    found = smooth(*trials(each=2, noise=0.003, seed=3), images=300)
    steps, rng, errors = np.log(RATES), np.random.default_rng(8), []
    for _ in range(4000):
        drawn = found.fitted + np.sqrt(found.noise / 2) * rng.standard_normal(5)
        curve = np.polyfit(steps, drawn, 2)
        if curve[0] <= 0:
            curve = np.polyfit(steps, drawn, 1)
        errors.append(found.fitted[np.polyval(curve, steps).argmin()])
    again = retune(found)
    assert again.variance == pytest.approx(np.var(errors), rel=0.15)
    assert again.others == pytest.approx(np.mean(np.array(errors) != found.fitted.min()), abs=0.03)
    assert again == retune(found)
    assert retune(found, seed=1).variance == pytest.approx(again.variance, rel=0.05)


@settings(deadline=None, max_examples=30)
@given(st.integers(0, 10_000), st.floats(1e-3, 1e3))
def test_neither_order_nor_unit_of_the_rates_matters(seed, unit):
    rates, decays, errors = trials(decays=(1e-4, 1e-3), each=2, noise=0.004, seed=seed)
    order = np.random.default_rng(seed).permutation(len(rates))
    found = smooth(rates, decays, errors, images=300)
    other = smooth(np.array(rates)[order] * unit, np.array(decays)[order], errors[order], images=300)
    np.testing.assert_allclose(found.fitted, other.fitted, rtol=1e-8, atol=1e-10)
    assert found.best == other.best


@pytest.mark.parametrize("errors", [[], [0.1], [[0.1, 0.2]]])
def test_what_is_no_list_of_trials_is_named(errors):
    with pytest.raises(ValueError, match="errors="):
        smooth([0.1, 0.2][: max(2 * len(errors), 0)], [1e-4, 1e-4][: 2 * len(errors)], errors, images=300)


def test_the_bootstrap_says_how_much_the_lowest_point_of_a_curve_flatters():
    """300 tunings with a known truth: the mean gap between it and the lowest point, and what each tuning estimates."""
    rates = np.repeat([0.02, 0.05, 0.125, 0.3125, 0.78125], 2)
    truth = 0.1 + 0.01 * np.log(rates / 0.1) ** 2
    rng, gaps, told = np.random.default_rng(0), [], []
    for errors in truth + 0.015 * rng.standard_normal((300, rates.size)):
        found = smooth(rates, np.full(rates.size, 1e-3), errors, images=1000)
        gaps.append(truth[2 * found.best] - found.fitted.min())
        told.append(retune(found, draws=500).optimism)
    assert np.mean(gaps) > 0.003
    assert np.mean(told) == pytest.approx(np.mean(gaps), abs=0.001)


def test_trials_without_noise_flatter_nothing():
    rates = np.array([0.02, 0.05, 0.125, 0.3125])
    found = smooth(rates, np.full(4, 1e-3), 0.1 + 0.01 * np.log(rates / 0.1) ** 2, images=10**9)
    assert retune(found).optimism == pytest.approx(0, abs=1e-5)
