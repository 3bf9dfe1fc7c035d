"""TensorBoard's own reader finds a study's trials and runs as one HParams table."""

import pytest

from jaxcnn.study import load_study
from tests.cli.calls import call
from tests.study.planted import planted_study

pytest.importorskip("tensorboardX")
reader = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
parse = pytest.importorskip("tensorboard.plugins.hparams.metadata")

ERRORS = {8: (0.03, 0.025, 0.0275), 14: (0.02, 0.0225, 0.0175), 20: (0.015, 0.0125, 0.0175)}


def test_a_study_is_one_table(tmp_path, capsys):
    study = planted_study(tmp_path / "study", ERRORS)
    for _ in range(2):  # the second time replaces the first
        assert call(capsys, "report", study.directory, "--tensorboard")[0] == 0
    files = sorted((study.directory / "tensorboard").rglob("events*"))
    trials = sum(len(each.trials) for each in study.tuning.arms.values())
    assert len(files) == len(study.runs) + trials
    found, tables = {}, set()
    for file in files:
        events = reader.EventAccumulator(str(file))
        events.Reload()
        contents = {tag: data.plugin_data.content for tag, data in events.summary_metadata.items()}
        start = parse.parse_session_start_info_plugin_data(contents["_hparams_/session_start_info"])
        experiment = parse.parse_experiment_plugin_data(contents["_hparams_/experiment"])
        tables.add((tuple(h.name for h in experiment.hparam_infos), tuple(m.name.tag for m in experiment.metric_infos)))
        assert "_hparams_/session_end_info" in contents
        about = {name: value.string_value or value.number_value for name, value in start.hparams.items()}
        if about["stage"] == "runs":
            losses = events.Scalars("epoch_train_loss")
            found[about["depth"], about["seed"]] = about, events.Scalars("test_accuracy")[-1].value, len(losses)
    assert len(tables) == 1
    for run in load_study(study.directory).runs:
        arm = next(each for each in study.plan.arms if each.label == run.arm)
        about, accuracy, epochs = found[arm.depth, run.seed]
        assert (about["learning_rate"], about["params"]) == (run.setting.learning_rate, arm.params)
        assert accuracy == pytest.approx(run.metrics["test_accuracy"])
        assert epochs == len(run.history)
