"""Runs whose numbers go wrong: stopped at that step and looked into, or gone on with."""

import json
import math
from dataclasses import replace

import numpy as np
import pytest

from jaxcnn.data import batch_indices, load
from jaxcnn.run import evaluate_run, load_result, run, run_members
from jaxcnn.spec import DataConfig, ModelSpec, OptimizerConfig, RunConfig
from tests.cli.calls import call

DATA = DataConfig(train_size=200)
CONFIG = RunConfig(
    model=ModelSpec("dense", depth=3, width=8, options={"norm": True}), data=DATA, epochs=4, batch_size=50
)
WILD = replace(CONFIG, optimizer=OptimizerConfig(learning_rate=1e25, warmup_epochs=0.0, schedule="constant"))


def timeless(result):
    return [{k: v for k, v in row.items() if k not in ("seconds", "steps_timed")} for row in result.history]


@pytest.fixture(scope="module")
def lost(tmp_path_factory):
    return run(WILD, out=tmp_path_factory.mktemp("lost") / "run", progress=False)


def test_a_run_stops_at_the_step_that_is_not_finite(lost):
    about = lost.diverged
    assert about is not None
    assert 1 <= about["step"] < 16
    indices, mask = batch_indices(200, 50, seed=0, step=about["step"])
    assert about["indices"] == indices[mask > 0].tolist()
    assert set(about["parameter_norms"]) == set(about["gradient_norms"])
    assert about["nonfinite"] or not math.isfinite(about["loss"])
    assert all(math.isfinite(norm) or norm > 1e15 for norm in about["parameter_norms"].values())


def test_its_metrics_are_those_of_a_network_of_nan(lost):
    """NaN logits: argmax names class 0 for every image."""
    assert math.isnan(lost.metrics["validation_loss"])
    assert (lost.predictions["predictions"] == 0).all()
    assert lost.metrics["test_accuracy"] == pytest.approx(np.mean(lost.predictions["labels"] == 0))
    assert lost.history[-1]["epoch"] == lost.diverged["step"] // 4 + 1


def test_it_is_stored_and_read_back(lost):
    again = load_result(lost.directory)
    assert again.diverged is not None
    assert again.diverged["step"] == lost.diverged["step"]
    assert again.diverged["indices"] == lost.diverged["indices"]
    assert run(WILD, out=lost.directory, progress=False).metrics.keys() == lost.metrics.keys()
    # The checkpoint holds the state before that step: finite weights.
    assert evaluate_run(lost.directory)["accuracy"] >= 0


@pytest.mark.slow
def test_members_that_diverge_leave_the_others_alone(lost):
    tame = replace(WILD, optimizer=replace(WILD.optimizer, learning_rate=0.1))
    together = run_members([tame, WILD], together=2, progress=False)
    alone = run(tame, progress=False)
    assert together[0].diverged is None
    assert together[0].metrics["test_loss"] == pytest.approx(alone.metrics["test_loss"], rel=1e-3)
    assert together[1].diverged["step"] == lost.diverged["step"]
    assert [row["epoch"] for row in together[1].history] == [row["epoch"] for row in lost.history]


@pytest.mark.slow
def test_skipping_goes_on_and_counts(tmp_path):
    """One training image is not a number in float data: each epoch has one step that is skipped."""
    data = load(DATA)
    images = data.train["images"].astype(np.float32)
    images[7] = np.nan
    data = data._replace(train={**data.train, "images": images})
    result = run(replace(CONFIG, on_nonfinite="skip"), dataset=data, out=tmp_path / "run", progress=False)
    assert [row["skipped"] for row in result.history] == [1, 1, 1, 1]
    assert [row["step"] for row in result.history] == [4, 8, 12, 16]
    assert result.diverged is None
    assert math.isfinite(result.metrics["test_loss"])
    stopped = run(CONFIG, dataset=data, progress=False)
    assert stopped.diverged is not None
    assert 7 in stopped.diverged["indices"]
    assert stopped.diverged["step"] < 4


@pytest.mark.slow
def test_the_command_ends_with_its_own_code(capsys, tmp_path):
    flags = ["--model.family", "dense", "--model.depth", "3", "--model.width", "8", "--data.train-size", "200",
             "--epochs", "2", "--batch-size", "50", "--optimizer.learning-rate", "1e25",
             "--optimizer.warmup-epochs", "0", "--quiet", "--out", tmp_path / "run"]  # fmt: skip
    code, _, error = call(capsys, "train", *flags)
    assert code == 3
    assert "diverged at step" in error
    assert "lower the learning rate" in error
    assert json.loads((tmp_path / "run" / "result.json").read_text())["diverged"]["step"] >= 1


def test_patience_ends_a_run_and_a_resumed_one_alike(tmp_path):
    eager = replace(
        CONFIG, epochs=30, patience=2, checkpoint_steps=3,
        optimizer=OptimizerConfig(learning_rate=0.5, schedule="constant"),
    )  # fmt: skip
    result = run(eager, out=tmp_path / "a", progress=False)
    losses = [row["validation_loss"] for row in result.history]
    assert 3 <= len(losses) < 30
    assert int(np.argmin(losses)) == len(losses) - 3

    class Stop(Exception):
        pass

    def stop(record):
        if record["epoch"] == len(losses) - 1:
            raise Stop

    with pytest.raises(Stop):
        run(eager, out=tmp_path / "b", progress=False, on_epoch=stop)
    assert timeless(run(eager, out=tmp_path / "b", progress=False)) == timeless(result)
    assert evaluate_run(tmp_path / "a", split="validation", checkpoint="best")["loss"] == pytest.approx(min(losses))
    assert evaluate_run(tmp_path / "a", split="validation")["loss"] == pytest.approx(losses[-1])
