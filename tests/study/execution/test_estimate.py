"""How long a study would take, before it begins; and which epochs and seeds fit into a time."""

import os
import subprocess
import sys
import time
from dataclasses import replace

import pytest

from jaxcnn.data import load
from jaxcnn.errors import InputError
from jaxcnn.run.own_parts import Own
from jaxcnn.spec import Seeds, StudyConfig, Tuning
from jaxcnn.study.execution import estimate as estimates
from jaxcnn.study.execution import probe as probes
from jaxcnn.study.execution.estimate import arm_costs, duration, estimate, fit_into_time, parse_duration
from jaxcnn.study.execution.given import Given
from jaxcnn.study.execution.probe import Probe, RunTimes, as_worker, estimated, time_run
from jaxcnn.study.plan import make_plan
from tests.study.families import stack
from tests.study.small import BASE, arms, quick_costs

TIMES = RunTimes(compile=20.0, run=1.0, epoch=0.1, step=0.01, check=0.005)
TUNED = {"tuning": Tuning((0.1, 0.2, 0.4), (1e-4, 1e-3), method="grid"), "seeds": Seeds(2, 5)}
FINISH = 3.0 + 2 * 0.7  # the report, and what a step costs
# 96 images are 3 steps of 32, 300 validation images 10 batches and 360 test images 12; 3 epochs.
RUN, TESTED = 1 + 3 * (3 * 0.01 + 10 * 0.005 + 0.1), 12 * 0.005


@pytest.fixture
def timed(monkeypatch):
    """What was timed: every arm alike, and a worker starts in 2 s."""
    measured = []

    def probe(plan, dataset, given, count, before):
        measured.append((plan, given, count))
        return Probe({arm.label: TIMES for arm in plan.arms}, 2.0 if count > 1 else 0.0)

    monkeypatch.setattr(estimates, "probe", probe)
    return measured


def planned(among=None, **settings):
    return make_plan(StudyConfig(BASE, **settings), among or arms())


def test_runs_and_time_by_hand(timed):
    expected = estimate(planned(**TUNED, workers=1), load(BASE.data), before=(3.0, 4.0))
    # 6 trials and 5 seeds for each of two arms; at the shared setting the contrast's two arms once more.
    assert expected.runs == 2 * 6 + 2 * 5 + 2 * 5
    assert expected.runs_per_arm == 11
    assert expected.seconds == pytest.approx(4.0 + 2 * 20 + 32 * RUN + 20 * TESTED + FINISH)
    assert "2 arms, about 32 runs (48 if its grid grows as far as it may) of 3 epochs (3 steps" in expected.sentence
    assert "1 process, from short runs of all arms" in expected.sentence


def test_a_smooth_tuning_is_expected_to_grow_by_a_decay_at_either_end(timed):
    tuning = Tuning((0.1, 0.2, 0.4), (1e-4, 1e-3), shared=False)
    expected = estimate(planned(tuning=tuning, seeds=Seeds(2, 5), workers=1), load(BASE.data))
    # 3 rates and 4 decays, then two rounds of the better half; 7 rates at most.
    assert expected.runs == 2 * (12 + 6 + 6) + 2 * 5
    assert f"about {expected.runs} runs ({2 * (28 + 14 + 14) + 10} if its grid grows" in expected.sentence
    fixed = estimate(planned(tuning=replace(tuning, extensions=0), seeds=Seeds(2, 5), workers=1), load(BASE.data))
    assert fixed.runs == 2 * (6 + 3 + 3) + 2 * 5
    assert "grows" not in fixed.sentence


def test_workers_share_the_runs_and_compile_each_for_themselves(timed):
    """Each of two begins with an arm of its own; later stages find both arms compiled in one or in both."""
    alone = estimate(planned(**TUNED, workers=1), load(BASE.data)).seconds - FINISH
    both = estimate(planned(**TUNED, workers=2), load(BASE.data)).seconds - FINISH
    costs = 2 * 0.45 * 20  # compiled once more by the process that measures the cost of a step
    runs = 16 * RUN + 10 * TESTED
    assert 2 + 20 + runs <= both - costs <= 2 + 40 + runs + 2 * (RUN + TESTED)
    assert both - costs < alone
    assert [count for *_, count in timed] == [1, 2]


