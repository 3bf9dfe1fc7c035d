"""What a study does next depends on what is finished, and on nothing else: not on order, nor on the test split."""

import math
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jaxcnn.spec import Seeds, StudyConfig, Tuning
from jaxcnn.study.plan import make_plan
from jaxcnn.study.schedule import next_runs, resolution, run_config, total_runs, trials_each
from jaxcnn.study.statistics.seeds import seeds_needed
from tests.study.planted import ARMS, family_arms

TUNING = Tuning((0.1, 0.2, 0.4), (1e-4, 1e-3), seeds=(1000, 1001), extensions=2, method="grid")
PLAN = make_plan(StudyConfig(tuning=TUNING, seeds=Seeds(2, 4), margin=0.02), ARMS)
SMOOTH = make_plan(StudyConfig(tuning=replace(TUNING, method="smooth"), seeds=Seeds(2, 4), margin=0.02), ARMS)


def outcomes(seed, *, test=0.0):
    """A world: metrics of any run, drawn for it, some diverged; validation alone matters."""

    def read(item):
        rng = np.random.default_rng([seed, item.seed, item.arm.depth, *map(ord, item.path)])
        lost = item.stage == "tuning" and rng.random() < 0.1
        metrics = {"train_loss": math.nan if lost else rng.random(), "train_accuracy": rng.random()}
        metrics |= {"validation_loss": rng.random(), "validation_accuracy": round(rng.random(), 1)}
        return metrics | {"test_accuracy": test, "test_loss": test}

    return read


def play(plan, world, order):
    """Finish what is asked for, in the order of a random number generator, until nothing is; return all schedules."""
    done, seen = {}, []
    while (now := next_runs(plan, done.get)).pending:
        assert not set(now.pending) & set(done), "it asked for a finished run"
        assert len(set(now.runs)) == len(now.runs)
        item = now.pending[order.integers(len(now.pending))]
        done[item] = world(item)
        seen.append(now)
        assert len(seen) < 1000, "it never ends"
    return now, done, seen


@pytest.mark.slow
@settings(max_examples=8, deadline=None)
@given(
    plan=st.sampled_from([PLAN, SMOOTH]),
    world=st.integers(0, 10_000),
    first=st.integers(0, 100),
    second=st.integers(0, 100),
)
def test_in_whatever_order_runs_finish_the_study_is_the_same(plan, world, first, second):
    plan = replace(plan, margin=0.3)
    one, done, seen = play(plan, outcomes(world), np.random.default_rng(first))
    two, _, _ = play(plan, outcomes(world, test=0.7), np.random.default_rng(second))
    assert one == two
    assert one.stage == "done"
    assert set(one.runs) == set(done), "it trained what it did not need"
    stages = [now.stage for now in seen]
    assert stages == sorted(stages, key=("tuning", "pilot", "runs").index)
    # What was known once stays as it was.
    for earlier, later in pairwise(seen):
        assert earlier.tuning in (None, later.tuning)
        assert earlier.pilot in (None, later.pilot)
    # Every arm was tuned with the same effort, and what it was is bounded.
    trials = [one.tuning.arms[arm.label].trials for arm in plan.arms]
    if plan.tuning.method == "grid":
        assert len({tuple(trial[:2] for trial in own) for own in trials}) == 1
        assert len(trials[0]) <= (3 + 2 * 2) * 2 * 2
    assert len({(frozenset(trial.setting for trial in own), len(own)) for own in trials}) == 1
    settings = len({trial.setting for trial in trials[0]})
    assert len(trials[0]) == trials_each(plan, settings)
    assert settings <= (3 + 2 * 2) * (2 if plan.tuning.method == "grid" else 4)
    assert total_runs(plan, one) == len(one.runs)


@settings(max_examples=8, deadline=None)
@given(world=st.integers(0, 10_000))
def test_edges_are_extended_or_flagged(world):
    now, _, _ = play(PLAN, outcomes(world), np.random.default_rng(0))
    tried = sorted({trial.setting.learning_rate for trial in now.tuning.arms[ARMS[0].label].trials})
    below, above = sum(rate < 0.1 for rate in tried), sum(rate > 0.4 for rate in tried)
    for choice in now.tuning.arms.values():
        rate = choice.setting.learning_rate
        assert choice.edge == (rate in (tried[0], tried[-1]))
        if rate == tried[0]:
            assert below == TUNING.extensions
        if rate == tried[-1]:
            assert above == TUNING.extensions


