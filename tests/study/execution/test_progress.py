"""Progress of a study, from its folder alone."""

import shutil

import pytest
from rich.console import Console

from jaxcnn.spec import Seeds, StudyConfig, Tuning
from jaxcnn.study.execution import worker
from jaxcnn.study.execution.progress import StudyBar, standing
from jaxcnn.study.execution.worker import Reader
from jaxcnn.study.plan import load_plan, make_plan, store_plan
from jaxcnn.study.schedule import next_runs
from tests.study.small import BASE, arms, reported, small_study

POINT = {"tuning": Tuning((0.1,), (1e-4,)), "seeds": Seeds(2, 2)}  # Nothing is trained for a search of one point.


def stand(directory):
    plan = load_plan(directory)
    return standing(plan, directory, Reader(plan, directory))


def test_every_stage_has_a_name(copied):
    now = stand(copied)
    assert (now.stage, now.finished, now.under_way, now.share) == ("done", now.total, (), 1)
    (copied / "report.html").write_text("")
    assert stand(copied).stage == "reported"
    (copied / "costs.json").unlink()
    assert stand(copied).stage == "costs"
    last = reported(copied)[-1]
    (copied / last / "result.json").unlink()
    now = stand(copied)
    assert now.stage in ("pilot", "runs")
    assert now.under_way == ((last, 3),)
    shutil.rmtree(copied / last)
    assert stand(copied).under_way == ()
    shutil.rmtree(copied / "runs")
    now = stand(copied)
    assert now.stage == "pilot"
    assert 0 < now.share < 1
    shutil.rmtree(copied / "tuning")
    now = stand(copied)
    assert (now.stage, now.finished, now.share) == ("tuning", 0, 0)


def test_diverged_runs_are_counted(tmp_path):
    plan = store_plan(make_plan(StudyConfig(BASE, **POINT), arms()), tmp_path)

    def read(study_run):
        loss = float("nan") if study_run.seed == 0 else 1.0
        return {"train_loss": 1.0, "train_accuracy": 0.5, "validation_loss": loss, "validation_accuracy": 0.5}

    assert standing(plan, tmp_path, read).diverged == 2


def test_work_is_weighted_by_macs(tmp_path):
    """A run of a more expensive arm is more of the work; the epochs of a run under way count."""
    plan = store_plan(make_plan(StudyConfig(BASE, **POINT), arms()), tmp_path)
    first = next_runs(plan, lambda study_run: None).runs[0]
    (tmp_path / first.path).mkdir(parents=True)
    (tmp_path / first.path / "config.json").write_text("{}")
    (tmp_path / first.path / "metrics.jsonl").write_text("{}\n{}\n")
    now = stand(tmp_path)
    assert now.under_way == ((first.path, 2),)
    assert now.share == pytest.approx(2 / 3 * first.arm.macs / (2 * sum(arm.macs for arm in arms())))


@pytest.mark.parametrize("terminal", [True, False])
def test_the_bar_shows_stage_and_runs(small, terminal):
    plan, console = load_plan(small), Console(force_terminal=terminal, width=120, record=True)
    count = stand(small).total
    with StudyBar(plan, small, shown=False, console=console) as bar:
        bar.refresh(last=True)
    assert console.export_text() == ""
    with StudyBar(plan, small, shown=True, console=console) as bar:
        bar.refresh(last=True)
    assert bar.interrupted().startswith(f"interrupted after {count} of about {count} runs")
    shown = f"{count}/{count} runs" if terminal else f"{count} of about {count} runs finished"
    assert shown in console.export_text()


@pytest.mark.slow
def test_a_study_under_way_is_watched_from_outside(tmp_path, monkeypatch):
    seen, real = [], worker.run

    def watched(config, *, on_epoch, **options):
        def look(record):
            now = stand(tmp_path / "s")
            seen.append((now.stage, now.finished))
            assert [epochs for _, epochs in now.under_way] == [record["epoch"]]
            on_epoch(record)

        return real(config, on_epoch=look, **options)

    monkeypatch.setattr(worker, "run", watched)
    small_study(tmp_path / "s")
    assert list(dict.fromkeys(stage for stage, _ in seen))[:2] == ["tuning", "pilot"]
    finished = [count for _, count in seen]
    assert finished == sorted(finished)