def test_without_tuning(timed):
    expected = estimate(planned(tuning=Tuning((0.1,), (1e-4,)), seeds=Seeds(2, 5), workers=2), load(BASE.data))
    assert (expected.runs, expected.runs_per_arm) == (10, 5)
    assert "2 processes" in expected.sentence


def test_rare_checkpoints_cost_less(timed):
    base = replace(BASE, checkpoint_every=3)
    often, seldom = (
        estimate(make_plan(StudyConfig(each, **TUNED, workers=1), arms()), load(BASE.data)) for each in (BASE, base)
    )
    assert often.seconds - seldom.seconds == pytest.approx(32 * (0.3 - 0.1))


def test_no_workers_are_refused_before_anything_is_measured(timed):
    with pytest.raises(InputError, match="workers=0: must be at least 1"):
        estimate(planned(workers=0), load(BASE.data))
    assert timed == []


@pytest.mark.parametrize(
    ("seconds", "words"), [(3, "3 seconds"), (126, "2.1 minutes"), (600, "10 minutes"), (9000, "2.5 hours")]
)
def test_durations_in_words(seconds, words):
    assert duration(seconds) == words


def test_every_arm_is_measured(monkeypatch):
    quick_costs()
    costs = arm_costs(planned())
    assert len(costs) == len(arms())
    assert all(cost.step > 0 for cost in costs)


