"""A worker's part of a study: which runs it claims, in which order, and how many in one program."""

from functools import partial

import pytest

from jaxcnn.errors import InputError
from jaxcnn.run import load_result, run_members
from jaxcnn.run.members import TooMany
from jaxcnn.spec import Seeds, StudyConfig, Tuning
from jaxcnn.study.budget.costs import family_name
from jaxcnn.study.execution import worker
from jaxcnn.study.execution.locks import claim
from jaxcnn.study.execution.worker import Reader, by_arm, processes, work
from jaxcnn.study.plan import make_plan, store_plan
from jaxcnn.study.schedule import next_runs, run_config
from tests.study.families import Stack, stack
from tests.study.small import BASE, arms, journal


@pytest.fixture
def plan(tmp_path):
    """Three runs of each of two arms, and no tuning: {arm: paths}."""
    config = StudyConfig(BASE, tuning=Tuning((0.1,), (1e-4,)), seeds=Seeds(3, 3))
    return store_plan(make_plan(config, arms()), tmp_path / "study")


def paths(plan):
    """Paths of the runs, one list per arm."""
    runs = next_runs(plan, lambda study_run: None).runs
    return [[each.path for each in runs if each.arm == arm] for arm in plan.arms]


def test_the_number_of_processes():
    assert processes(3) == 3
    assert processes(None) >= 1
    with pytest.raises(InputError, match="workers=0: must be at least 1"):
        processes(0)


def test_a_worker_starts_at_its_own_arm_and_stays_with_it(plan, tmp_path):
    """The first worker begins with the deepest, which compiles longest."""
    shallow, deep = paths(plan)
    work(plan, tmp_path / "study", worker=(0, 2))
    assert journal(tmp_path / "study") == deep + shallow
    pending = next_runs(plan, lambda study_run: None).pending
    assert [each.path for each in by_arm(pending, [], 1 / 2)] == shallow + deep


@pytest.mark.slow
def test_runs_of_one_arm_share_a_program_and_a_claimed_run_is_left_to_its_worker(plan, tmp_path, monkeypatch):
    """The results are those that each run has alone."""
    out, alone = tmp_path / "study", tmp_path / "alone"
    first, second = paths(plan)
    with claim(out, first[1]) as claimed:
        assert claimed

        def waiting(seconds):
            assert journal(out) == [*second, first[0], first[2]]
            raise InterruptedError

        monkeypatch.setattr(worker.time, "sleep", waiting)
        with pytest.raises(InterruptedError):
            work(plan, out, together=16)
    work(plan, out, together=16)
    assert journal(out) == [*second, first[0], first[2], first[1]]
    work(store_plan(plan, alone), alone)
    for study_run in next_runs(plan, Reader(plan, out)).runs:
        one, together = (load_result(folder / study_run.path) for folder in (alone, out))
        assert together.config == one.config == run_config(plan, study_run)
        assert together.metrics == pytest.approx(one.metrics, rel=1e-4)
        members = 3 if study_run.path in second else 1 if study_run.path == first[1] else 2
        assert (one.programs["members"], together.programs["members"]) == (1, members)


@pytest.mark.slow
def test_no_worker_is_idle_for_the_sake_of_larger_programs(plan, tmp_path):
    """Three workers share six runs: the first takes two of them at once."""
    out = tmp_path / "study"
    work(plan, out, worker=(0, 3), together=16)
    members = [load_result(out / path).programs["members"] for path in paths(plan)[1]]  # the deepest
    assert members == [2, 2, 1]


@pytest.mark.slow
def test_more_runs_than_memory_are_trained_in_smaller_groups(plan, tmp_path, monkeypatch):
    sizes, out = [], tmp_path / "study"

    def short(configs, outs, *, together, **options):
        sizes.append(together)
        if together > 2:
            raise TooMany("too many", 2)
        return run_members(configs, outs, together=together, **options)

    monkeypatch.setattr(worker, "run_members", short)
    work(plan, out, together=3)
    assert sizes == [3, 2] * 2
    assert next_runs(plan, Reader(plan, out)).stage == "done"


def test_families_are_named_as_their_arms_name_them():
    assert family_name(stack) == "tests.study.families:stack"
    assert family_name(Stack) == "tests.study.families:Stack"
    assert family_name(partial(stack)) == "tests.study.families:stack"
