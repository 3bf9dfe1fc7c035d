"""A study from its plan to its result: what it trains, when it reads the test split, what it refuses."""

import json
import shutil
import sys
from dataclasses import replace

import numpy as np
import pytest

from jaxcnn.data import load
from jaxcnn.data.splits import content_hash
from jaxcnn.errors import InputError
from jaxcnn.run import load_result
from jaxcnn.spec import DataConfig, Seeds, StudyConfig, Tuning
from jaxcnn.study.execution import run_study as runner
from jaxcnn.study.execution import worker as work
from jaxcnn.study.execution.run_study import run_study
from jaxcnn.study.execution.worker import Reader
from jaxcnn.study.plan import load_plan
from jaxcnn.study.result import load_study
from jaxcnn.study.schedule import next_runs
from tests.study.small import BASE, arms, files, finished_runs, journal, outcome, reported, small_study

FAST = {"tuning": Tuning((0.05, 0.2), (1e-4,), extensions=0), "seeds": Seeds(1, 1)}


def test_a_study_leaves_what_it_says(small):
    result = load_study(small)
    trials = {label: len(arm.trials) for label, arm in result.tuning.arms.items()}
    assert len(set(trials.values())) == 1
    seeds = list(result.pilot.seeds)
    assert 2 <= len(seeds) <= 3
    for arm in arms():
        runs = result.of(arm)
        assert [run.seed for run in runs] == seeds
        assert result.errors(arm).shape == (len(seeds), 360)
        for run, errors in zip(runs, result.errors(arm), strict=True):
            assert 1 - run.metrics["test_accuracy"] == pytest.approx(errors.mean())
            assert set(run.seconds) == {"compile", "train", "step", "total"}
            assert len(run.history) == 3
            assert not any(name.startswith("test") for epoch in run.history for name in epoch)
        assert result.costs[arm.label].step > 0
    assert sorted(journal(small)) == sorted(finished_runs(small))
    assert not list(small.rglob("*.partial"))


def test_smooth_trials_are_trained_on_divisions_of_their_own(tmp_path):
    """Each on as many images as the fixed one has, none of them a test image; the reported runs have the fixed one."""
    tuning = Tuning((0.05, 0.2), (1e-4,), extensions=0, rounds=2)
    result = small_study(tmp_path, tuning=tuning, seeds=Seeds(1, 1), progress=False)
    fixed, splits = load(BASE.data), []
    for arm in result.tuning.arms.values():
        for trial in arm.trials:
            (folder,) = tmp_path.glob(f"tuning/*/{trial.setting.label}/seed{trial.seed}")
            data = json.loads((folder / "data.json").read_text())
            own = load(replace(BASE.data, split_seed=trial.seed))
            assert (trial.split, trial.images) == (data["validation_hash"], 300) == (own.validation_hash, 300)
            assert data["sizes"] == fixed.sizes
            assert data["content"]["train"] == content_hash(own.train)
            splits.append(trial.split)
    assert len(set(splits)) == len(splits) == 2 * (2 + 1)
    assert result.data["validation_hash"] == fixed.validation_hash not in splits
    declared = json.loads((tmp_path / "plan.json").read_text())["resolution"]
    assert declared["test_images"] == 360
    assert "360 test images can call arms equivalent within 5 points at error rates up to" in declared["equivalence"]


def test_rows_of_the_predictions_are_labelled(small):
    """Tuned runs and those at the shared setting lie in one array."""
    with np.load(small / "predictions.npz", allow_pickle=False) as stored:
        labels = zip(*(stored[name] for name in ("arms", "learning_rates", "weight_decays", "seeds")), strict=True)
        assert list(labels) == [(run.arm, *run.setting, run.seed) for run in load_study(small).runs]


def test_every_run_of_it_is_a_run(small):
    plan, result = load_plan(small), load_study(small)
    now = next_runs(plan, Reader(plan, small))
    reported = [each for each in now.runs if each.stage == "runs"]
    assert len(reported) == len(result.runs)
    for each, record, row in zip(reported, result.runs, result.arrays["predictions"], strict=True):
        run = load_result(small / each.path)
        assert run.config.evaluate_test
        assert run.metrics == record.metrics
        np.testing.assert_array_equal(run.predictions["predictions"], row)
    trials = [load_result(small / each.path) for each in now.runs if each.stage == "tuning"]
    assert trials
    for trial in trials:
        assert not trial.predictions
        assert not any(name.startswith("test") for name in trial.metrics)


def test_a_finished_study_is_read_and_needs_no_data(copied, monkeypatch):
    before = files(copied)
    monkeypatch.setattr(runner, "load", None)
    monkeypatch.setattr(work, "run", None)
    small_study(copied)
    assert files(copied) == before


def test_another_plan_is_refused_and_trains_nothing(copied):
    before = files(copied)
    with pytest.raises(InputError, match=r"another plan \(margin is "):
        small_study(copied, margin=0.01)
    assert files(copied) == before


