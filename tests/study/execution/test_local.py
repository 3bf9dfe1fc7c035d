"""Local worker processes: how their end becomes the study's, and what they can import."""

import multiprocessing

import pytest

from jaxcnn.errors import InputError
from jaxcnn.runtime.processes import attempt
from jaxcnn.runtime.signals import Interrupted
from jaxcnn.spec import Seeds, StudyConfig, Tuning
from jaxcnn.study.budget.match import match_width
from jaxcnn.study.execution.given import Given
from jaxcnn.study.execution.local import judge, started_workers, work_locally
from jaxcnn.study.plan import make_plan, store_plan
from jaxcnn.study.schedule import next_runs
from tests.study import families
from tests.study.small import BASE, SHAPE, arms, finished_runs, small_study


def answer(error=None):
    def task():
        if error is not None:
            raise error

    return attempt(task)


@pytest.mark.parametrize(
    ("errors", "codes", "interrupted", "raised", "message"),
    [
        ([None, None], [0, 0], False, None, None),
        ([None, Interrupted()], [0, None], True, Interrupted, None),
        ([Interrupted(), None], [1, None], False, Interrupted, None),
        ([Interrupted()], [-9, None], False, InputError, r"workers=2: .* by signal 9, perhaps for lack of memory"),
        ([ZeroDivisionError("here"), Interrupted()], [1, None], False, RuntimeError, "see its traceback above"),
        ([None, InputError("lr=0: no")], [0, 1], False, InputError, "^lr=0: no$"),
        ([None], [0, 1], False, RuntimeError, "failed to start"),
    ],
)
def test_how_workers_end(errors, codes, interrupted, raised, message, capsys):
    answers = [answer(error) for error in errors]
    if raised is None:
        judge(answers, codes, interrupted=interrupted)
    else:
        with pytest.raises(raised, match=message):
            judge(answers, codes, interrupted=interrupted)
    assert ("ZeroDivisionError: here" in capsys.readouterr().err) == any(
        isinstance(error, ZeroDivisionError) for error in errors
    )


@pytest.mark.slow
def test_a_worker_that_would_abort_at_its_exit_has_done_its_work(tmp_path):
    """JAX aborts where a thread of its own is still at work while it is taken down; the runs are finished by then."""
    among = [match_width(families.aborting_in_workers, depth, params=3_000, **SHAPE, tolerance=0.1) for depth in (2, 3)]
    settings = {"tuning": Tuning((0.1,), (1e-4,)), "seeds": Seeds(1, 1)}
    study = small_study(tmp_path / "s", workers=2, among=among, family=families.aborting_in_workers, **settings)
    assert len(study.runs) == 2


@pytest.mark.slow
def test_a_workers_sentence_reaches_the_user_once(tmp_path, capfd):
    """Something that only a run detects: a folder of somebody else's where its own should be."""
    settings = {"margin": 0.005, "tuning": Tuning(), "seeds": Seeds(1, 1)}
    plan = store_plan(make_plan(StudyConfig(BASE, **settings), arms()), tmp_path)
    for each in next_runs(plan, lambda study_run: None).pending:
        (tmp_path / each.path).mkdir(parents=True)
        (tmp_path / each.path / "notes.txt").write_text("mine")
    with pytest.raises(InputError, match="holds files but no run"):
        small_study(tmp_path, workers=2, **settings)
    assert "Traceback" not in capfd.readouterr().err


@pytest.mark.slow
def test_a_worker_is_interrupted_where_python_drops_exceptions(tmp_path, capfd):
    """In a destructor, or a callback of the garbage collector: the signal comes again a moment later."""
    family = families.interrupted_in_workers
    among = [match_width(family, depth, params=2000, tolerance=0.05, **SHAPE) for depth in (2, 4)]
    with pytest.raises(Interrupted):
        small_study(tmp_path / "s", workers=2, among=among, family=family, seeds=Seeds(1, 1), tuning=Tuning())
    assert "Exception ignored" not in capfd.readouterr().err
    assert not finished_runs(tmp_path / "s")


@pytest.mark.slow
def test_a_parent_that_fails_leaves_no_worker_behind(tmp_path):
    plan = store_plan(make_plan(StudyConfig(BASE, seeds=Seeds(1, 1)), arms()), tmp_path)

    def fail():
        raise InputError("damaged")

    with pytest.raises(InputError, match="damaged"), started_workers(Given(), 1) as workers:
        work_locally(workers, plan, tmp_path, Given(), fail)
    assert not [child for child in multiprocessing.active_children() if child.name.startswith("SpawnProcess")]
