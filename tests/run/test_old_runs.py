"""Folders that an earlier version wrote, before options belonged to families and tasks: read, resumed, evaluated."""

import json
import shutil
from dataclasses import replace

import pytest

from jaxcnn.errors import InputError
from jaxcnn.run import evaluate_run, load_result, run
from jaxcnn.run.folder import RunFolder
from jaxcnn.spec import Classification, DataConfig, ModelSpec, OptimizerConfig, RunConfig
from tests.train.small import timeless

CONFIG = RunConfig(
    model=ModelSpec("plain", depth=3, width=4, options={"norm": False, "dropout": 0.1}),
    data=DataConfig(train_size=100), optimizer=OptimizerConfig(learning_rate=0.05),
    task=Classification(label_smoothing=0.1, test_flips=True), epochs=2, batch_size=32, batches="full",
)  # fmt: skip
# config.json of that run as version e9109f1 wrote it.
OLD = """
{"model": {"family": "plain", "depth": 3, "width": 4, "num_classes": null, "stage_sizes": null, "stage_widths": null,
  "dense": null, "units": null, "kernel": null, "norm": false, "skip": null, "shortcut": null, "block": null,
  "stem": null, "padding": null, "zero_init": null, "dropout": 0.1, "stochastic_depth": null},
 "data": {"name": "digits", "data_dir": null, "validation": 0.1, "train_size": 100, "size": null, "on_bad": "refuse",
  "augment": [], "mix": [], "stream": false, "workers": 0, "classes": 10, "images": 2000, "data_seed": 0},
 "optimizer": {"name": "sgd", "learning_rate": 0.05, "momentum": 0.9, "nesterov": true, "weight_decay": 0.0005,
  "decay": "l2", "schedule": "cosine", "milestones": [0.5, 0.75], "factor": 0.1, "warmup_epochs": 1.0,
  "clip_norm": null, "bias_scale": 1.0, "rest_scale": 1.0, "frozen": []},
 "epochs": 2, "batch_size": 32, "label_smoothing": 0.1, "class_weights": null, "ema": null, "accumulate": 1,
 "patience": null, "on_nonfinite": "stop", "seed": 0, "parallel": "auto", "sync_batch_norm": true, "scan": null,
 "compute_dtype": "float32", "deterministic": false, "checkpoint_every": 1, "checkpoint_steps": null,
 "checkpoint_minutes": null, "keep": 2, "test_flips": true, "evaluate_test": true}
"""


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    return run(CONFIG, out=tmp_path_factory.mktemp("run") / "whole", progress=False)


@pytest.fixture
def old(finished, tmp_path):
    """The folder of the finished run with its config as it was written then; the result's seal goes with it."""
    folder = RunFolder(shutil.copytree(finished.directory, tmp_path / "old"))
    (folder.path / "config.json").write_text(OLD)
    folder.store(finished)
    return folder


def test_the_config_is_the_same(old):
    assert old.read_config() == (CONFIG, None)


def test_a_finished_run_is_read_and_evaluated(finished, old):
    before = {path: path.read_bytes() for path in old.path.rglob("*") if path.is_file()}
    assert load_result(old.path).config == CONFIG
    assert run(CONFIG, out=old.path, progress=False).metrics == finished.metrics
    assert evaluate_run(old.path)["loss"] == pytest.approx(finished.metrics["test_loss"], rel=1e-5)
    assert {path: path.read_bytes() for path in old.path.rglob("*") if path.is_file()} == before
    other = replace(CONFIG.model, options={"norm": False, "dropout": 0.2})
    with pytest.raises(InputError, match=r"another configuration \(model.options.dropout is 0.1, not 0.2\)"):
        run(replace(CONFIG, model=other), out=old.path, progress=False)
    with pytest.raises(InputError, match=r"\(task.label_smoothing is 0.1, not 0.0\)"):
        run(replace(CONFIG, task=Classification(test_flips=True)), out=old.path, progress=False)


def test_an_interrupted_run_goes_on(finished, tmp_path):
    class Stop(Exception):
        pass

    def stop(record):
        raise Stop

    with pytest.raises(Stop):
        run(CONFIG, out=tmp_path / "run", progress=False, on_epoch=stop)
    (tmp_path / "run" / "config.json").write_text(OLD)
    result = run(CONFIG, out=tmp_path / "run", progress=False)
    assert timeless(result.history) == timeless(finished.history)
    assert result.metrics == finished.metrics
    assert json.loads((tmp_path / "run" / "config.json").read_text()) == json.loads(OLD)
