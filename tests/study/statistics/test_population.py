import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from jaxcnn.study.statistics.population import crossed, superiority


def errors(seed, seeds=(4, 6), examples=200, spread=0.3):
    """Two arms' 0/1 errors, with hard and easy examples and better and worse seeds."""
    rng = np.random.default_rng(seed)
    chances = rng.beta(0.3, 1.7, examples)
    factors = (1 + spread * rng.standard_normal((runs, 1)) for runs in seeds)
    return [(rng.random((len(factor), examples)) < chances * factor).astype(float) for factor in factors]


def two_way(array):
    """Seed and residual mean squares of a two-way table without replication, written as textbooks do."""
    seeds, examples = array.shape
    fitted = array.mean(1, keepdims=True) + array.mean(0, keepdims=True) - array.mean()
    seed_square = examples * ((array.mean(1) - array.mean()) ** 2).sum() / (seeds - 1)
    return seed_square, ((array - fitted) ** 2).sum() / ((seeds - 1) * (examples - 1))


def test_the_variance_is_the_two_way_tables():
    first, second = errors(0)
    contrast = crossed(first, second)
    examples = np.var(first.mean(0) - second.mean(0), ddof=1) / 200
    parts = [(*two_way(array), len(array)) for array in (first, second)]
    seeds = sum((square - residual) / (size * 200) for square, residual, size in parts)
    assert seeds > 0
    assert contrast.interval.estimate == pytest.approx(first.mean() - second.mean())
    assert contrast.standard_error == pytest.approx(math.sqrt(examples + seeds))
    assert contrast.parts == pytest.approx(
        {"seeds": seeds / (examples + seeds), "examples": examples / (examples + seeds)}
    )
    spread = examples**2 / 199 + sum(
        (square**2 / (size - 1) + residual**2 / ((size - 1) * 199)) / (size * 200) ** 2
        for square, residual, size in parts
    )
    assert contrast.freedom == pytest.approx((examples + seeds) ** 2 / spread)


def test_seeds_that_are_all_the_same_leave_the_paired_t_test():
    # Without seed spread V is that of the paired t test over examples.
    first, second = (np.repeat(array[:1], 3, 0) for array in errors(1))
    contrast, reference = crossed(first, second), stats.ttest_rel(first[0], second[0])
    assert contrast.p == pytest.approx(reference.pvalue)
    assert contrast.freedom == pytest.approx(199)
    np.testing.assert_allclose(contrast.interval[1:], reference.confidence_interval(0.95))
    np.testing.assert_allclose(contrast.interval90[1:], reference.confidence_interval(0.9))


def test_examples_that_are_all_the_same_leave_welch():
    # Errors (floats) that depend on the seed only: what is left is Welch over seeds, on more than the floor.
    rng = np.random.default_rng(2)
    first, second = rng.uniform(0.1, 0.4, (5, 1)), rng.uniform(0.3, 0.5, (7, 1))
    contrast = crossed(first @ np.ones((1, 10_000)), second @ np.ones((1, 10_000)))
    reference = stats.ttest_ind(first[:, 0], second[:, 0], equal_var=False)
    assert contrast.p == pytest.approx(reference.pvalue, rel=1e-3)
    assert contrast.freedom == pytest.approx(reference.df, rel=1e-3)
    assert contrast.parts["seeds"] == pytest.approx(1, abs=1e-4)
    _, low, high = contrast.interval
    assert contrast.bootstrap.low == pytest.approx(low, abs=0.1 * (high - low))


def test_the_variance_of_tuning_is_added():
    first, second = errors(0)
    without, found = crossed(first, second), crossed(first, second, tuning=(2e-4, 1e-4))
    total = without.standard_error**2 + 3e-4
    assert found.standard_error == pytest.approx(math.sqrt(total))
    assert found.parts == pytest.approx(
        {"tuning": 3e-4 / total, **{k: v * without.standard_error**2 / total for k, v in without.parts.items()}}
    )
    # Satterthwaite, with ten degrees of freedom for each arm's tuning.
    assert found.freedom == pytest.approx(total**2 / (without.standard_error**4 / without.freedom + 5e-8 / 10))
    half = stats.t(found.freedom).ppf(0.975) * math.sqrt(total)
    assert found.interval.high - found.interval.estimate == pytest.approx(half)
    assert found.bootstrap.high - found.bootstrap.low == pytest.approx(2 * half, rel=0.06)
    assert crossed(first, second, tuning=(0.0, 0.0)).interval == without.interval


