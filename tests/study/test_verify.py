"""`jaxcnn verify`: published studies and single runs agree with themselves, and an edited number is noticed."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from jaxcnn.cli import main
from jaxcnn.errors import InputError
from jaxcnn.run import run
from jaxcnn.spec import DataConfig, ModelSpec, RunConfig
from jaxcnn.study import load_study, write_report
from jaxcnn.study.statistics.smoothing import retune, smooth
from jaxcnn.study.verify import verify
from jaxcnn.study.verify.formulas import Curve
from jaxcnn.study.verify.tuning import lowest_setting
from tests.docs.pages import ROOT
from tests.study.planted import planted_study

RESULTS = ROOT / "docs" / "results"
WHOLE = "values of analysis.json, none missing"
STUDIES = sorted(path.parent for path in RESULTS.rglob("plan.json"))


@pytest.mark.slow
@pytest.mark.parametrize("folder", STUDIES, ids=lambda path: path.relative_to(RESULTS).as_posix())
def test_every_published_study_agrees_with_its_records(folder: Path) -> None:
    """Every number of analysis.json follows from predictions.npz and the records beside it."""
    checks = verify(folder, data=False)
    assert [check for check in checks if check.equal < check.numbers] == []
    assert sum(check.numbers for check in checks) > 200


def test_a_new_study_agrees_with_its_records(copied: Path) -> None:
    """In the format of this version, the data set's splits included."""
    write_report(load_study(copied), copied)
    checks = verify(copied)
    assert [check for check in checks if check.equal < check.numbers] == []
    assert checks[-1].numbers == 2


def edited(folder: Path, name: str, old: str, new: str) -> None:
    """Replace the first occurrence of a text in a file."""
    text = (folder / name).read_text()
    assert old in text
    (folder / name).write_text(text.replace(old, new, 1))


@pytest.fixture
def study(tmp_path: Path) -> Path:
    """Copy a published study."""
    shutil.copytree(RESULTS / "deep_vs_wide", tmp_path / "study")
    return tmp_path / "study"


def names_that_differ(folder: Path) -> set[str]:
    """Return the names of the checks that fail."""
    return {check.name for check in verify(folder, data=False) if check.equal < check.numbers}


def test_an_edited_record_breaks_its_seal_and_the_numbers_that_follow(study: Path) -> None:
    """One accuracy in runs.json is raised."""
    edited(study, "runs.json", '"test_accuracy": 0.9888888888888889', '"test_accuracy": 0.9988888888888889')
    different = names_that_differ(study)
    assert different == {"seals and hashes of the files", "accuracy in the run records and in the predictions"}


def test_a_deleted_record_is_named(study: Path) -> None:
    """Nothing else reads pilot.json here."""
    (study / "pilot.json").unlink()
    [check] = [check for check in verify(study, data=False) if check.equal < check.numbers]
    assert (check.name, check.remark) == ("seals and hashes of the files", "pilot.json (missing)")


def test_edited_predictions_break_their_hash_and_the_verdict(study: Path) -> None:
    """All predictions of the deepest arm are made right."""
    with np.load(study / "predictions.npz") as arrays:
        labels, predictions = arrays["labels"], arrays["predictions"].copy()
    runs = json.loads((study / "runs.json").read_text())["runs"]
    predictions[[n for n, run in enumerate(runs) if "depth26" in run["arm"]]] = labels
    np.savez_compressed(study / "predictions.npz", labels=labels, predictions=predictions)
    different = names_that_differ(study)
    assert {"seals and hashes of the files", "test error of every run", "decision of every budget"} <= different


@pytest.mark.parametrize("name", ["population_p", "fixed_p", "tost", "consistency", "detectable"])
def test_an_edited_number_of_the_report_is_noticed(study: Path, name: str) -> None:
    """Each is moved by one per cent."""
    analysis = json.loads((study / "analysis.json").read_text())
    analysis["contrasts"][0][name] *= 1.01
    (study / "analysis.json").write_text(json.dumps(analysis))
    different = names_that_differ(study)
    assert WHOLE in different
    assert len(different) == 2


