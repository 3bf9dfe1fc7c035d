"""How long a study would take, before it begins."""

import pytest

from jaxcnn.data import load
from jaxcnn.errors import InputError
from jaxcnn.spec import Seeds, StepCost, StudyConfig, Tuning
from jaxcnn.study.execution import estimate as estimates
from jaxcnn.study.execution.estimate import arm_costs, duration, estimate
from jaxcnn.study.execution.given import Given
from jaxcnn.study.plan import make_plan
from tests.study.families import stack
from tests.study.small import BASE, arms, quick_costs


@pytest.fixture
def timed(monkeypatch):
    """A step of every arm takes 10 ms, and compiling 2 s."""
    measured = []

    def measure(pairs, dataset):
        measured.extend(pairs)
        return (StepCost(1000, 0.01, 0.0, 2.0),) * len(pairs)

    monkeypatch.setattr(estimates, "measure_costs", measure)
    return measured


def planned(among=None, **settings):
    return make_plan(StudyConfig(BASE, **settings), among or arms())


def test_runs_and_time_by_hand(timed):
    plan = planned(tuning=Tuning((0.1, 0.2, 0.4), (1e-4, 1e-3)), seeds=Seeds(2, 5), workers=1)
    expected = estimate(plan, load(BASE.data))
    # 6 trials and 5 seeds for each of two arms; at the shared setting the contrast's two arms once more.
    assert expected.runs == 2 * 6 + 2 * 5 + 2 * 5
    assert expected.runs_per_arm == 11
    # 96 images are 3 steps of 32, 300 validation images 10 batches at a third of a step; 3 epochs.
    assert expected.seconds == pytest.approx(32 * 3 * (3 + 10 / 3) * 0.01 + 2 * 2.0)
    assert "2 arms, at most 32 runs of 3 epochs (3 steps each)" in expected.sentence
    assert "10 seconds" in expected.sentence
    assert "1 process," in expected.sentence


def test_without_tuning(timed):
    expected = estimate(planned(tuning=Tuning((0.1,), (1e-4,)), seeds=Seeds(2, 5), workers=2), load(BASE.data))
    assert (expected.runs, expected.runs_per_arm) == (10, 5)
    assert "2 processes" in expected.sentence


def test_a_user_defined_family_is_measured_as_itself(timed):
    own = [arm._replace(spec=None, family="tests.study.families:stack") for arm in arms()]
    estimate(planned(own, workers=1), load(BASE.data), Given((stack,)))
    assert [parts.model for _, parts in timed] == [stack(arm.depth, arm.width) for arm in own]


def test_no_workers_are_refused_before_anything_is_measured(timed):
    with pytest.raises(InputError, match="workers=0: must be at least 1"):
        estimate(planned(workers=0), load(BASE.data))
    assert timed == []


@pytest.mark.parametrize(("seconds", "words"), [(3, "3 seconds"), (600, "10 minutes"), (9000, "2.5 hours")])
def test_durations_in_words(seconds, words):
    assert duration(seconds) == words


def test_every_arm_is_measured(monkeypatch):
    quick_costs()
    costs = arm_costs(planned())
    assert len(costs) == len(arms())
    assert all(cost.step > 0 for cost in costs)
