"""One worker's part, and what a parent makes of how its workers ended."""

from contextlib import ExitStack

import pytest

from jaxcnn.errors import InputError
from jaxcnn.run import load_result, run_members
from jaxcnn.run.members import TooMany
from jaxcnn.runtime.signals import Interrupted
from jaxcnn.study.execution.local import BAD_INPUT, FAILED, STOPPED, _judge, work_together
from jaxcnn.study.execution.locks import claim
from jaxcnn.study.execution.worker import Reader, _claimed, _ordered, family_name, processes, work
from jaxcnn.study.plan import Seeds, Tuning, make_plan
from jaxcnn.study.plan_file import store_plan
from jaxcnn.study.schedule import agenda, config_of
from tests.study.families import Stack, stack
from tests.study.small import BASE, arms, journal, small_study

POINT = Tuning((0.1,), (1e-4,))  # no search: nothing is trained for it


def test_the_number_of_processes():
    assert processes(3) == 3
    assert processes(None) >= 1
    with pytest.raises(InputError, match="workers=0: give 1 or more"):
        processes(0)


def test_a_worker_keeps_to_its_arm_and_begins_at_its_own_place():
    plan = make_plan(BASE, arms(), seeds=Seeds(2, 2))
    todo = agenda(plan, lambda item: None).todo
    labels = [arm.label for arm in arms()]
    assert [item.arm.label for item in _ordered(todo, [], 0.0)][:1] == labels[:1]
    assert [item.arm.label for item in _ordered(todo, [], 0.5)][:1] == labels[1:]
    kept = _ordered(todo, [arms()[1]], 0.0)
    assert [item.arm.label for item in kept] == [labels[1]] * (len(todo) // 2) + [labels[0]] * (len(todo) // 2)
    assert set(kept) == set(todo)


def test_a_run_that_another_holds_is_left_to_it(tmp_path, monkeypatch):
    """It takes every other run of the stage first, and waits for that one."""
    from jaxcnn.study.execution import worker as module

    plan = store_plan(make_plan(BASE, arms(), tuning=None, seeds=Seeds(1, 1)), tmp_path)
    items = agenda(plan, lambda item: None).todo
    trained = []
    monkeypatch.setattr(module, "_train", lambda plan, directory, items, *rest: trained.extend(items))
    monkeypatch.setattr(module.Reader, "__call__", lambda self, item: METRICS if item in trained else None)

    def slept(seconds):
        assert set(trained) == set(items) - {items[3]}
        raise InterruptedError

    monkeypatch.setattr(module.time, "sleep", slept)
    with claim(tmp_path, items[3].path), pytest.raises(InterruptedError):
        work(plan, tmp_path)
    assert len(trained) == len(set(trained))


def test_runs_of_one_arm_in_one_program(tmp_path):
    """Three seeds, two at a time, with the results that each has alone."""
    plan = make_plan(BASE, arms(), tuning=POINT, seeds=Seeds(3, 3))
    for name, together in (("alone", None), ("together", 2)):
        (tmp_path / name).mkdir()
        work(store_plan(plan, tmp_path / name), tmp_path / name, together=together)
    items = agenda(plan, lambda item: None).items
    for item in items:
        alone, together = (load_result(tmp_path / name / item.path) for name in ("alone", "together"))
        assert together.config == alone.config == config_of(plan, item)
        assert together.metrics == pytest.approx(alone.metrics, rel=1e-4)
        assert (alone.programs["members"], together.programs["members"]) == (1, 1 if item.seed == items[2].seed else 2)
    assert sorted(journal(tmp_path / "together")) == sorted(item.path for item in items)


def test_only_free_runs_of_the_arm_and_stage_are_claimed(tmp_path):
    plan = make_plan(BASE, arms(), tuning=POINT, seeds=Seeds(3, 3))
    todo = agenda(plan, lambda item: None).todo
    own = [item for item in todo if item.arm == todo[0].arm]
    read = Reader(plan, tmp_path)

    def claimed(first, most):
        with ExitStack() as claims:
            return _claimed(claims, tmp_path, first, todo, read, most)

    assert claimed(own[0], 8) == own
    assert claimed(own[1], 2) == [own[1], own[0]]
    with claim(tmp_path, own[1].path):
        assert claimed(own[0], 8) == [own[0], own[2]]
        assert claimed(own[1], 8) == []


def test_more_runs_than_memory_are_trained_in_smaller_groups(tmp_path, monkeypatch):
    from jaxcnn.study.execution import worker as module

    asked = []

    def short(configs, outs, *, together, **options):
        asked.append(together)
        if together > 2:
            raise TooMany("too many", 2)
        return run_members(configs, outs, together=together, **options)

    monkeypatch.setattr(module, "run_members", short)
    plan = store_plan(make_plan(BASE, arms(), tuning=POINT, seeds=Seeds(3, 3)), tmp_path)
    work(plan, tmp_path, together=3)
    assert asked == [3, 2] * 2
    assert agenda(plan, Reader(plan, tmp_path)).stage == "done"


METRICS = {"train_loss": 1.0, "train_accuracy": 0.5, "validation_loss": 1.0, "validation_accuracy": 0.5}


@pytest.mark.parametrize(
    ("ended", "codes", "stopped", "error", "message"),
    [
        ([0, 0], [0, 0], False, None, ""),
        ([0, None], [0, 130], True, Interrupted, "same command goes on"),
        ([STOPPED, None], [STOPPED, 0], False, Interrupted, "same command goes on"),
        ([-9, None], [-9, STOPPED], False, InputError, r"workers=2: .* by signal 9, perhaps for want of memory"),
        ([FAILED, None], [FAILED, STOPPED], False, RuntimeError, "what it said stands above"),
        ([BAD_INPUT, 0], [BAD_INPUT, 0], False, RuntimeError, "failed"),
    ],
)
def test_how_workers_ended(ended, codes, stopped, error, message):
    if error is None:
        _judge(ended, codes, stopped)
        return
    with pytest.raises(error, match=message):
        _judge(ended, codes, stopped)


def test_a_workers_sentence_reaches_the_user_once(tmp_path, capfd):
    """Something that only a run finds out: a folder of another's where its own should be."""
    plan = store_plan(make_plan(BASE, arms(), seeds=Seeds(1, 1)), tmp_path)
    for item in agenda(plan, lambda item: None).todo:
        (tmp_path / item.path).mkdir(parents=True)
        (tmp_path / item.path / "notes.txt").write_text("mine")
    with pytest.raises(InputError, match="holds files but no run"):
        small_study(tmp_path, workers=2, margin=0.005, tuning=None, seeds=Seeds(1, 1))
    assert "Traceback" not in capfd.readouterr().err


def test_a_parent_that_fails_leaves_no_worker_behind(tmp_path):
    import multiprocessing

    plan = store_plan(make_plan(BASE, arms(), seeds=Seeds(1, 1)), tmp_path)

    def fail():
        raise InputError("damaged")

    with pytest.raises(InputError, match="damaged"):
        work_together(plan, tmp_path, None, 1, fail)
    assert not [child for child in multiprocessing.active_children() if child.name.startswith("SpawnProcess")]


def test_families_are_named_as_their_arms_name_them():
    assert family_name(stack) == "tests.study.families:stack"
    assert family_name(Stack) == "tests.study.families:Stack"
