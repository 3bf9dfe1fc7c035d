"""How far a study is, from its folder alone."""

import shutil

import pytest
from rich.console import Console

from jaxcnn.study.execution.progress import StudyBar, standing, work_done
from jaxcnn.study.execution.worker import Reader
from jaxcnn.study.plan_file import load_plan
from jaxcnn.study.schedule import agenda
from tests.study.small import BASE, arms, reported, small_study


def stand(directory):
    plan = load_plan(directory)
    return standing(plan, directory, Reader(plan, directory))


def share(directory):
    plan = load_plan(directory)
    done, total = work_done(plan, directory, agenda(plan, Reader(plan, directory)))
    assert 0 <= done <= total
    return done / total


def test_every_stage_has_a_name(copied):
    now = stand(copied)
    assert (now.stage, now.finished, now.under_way) == ("done", now.total, ())
    assert share(copied) == 1
    (copied / "report.html").write_text("")
    assert stand(copied).stage == "reported"
    (copied / "costs.json").unlink()
    assert stand(copied).stage == "costs"
    last = reported(copied)[-1]
    (copied / last / "result.json").unlink()
    began = stand(copied)
    assert began.stage in ("pilot", "runs")
    assert began.under_way == ((last, 3),)
    shutil.rmtree(copied / last)
    assert stand(copied).under_way == ()
    shutil.rmtree(copied / "runs")
    assert stand(copied).stage == "pilot"
    tuned = share(copied)
    shutil.rmtree(copied / "tuning")
    assert (stand(copied).stage, stand(copied).finished) == ("tuning", 0)
    assert share(copied) == 0 < tuned < 1


def test_diverged_runs_are_counted(tmp_path, monkeypatch):
    plan = load_plan_of(tmp_path)

    def read(item):
        lost = item.seed == 0
        return {
            "train_loss": 1.0, "train_accuracy": 0.5,
            "validation_loss": float("nan") if lost else 1.0, "validation_accuracy": 0.5,
        }  # fmt: skip

    assert standing(plan, tmp_path, read).diverged == 2


def load_plan_of(directory):
    from jaxcnn.study.plan import Seeds, Tuning, make_plan
    from jaxcnn.study.plan_file import store_plan

    return store_plan(make_plan(BASE, arms(), tuning=Tuning((0.1,), (1e-4,)), seeds=Seeds(2, 2)), directory)


def test_work_is_weighed_by_macs(tmp_path):
    """A run of a dearer arm is more of the work; an epoch under way counts."""
    plan = load_plan_of(tmp_path)
    now = agenda(plan, lambda item: None)
    first = now.items[0]
    (tmp_path / first.path).mkdir(parents=True)
    (tmp_path / first.path / "config.json").write_text("{}")
    (tmp_path / first.path / "metrics.jsonl").write_text("{}\n{}\n")
    done, total = work_done(plan, tmp_path, now)
    assert done == 2 * first.arm.macs
    assert total == 3 * 2 * sum(arm.macs for arm in arms())


@pytest.mark.parametrize("terminal", [True, False])
def test_the_bar_says_where_the_study_is(small, terminal, monkeypatch):
    plan = load_plan(small)
    bar = StudyBar(plan, small, shown=True)
    console = Console(force_terminal=terminal, width=120, record=True)
    with StudyBar(plan, small, shown=False) as silent:
        silent.refresh(last=True)
    bar._console, bar._lines = console, not terminal
    bar._progress.live.console = console
    with bar:
        bar.refresh(last=True)
    assert bar.interrupted().startswith("interrupted after ")
    count = stand(small).total
    assert f"after {count} of about {count} runs" in bar.interrupted()
    if not terminal:
        assert f"{count} of about {count} runs finished" in console.export_text()


def test_a_study_under_way_is_watched_from_outside(tmp_path, monkeypatch):
    from jaxcnn.study.execution import worker as work

    seen, real = [], work.run

    def watched(config, *, on_epoch, **options):
        def look(record):
            now = stand(tmp_path / "s")
            seen.append((now.stage, now.finished))
            assert [epochs for _, epochs in now.under_way] == [record["epoch"]]
            on_epoch(record)

        return real(config, on_epoch=look, **options)

    monkeypatch.setattr(work, "run", watched)
    small_study(tmp_path / "s")
    assert list(dict.fromkeys(stage for stage, _ in seen))[:2] == ["tuning", "pilot"]
    finished = [count for _, count in seen]
    assert finished == sorted(finished)
