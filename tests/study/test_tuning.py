"""Tuning: the grid, how it grows, and which setting is chosen."""

import math

import pytest

from jaxcnn.spec import Tuning
from jaxcnn.study.tuning import (
    ArmTuning,
    Setting,
    Trial,
    better_half,
    choose,
    grid,
    growth,
    own_seed,
    scores,
    shared_setting,
)  # fmt: skip

GRID = Tuning(learning_rates=(0.1, 0.2, 0.4), weight_decays=(1e-4,), extensions=2, method="grid")
LOST = math.nan


def trials(errors, *, losses=None, decay=1e-4, seed=1000):
    """One trial a learning rate; an error of NaN is a trial that diverged."""
    losses = losses or dict.fromkeys(errors, 1.0)
    return tuple(
        Trial(Setting(rate, decay), seed, 0.9 if math.isnan(error) else error, losses[rate], math.isnan(error))
        for rate, error in errors.items()
    )


def test_the_grid_grows_by_its_own_ratio():
    def rates(tuning, below, above):
        return tuple(setting.learning_rate for setting in grid(tuning, below, above))

    assert rates(GRID, 0, 0) == (0.1, 0.2, 0.4)
    assert rates(GRID, 2, 1) == (0.025, 0.05, 0.1, 0.2, 0.4, 0.8)
    uneven = Tuning((0.01, 0.1, 0.2), (1e-4,), method="grid")
    assert rates(uneven, 1, 1) == (0.001, 0.01, 0.1, 0.2, 0.4)
    assert rates(Tuning((0.1,), (1e-4,)), 1, 1) == (0.1,)


def test_settings_are_the_whole_grid():
    assert len(set(grid(Tuning(), 1, 0))) == 12
    assert Setting(0.05, 1e-4).label == "lr0.05_wd0.0001"


def test_the_lowest_error_wins_then_the_lower_loss_then_the_lower_rate():
    found = trials({0.1: 0.3, 0.2: 0.2, 0.4: 0.3})
    assert choose(found) == ArmTuning(Setting(0.2, 1e-4), False, found)
    tied = trials({0.1: 0.2, 0.2: 0.2, 0.4: 0.3}, losses={0.1: 0.8, 0.2: 0.7, 0.4: 0.1})
    assert choose(tied).setting.learning_rate == 0.2
    assert choose(trials({0.1: 0.2, 0.2: 0.2, 0.4: 0.2})).setting.learning_rate == 0.1


def test_the_mean_over_tuning_seeds_decides():
    found = trials({0.1: 0.1, 0.2: 0.2, 0.4: 0.3}) + trials({0.1: 0.5, 0.2: 0.3, 0.4: 0.3}, seed=1001)
    assert choose(found).setting.learning_rate == 0.2
    assert scores(found)[Setting(0.1, 1e-4)] == (pytest.approx(0.3), 1.0)


def test_a_diverged_trial_counts_as_all_wrong():
    """One of two seeds diverged with a low error at its end: the setting is not safe."""
    found = trials({0.1: 0.4, 0.2: 0.1, 0.4: 0.5}) + trials({0.1: 0.4, 0.2: LOST, 0.4: 0.5}, seed=1001)
    assert scores(found)[Setting(0.2, 1e-4)] == (1.0, math.inf)
    assert choose(found).setting.learning_rate == 0.1
    assert choose(trials({0.1: LOST, 0.2: LOST, 0.4: LOST}))[:2] == (Setting(0.1, 1e-4), True)


def test_an_edge_is_the_lowest_or_highest_rate_tried():
    assert choose(trials({0.1: 0.1, 0.2: 0.2, 0.4: 0.3})).edge
    assert choose(trials({0.1: 0.3, 0.2: 0.2, 0.4: 0.1})).edge
    assert not choose(trials({0.1: 0.3})).edge


def test_one_arm_at_an_edge_grows_the_grid_for_all():
    middle, low, high = {0.1: 0.3, 0.2: 0.1, 0.4: 0.3}, {0.1: 0.1, 0.2: 0.2, 0.4: 0.3}, {0.1: 0.3, 0.2: 0.2, 0.4: 0.1}
    assert growth(GRID, {"a": trials(middle), "b": trials(middle)}, 0, 0) == (0, 0, 0, 0)
    assert growth(GRID, {"a": trials(middle), "b": trials(low)}, 0, 0) == (1, 0, 0, 0)
    assert growth(GRID, {"a": trials(high), "b": trials(low)}, 0, 0) == (1, 1, 0, 0)


