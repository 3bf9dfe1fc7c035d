"""A study whose runs have the user's own task, optimizer, augmentation and initial variables."""

import json
from functools import partial

import pytest

from jaxcnn.cli.entry import main
from jaxcnn.errors import InputError
from jaxcnn.run import evaluate_run
from jaxcnn.spec import Seeds, Tuning
from jaxcnn.study import load_study, write_report
from jaxcnn.study.rerun import rerun
from jaxcnn.study.verify import verify
from tests.run.test_own_parts import TASK, adamw, brighter
from tests.study.small import files, finished_runs, outcome, small_study

PARTS = {"task": TASK, "tx": adamw, "augment": brighter}
QUICK = {"seeds": Seeds(2, 2), "tuning": Tuning((0.01, 0.03), (1e-4,), extensions=0)}
small = partial(small_study, **QUICK)


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    out = tmp_path_factory.mktemp("parts") / "study"
    small(out, **PARTS)
    return out


@pytest.mark.slow
def test_plan_and_runs_record_them(study):
    assert load_study(study).plan.own == (
        "task=mine", "tx=tests.run.test_own_parts:adamw", "augment=tests.run.test_own_parts:brighter",
    )  # fmt: skip
    run = next(path.parent for path in study.glob("runs/*/*/*/result.json"))
    assert {"loss", "optimizer", "augment"} < set(json.loads((run / "config.json").read_text())["own"]["computation"])
    assert set(evaluate_run(run, task=TASK)) == {"loss", "accuracy"}


@pytest.mark.slow
def test_the_study_tunes_the_rates_of_the_chain(study):
    errors = {
        trial.setting.learning_rate: trial.validation_loss
        for arm in load_study(study).tuning.arms.values() for trial in arm.trials
    }  # fmt: skip
    assert len(set(errors.values())) == 2


@pytest.mark.slow
def test_it_is_reported_and_verified(study, tmp_path):
    write_report(load_study(study), study)
    text = (study / "report.md").read_text()
    assert "| User-defined parts | task=mine, tx=tests.run.test_own_parts:adamw" in text
    assert "| Optimiser | user-defined |" in text
    assert [check.name for check in verify(study) if check.equal != check.numbers] == []
    for name in ("report.html", "report.md", "analysis.json", "runs.csv"):
        (study / name).unlink()


@pytest.mark.slow
def test_the_same_call_reads_it_and_other_parts_are_refused(study):
    before, kept = finished_runs(study), files(study)
    small(study, **PARTS)
    assert finished_runs(study) == before
    with pytest.raises(InputError, match=r"another plan \(own is"):
        small(study, **{**PARTS, "augment": None})
    edited = TASK._replace(metrics=lambda sums: {"loss": 0.0, "accuracy": 0.5})
    with pytest.raises(InputError, match=r"another run than this study's \(own\.computation\.metrics is"):
        small(study, **{**PARTS, "task": edited})
    assert {path: data for path, data in files(study).items() if path in kept} == kept


@pytest.mark.slow
def test_its_runs_are_not_trained_again_without_their_parts(study):
    label = load_study(study).plan.arms[0].label
    with pytest.raises(InputError, match="its runs have user-defined parts"):
        rerun(study, label, 0, progress=False)


@pytest.mark.slow
def test_status_needs_no_parts(study, capsys):
    main(["study", "status", str(study)])
    assert "runs finished" in capsys.readouterr().out


@pytest.mark.slow
def test_workers_import_them_and_give_the_same_results(study, tmp_path):
    assert outcome(small(tmp_path / "s", workers=2, **PARTS).directory) == outcome(study)


@pytest.mark.slow
def test_callbacks_and_initial_variables_by_arm(tmp_path):
    import jax

    from jaxcnn.models import build
    from jaxcnn.train.state import init_variables

    scale = [1.0]

    def variables(arm):
        drawn = init_variables(build(arm.spec, 10), (8, 8, 1), jax.random.key(7))
        return jax.tree.map(lambda leaf: scale[0] * leaf, drawn)

    seen, tuning = [], Tuning((0.05,), (1e-4,))
    small_study(
        tmp_path / "s", variables=variables, on_step=lambda name, record, state: seen.append((name, record["step"])),
        seeds=Seeds(1, 1), tuning=tuning, workers=None,
    )  # fmt: skip
    names = {name for name, _ in seen}
    assert names == set(finished_runs(tmp_path / "s"))
    assert [step for name, step in seen if name == min(names)] == list(range(1, 10))
    scale[0] = 2.0
    with pytest.raises(InputError, match=r"another run than this study's \(own\.variables is"):
        small_study(tmp_path / "s", variables=variables, seeds=Seeds(1, 1), tuning=tuning)


def test_what_no_study_can_have_is_refused_before_anything_is_written(tmp_path):
    import optax

    for parts, message in (
        ({"tx": optax.sgd(0.1)}, "tx=GradientTransformation.*: give a function .learning_rate, weight_decay. -> optax"),
        ({"variables": {}}, "variables=dict: give a function .arm. -> variables"),
        (
            {"task": TASK._replace(loss=lambda *both: TASK.loss(*both)), "workers": 2},
            "task=.*: worker processes cannot",
        ),
    ):
        with pytest.raises(InputError, match=message):
            small(tmp_path / "s", **parts)
    assert not (tmp_path / "s").exists()
