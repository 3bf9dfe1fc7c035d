"""`jaxcnn study rerun`: a run trained again gives the stored predictions, or the difference is counted."""

import json

import numpy as np
import pytest

from jaxcnn.cli import main
from jaxcnn.runtime.files import sha256, write_sealed
from jaxcnn.study.rerun import rerun
from jaxcnn.study.result import load_study


def test_every_prediction_of_a_run_comes_again(small):
    """On the same machine and versions."""
    study = load_study(small)
    run, images = study.runs[-1], study.arrays["labels"].size
    assert rerun(small, run.arm, run.seed, progress=False) == (images, images)


def test_differences_are_counted_and_end_with_one(copied, capsys):
    """Two stored predictions of one run are changed, and everything is sealed again."""
    study = load_study(copied)
    run, predictions = study.runs[0], study.arrays["predictions"].copy()
    predictions[0, :2] = (predictions[0, :2] + 1) % 10
    np.savez_compressed(copied / "predictions.npz", labels=study.arrays["labels"], predictions=predictions)
    record = json.loads((copied / "runs.json").read_text())
    record["predictions_sha256"] = sha256(copied / "predictions.npz")
    (copied / "runs.json").unlink()
    write_sealed(copied / "runs.json", {name: value for name, value in record.items() if name != "seal"})
    with pytest.raises(SystemExit) as end:
        main(["study", "rerun", str(copied), "--arm", run.arm, "--seed", str(run.seed)])
    count = study.arrays["labels"].size
    assert end.value.code == 1
    assert f"{count - 2} of {count} predictions equal" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("words", "problem"),
    [(["--arm", "depth99", "--seed", "0"], "--arm depth99: the study has no such arm"), (None, "has no such run")],
)
def test_an_unknown_arm_or_seed_is_one_sentence(small, capsys, words, problem):
    """It names the arms or seeds there are."""
    words = words or ["--arm", load_study(small).runs[0].arm, "--seed", "999"]
    with pytest.raises(SystemExit) as end:
        main(["study", "rerun", str(small), *words])
    assert end.value.code == 2
    assert problem in capsys.readouterr().err
