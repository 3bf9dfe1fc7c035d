import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from jaxcnn.study.statistics.trend import expected_best, fit_depth, pareto

DEPTHS = (8, 14, 20, 32, 56)


def planted(depths=DEPTHS, best=20.0, curve=0.02, seeds=5, noise=0.0, seed=0):
    """Errors of a quadratic in log depth with its minimum at `best`."""
    rng = np.random.default_rng(seed)
    return [0.06 + curve * math.log(depth / best) ** 2 + noise * rng.standard_normal(seeds) for depth in depths]


def test_a_quadratic_is_found_again():
    fit = fit_depth(DEPTHS, planted(best=17.0))
    assert fit.optimum == pytest.approx(17)
    assert (fit.low, fit.high) == pytest.approx((17, 17))
    log = math.log(17)
    assert fit.coefficients == pytest.approx((0.06 + 0.02 * log**2, -0.04 * log, 0.02))
    assert (fit.edge, fit.interpolates) == (False, False)
    assert len(fit.grid) == 41
    assert (fit.grid[0][0], fit.grid[-1][0]) == pytest.approx((8, 56))
    for depth, error in fit.grid:
        assert error == pytest.approx(np.polynomial.Polynomial(fit.coefficients)(math.log(depth)))


def test_the_fit_is_numpys_over_all_runs():
    errors = [[0.05, 0.06], [0.03, 0.04, 0.05], [0.04], [0.06, 0.05]]
    logs = np.repeat(np.log([8, 14, 20, 32]), [2, 3, 1, 2])
    reference = np.polynomial.polynomial.polyfit(logs, np.concatenate(errors), 2)
    np.testing.assert_allclose(fit_depth((8, 14, 20, 32), errors).coefficients, reference, rtol=1e-9)
    # In any order of the depths.
    mixed = fit_depth((20, 8, 32, 14), [errors[index] for index in (2, 0, 3, 1)])
    np.testing.assert_allclose(mixed.coefficients, reference, rtol=1e-9)


def test_three_depths_are_joined_not_tested():
    fit = fit_depth((8, 16, 32), [[0.05], [0.03], [0.04]])
    assert fit.interpolates
    assert np.polynomial.Polynomial(fit.coefficients)(np.log([8, 16, 32])) == pytest.approx([0.05, 0.03, 0.04])
    # log2(depth) = 3, 4, 5: the parabola through 5, 3, 4 has its minimum at 4 + 1/6.
    assert fit.optimum == pytest.approx(2 ** (4 + 1 / 6))
    # One seed knows nothing of its spread: the whole range.
    assert (fit.low, fit.high) == pytest.approx((8, 32))


@pytest.mark.parametrize(
    ("errors", "optimum"),
    [
        ([0.05, 0.04, 0.035, 0.03, 0.029], 56),  # still falling
        ([0.03, 0.035, 0.04, 0.05, 0.07], 8),  # rising from the first
        ([0.03, 0.05, 0.06, 0.05, 0.02], 56),  # opens downwards
        ([0.02, 0.05, 0.06, 0.05, 0.03], 8),
    ],
)
def test_an_optimum_at_the_edge_is_flagged(errors, optimum):
    fit = fit_depth(DEPTHS, [[error] for error in errors])
    assert fit.edge
    assert fit.optimum == pytest.approx(optimum)


def test_a_flat_curve_has_no_optimum():
    assert fit_depth(DEPTHS, [[0.1, 0.1]] * 5).edge


@pytest.mark.parametrize("seeds", [2, 5])
@pytest.mark.parametrize("growth", [0.0, 0.5])  # deep nets as stable as shallow ones, or three times less
def test_the_interval_covers_the_planted_optimum(seeds, growth):
    rng, inside = np.random.default_rng(seeds), 0
    for study in range(600):
        spreads = 0.003 * (np.array(DEPTHS) / 8) ** growth
        noise = [spread * rng.standard_normal(seeds) for spread in spreads]
        errors = [clean + extra for clean, extra in zip(planted(seeds=seeds), noise, strict=True)]
        fit = fit_depth(DEPTHS, errors, seed=study, draws=400)
        assert 8 * (1 - 1e-12) <= fit.low <= fit.high <= 56 * (1 + 1e-12)
        inside += fit.low <= 20 <= fit.high
    assert 0.93 <= inside / 600 <= 0.98


def test_the_interval_is_a_function_of_its_seed():
    noisy = planted(noise=0.004)
    assert fit_depth(DEPTHS, noisy, seed=1) == fit_depth(DEPTHS, noisy, seed=1) != fit_depth(DEPTHS, noisy, seed=2)
    # A depth with a single seed knows nothing of its spread: the whole range.
    alone = fit_depth(DEPTHS, [noisy[0][:1], *noisy[1:]])
    assert (alone.low, alone.high) == pytest.approx((8, 56))


@pytest.mark.parametrize(
    ("depths", "errors", "message"),
    [
        ((8, 14), [[0.1], [0.2]], "depths=.* three or more"),
        ((8, 14, 14), [[0.1]] * 3, "depths=.* different"),
        ((0, 8, 14), [[0.1]] * 3, "above 0"),
        ((8, 14, 20), [[0.1]] * 2, "errors has 2 groups for 3 depths"),
        ((8, 14, 20), [[0.1], [], [0.2]], r"depth 14=\[\]"),
        ((8, 14, 20), [[0.1], [0.2], [math.nan]], "depth 20"),
    ],
)
def test_bad_curves_are_named(depths, errors, message):
    with pytest.raises(ValueError, match=message):
        fit_depth(depths, errors)


def test_the_front_by_hand():
    assert pareto([1, 2, 3, 2], [3, 2, 1, 3]) == (True, True, True, False)
    assert pareto([1, 1, 1], [2, 2, 3]) == (True, True, False)
    assert pareto([5], [5]) == (True,)


@given(st.lists(st.tuples(st.integers(0, 6), st.integers(0, 6)), min_size=1, max_size=12))
def test_the_front_is_what_no_other_beats(points):
    kept = pareto(*zip(*points, strict=True))
    assert any(kept)
    for point, on_front in zip(points, kept, strict=True):
        beaten = any(other != point and other[0] <= point[0] and other[1] <= point[1] for other in points)
        assert on_front is not beaten


def test_expected_best_is_the_published_formula():
    # SCIENCE.md, section 5.
    found = expected_best([0.90, 0.80, 0.95, 0.92], (1, 2, 4))
    assert found == pytest.approx((0.8925, 0.921875, 0.93887), abs=1e-5)
    # By brute force over all ordered triples.
    values = np.array([0.8, 0.9, 0.92, 0.95])
    triples = np.maximum(np.maximum(values[:, None, None], values[None, :, None]), values)
    assert expected_best(values, [3]) == pytest.approx((triples.mean(),))
    assert expected_best([0.5], [1, 100]) == (0.5, 0.5)


def test_bad_points_are_named():
    with pytest.raises(ValueError, match="cost="):
        pareto([1, 2], [1])
    with pytest.raises(ValueError, match="values="):
        expected_best([], [1])
    with pytest.raises(ValueError, match="budgets="):
        expected_best([0.5], [0])
