"""A study whose data were moved goes on at their new place if they are the same, and is refused if they are not."""

import json
import shutil
from dataclasses import replace

import numpy as np
import pytest
from sklearn.datasets import load_digits

from jaxcnn.cli import main
from jaxcnn.errors import InputError
from jaxcnn.run import load_result
from jaxcnn.runtime.signals import Interrupted
from jaxcnn.spec import DataConfig, Seeds, StudyConfig, Tuning
from jaxcnn.study.execution import worker
from jaxcnn.study.execution.run_study import run_study
from tests.study.small import BASE, files, finished_runs, outcome, small_study

pytestmark = pytest.mark.slow

FAST = {"tuning": Tuning((0.05, 0.2), (1e-4,), extensions=0), "seeds": Seeds(2, 2)}


def study_on(place, out):
    return small_study(out, base=replace(BASE, data=DataConfig(str(place), train_size=96)), **FAST)


@pytest.fixture(scope="module")
def original(tmp_path_factory):
    """A folder with 400 digits and the whole study on them."""
    root = tmp_path_factory.mktemp("original")
    digits = load_digits()
    np.savez(root / "set.npz", images=(digits.images[:400] * 15).astype(np.uint8), labels=digits.target[:400])
    study_on(root / "set.npz", root / "whole")
    return root


@pytest.fixture
def begun(original, tmp_path, monkeypatch):
    """A folder with the same data and with a study that was interrupted within a run, after some others."""
    shutil.copy2(original / "set.npz", tmp_path / "set.npz")
    real, epochs = worker.run, []

    def interrupted(config, *, on_epoch, **options):
        def epoch(record):
            epochs.append(record)
            if len(epochs) == 8:
                raise KeyboardInterrupt

        return real(config, on_epoch=epoch, **options)

    monkeypatch.setattr(worker, "run", interrupted)
    with pytest.raises(Interrupted):
        study_on(tmp_path / "set.npz", tmp_path / "study")
    monkeypatch.setattr(worker, "run", real)
    assert len(finished_runs(tmp_path / "study")) == 2
    return tmp_path


def test_a_study_goes_on_with_the_same_data_at_another_place(original, begun, capsys):
    (begun / "new").mkdir()
    shutil.move(begun / "set.npz", begun / "new" / "set.npz")
    before, plan = finished_runs(begun / "study"), (begun / "study" / "plan.json").read_bytes()
    result = study_on(begun / "new" / "set.npz", begun / "study")
    resumed, whole = outcome(begun / "study"), outcome(original / "whole")
    for each in (resumed, whole):
        del each["tuning.json"]["plan"], each["pilot.json"]["plan"]  # their plans name another place
        del each["tuning.json"]["seal"], each["pilot.json"]["seal"]
    assert resumed == whole
    after = finished_runs(begun / "study")
    assert {path: after[path] for path in before} == before
    assert (begun / "study" / "plan.json").read_bytes() == plan
    names = {load_result(begun / "study" / path).data["name"] for path in after}
    assert names == {str(begun / "set.npz"), str(begun / "new" / "set.npz")}
    main(["study", "status", str(begun / "study")])
    assert "0 diverged" in capsys.readouterr().out
    run = result.runs[0]
    main(["study", "rerun", str(begun / "study"), "--arm", run.arm, "--seed", str(run.seed),
          "--data", str(begun / "new" / "set.npz")])  # fmt: skip
    count = result.arrays["labels"].size
    assert f"{count} of {count} predictions equal" in capsys.readouterr().out


def test_other_data_are_refused_and_nothing_is_written(begun):
    with np.load(begun / "set.npz") as arrays:
        np.savez(begun / "other.npz", images=255 - arrays["images"], labels=arrays["labels"])
    before = files(begun / "study")
    with pytest.raises(InputError, match=r"data '.*other.npz': its mean changed since the run in '.*study"):
        study_on(begun / "other.npz", begun / "study")
    with pytest.raises(InputError, match="another plan"):
        small_study(begun / "study", **FAST)  # the digits
    assert files(begun / "study") == before


def test_a_finished_study_is_read_with_its_data_anywhere_and_with_no_others(original, tmp_path, monkeypatch):
    study = shutil.copytree(original / "whole", tmp_path / "study", copy_function=shutil.copy2)
    shutil.copy(original / "set.npz", tmp_path / "same.npz")
    with np.load(original / "set.npz") as arrays:
        np.savez(tmp_path / "other.npz", images=arrays["images"][::-1], labels=arrays["labels"][::-1])
    before = files(study)
    monkeypatch.setattr(worker, "run", None)
    study_on(tmp_path / "same.npz", study)
    with pytest.raises(InputError, match="changed since the run in"):
        study_on(tmp_path / "other.npz", study)
    assert files(study) == before


def test_missing_data_say_how_to_name_their_new_place(begun):
    (begun / "set.npz").unlink()
    plan = json.loads((begun / "study" / "plan.json").read_text())["study"]
    config = StudyConfig(
        replace(BASE, data=DataConfig(plan["base"]["data"]["name"], train_size=96)), depths=(2, 4), params=(2000,)
    )
    with pytest.raises(InputError, match=r"does not exist.*if the study's data have moved, give their new place as da"):
        run_study(config, out=begun / "study", progress=False)
    with pytest.raises(InputError, match=r"does not exist; give an image folder, .* or a name$"):
        run_study(config, out=begun / "another", progress=False)
