"""How long a study would take, before it begins."""

import pytest

from jaxcnn.data import load
from jaxcnn.errors import InputError
from jaxcnn.study.execution import estimate as estimates
from jaxcnn.study.execution.estimate import Ahead, arm_costs, estimate
from jaxcnn.study.plan import Seeds, Tuning, make_plan
from tests.study.families import stack
from tests.study.small import BASE, arms


@pytest.fixture
def timed(monkeypatch):
    """A step of every arm takes 10 ms, and compiling 2 s."""
    asked = []

    def measure(pairs, dataset):
        asked.extend(pairs)
        return [(1000, 0.01, 0.0, 2.0)] * len(pairs)

    monkeypatch.setattr(estimates, "measure_costs", measure)
    return asked


def test_runs_and_time_by_hand(timed):
    plan = make_plan(BASE, arms(), tuning=Tuning((0.1, 0.2, 0.4), (1e-4, 1e-3)), seeds=Seeds(2, 5))
    found = estimate(plan, load(BASE.data), workers=1)
    # 6 trials and 5 seeds for each of two arms; at the shared setting the contrast's two arms once more.
    assert found.runs == 2 * 6 + 2 * 5 + 2 * 5
    assert found.runs_per_arm == 11
    # 96 images are 3 steps of 32, 300 validation images 10 batches at a third of a step; 3 epochs.
    assert found.seconds == pytest.approx(32 * 3 * (3 + 10 / 3) * 0.01 + 2 * 2.0)
    assert "2 arms, at most 32 runs of 3 epochs (3 steps each)" in found.sentence
    assert "10 seconds" in found.sentence
    assert "1 process," in found.sentence


def test_without_tuning(timed):
    plan = make_plan(BASE, arms(), tuning=Tuning((0.1,), (1e-4,)), seeds=Seeds(2, 5))
    found = estimate(plan, load(BASE.data), workers=2)
    assert (found.runs, found.runs_per_arm) == (10, 5)
    assert "2 processes" in found.sentence


def test_an_own_family_is_measured_as_itself(timed):
    own = [arm._replace(spec=None, family="tests.study.families:stack") for arm in arms()]
    estimate(make_plan(BASE, own), load(BASE.data), workers=1, family=stack)
    assert [module for _, module in timed] == [stack(arm.depth, arm.width) for arm in own]


def test_no_workers_are_refused_before_anything_is_measured(timed):
    with pytest.raises(InputError, match="workers=0"):
        estimate(make_plan(BASE, arms()), load(BASE.data), workers=0)
    assert timed == []


@pytest.mark.parametrize(("seconds", "words"), [(3, "3 seconds"), (600, "10 minutes"), (9000, "2.5 hours")])
def test_durations_in_words(seconds, words):
    assert estimates._duration(seconds) == words


def test_compiling_ahead_gives_the_same_programs():
    plan, data = make_plan(BASE, arms()), load(BASE.data)
    with Ahead(plan, data, None) as ahead:
        ahead.begin()
        ahead.begin()
        found = ahead.costs()
    assert [cost.memory for cost in found] == [cost.memory for cost in arm_costs(plan, data)]
    assert all(cost.step > 0 for cost in found)


def test_who_leaves_does_not_wait_for_what_has_not_begun(monkeypatch):
    compiled = []

    def prepare(pairs, dataset, go_on):
        for pair in pairs:
            if go_on():
                left.__exit__()
                compiled.append(pair)

    monkeypatch.setattr(estimates, "prepare", prepare)
    left = Ahead(make_plan(BASE, arms()), load(BASE.data), None)
    monkeypatch.setattr(left._pool, "shutdown", lambda: None)
    left.begin()
    left._begun.result()
    assert len(compiled) == 1