def test_arms_that_were_not_timed_follow_from_the_others():
    shallow, deep = arms()
    middle = shallow._replace(depth=3, width=5, macs=shallow.macs // 2)
    deepest, three = TIMES._replace(compile=40.0, step=0.02), [shallow, middle, deep]
    found = estimated(three, {shallow.label: TIMES, deep.label: deepest})
    assert (found[shallow.label], found[deep.label]) == (TIMES, deepest)
    guessed = found[middle.label]
    assert not guessed.measured
    assert guessed.compile == pytest.approx(30)  # half way between depths 2 and 4
    per_mac = (0.01 / shallow.macs + 0.02 / deep.macs) / 2
    assert guessed.step == pytest.approx(middle.macs * per_mac)
    alone = estimated(three, {shallow.label: TIMES})[deep.label]
    assert alone.compile == pytest.approx(20 * 2**0.5)
    assert alone.step == pytest.approx(0.01 * deep.macs / shallow.macs)


def test_a_timed_run_leaves_nothing_behind(tmp_path, monkeypatch):
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr("tempfile.tempdir", None)
    config = replace(BASE, model=arms()[0].spec)
    times, slower = time_run(config, load(BASE.data), Own(), 1)
    assert min(times.compile, times.run, times.step, times.check) > 0
    assert times.epoch >= 0
    assert times.measured
    assert slower >= 1
    assert times.compile > times.step
    assert list(tmp_path.iterdir()) == []


def test_a_user_defined_family_is_timed_as_itself(monkeypatch):
    seen = []
    monkeypatch.setattr(probes, "time_run", lambda config, dataset, own, count: seen.append(own.model) or (TIMES, 1.5))
    own = [arm._replace(spec=None, family="tests.study.families:stack") for arm in arms()]
    found = probes.probe(planned(own), load(BASE.data), Given((stack,)), 2, (1.0, 1.0))
    assert seen == [stack(arm.depth, arm.width) for arm in own]
    assert found.start == 1.5  # importing took a second, and everything takes longer here


def test_the_deepest_arm_is_left_out_where_it_would_take_long(monkeypatch):
    monkeypatch.setattr(probes, "time_run", lambda config, dataset, own, count: (TIMES, 1.0))
    plan, data = planned(workers=1), load(BASE.data)
    found = probes.probe(plan, data, Given(), 1, (1.0, probes.ENOUGH_SECONDS + 1)).arms
    assert [found[arm.label].measured for arm in plan.arms] == [True, False]
    sentence = estimates._estimate(plan, data, Probe(found, 0.0), 1, (0.0, 0.0)).sentence
    assert sentence.endswith("from short runs of 1 of the arms")


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="the system has no CPU affinity")
def test_a_worker_keeps_to_its_cores_only_within_the_block():
    cores = os.sched_getaffinity(0)
    with as_worker(2):
        assert len(os.sched_getaffinity(0)) == -(-len(cores) // 2)
        inside = subprocess.run(["pgrep", "-P", str(os.getpid()), "-f", "while True"], capture_output=True, check=False)
    outside = subprocess.run(["pgrep", "-P", str(os.getpid()), "-f", "while True"], capture_output=True, check=False)
    assert os.sched_getaffinity(0) == cores
    assert bool(inside.stdout) == (len(cores) > 1)
    assert not outside.stdout


def test_seeds_are_lowered_first_then_epochs_and_what_fits_stays(timed):
    plan, data = planned(**TUNED, workers=1), load(BASE.data)
    whole = estimate(plan, data).seconds
    assert fit_into_time(plan, data, 1.2 * whole + 1)[0] == plan
    fewer, guess = fit_into_time(plan, data, 1.2 * whole - 1)
    assert (fewer.seeds.cap, fewer.base.epochs) == (4, 3)
    assert 1.2 * guess.seconds <= 1.2 * whole - 1
    least = estimate(replace(plan, seeds=Seeds(2, 2)), data).seconds
    shorter, _ = fit_into_time(plan, data, 1.2 * least - 1)
    assert (shorter.seeds.cap, shorter.base.epochs) == (2, 2)
    assert fewer.seeds.pilot == shorter.seeds.pilot == 2
    with pytest.raises(InputError, match=r"fit_into='10 seconds': 20 runs of 2 epochs need about 86 seconds; give mo"):
        fit_into_time(plan, data, 10)


@pytest.mark.parametrize(("text", "seconds"), [("90s", 90), ("30m", 1800), ("2h", 7200), ("1h30m", 5400), ("1.5m", 90)])
def test_times_are_read(text, seconds):
    assert parse_duration(text) == seconds


@pytest.mark.parametrize("text", ["30", "m", "", "30min", "0m", "-5m", "1d"])
def test_what_is_no_time_is_refused(text):
    with pytest.raises(InputError, match=r"fit_into='.*': give a time such as 90s, 30m, 2h or 1h30m"):
        parse_duration(text)


@pytest.mark.slow
def test_the_estimate_is_near_the_time_of_the_study(tmp_path):
    """Hold within a factor of three beside other tests, whose load differs from the dry runs to the study.

    docs/benchmarks.md has what a machine that does little else gives. The grid cannot grow, so that the number of runs
    is the one estimated, but for those at the shared setting.
    """
    command = [
        *(sys.executable, "-m", "jaxcnn", "study", "--data", "digits", "--model.family", "dense", "--depths", "2", "4"),
        *("--params", "20000", "--epochs", "10", "--batch-size", "64", "--tuning.extensions", "0"),
        *("--seeds.pilot", "5", "--seeds.cap", "5", "--out", str(tmp_path / "study")),
    ]
    guesses, took = [], 0.0
    for flag in ("--dry-run", "", "--dry-run"):
        begun = time.perf_counter()
        done = subprocess.run([*command, *([flag] if flag else [])], capture_output=True, text=True, check=True)
        took = took if flag else time.perf_counter() - begun
        if flag:
            number, unit = done.stdout.partition(": about")[2].split()[:2]
            guesses.append(float(number) * {"seconds": 1, "minutes": 60}[unit])
    assert 1 / 3 < sum(guesses) / 2 / took < 3