def rewritten(change: Callable[[dict[str, Any]], object], study: Path) -> set[str]:
    """Change the record of the report, and return the names of the checks that notice."""
    analysis = json.loads((study / "analysis.json").read_text())
    change(analysis)
    (study / "analysis.json").write_text(json.dumps(analysis))
    return names_that_differ(study)


@pytest.mark.parametrize(
    "change",
    [
        lambda it: it.update(sentence="Deeper at every budget."),
        lambda it: it.update(contrasts=[], shared=[], fronts=[], trends=[], protocol=[]),
        lambda it: it.pop("curse"),
        lambda it: it.update(margin=0.2),
        lambda it: it.update(plan="0" * 64),
        lambda it: it["arms"][0]["arm"].update(depth=9),
        lambda it: it["arms"][0]["setting"].update(learning_rate=0.3),
        lambda it: it["contrasts"][0]["deeper"].update(params=1),
    ],
)
def test_words_names_and_missing_parts_of_the_report_are_noticed(study: Path, change: Callable[..., object]) -> None:
    """None of them is a number that the other checks compute."""
    assert WHOLE in rewritten(change, study)


def test_a_cost_that_is_not_the_measured_one_is_noticed(study: Path) -> None:
    """And nothing else is."""
    analysis = json.loads((study / "analysis.json").read_text())
    analysis["arms"][0]["cost"]["step"] *= 2
    (study / "analysis.json").write_text(json.dumps(analysis))
    assert names_that_differ(study) == {"costs in the report and in their files", WHOLE}