def test_files_that_were_deleted_are_rebuilt_from_the_runs(small, copied):
    for names in (["tuning.json"], ["pilot.json"], ["predictions.npz"], ["runs.json", "costs.json"], ["journal.jsonl"]):
        for name in names:
            (copied / name).unlink()
        if names == ["journal.jsonl"]:
            (copied / "runs.json").unlink()
        small_study(copied)
        assert outcome(copied) == outcome(small), names
    assert finished_runs(copied).keys() == finished_runs(small).keys()
    assert sorted(journal(copied)) == sorted(journal(small))


def test_a_study_killed_after_its_last_pilot_run_still_gets_its_pilot_json(small, copied):
    """Where pilot runs are all there is, nothing is left to do and everything left to write."""
    for name in ("tuning.json", "pilot.json", "costs.json", "runs.json", "predictions.npz"):
        (copied / name).unlink()
    small_study(copied)
    assert outcome(copied) == outcome(small)


@pytest.fixture
def spied(monkeypatch):
    """Events of a study: epochs of every run, and every time that the test split is read."""
    events = []
    real = work.run

    def spy(config, *, dataset, on_epoch, **options):
        name = (config.evaluate_test, config.model.depth, config.optimizer.learning_rate, config.seed)

        def load_test():
            events.append((name, "test"))
            return dataset.load_test()

        def epoch(record):
            events.append((name, record["epoch"]))
            on_epoch(record)

        return real(config, dataset=dataset._replace(load_test=load_test), on_epoch=epoch, **options)

    monkeypatch.setattr(work, "run", spy)
    return events


def test_the_test_split_is_read_once_per_run_after_its_last_epoch_and_never_in_tuning(tmp_path, spied):
    result = small_study(tmp_path / "s")
    by_run = {}
    for name, event in spied:
        by_run.setdefault(name, []).append(event)
    reported = [events for (tests, *_), events in by_run.items() if tests]
    tuning = [events for (tests, *_), events in by_run.items() if not tests]
    assert len(reported) == len(result.runs)
    assert all(events == [1, 2, 3, "test"] for events in reported)
    assert tuning
    assert all(events == [1, 2, 3] for events in tuning)
    # In time, too: the first look at test images comes after the whole of tuning.
    first = next(index for index, (_, event) in enumerate(spied) if event == "test")
    assert all(name[0] for name, _ in spied[first:])


def test_nothing_but_the_end_of_a_run_can_see_the_test_split(small, tmp_path, monkeypatch):
    """Test images that cannot be read: tuning is whole, and every pilot run is trained to its end."""

    def closed(config, **options):
        def refuse():
            raise RuntimeError("the test split is closed")

        return load(config, **options)._replace(load_test=refuse)

    monkeypatch.setattr(runner, "load", closed)
    with pytest.raises(RuntimeError, match="is closed"):
        small_study(tmp_path / "s")
    assert (tmp_path / "s" / "tuning.json").read_bytes() == (small / "tuning.json").read_bytes()
    assert len(list((tmp_path / "s" / "runs").rglob("metrics.jsonl"))) == 1


@pytest.mark.slow
def test_poisoned_test_labels_change_no_choice(small, tmp_path, monkeypatch):
    def poisoned(config, **options):
        data = load(config, **options)

        def load_test():
            split = data.load_test()
            return {**split, "labels": (split["labels"] + 1) % 10}

        return data._replace(load_test=load_test)

    monkeypatch.setattr(runner, "load", poisoned)
    found = small_study(tmp_path / "s")
    for name in ("tuning.json", "pilot.json"):
        assert (tmp_path / "s" / name).read_bytes() == (small / name).read_bytes()
    honest = load_study(small)
    np.testing.assert_array_equal(found.arrays["predictions"], honest.arrays["predictions"])
    assert found.runs[0].metrics["test_accuracy"] != honest.runs[0].metrics["test_accuracy"]


def test_a_study_whose_data_changed_is_not_resumed(copied, monkeypatch):
    def changed(config, **options):
        data = load(config, **options)
        return data._replace(train=data.train | {"images": data.train["images"][::-1].copy()})

    shutil.rmtree(copied / reported(copied)[0])
    for name in ("runs.json", "predictions.npz"):
        (copied / name).unlink()
    before = files(copied)
    monkeypatch.setattr(runner, "load", changed)
    with pytest.raises(InputError, match="data 'digits': its content changed since the run in"):
        small_study(copied)
    assert files(copied) == before


def test_a_path_is_stored_absolute_and_names_one_study(tmp_path, monkeypatch):
    class Reached(Exception):
        """Planned, and nothing trained."""

    def stop(*_):
        raise Reached

    digits = load(DataConfig("digits")).train
    np.savez(tmp_path / "set.npz", images=np.asarray(digits["images"]), labels=digits["labels"])
    monkeypatch.setattr(runner, "_run", stop)
    for folder, name in ((".", "set.npz"), (".", "./set.npz"), ("s", "../set.npz")):
        monkeypatch.chdir(tmp_path / folder)
        with pytest.raises(Reached):
            small_study(tmp_path / "s", base=replace(BASE, data=DataConfig(name)))
    assert load_plan(tmp_path / "s").base.data.name == str(tmp_path / "set.npz")


