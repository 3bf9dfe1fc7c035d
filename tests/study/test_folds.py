"""Cross-validated studies: every image is a test image once a repeat, and each fold is tuned by itself."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from jaxcnn.data import load
from jaxcnn.errors import InputError
from jaxcnn.spec import DataConfig, ModelSpec, RunConfig, Seeds, StudyConfig, Tuning
from jaxcnn.study import analyse, load_study, write_report
from jaxcnn.study.plan import make_plan
from jaxcnn.study.rerun import rerun
from jaxcnn.study.schedule import next_runs, run_config, total_runs
from jaxcnn.study.verify import verify
from tests.study.small import arms, finished_runs, journal, small_study

BASE = RunConfig(ModelSpec("dense"), DataConfig("digits", train_size=96), epochs=2, batch_size=32, parallel="jit")
SETTINGS = {
    "base": BASE, "folds": 3, "repeats": 2, "tuning": Tuning((0.05, 0.2), (1e-4,), extensions=0, rounds=1),
}  # fmt: skip


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Train a small cross-validated study of two arms; never to be changed."""
    out = tmp_path_factory.mktemp("folds") / "study"
    small_study(out, **SETTINGS)
    write_report(load_study(out), out)
    return out


@pytest.mark.slow
def test_one_repeat_is_reported_without_an_interval(tmp_path: Path) -> None:
    """A study of as many runs as folds shows no spread, and says so."""
    small_study(tmp_path / "study", **SETTINGS | {"repeats": 1})
    findings = analyse(load_study(tmp_path / "study"))
    assert findings.decision == "inconclusive"
    assert "one repeat of 3 folds each" in findings.sentence
    assert all(np.isnan(each.seed_consistency) for each in findings.arms)


def test_folds_are_disjoint_and_are_all_images() -> None:
    """Their labels are those of the data set; each has as many training images, and no image twice."""
    whole, parts = load("digits"), [load(DataConfig("digits", fold=(number, 5, 1))) for number in range(5)]
    labels = np.concatenate([part.load_test()["labels"] for part in parts])
    every = np.concatenate([whole.train["labels"], whole.validation["labels"], whole.load_test()["labels"]])
    assert np.array_equal(np.bincount(labels), np.bincount(every))
    assert len({part.sizes["train"] for part in parts}) == 1
    images = {part.load_test()["images"][place].tobytes() for part in parts for place in range(part.sizes["test"])}
    assert len(images) == len({image.tobytes() for image in np.concatenate(
        [whole.train["images"], whole.validation["images"], whole.load_test()["images"]])})  # fmt: skip
    one = parts[0]
    test = {image.tobytes() for image in one.load_test()["images"]}
    assert not test & {image.tobytes() for image in np.concatenate([one.train["images"], one.validation["images"]])}
    # Of each class every fold has its share, to one image or two.
    counts = np.array([np.bincount(part.load_test()["labels"], minlength=10) for part in parts])
    assert np.ptp(counts, axis=0).max() <= 2
    assert load(DataConfig("digits", fold=(0, 5, 2))).validation_hash != one.validation_hash
    assert one.split_by == "index"


@pytest.mark.parametrize("fold", [(5, 5, 0), (-1, 5, 0), (0, 1, 0), (0, 2000, 0), (0, 5, -1)])
def test_a_fold_that_cannot_be_is_refused(fold: tuple[int, int, int]) -> None:
    """The message names it."""
    with pytest.raises(InputError, match=r"fold=\("):
        load(DataConfig("digits", fold=fold))


def test_settings_that_do_not_go_with_folds_are_refused() -> None:
    """One fold, the old way of tuning, and a fold of the base."""
    with pytest.raises(InputError, match="folds=1, repeats=3"):
        make_plan(StudyConfig(folds=1), arms())
    with pytest.raises(InputError, match=r"tuning.method='grid': with folds"):
        make_plan(StudyConfig(folds=5, tuning=Tuning(method="grid")), arms())
    with pytest.raises(InputError, match=r"base.data.fold=\(0, 5, 0\): .* give folds"):
        make_plan(StudyConfig(RunConfig(data=DataConfig(fold=(0, 5, 0)))), arms())


def test_no_trial_of_a_fold_has_its_test_images() -> None:
    """The configs say so: the same fold, another division of the rest; and each run has its fold."""
    plan = make_plan(StudyConfig(folds=4, repeats=2, seeds=Seeds(first=7), tuning=Tuning(rounds=1)), arms())
    now = next_runs(plan, lambda run: None)
    assert len(now.pending) == total_runs(plan, now) - 2 * 8 == 2 * 4 * 10
    assert {each.fold for each in now.pending} == {0, 1, 2, 3}
    for each in now.pending:
        data = run_config(plan, each).data
        assert data.fold == (each.fold, 4, 7)
        assert data.split_seed == each.seed
        assert f"/fold{each.fold}/" in each.path
    seeds = [each.seed for each in now.pending]
    assert len(set(seeds)) == len(seeds)
    assert [plan.fold_of(seed) for seed in range(7, 15)] == [0, 1, 2, 3, 0, 1, 2, 3]