def test_groups_of_images_are_the_sample():
    """By hand: the sums of the groups' deviations; groups of one image are no groups."""
    first, second = (np.repeat(array[:1], 3, 0) for array in errors(1))  # seeds alike: only images vary
    groups = np.repeat(np.arange(20), 10)
    found = crossed(first, second, groups=groups)
    gap = (first - second).mean(0)
    sums = (gap - gap.mean()).reshape(20, 10).sum(1)
    assert found.standard_error == pytest.approx(math.sqrt(20 / 19 * np.sum(sums**2)) / 200)
    assert found.freedom == pytest.approx(19)
    assert found.bootstrap.high - found.bootstrap.low == pytest.approx(
        found.interval.high - found.interval.low, rel=0.08
    )
    alone = crossed(first, second, groups=[f"writer {n}" for n in range(200)], draws=0)
    np.testing.assert_allclose(alone[0], crossed(first, second, draws=0)[0])


def test_images_that_repeat_their_group_count_once():
    first, second = (np.repeat(array[:1], 3, 0) for array in errors(1))
    doubled = [np.repeat(array, 4, 1) for array in (first, second)]
    found = crossed(*doubled, groups=np.repeat(np.arange(200), 4), draws=0)
    np.testing.assert_allclose(found.interval, crossed(first, second, draws=0).interval)


def test_the_variance_of_cross_validated_seeds():
    """By hand, as the sums of the residuals of each run of a fold; with one fold it is the two-way table."""
    first, second = errors(3, (3, 3))
    folds = np.stack([np.arange(200) % 5] * 3)
    found = crossed(first, second, folds=folds, draws=0)
    seeds = 0.0
    for array in (first, second):
        rest = array - array.mean(0)
        sums = np.array([[rest[row, folds[row] == fold].sum() for fold in range(5)] for row in range(3)])
        residual = (np.sum(rest**2) - np.sum(sums**2) / 40) / (2 * 195)
        seeds += (np.sum(sums**2) / (2 * 200) - residual) / (3 * 200)
    examples = np.var((first - second).mean(0), ddof=1) / 200
    assert seeds > 0
    assert found.standard_error == pytest.approx(math.sqrt(examples + seeds), rel=1e-2)
    one = crossed(first, second, folds=np.zeros((3, 200), int), draws=0)
    for place in range(5):
        np.testing.assert_allclose(one[place], crossed(first, second, draws=0)[place])


def test_cross_validated_runs_that_differ_are_found():
    """Runs with an error rate of their own, of SD 0.1: the mean of 5 x 4 runs has a variance of 0.1^2 / 20."""
    rng, found = np.random.default_rng(7), []
    for _ in range(200):
        folds = np.stack([rng.permutation(500) % 5 for _ in range(4)])
        arms = [rng.random((4, 500)) < 0.5 + 0.1 * rng.standard_normal((4, 5))[np.arange(4)[:, None], folds]
                for _ in range(2)]  # fmt: skip
        contrast = crossed(*arms, folds=folds, draws=0)
        found.append(contrast.parts["seeds"] * contrast.standard_error**2)
    assert np.mean(found) == pytest.approx(2 * 0.1**2 / 20, rel=0.1)


@settings(deadline=None, max_examples=25)
@given(st.integers(0, 10_000))
def test_swapping_the_arms_turns_the_sign(seed):
    first, second = errors(seed)
    there, back = crossed(first, second, draws=0), crossed(second, first, draws=0)
    np.testing.assert_allclose(there.interval, (-back.interval.estimate, -back.interval.high, -back.interval.low))
    np.testing.assert_allclose(
        (there.p, there.standard_error, there.freedom), (back.p, back.standard_error, back.freedom)
    )


