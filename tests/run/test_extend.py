"""A finished run is trained longer: the same run as if it had been begun with more epochs, and recorded as extended."""

import json
import shutil
from dataclasses import replace

import pytest

from jaxcnn.errors import InputError
from jaxcnn.run import load_result, run
from jaxcnn.spec import DataConfig, ModelSpec, OptimizerConfig, RunConfig
from tests.cli.calls import call, refused
from tests.train.small import timeless

CONSTANT = OptimizerConfig(learning_rate=0.05, schedule="constant")
CONFIG = RunConfig(
    model=ModelSpec("plain", depth=3, width=4), data=DataConfig(train_size=100), optimizer=CONSTANT, epochs=2,
    batch_size=32,
)  # fmt: skip
LONGER = replace(CONFIG, epochs=4)


@pytest.fixture(scope="module")
def short(tmp_path_factory):
    return run(CONFIG, out=tmp_path_factory.mktemp("run") / "short", progress=False)


@pytest.fixture(scope="module")
def long():
    return run(LONGER, progress=False)


@pytest.fixture
def folder(short, tmp_path):
    return shutil.copytree(short.directory, tmp_path / "run")


def test_an_extended_run_is_the_longer_run_to_the_bit_and_says_so(short, long, folder):
    assert short.extended == ()
    result = run(LONGER, out=folder, extend=True, progress=False)
    assert timeless(result.history) == timeless(long.history)
    assert result.metrics == long.metrics
    stored = load_result(folder)
    assert stored.extended == result.extended == (2,)
    assert stored.config == LONGER
    assert run(LONGER, out=folder, progress=False).metrics == long.metrics  # read, not repeated
    kept = json.loads((folder / "result_2_epochs.json").read_text())
    assert kept["metrics"]["test_loss"] == short.metrics["test_loss"]  # the test split was read then, too


def test_it_can_be_interrupted_at_any_point(long, folder):
    class Stop(Exception):
        pass

    def stop(record):
        raise Stop

    with pytest.raises(Stop):
        run(LONGER, out=folder, extend=True, progress=False, on_epoch=stop)
    result = run(LONGER, out=folder, extend=True, progress=False)
    assert timeless(result.history) == timeless(long.history)
    assert result.extended == (2,)


def test_a_kill_between_its_two_writes_loses_nothing(short, long, folder):
    (folder / "result.json").rename(folder / "result_2_epochs.json")
    shutil.copytree(folder, folder.parent / "other")
    assert run(CONFIG, out=folder.parent / "other", progress=False).metrics == short.metrics
    assert run(LONGER, out=folder, extend=True, progress=False).metrics == long.metrics


def test_without_extend_a_longer_run_is_refused_with_the_remedy(folder):
    with pytest.raises(InputError, match=r"\(epochs is 2, not 4\); .*extend"):
        run(LONGER, out=folder, progress=False)


@pytest.mark.slow
def test_a_schedule_whose_past_rates_would_change_is_refused(tmp_path):
    cosine = replace(CONFIG, optimizer=replace(CONSTANT, schedule="cosine"))
    run(cosine, out=tmp_path / "run", progress=False)
    before = {path: path.read_bytes() for path in (tmp_path / "run").rglob("*") if path.is_file()}
    with pytest.raises(InputError, match=r"epochs=4: .*rates of the epochs .* schedule='cosine'"):
        run(replace(cosine, epochs=4), out=tmp_path / "run", extend=True, progress=False)
    assert {path: path.read_bytes() for path in (tmp_path / "run").rglob("*") if path.is_file()} == before


@pytest.mark.slow
def test_a_given_schedule_with_the_same_past_goes_on(tmp_path):
    """Milestones are shares of the run: 0.5 of 2 epochs is 0.25 of 4."""
    half, quarter = (replace(CONSTANT, schedule="step", milestones=(share,)) for share in (0.5, 0.25))
    run(replace(CONFIG, optimizer=half), out=tmp_path / "run", progress=False)
    longer = replace(LONGER, optimizer=quarter)
    with pytest.raises(InputError, match="rates of the epochs"):
        run(replace(LONGER, optimizer=half), out=tmp_path / "run", extend=True, progress=False)
    result = run(longer, out=tmp_path / "run", extend=True, progress=False)
    assert timeless(result.history) == timeless(run(longer, progress=False).history)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"epochs": 1}, "epochs is 2, not 1"),
        ({"epochs": 4, "batch_size": 16}, "batch_size is 32, not 16"),
        ({"epochs": 4, "seed": 1}, "seed is 0, not 1"),
    ],
)
def test_nothing_but_the_length_may_change(folder, change, message):
    with pytest.raises(InputError, match=message):
        run(replace(CONFIG, **change), out=folder, extend=True, progress=False)
    assert (folder / "result.json").exists()


def test_a_run_without_checkpoints_is_refused(tmp_path):
    config = replace(CONFIG, keep=0)
    run(config, out=tmp_path / "run", progress=False)
    with pytest.raises(InputError, match=r"keep=0: .*no checkpoint"):
        run(replace(config, epochs=4), out=tmp_path / "run", extend=True, progress=False)
    assert load_result(tmp_path / "run").config == config


def test_extend_is_a_flag(capsys, folder, long):
    words = [
        "--model.family", "plain", "--model.depth", 3, "--model.width", 4, "--data.train-size", 100, "--batch-size", 32,
        "--optimizer.learning-rate", 0.05, "--optimizer.schedule", "constant", "--epochs", 4, "--quiet",
        "--out", folder,
    ]  # fmt: skip
    assert "--extend" in refused(capsys, "train", *words)
    code, out, error = call(capsys, "train", *words, "--extend")
    assert code == 0, error
    assert f"{long.metrics['test_loss']:.4f}" in out
    assert "extended" in out