@pytest.mark.slow
def test_diverged_runs_are_stored_as_json_and_counted(tmp_path):
    base = replace(BASE, optimizer=replace(BASE.optimizer, warmup_epochs=0.0), epochs=1)
    tuning = Tuning((0.1, 1e12), (1e-4,), extensions=0, method="grid")
    result = small_study(tmp_path / "s", base=base, **{**FAST, "tuning": tuning})
    for arm in result.tuning.arms.values():
        assert [trial.diverged for trial in arm.trials] == [False, True]
        assert arm.setting.learning_rate == 0.1
    for file in (tmp_path / "s").rglob("*.json"):
        json.loads(file.read_text(), parse_constant=pytest.fail)
    lost = small_study(tmp_path / "l", base=base, **{**FAST, "tuning": Tuning((1e12,), (1e-4,))})
    assert all(run.diverged and np.isnan(run.metrics["validation_loss"]) for run in lost.runs)
    assert lost.errors(arms()[0]).mean() > 0.5


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"base": replace(BASE, epochs=0)}, "epochs=0"),
        ({"base": replace(BASE, optimizer=replace(BASE.optimizer, momentum=2.0))}, "momentum=2"),
        ({"base": replace(BASE, data=replace(BASE.data, augment=("turn",)))}, "turn"),
        ({"base": replace(BASE, data=replace(BASE.data, name="no_such_set"))}, "no_such_set"),
        ({"workers": 0}, "workers=0"),
        ({"margin": 0}, "margin=0"),
        ({"family": max}, "leave it out"),
        ({"place": "slurm"}, "place='slurm': choose local or ray"),
        ({"ray_address": "auto"}, "ray_address=auto: it is for a Ray cluster; give place=ray"),
        ({"cores_per_run": 2}, "cores_per_run=2: it is for a Ray cluster"),
        ({"gpus_per_run": 0.5}, "gpus_per_run=0.5: it is for a Ray cluster"),
    ],
    ids=lambda value: "" if isinstance(value, dict) else value,
)
def test_what_no_run_could_have_is_refused_before_anything_is_written(tmp_path, change, message):
    with pytest.raises(InputError, match=message):
        small_study(tmp_path / "s", **change)
    assert not (tmp_path / "s").exists()


def test_arms_are_solved_from_the_config_where_none_are_given(tmp_path):
    config = StudyConfig(
        replace(BASE, epochs=1), depths=(2, 4), params=(2000,), tolerance=0.05, margin=0.05, workers=1, **FAST
    )
    result = run_study(config, out=tmp_path / "s", progress=False)
    assert [(arm.depth, arm.kind, arm.budget) for arm in result.plan.arms] == [(2, "params", 2000), (4, "params", 2000)]
    assert run_study(config, out=tmp_path / "s", progress=False).runs == result.runs


def test_a_file_in_place_of_the_folder_is_refused_before_widths_are_searched(tmp_path, monkeypatch):
    monkeypatch.setattr(runner, "match_widths", pytest.fail)
    (tmp_path / "study").write_text("mine")
    with pytest.raises(InputError, match=r"out='.*study': it is a file; name a folder"):
        run_study(StudyConfig(depths=(2, 4), params=(2_000,)), out=tmp_path / "study", progress=False)
    assert (tmp_path / "study").read_text() == "mine"


def test_other_images_than_the_study_began_with_are_refused(copied, monkeypatch):
    shutil.rmtree(copied / reported(copied)[-1])
    for name in ("pilot.json", "runs.json"):
        (copied / name).unlink()
    monkeypatch.setattr(runner, "load", lambda config, **_: load(replace(config, train_size=100)))
    with pytest.raises(InputError, match="its sizes changed since the run in"):
        small_study(copied)
    assert not (copied / "runs.json").exists()


def test_the_command_is_recorded(tmp_path, monkeypatch):
    for typed, told in (
        (["experiments/a b.py", "--out", "x"], "python 'experiments/a b.py' --out x"),
        (["/usr/bin/jaxcnn", "study"], "jaxcnn study"),
        (["/lib/jaxcnn/__main__.py", "study"], "python -m jaxcnn study"),
    ):
        monkeypatch.setattr(sys, "argv", typed)
        assert runner.command_line(sys.argv[1:]) == told


def test_progress_is_a_line_a_stage_without_a_terminal(copied, capsys, monkeypatch):
    shutil.rmtree(copied / "runs")
    for name in ("pilot.json", "runs.json", "predictions.npz"):
        (copied / name).unlink()
    small_study(copied, progress=True)
    shown = capsys.readouterr()
    lines = shown.err.splitlines()
    stages = [line.split(":")[0] for line in lines]
    assert [stage for stage in stages if stage != "runs"] == ["pilot runs", "measuring what a step of each arm costs"]
    assert shown.out == ""