@settings(deadline=None, max_examples=25)
@given(st.integers(0, 10_000))
def test_the_order_of_examples_and_seeds_does_not_matter(seed):
    first, second = errors(seed)
    rng = np.random.default_rng(seed)
    order = rng.permutation(200)
    shuffled = crossed(rng.permutation(first)[:, order], rng.permutation(second)[:, order], draws=0)
    expected = crossed(first, second, draws=0)
    for place in range(5):  # both intervals, p, standard error, freedom
        np.testing.assert_allclose(shuffled[place], expected[place], rtol=1e-9, atol=1e-12)


@settings(deadline=None, max_examples=50)
@given(st.integers(0, 10_000), st.sampled_from([0.9, 0.95, 0.99]))
def test_interval_and_p_never_contradict_each_other(seed, confidence):
    contrast = crossed(*errors(seed, spread=0.6), draws=0, confidence=confidence)
    assert (contrast.p < 1 - confidence) == (not contrast.interval.low <= 0 <= contrast.interval.high)
    assert contrast.interval.low <= contrast.interval.estimate <= contrast.interval.high
    if confidence == 0.9:
        np.testing.assert_allclose(contrast.interval90[1:], contrast.interval[1:])


@pytest.mark.parametrize(("seeds", "spread"), [((5, 5), 0.0), ((5, 5), 0.3), ((10, 6), 0.3), ((30, 30), 0.1)])
def test_the_bootstrap_agrees_with_t(seeds, spread):
    contrast = crossed(*errors(3, seeds, 2000, spread), seed=1)
    width = contrast.interval.high - contrast.interval.low
    np.testing.assert_allclose(contrast.bootstrap[1:], contrast.interval[1:], atol=0.05 * width)
    assert contrast.bootstrap.estimate == contrast.interval.estimate


def test_the_bootstrap_is_a_function_of_its_seed():
    first, second = errors(4)
    same = [crossed(first, second, draws=500, seed=seed).bootstrap for seed in (1, 1, 2)]
    assert same[0] == same[1] != same[2]
    assert crossed(first, second, draws=0).bootstrap is None
    # Many distinct values (a loss, not an error) are drawn in several blocks.
    floats = np.random.default_rng(0).random((2, 3, 20_000))
    contrast = crossed(*floats, draws=300)
    width = contrast.bootstrap.high - contrast.bootstrap.low
    assert width == pytest.approx(contrast.interval.high - contrast.interval.low, rel=0.2)


def test_no_disagreement_is_not_certainty():
    # 100 images, none told apart: the standard error is one image; the rule of three puts the limit near 3 images.
    nothing = np.zeros((5, 100))
    contrast = crossed(nothing, nothing)
    assert (contrast.interval.estimate, contrast.p) == (0, 1)
    assert contrast.standard_error == 0.01
    assert contrast.interval.high == pytest.approx(0.0198, abs=1e-4)
    assert contrast.bootstrap.high == pytest.approx(0.0198, abs=2e-3)
    assert contrast.parts == {"seeds": 0, "examples": 1}
    # All wrong against all right is a difference all the same.
    assert crossed(nothing + 1, nothing).p < 1e-12
    assert crossed(nothing[:, :2], nothing[:, :2]).p == 1


def test_a_single_seed_or_example_says_nothing():
    first, second = errors(5)
    for contrast in (crossed(first[:1], second), crossed(first, second[:1]), crossed(first[:, :1], second[:, :1])):
        assert contrast.interval[1:] == contrast.interval90[1:] == (-math.inf, math.inf)
        assert (contrast.p, contrast.standard_error, contrast.freedom) == (1, math.inf, 0)
        assert contrast.bootstrap[1:] == (-math.inf, math.inf)
    assert crossed(first[:1], second).parts == {"seeds": 1, "examples": 0}
    assert crossed(first[:1], second).interval.estimate == pytest.approx(first[0].mean() - second.mean())


def test_booleans_are_errors_too():
    first, second = errors(6)
    assert crossed(first.astype(bool), second.astype(np.int8), draws=100) == crossed(first, second, draws=100)