@pytest.mark.slow
def test_every_image_is_a_test_image_once_a_repeat(study: Path) -> None:
    """The rows of predictions.npz are arms and repeats, and say which runs they are."""
    result = load_study(study)
    with np.load(study / "predictions.npz") as file:
        arrays = dict(file)
    assert arrays["predictions"].shape == (4, 1797)
    assert arrays["seeds"].tolist() == [[0, 1, 2], [3, 4, 5]] * 2
    assert arrays["arms"].tolist() == [arm.label for arm in arms() for _ in range(2)]
    assert np.bincount(arrays["folds"]).tolist() == [599, 599, 599]
    assert len(result.runs) == 12
    run = result.runs[4]  # fold 1 of the second repeat
    right = (arrays["predictions"] == arrays["labels"])[1, arrays["folds"] == 1]
    assert run.metrics["test_accuracy"] == pytest.approx(right.mean())
    assert result.errors(arms()[0]).shape == (2, 1797)
    folds = json.loads((study / "runs.json").read_text())["data"]["folds"]
    assert len({fold["validation_hash"] for fold in folds}) == len({fold["test_hash"] for fold in folds}) == 3
    for label, tuned in result.tuning.arms.items():
        assert [run.setting for run in result.runs if run.arm == label] == 2 * list(tuned.folds)


@pytest.mark.slow
def test_its_report_agrees_with_its_records(study: Path) -> None:
    """Every number is computed a second time, by other formulas."""
    checks = verify(study)
    assert [check for check in checks if check.equal < check.numbers] == []
    assert next(check.numbers for check in checks if check.name == "settings of the folds") == 12
    assert checks[-1].numbers == 6
    found = analyse(load_study(study))
    assert found.contrasts[0].runs == "2 repeats of 3 folds"
    assert "new seeds, new images and new tuning" in found.sentence
    plan = json.loads((study / "plan.json").read_text())
    assert plan["resolution"]["test_images"] == 1797
    assert plan["rule"] == "retuned-folds-1"


@pytest.mark.slow
def test_an_edited_setting_of_a_fold_is_noticed(study: Path, tmp_path: Path) -> None:
    """In the copy the runs of a fold claim another rate than its trials chose."""
    copy = shutil.copytree(study, tmp_path / "copy")
    record = json.loads((copy / "runs.json").read_text())
    rates = {0.05: 0.2, 0.2: 0.05}
    record["runs"][0]["setting"]["learning_rate"] = rates[record["runs"][0]["setting"]["learning_rate"]]
    (copy / "runs.json").write_text(json.dumps(record))
    differ = {check.name for check in verify(copy, data=False) if check.equal < check.numbers}
    assert differ == {"seals and hashes of the files", "settings of the folds"}


@pytest.mark.slow
def test_one_of_its_runs_can_be_trained_again(study: Path) -> None:
    """Seed 4 is fold 1 of the second repeat."""
    equal, count = rerun(study, arms()[1].label, 4, progress=False)
    assert (equal, count) == (599, 599)


@pytest.mark.slow
def test_it_resumes_with_what_is_finished(study: Path, tmp_path: Path) -> None:
    """Runs that are gone are trained again, others are not, and the result is the same."""
    copy = shutil.copytree(study, tmp_path / "copy")
    for name in ("runs.json", "predictions.npz"):
        (copy / name).unlink()
    before = finished_runs(copy)
    paths = [path for path in journal(copy) if path.startswith("runs") and "fold1" in path][:2]
    for path in paths:
        shutil.rmtree(copy / path)
    small_study(copy, **SETTINGS)
    with np.load(study / "predictions.npz") as old, np.load(copy / "predictions.npz") as new:
        assert all(np.array_equal(old[name], new[name]) for name in old.files)
    assert len(paths) == 2
    assert all((finished_runs(copy)[path] == before[path]) == (path not in paths) for path in before)


@pytest.mark.slow
def test_the_verdict_of_grouped_images_is_for_new_groups(tmp_path: Path) -> None:
    """Writers are the sample, by either set of formulas, in folds that keep them apart."""
    data = replace(BASE.data, groups="writers")
    result = small_study(tmp_path, **{**SETTINGS, "base": replace(BASE, data=data, epochs=1)})
    write_report(result, tmp_path)
    assert [check for check in verify(tmp_path) if check.equal < check.numbers] == []
    contrast = analyse(result).contrasts[0]
    assert contrast.groups == 14
    assert "images of new groups" in contrast.sentence
    writers = [set(result.groups[result.folds == fold].tolist()) for fold in range(3)]
    assert sum(map(len, writers)) == 14
