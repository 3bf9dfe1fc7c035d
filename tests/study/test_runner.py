import json
import sys

import numpy as np
import pytest

from jaxcnn.errors import InputError
from jaxcnn.run import RunResult
from jaxcnn.run import run as train
from jaxcnn.spec import DataConfig, ModelSpec, OptimizerConfig, RunConfig
from jaxcnn.study import load_study, match_width, run_study, runner, write_report
from tests.study.planted import ARMS, ENVIRONMENT

BASE = RunConfig(data=DataConfig("digits"), epochs=2)


@pytest.fixture
def runs(monkeypatch):
    """Replaces training by a record of what was asked for."""
    asked = []

    def stand_in(config, *, out, progress, on_epoch):
        assert json.loads((out.parents[2] / "study.json").read_text())["seeds"]
        assert progress is False
        asked.append((config, out))
        history = [{"epoch": e + 1, "train_loss": 1.0, "validation_loss": 1.0, "test_loss": 9.0} for e in range(2)]
        for record in history:
            on_epoch(record)
        accuracy = 0.9 + 0.01 * config.seed
        splits = ("train", "validation", "test")
        metrics = {f"{split}_{kind}": accuracy for split in splits for kind in ("loss", "accuracy")}
        if config.seed == 1:
            metrics["train_loss"] = float("nan")
        data = {"name": "digits", "sizes": {"train": 1, "validation": 1, "test": 100}, "image_shape": [8, 8, 1]}
        seconds = {"compile": 1.0, "train": 1.0, "step": 0.001, "total": 2.0}
        return RunResult(config, out, metrics, tuple(history), {}, 1, 1, seconds, ENVIRONMENT, data)

    monkeypatch.setattr(runner, "run", stand_in)
    return asked


def test_arm_by_arm_every_seed_in_a_folder_of_its_own(tmp_path, runs):
    result = run_study(BASE, ARMS, (3, 0), out=tmp_path / "study", progress=False)
    wanted = [(arm, seed) for arm in ARMS for seed in (3, 0)]
    assert [(config.model, config.seed) for config, _ in runs] == [(arm.spec, seed) for arm, seed in wanted]
    assert [out for _, out in runs] == [tmp_path / "study" / "runs" / arm.label / f"seed{seed}" for arm, seed in wanted]
    assert [record.seed for record in result.of(ARMS[1])] == [3, 0]
    assert result == load_study(tmp_path / "study")


def test_what_is_not_finite_is_stored_as_json(tmp_path, runs):
    result = run_study(BASE, ARMS, (0, 1), out=tmp_path, progress=False)
    text = (tmp_path / "results.json").read_text()
    assert "NaN" not in text
    assert "test_loss" not in json.loads(text)["runs"][0]["history"][0]
    assert np.isnan(result.runs[1].metrics["train_loss"])
    page = write_report(result, tmp_path).read_text()
    assert "Runs that diverged" in page
    assert "nan" not in page


def test_progress_prints_a_line_a_run_without_a_terminal(tmp_path, runs, capsys):
    run_study(BASE, ARMS, (0,), out=tmp_path)
    shown = capsys.readouterr()
    assert "3/3 depth 20 width 5 seed 0: validation error 10.00 %" in shown.err
    assert "test" not in shown.err
    assert shown.out == ""


def test_another_study_in_the_folder_trains_nothing(tmp_path, runs):
    run_study(BASE, ARMS, (0,), out=tmp_path, progress=False)
    files = {path: path.read_bytes() for path in tmp_path.rglob("*.json")}
    before = len(runs)
    with pytest.raises(InputError, match="another configuration"):
        run_study(BASE, ARMS, (0, 1), out=tmp_path, progress=False)
    assert len(runs) == before
    assert {path: path.read_bytes() for path in tmp_path.rglob("*.json")} == files


def test_data_that_changed_on_the_way_is_refused(tmp_path, runs, monkeypatch):
    inner = runner.run

    def changed(config, **options):
        result = inner(config, **options)
        result.data["sizes"]["test"] += config.model.depth
        return result

    monkeypatch.setattr(runner, "run", changed)
    with pytest.raises(InputError, match="changed between the runs"):
        run_study(BASE, ARMS, (0,), out=tmp_path, progress=False)
    assert not (tmp_path / "results.json").exists()


def test_the_command_is_recorded(tmp_path, runs, monkeypatch):
    monkeypatch.setattr(sys, "argv", ["experiments/a b.py", "--out", "x"])
    result = run_study(BASE, ARMS, (0,), out=tmp_path, progress=False)
    assert result.plan.command == "python 'experiments/a b.py' --out x"


@pytest.fixture(scope="module")
def real():
    """Two arms so small that a run takes a moment."""
    base = RunConfig(
        model=ModelSpec("plain"),
        data=DataConfig("digits", train_size=96),
        optimizer=OptimizerConfig(learning_rate=0.05),
        epochs=2,
        batch_size=32,
        parallel="jit",
    )
    images = {"input_shape": (8, 8, 1), "num_classes": 10}
    arms = [match_width("plain", depth, params=900, tolerance=0.05, **images) for depth in (2, 3)]
    return base, arms


def test_interrupted_and_resumed_it_is_the_same_study(tmp_path, real, monkeypatch, capsys):
    base, arms = real
    whole = run_study(base, arms, (0, 1), out=tmp_path / "whole", progress=False)
    started = []

    def interrupted(config, **options):
        if len(started) == 2:
            raise KeyboardInterrupt
        started.append(config)
        return train(config, **options)

    monkeypatch.setattr(runner, "run", interrupted)
    with pytest.raises(KeyboardInterrupt):
        run_study(base, arms, (0, 1), out=tmp_path / "broken")
    assert "Stopped after 2 of 4 runs; the same command continues." in capsys.readouterr().err
    assert not (tmp_path / "broken" / "results.json").exists()
    finished = {path: path.stat().st_mtime_ns for path in (tmp_path / "broken" / "runs").rglob("*") if path.is_file()}

    monkeypatch.setattr(runner, "run", train)
    resumed = run_study(base, arms, (0, 1), out=tmp_path / "broken", progress=False)
    assert [record.metrics for record in resumed.runs] == [record.metrics for record in whole.runs]
    assert len({record.metrics["train_loss"] for record in whole.runs}) == 4
    assert {path: path.stat().st_mtime_ns for path in finished} == finished

    # All runs are there: a third call reads them and trains nothing.
    again = run_study(base, arms, (0, 1), out=tmp_path / "broken", progress=False)
    assert again == resumed
    assert write_report(again, tmp_path / "broken").exists()
