"""The files of a study: whatever was edited, cut, exchanged or is of another type is refused, and stays as it is."""

import json
import re
import shutil

import numpy as np
import pytest

from jaxcnn.errors import InputError
from jaxcnn.run import load_result
from jaxcnn.runtime.files import seal, write_json, write_sealed
from jaxcnn.spec import Seeds
from jaxcnn.study.result import load_study
from tests.study.planted import planted_study
from tests.study.small import files, finished_runs, reported, small_study

STAGES = ("tuning.json", "pilot.json", "runs.json", "costs.json")


def cut(path):
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def empty(path):
    path.write_bytes(b"")


def no_object(path):
    path.write_text("[1, 2]\n")


def edited(path):
    """The first digit of some number of the record is another."""
    text = path.read_text()
    found = re.search(r'(?<!["\w])\d', text)
    digit = str((int(found.group()) + 1) % 10)
    path.write_text(text[: found.start()] + digit + text[found.end() :])


def unsealed(path):
    record = json.loads(path.read_text())
    del record["seal"]
    path.write_text(json.dumps(record))


def of_another_version(path):
    record = json.loads(path.read_text()) | {"format": "jaxcnn study 1"}
    write_sealed(path, record)


def refused(directory, name, match=None):
    """By whoever reads the study and by whoever runs it; nothing is written."""
    before = files(directory)
    for act in (load_study, small_study):
        with pytest.raises(InputError, match=match) as found:
            act(directory)
        assert name in str(found.value)
        assert str(directory) in str(found.value)
        assert "\n" not in str(found.value)
        assert re.search("delete|restore", str(found.value))
    assert files(directory) == before


@pytest.mark.parametrize("name", STAGES)
@pytest.mark.parametrize("spoil", [cut, empty, no_object, edited, unsealed, of_another_version])
def test_a_damaged_stage_is_refused(copied, name, spoil):
    spoil(copied / name)
    refused(copied, name)


@pytest.mark.parametrize("name", STAGES)
def test_the_file_of_another_study_is_refused(copied, tmp_path, name):
    planted_study(tmp_path / "other", {8: (0.1, 0.2), 20: (0.2, 0.3)})
    shutil.copy(tmp_path / "other" / name, copied / name)
    refused(copied, name, "belongs to another study than plan.json beside it")


@pytest.mark.parametrize("name", STAGES)
def test_a_whole_file_under_another_name_is_refused(copied, name):
    for other in STAGES:
        if other != name:
            kept = (copied / name).read_bytes()
            shutil.copy(copied / other, copied / name)
            with pytest.raises(InputError, match=rf"{name}: (unknown field|the field '\w+' is missing)"):
                load_study(copied)
            (copied / name).write_bytes(kept)


def test_the_plan_of_another_study_is_refused(copied, tmp_path):
    planted_study(tmp_path / "other", {8: (0.1, 0.2), 20: (0.2, 0.3)})
    shutil.copy(tmp_path / "other" / "plan.json", copied / "plan.json")
    before = files(copied)
    with pytest.raises(InputError, match=r"tuning\.json belongs to another study than plan\.json"):
        load_study(copied)
    with pytest.raises(InputError, match="another plan"):
        small_study(copied)
    assert files(copied) == before


@pytest.mark.parametrize("spoil", [cut, empty, lambda path: path.write_bytes(path.read_bytes() + b"x")])
def test_damaged_predictions_are_refused(copied, spoil):
    spoil(copied / "predictions.npz")
    refused(copied, "predictions.npz", "is not the file that runs.json was written with")


def test_predictions_of_another_study_are_refused(copied, tmp_path):
    planted_study(tmp_path / "other", {8: (0.1, 0.2), 20: (0.2, 0.3)})
    shutil.copy(tmp_path / "other" / "predictions.npz", copied / "predictions.npz")
    refused(copied, "predictions.npz")


def test_missing_files_say_that_the_study_is_not_finished(copied):
    for name in ("tuning.json", "pilot.json", "runs.json"):
        kept = (copied / name).read_bytes()
        (copied / name).unlink()
        with pytest.raises(InputError, match=f"holds no {name}: the study is not finished"):
            load_study(copied)
        (copied / name).write_bytes(kept)
    (copied / "costs.json").unlink()
    assert load_study(copied).costs == {}


def test_stages_that_do_not_fit_each_other_are_refused(copied, tmp_path):
    """Sealed, of the same plan, and not what the runs give: a tuning.json from another machine, say."""
    record = json.loads((copied / "tuning.json").read_text())
    arm = next(iter(record["arms"].values()))
    arm["setting"] = next(trial["setting"] for trial in arm["trials"] if trial["setting"] != arm["setting"])
    write_sealed(copied / "tuning.json", record)
    before = files(copied)
    with pytest.raises(InputError, match=r"runs\.json does not hold the runs of params2000_depth2"):
        load_study(copied)
    with pytest.raises(InputError, match=r"tuning\.json does not say what the runs beside it give"):
        small_study(copied)
    assert files(copied) == before