def test_the_command_ends_with_one_where_a_number_differs(study: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """And returns where all agree, the data set's own splits included."""
    main(["verify", str(study)])
    assert "validation and test split of the data set" in capsys.readouterr().out
    edited(study, "analysis.json", '"decision": "wider"', '"decision": "deeper"')
    with pytest.raises(SystemExit) as end:
        main(["verify", str(study)])
    assert end.value.code == 1


@pytest.fixture
def single(tmp_path: Path) -> Path:
    """Train one run on the digits."""
    config = RunConfig(ModelSpec("dense", depth=2, width=8), DataConfig("digits", train_size=96), epochs=1)
    run(config, out=tmp_path / "run", progress=False)
    return tmp_path / "run"


def test_a_single_run_agrees_with_its_predictions(single: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Its test accuracy, counts by class, log, seals and data; an edited number ends with 1."""
    main(["verify", str(single)])
    shown = capsys.readouterr().out
    for name in ("seals and hashes", "last epoch in the log", "test accuracy", "confusion counts", "of the data set"):
        assert name in shown
    record = json.loads((single / "result.json").read_text())
    record["metrics"]["test_accuracy"] += 0.01
    (single / "result.json").write_text(json.dumps(record))
    expected = {"seals and hashes of the files", "metrics of the last epoch in the log", "test accuracy"}
    assert names_that_differ(single) == expected
    with pytest.raises(SystemExit) as end:
        main(["verify", str(single)])
    assert end.value.code == 1


def test_the_edited_predictions_of_a_single_run_are_noticed(single: Path) -> None:
    """All are made right."""
    with np.load(single / "predictions.npz") as file:
        arrays = dict(file)
    np.savez_compressed(single / "predictions.npz", **arrays | {"predictions": arrays["labels"]})
    expected = {"seals and hashes of the files", "test accuracy", "confusion counts", "accuracy by class"}
    assert names_that_differ(single) == expected


def test_a_missing_file_is_one_sentence(study: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """It names the file and the remedy."""
    for name in ("analysis.json", "predictions.npz"):
        (study / name).rename(study / "away")
        with pytest.raises(SystemExit) as end:
            main(["verify", str(study)])
        (study / "away").rename(study / name)
        assert end.value.code == 2
        assert name in capsys.readouterr().err


def test_a_tie_up_to_rounding_is_the_same_choice() -> None:
    """The curve of one arm of matched_budgets/residual_macs is flat; which rate is lowest hangs on the last bit."""
    flat = Curve([(0.05, 1e-3), (0.125, 1e-3)], np.ones(2), np.array([0.07, 0.07 - 1e-17]), 0.0, False)
    assert [lowest_setting(flat, list(each)) for each in flat.settings] == [[0.05, 1e-3], [0.125, 1e-3]]
    tilted = flat._replace(errors=np.array([0.07, 0.069]))
    assert lowest_setting(tilted, [0.05, 1e-3]) == lowest_setting(tilted, [0.3, 1e-3]) == [0.125, 1e-3]


@pytest.mark.slow
def test_intervals_that_were_cut_to_possible_errors_agree(tmp_path: Path) -> None:
    """Two seeds that differ by tens of points: some limits are cut, others say nothing."""
    for name, errors in {"a": {8: (0.32, 0.55), 20: (0.2, 0.9)}, "b": {8: (0.0, 0.01), 20: (0.3, 0.45)}}.items():
        write_report(planted_study(tmp_path / name, errors, images=100), tmp_path / name)
        differences = [check for check in verify(tmp_path / name, data=False) if check.equal < check.numbers]
        assert differences == []


def test_other_draws_of_another_tuning_agree_and_another_variance_does_not(tmp_path: Path) -> None:
    """The published study of digits's tunings, drawn anew by other seeds: one arm seldom chooses a bad one."""
    name, study = "what another tuning would choose, drawn anew", tmp_path / "study"
    shutil.copytree(RESULTS / "digits_holdout" / "plain", study)
    arms = load_study(study).tuning.arms.values()
    analysis = json.loads((study / "analysis.json").read_text())
    for factor, seed in ((1.0, 1), (1.0, 2), (1.0, 3), (2.0, 1)):
        for record, arm in zip(analysis["arms"], arms, strict=True):
            rates, decays = zip(*(trial.setting for trial in arm.trials), strict=True)
            drawn = retune(
                smooth(rates, decays, [trial.validation_error for trial in arm.trials], images=300), seed=seed
            )
            record["retuning"] = {"variance": factor * drawn.variance, "others": drawn.others}
        (study / "analysis.json").write_text(json.dumps(analysis))
        assert (name in names_that_differ(study)) is (factor > 1)


@pytest.mark.parametrize("text", ["{}", "[]", "5"])
@pytest.mark.parametrize("name", ["runs.json", "analysis.json", "costs.json", "tuning.json"])
def test_a_file_of_another_form_is_one_sentence(study: Path, name: str, text: str) -> None:
    """Valid JSON that jaxcnn never wrote; of single runs likewise below."""
    (study / name).write_text(text)
    with pytest.raises(InputError, match=r"does not hold what jaxcnn writes|restore it|is damaged"):
        verify(study, data=False)


def test_a_file_of_another_form_in_a_run_is_one_sentence(tmp_path: Path) -> None:
    """Foreign records, and arrays that are no predictions."""
    odd = {"result.json": b"[]", "metrics.jsonl": b"5", "predictions.npz": None}
    for name, content in odd.items():
        copy = shutil.copytree(RESULTS / "lenet_mnist" / "seed0", tmp_path / name)
        if content is None:
            np.savez(copy / name, a=np.zeros(3))
        else:
            (copy / name).write_bytes(content)
        with pytest.raises(InputError, match=r"does not hold what jaxcnn writes|restore it"):
            verify(copy, data=False)
    with (tmp_path / "result.json" / "predictions.npz").open("wb") as file:
        np.save(file, np.zeros(3))
    with pytest.raises(InputError):
        verify(tmp_path / "result.json", data=False)