def test_growth_ends():
    longer = trials({0.025: 0.05, 0.05: 0.1, 0.1: 0.2, 0.2: 0.3, 0.4: 0.4})
    assert growth(GRID, {"a": longer}, 2, 0) == (2, 0, 0, 0)
    assert choose(longer).edge
    one = Tuning(learning_rates=(0.1,), weight_decays=(0.0, 1e-4))
    assert growth(one, {"a": trials({0.1: 0.2})}, 0, 0) == (0, 0, 0, 0)
    fixed = Tuning((0.1, 0.2, 0.4), extensions=0)
    assert growth(fixed, {"a": trials({0.1: 0.1, 0.2: 0.2, 0.4: 0.3})}, 0, 0) == (0, 0, 0, 0)


def test_the_shared_setting_is_best_on_average():
    arms = {"a": trials({0.1: 0.1, 0.2: 0.2, 0.4: 0.5}), "b": trials({0.1: 0.6, 0.2: 0.2, 0.4: 0.1})}
    assert shared_setting(arms) == Setting(0.2, 1e-4)
    arms["b"] = trials({0.1: 0.6, 0.2: LOST, 0.4: 0.1})
    assert shared_setting(arms) == Setting(0.4, 1e-4)


def smooth_trials(errors, decays=(1e-4,)):
    """One trial a learning rate and decay; the error is that of the rate and less by 0.01 for each larger decay."""
    return tuple(
        Trial(Setting(rate, decay), 7, 1.0 if math.isnan(error) else error - 0.01 * place, 1.0, math.isnan(error), 300)
        for rate, error in errors.items()
        for place, decay in enumerate(decays)
    )


def test_a_curve_chooses_where_single_trials_mislead():
    """The lowest trial lies at the end; the other four say that the middle is best."""
    found = smooth_trials({0.02: 0.050, 0.05: 0.036, 0.125: 0.032, 0.3125: 0.034, 0.78125: 0.0315})
    assert choose(found).setting.learning_rate == 0.78125
    assert choose(found, "smooth")[:2] == (Setting(0.3125, 1e-4), False)
    assert better_half(found) == tuple(Setting(rate, 1e-4) for rate in (0.125, 0.3125, 0.78125))


def test_trials_that_diverged_are_not_chosen():
    found = smooth_trials({0.1: 0.04, 0.2: 0.03, 0.4: math.nan})
    assert choose(found, "smooth").setting.learning_rate == 0.2
    assert better_half(found) == (Setting(0.1, 1e-4), Setting(0.2, 1e-4))


def test_the_smooth_grid_grows_at_the_ends_of_decays_too_and_there_once():
    smooth = Tuning((0.1, 0.2, 0.4), (1e-4, 1e-3), extensions=2)
    valley = {0.1: 0.3, 0.2: 0.1, 0.4: 0.3}
    assert growth(smooth, {"a": smooth_trials(valley, (1e-4, 1e-3))}, 0, 0) == (0, 0, 0, 1)
    assert [setting.weight_decay for setting in grid(smooth, 0, 0, 1, 1)][:4] == [1e-5, 1e-4, 1e-3, 1e-2]
    assert growth(smooth, {"a": smooth_trials(valley, (1e-4, 1e-3, 1e-2))}, 0, 0, 0, 1) == (0, 0, 0, 1)
    assert choose(smooth_trials(valley, (1e-4, 1e-3)), "smooth").edge
    # A decay of zero has no ratio, and nothing lies below it.
    zero = Tuning((0.1, 0.2, 0.4), (0.0, 1e-3))
    assert growth(zero, {"a": smooth_trials(valley, (0.0, 1e-3))}, 0, 0) == (0, 0, 0, 0)
    assert not choose(smooth_trials(valley, (1e-3, 0.0)), "smooth").edge


def test_seeds_of_trials_are_below_those_of_the_next_seed():
    seeds = {own_seed(1000, arm, Setting(0.1, 1e-4), number) for arm in "abc" for number in range(100)}
    assert len(seeds) == 300
    assert all(1_000_000_000 <= seed < 1_001_000_000 for seed in seeds)
