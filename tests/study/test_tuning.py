"""Tuning: the grid, how it grows, and which setting is chosen."""

import math

import pytest

from jaxcnn.spec import Tuning
from jaxcnn.study.tuning import Setting, Trial, choose, grid, growth, scores, shared_setting

GRID = Tuning(learning_rates=(0.1, 0.2, 0.4), weight_decays=(1e-4,), extensions=2)
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
    uneven = Tuning((0.01, 0.1, 0.2), (1e-4,))
    assert rates(uneven, 1, 1) == (0.001, 0.01, 0.1, 0.2, 0.4)
    assert rates(Tuning((0.1,), (1e-4,)), 1, 1) == (0.1,)


def test_settings_are_the_whole_grid():
    assert len(set(grid(Tuning(), 1, 0))) == 12
    assert Setting(0.05, 1e-4).label == "lr0.05_wd0.0001"


def test_the_lowest_error_wins_then_the_lower_loss_then_the_lower_rate():
    found = trials({0.1: 0.3, 0.2: 0.2, 0.4: 0.3})
    assert choose(found) == (Setting(0.2, 1e-4), False, found)
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
    assert growth(GRID, {"a": trials(middle), "b": trials(middle)}, 0, 0) == (0, 0)
    assert growth(GRID, {"a": trials(middle), "b": trials(low)}, 0, 0) == (1, 0)
    assert growth(GRID, {"a": trials(high), "b": trials(low)}, 0, 0) == (1, 1)


def test_growth_ends():
    longer = trials({0.025: 0.05, 0.05: 0.1, 0.1: 0.2, 0.2: 0.3, 0.4: 0.4})
    assert growth(GRID, {"a": longer}, 2, 0) == (2, 0)
    assert choose(longer).edge
    one = Tuning(learning_rates=(0.1,), weight_decays=(0.0, 1e-4))
    assert growth(one, {"a": trials({0.1: 0.2})}, 0, 0) == (0, 0)
    fixed = Tuning((0.1, 0.2, 0.4), extensions=0)
    assert growth(fixed, {"a": trials({0.1: 0.1, 0.2: 0.2, 0.4: 0.3})}, 0, 0) == (0, 0)


def test_the_shared_setting_is_best_on_average():
    arms = {"a": trials({0.1: 0.1, 0.2: 0.2, 0.4: 0.5}), "b": trials({0.1: 0.6, 0.2: 0.2, 0.4: 0.1})}
    assert shared_setting(arms) == Setting(0.2, 1e-4)
    arms["b"] = trials({0.1: 0.6, 0.2: LOST, 0.4: 0.1})
    assert shared_setting(arms) == Setting(0.4, 1e-4)
