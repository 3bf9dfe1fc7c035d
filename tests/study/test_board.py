"""TensorBoard's own backend finds a study's trials and runs as one HParams table."""

from pathlib import Path

import pytest

from jaxcnn.study import load_study
from tests.cli.calls import call, refused
from tests.study.planted import planted_study

pytest.importorskip("tensorboardX")
reader = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
from tests.train.hparams_table import FINISHED, read_table  # noqa: E402

ERRORS = {8: (0.03, 0.025, 0.0275), 14: (0.02, 0.0225, 0.0175), 20: (0.015, 0.0125, 0.0175)}


@pytest.mark.slow
def test_a_study_is_one_table(tmp_path, capsys):
    study = planted_study(tmp_path / "study", ERRORS)
    for _ in range(2):  # the second time replaces the first
        assert call(capsys, "report", study.directory, "--tensorboard")[0] == 0
    table = read_table(study.directory / "tensorboard")
    trials = sum(len(each.trials) for each in study.tuning.arms.values())
    assert len(table.rows) == len(study.runs) + trials
    assert table.statuses == {FINISHED}
    differing = [name for name, differs in table.columns if differs]
    assert differing == [name for name, _ in table.columns][: len(differing)]  # they come first
    assert {"depth", "width", "params", "seed"} <= set(differing)
    assert "family" not in differing
    assert {"test_accuracy", "validation_loss"} <= set(table.metrics)
    for run in load_study(study.directory).runs:
        arm = next(each for each in study.plan.arms if each.label == run.arm)
        name = f"runs/{run.arm}/{run.setting.label}/seed{run.seed}"
        row = table.rows[name]
        assert (row["stage"], row["depth"], row["seed"]) == ("runs", arm.depth, run.seed)
        assert (row["learning_rate"], row["params"]) == (run.setting.learning_rate, arm.params)
        for metric, value in run.metrics.items():
            assert row[metric] == pytest.approx(value)
        events = reader.EventAccumulator(str(study.directory / "tensorboard" / name))
        events.Reload()
        assert [each.step for each in events.Scalars("train_loss")] == [each["epoch"] for each in run.history]


@pytest.mark.slow
def test_what_is_no_table_of_a_study_is_left_alone(tmp_path, capsys):
    """Neither somebody's file nor the events of a run."""
    study = planted_study(tmp_path / "study", ERRORS)
    for name in ("notes.txt", "train/events.out.tfevents.1"):
        out = tmp_path / name.partition(".")[0]
        (out / "tensorboard" / name).parent.mkdir(parents=True)
        (out / "tensorboard" / name).write_text("mine")
        assert "is no part of a study's table" in refused(
            capsys, "report", study.directory, "--tensorboard", "--out", out
        )
        assert [path.name for path in out.rglob("*") if path.is_file()] == [Path(name).name]