@pytest.mark.parametrize(
    ("first", "second", "message"),
    [
        (np.zeros(5), np.zeros((2, 5)), r"first has shape \(5,\): give errors as"),
        (np.zeros((2, 5)), np.zeros((2, 0)), r"second has shape \(2, 0\)"),
        (np.zeros((2, 5)), np.full((2, 5), 2.0), "second has errors from 2.0 to 2.0: give runs with errors from 0"),
        (np.full((2, 5), np.nan), np.zeros((2, 5)), "first has errors from nan"),
        (np.zeros((2, 5)), np.zeros((2, 6)), "first has 5 examples and second 6: give both"),
    ],
)
def test_bad_errors_are_named(first, second, message):
    with pytest.raises(ValueError, match=message):
        crossed(first, second)


def test_bad_settings_are_named():
    with pytest.raises(ValueError, match=r"groups has shape \(4,\): give one group for each of the 5"):
        crossed(np.zeros((2, 5)), np.zeros((2, 5)), groups=[0, 0, 1, 1])
    with pytest.raises(ValueError, match=r"folds has shape \(2, 4\)"):
        crossed(np.zeros((2, 5)), np.zeros((2, 5)), folds=np.zeros((2, 4), int))
    with pytest.raises(ValueError, match="draws=-1"):
        crossed(np.zeros((2, 5)), np.zeros((2, 5)), draws=-1)
    with pytest.raises(ValueError, match=r"confidence=95: give"):
        crossed(np.zeros((2, 5)), np.zeros((2, 5)), confidence=95)


def test_superiority_counts_pairs_and_half_ties():
    assert superiority([1, 2, 3], [2, 3, 4]).estimate == pytest.approx((6 + 2 / 2) / 9)
    first, second = [0.03, 0.05, 0.04, 0.04], [0.04, 0.06, 0.05]
    assert superiority(first, second).estimate == stats.mannwhitneyu(second, first).statistic / 12


@pytest.mark.parametrize(("first", "second"), [((5, 6, 7), (1, 2, 3)), ((1, 4, 6, 9, 12), (2, 3, 5, 7, 8, 10, 11))])
def test_superiority_has_newcombes_limits(first, second):
    # His method 5 as the quartic it comes to when both sides are multiplied by (2 - t)(1 + t), s = (m + n) / 2 - 1:
    # m n (t - c)^2 (2 - t)(1 + t) = z^2 t (1 - t) [(2 - t)(1 + t) + s (1 - t)(1 + t) + s t (2 - t)].
    found, cells, others = superiority(first, second), len(first) * len(second), (len(first) + len(second)) / 2 - 1
    t, z = np.polynomial.Polynomial([0, 1]), stats.norm.ppf(0.975)
    chance = np.mean(np.less.outer(first, second))
    variance = t * (1 - t) * ((2 - t) * (1 + t) + others * (1 - t) * (1 + t) + others * t * (2 - t))
    roots = (cells * (t - chance) ** 2 * (2 - t) * (1 + t) - z**2 * variance).roots()
    inside = sorted(root.real for root in roots if abs(root.imag) < 1e-9 and -1e-9 <= root.real <= 1 + 1e-9)
    np.testing.assert_allclose((found.low, found.high), (inside[0], inside[-1]), atol=1e-8)


@pytest.mark.parametrize("runs", [1, 3, 5, 10])
def test_superiority_has_a_width_at_the_ends(runs):
    better, worse = np.arange(runs) / 100, 0.5 + np.arange(runs) / 100
    up, down = superiority(better, worse), superiority(worse, better)
    assert (up.estimate, up.high, down.estimate, down.low) == (1, 1, 0, 0)
    assert 0 < up.low < 1
    assert down.high == pytest.approx(1 - up.low)
    # One run each is one trial: Wilson's interval for 1 of 1, 1 / (1 + z^2).
    if runs == 1:
        assert up.low == pytest.approx(1 / (1 + stats.norm.ppf(0.975) ** 2))


def test_superiority_needs_runs():
    with pytest.raises(ValueError, match=r"second=\[\]: give one or more"):
        superiority([0.1], [])
    with pytest.raises(ValueError, match=r"first=\[nan\]"):
        superiority([math.nan], [0.1])