def test_tuning_never_opens_the_test_split_and_reported_runs_do():
    now, _, _ = play(PLAN, outcomes(0), np.random.default_rng(0))
    for item in now.runs:
        config = run_config(PLAN, item)
        assert config.evaluate_test == (item.stage == "runs")
        assert (item.seed in TUNING.seeds) == (item.stage == "tuning")
        assert (config.seed, config.model) == (item.seed, item.arm.spec)
        assert (config.optimizer.learning_rate, config.optimizer.weight_decay) == item.setting
    assert len({item.path for item in now.runs}) == len(now.runs)


def test_smooth_trials_have_seeds_and_splits_of_their_own_and_later_rounds_the_better_half():
    def world(item):
        error = (
            0.1 + 0.05 * abs(math.log2(item.setting.learning_rate / 0.2)) + 0.02 * (item.setting.weight_decay < 1e-3)
        )
        metrics = {"train_loss": 1.0, "validation_loss": 1.0, "validation_accuracy": 1 - error}
        return metrics | {"validation_images": 300, "validation_hash": f"split {item.seed}"}

    plan = replace(SMOOTH, tuning=Tuning((0.1, 0.2, 0.4), (1e-4, 1e-3), extensions=0))
    now, _, seen = play(plan, world, np.random.default_rng(0))
    trials = [item for item in now.runs if item.stage == "tuning"]
    assert len({item.seed for item in trials}) == len(trials) == 3 * (6 + 3 + 3)
    assert all(item.seed // 1_000_000 == 1000 for item in trials)
    configs = [run_config(plan, item) for item in now.runs]
    assert [config.data.split_seed for config in configs] == [
        item.seed if item.stage == "tuning" else None for item in now.runs
    ]
    for arm in plan.arms:
        own = now.tuning.arms[arm.label]
        assert (own.setting.learning_rate, own.setting.weight_decay, own.edge) == (0.2, 1e-3, True)
        assert {(trial.images, trial.split) for trial in own.trials} == {(300, f"split {t.seed}") for t in own.trials}
        later = [trial.setting for trial in own.trials[6:]]
        assert sorted(later) == sorted(2 * [(0.2, 1e-4), (0.1, 1e-3), (0.2, 1e-3)]) or (0.2, 1e-3) in later
    assert total_runs(plan, seen[0]) == 3 * 12 + 3 * 4 + 2 * 4
    assert len({now.tuning.arms[arm.label].trials for arm in plan.arms}) == 3


def test_what_a_test_set_can_show_is_declared():
    # A standard error of one image, 1 / 360, or of sqrt(0.05 p (1 - p) / N); 2.80 of them are found in 4 of 5 studies.
    found = resolution(PLAN, 360)
    wanted = [2.8016 * max(1 / 360, math.sqrt(0.05 * p * (1 - p) / 360)) for p in (0.01, 0.03, 0.1, 0.3)]
    assert list(found["detectable_by_error_rate"].values()) == pytest.approx(wanted, rel=1e-4)
    assert list(found["detectable_by_error_rate"]) == ["1 %", "3 %", "10 %", "30 %"]
    assert found["equivalence"] == (
        "360 test images can call arms equivalent within 2 points at error rates up to 50 %, at best"
    )
    tight = resolution(replace(PLAN, margin=0.0045), 360)
    assert tight["equivalence"] == "no study with 360 test images can call arms equivalent within 0.45 points"


def test_a_margin_below_what_images_and_tuning_leave_takes_all_seeds():
    """Seeds that agree need two runs; but with 100 test images no number of seeds shows one point."""

    def world(item, images):
        error = 0.1 + 0.01 * abs(math.log2(item.setting.learning_rate / 0.2))
        metrics = {"train_loss": 1.0, "validation_loss": 1.0, "validation_accuracy": 1 - error}
        return metrics | {"validation_images": 300, "test_images": images}

    plan = replace(SMOOTH, margin=0.01, tuning=Tuning((0.1, 0.2, 0.4), (1e-4,), extensions=0))
    few, many = (next_runs(plan, lambda item, n=n: world(item, n)).pilot for n in (100, 100_000))
    assert (few.needed, len(few.seeds), few.floor) == (None, 4, pytest.approx(0.01, rel=1e-3))
    assert (many.needed, len(many.seeds)) == (2, 2)


def test_another_seed_of_tuning_is_another_tuning():
    first, second = (
        next_runs(replace(SMOOTH, tuning=replace(SMOOTH.tuning, seeds=(seed,))), lambda item: None).runs
        for seed in (1000, 1001)
    )
    assert [each._replace(seed=0) for each in first] == [each._replace(seed=0) for each in second]
    assert not {each.seed for each in first} & {each.seed for each in second}


def world_of(rate_errors, spread):
    """Errors by learning rate; in reported runs a spread over seeds."""

    def read(item):
        error = rate_errors[item.setting.learning_rate]
        if item.stage == "runs":
            error += spread * (item.seed - 0.5)
        return {"train_loss": 1.0, "validation_loss": 1.0, "validation_accuracy": 1 - error}

    return read


@pytest.mark.parametrize(
    ("spread", "cap", "runs"),
    [(0.0, 9, 2), (0.004, 9, 3), (0.01, 9, 7), (0.1, 9, 9), (0.1, 2, 2)],
)
def test_pilot_runs_give_the_spread_and_the_spread_the_number(spread, cap, runs):
    """Two pilot seeds half a spread either side of the mean: standard deviation spread / sqrt(2) in every arm."""
    plan = replace(PLAN, margin=0.0125, tuning=Tuning((0.1,), (1e-4,)), seeds=Seeds(2, cap))
    now, _, seen = play(plan, world_of({0.1: 0.2}, spread), np.random.default_rng(0))
    assert now.pilot.spread == pytest.approx(spread / math.sqrt(2), abs=1e-12)
    assert now.pilot.needed == seeds_needed(0.0125, now.pilot.spread)
    assert len(now.pilot.seeds) == runs == min(max(now.pilot.needed, 2), cap)
    assert now.pilot.seeds == tuple(range(runs))
    assert seen[0].stage == "pilot", "one setting is no search"


def test_the_spread_is_pooled_over_arms():
    plan = replace(PLAN, arms=ARMS[:2], tuning=Tuning((0.1,), (1e-4,)), seeds=Seeds(3, 3))
    errors = {ARMS[0]: (0.1, 0.2, 0.3), ARMS[1]: (0.2, 0.2, 0.5)}

    def world(item):
        error = errors[item.arm][item.seed]
        return {"train_loss": 1.0, "validation_loss": 1.0, "validation_accuracy": 1 - error}

    now, _, _ = play(plan, world, np.random.default_rng(0))
    pooled = math.sqrt((np.var(errors[ARMS[0]], ddof=1) + np.var(errors[ARMS[1]], ddof=1)) / 2)
    assert now.pilot.spread == pytest.approx(pooled)


def test_one_pilot_run_has_no_spread_and_takes_the_cap():
    plan = replace(PLAN, tuning=Tuning((0.1,), (1e-4,)), seeds=Seeds(1, 4, first=7))
    now, _, _ = play(plan, world_of({0.1: 0.2}, 0.1), np.random.default_rng(0))
    assert (now.pilot.spread, now.pilot.needed, now.pilot.seeds) == (None, None, (7, 8, 9, 10))


def test_the_contrasts_are_run_at_the_shared_setting_where_it_is_not_their_own():
    def world(item):
        best = 0.1 if item.arm.depth < 20 else 0.4
        error = {0.1: 0.3, 0.2: 0.2, 0.4: 0.3}[item.setting.learning_rate]
        error = 0.1 if item.setting.learning_rate == best else error + 0.05 * (item.setting.learning_rate == 0.4)
        return {"train_loss": 1.0, "validation_loss": 1.0, "validation_accuracy": 1 - error}

    plan = replace(PLAN, tuning=Tuning((0.1, 0.2, 0.4), (1e-4,), extensions=0, method="grid"), seeds=Seeds(2, 2))
    now, _, _ = play(plan, world, np.random.default_rng(0))
    rates = {label: choice.setting.learning_rate for label, choice in now.tuning.arms.items()}
    assert list(rates.values()) == [0.1, 0.1, 0.4]
    assert now.tuning.shared.learning_rate == 0.1
    shared = [item for item in now.runs if item.stage == "runs" and item.setting.learning_rate != rates[item.arm.label]]
    # Depth 14 is no arm of a contrast, and depth 8 has the shared setting already.
    assert [(item.arm.depth, item.seed, item.setting) for item in shared] == [
        (20, 0, now.tuning.shared), (20, 1, now.tuning.shared),
    ]  # fmt: skip
    alone = replace(plan, tuning=replace(plan.tuning, shared=False))
    assert len(play(alone, world, np.random.default_rng(0))[0].runs) == len(now.runs) - 2


def test_what_is_expected_before_anything_is_known():
    for method, trials in (("grid", 3 * 2 * 2), ("smooth", (3 * 2 + 3 + 3) * 2)):
        config = StudyConfig(tuning=replace(TUNING, method=method), seeds=Seeds(3, 5))
        plan = make_plan(config, family_arms())
        now = next_runs(plan, lambda item: None)
        assert now.stage == "tuning"
        assert total_runs(plan, now) == 12 * trials + 12 * 5 + 3 * 2 * 5