@pytest.mark.parametrize("stage", ["tuning", "runs"])
@pytest.mark.parametrize("name", ["result.json", "config.json", "data.json", "environment.json"])
@pytest.mark.parametrize("spoil", [cut, no_object, edited])
def test_a_damaged_run_is_refused(copied, stage, name, spoil):
    path = next(path for path in sorted(finished_runs(copied)) if path.startswith(stage))
    spoil(copied / path / name)
    before = files(copied)
    with pytest.raises(InputError) as found:
        small_study(copied)
    assert path in str(found.value)
    assert re.search("move (this run's|that) folder away", str(found.value))
    assert files(copied) == before
    with pytest.raises(InputError):
        load_result(copied / path)


def test_a_run_of_another_study_or_seed_is_refused(copied, tmp_path):
    """Whole folders and single results moved to where they do not belong."""
    one, two = reported(copied)[:2]
    kept = tmp_path / "kept"
    shutil.copytree(copied / one, kept)
    shutil.copy(copied / two / "result.json", copied / one / "result.json")
    with pytest.raises(InputError, match=r"config\.json.*belongs to another run"):
        small_study(copied)
    shutil.rmtree(copied / one)
    shutil.copytree(copied / two, copied / one)
    with pytest.raises(InputError, match="seed is 1, not 0"):
        small_study(copied)
    shutil.rmtree(copied / one)
    shutil.copytree(kept, copied / one)
    small_study(copied)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"metrics": {}}, "has no train_loss, .* in its metrics"),
        ({"metrics": 3}, "metrics=3 is not a value of that field"),
        ({"history": [3]}, "history"),
        ({"history": []}, "has no epochs"),
        ({"seconds": {"step": "long"}}, "'long'"),
        ({"files": {"config.json": 3}}, r"files\.config\.json=3"),
        ({"files": {"../other.json": "abc"}}, r"other\.json"),
        ({"params": None}, "params=None"),
    ],
)
def test_a_sealed_result_of_wrong_types_is_refused(copied, change, message):
    path = next(path for path in sorted(finished_runs(copied)) if path.startswith("runs"))
    file = copied / path / "result.json"
    write_sealed(file, json.loads(file.read_text()) | change)
    before = files(copied)
    with pytest.raises(InputError, match=message) as found:
        small_study(copied)
    assert path in str(found.value)
    assert re.search("move (this run's|that) folder away", str(found.value))
    assert files(copied) == before


def test_a_sealed_file_that_is_no_result_is_refused(copied):
    path = next(iter(finished_runs(copied)))
    write_sealed(copied / path / "result.json", {"hello": 1})
    with pytest.raises(InputError, match="not the result of a run"):
        small_study(copied)


def test_changed_predictions_of_a_run_are_refused_when_it_is_gathered(copied):
    (copied / "runs.json").unlink()
    path = reported(copied)[-1]
    cut(copied / path / "predictions.npz")
    with pytest.raises(InputError, match=r"predictions\.npz.*changed after it was written"):
        small_study(copied)
    assert not (copied / "runs.json").exists()


def test_a_damaged_runs_json_is_not_replaced(copied):
    """Although its predictions are missing, which would be written again with it."""
    (copied / "predictions.npz").unlink()
    edited(copied / "runs.json")
    before = files(copied)
    with pytest.raises(InputError, match=r"runs\.json.*seal is broken"):
        small_study(copied)
    assert files(copied) == before


def test_planted_studies_survive_the_disk(tmp_path):
    found = planted_study(tmp_path / "s", {8: (0.1, 0.2), 20: (0.2, 0.3)}, diverged={(20, 1)})
    again = load_study(tmp_path / "s")
    assert (again.plan, again.tuning, again.pilot, again.costs) == (found.plan, found.tuning, found.pilot, found.costs)
    np.testing.assert_array_equal(again.arrays["predictions"], found.arrays["predictions"])
    assert [run.diverged for run in again.runs] == [False, False, False, True]
    assert np.isnan(again.runs[3].metrics["train_loss"])
    assert again.plan.seeds == Seeds(2, 2)
    assert [row.mean() for row in again.errors(again.plan.arms[1])] == pytest.approx([0.2, 0.3])


def test_a_seal_does_not_hide_a_wrong_type(copied):
    for name in STAGES:
        kept = (copied / name).read_bytes()
        record = json.loads(kept)
        for key in set(record) - {"format", "plan", "seal"}:
            wrong = {**record, key: 3}
            write_json(copied / name, wrong | {"seal": seal(wrong)})
            if key not in ("needed", "spread", "floor"):
                with pytest.raises(InputError, match=name):
                    load_study(copied)
        (copied / name).write_bytes(kept)
