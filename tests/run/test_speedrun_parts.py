"""What the speed run asks of a run: a first look at the images, frozen parameters, flips at test time."""

from dataclasses import replace

import jax
import numpy as np
import pytest

from jaxcnn import ops
from jaxcnn.data import load, normalize
from jaxcnn.run import evaluate_run, run
from jaxcnn.run.assemble import assemble, initial_state
from jaxcnn.spec import Classification, DataConfig, ModelSpec, OptimizerConfig, RunConfig
from jaxcnn.train import Checkpoints

pytestmark = pytest.mark.slow

CONFIG = RunConfig(
    ModelSpec("airbench", 4, 2),
    DataConfig("digits", size=9, augment=("translate",)),
    OptimizerConfig(
        "muon", 0.1, momentum=0.6, weight_decay=0.1, decay="decoupled", schedule="linear", warmup_epochs=0.0,
        bias_scale=8.0, rest_scale=4.0, frozen=("whiten/kernel", "scale"),
    ),
    epochs=2,
    task=Classification(test_flips=True),
)  # fmt: skip


@pytest.fixture(scope="module")
def dataset():
    return load(CONFIG.data)


@pytest.fixture(scope="module")
def finished(tmp_path_factory, dataset):
    return run(CONFIG, out=tmp_path_factory.mktemp("speedrun") / "run", dataset=dataset, progress=False)


def test_the_first_layer_begins_from_the_training_images_and_stays(finished, dataset):
    begun = initial_state(assemble(CONFIG, dataset), CONFIG, dataset, jax.random.key(0))
    seen = normalize(dataset.train["images"], dataset.mean, dataset.std)  # fewer than are ever looked at: all of them
    expected = ops.whitening_kernel(seen, 2)
    np.testing.assert_allclose(begun.params["whiten"]["kernel"], expected, rtol=1e-6)
    with Checkpoints(finished.directory / "checkpoints") as checkpoints:
        trained = checkpoints.restore(begun)[0]
    np.testing.assert_allclose(trained.params["whiten"]["kernel"], expected, rtol=1e-6)
    for number in (1, 2):
        np.testing.assert_array_equal(trained.params[f"norm{number}"]["scale"], 1.0)
        assert np.any(trained.params[f"norm{number}"]["bias"])
        assert not np.allclose(trained.params[f"conv{number}"]["kernel"], begun.params[f"conv{number}"]["kernel"])


def test_learning_rate_and_decay_stay_arrays_behind_frozen_names(dataset):
    state = initial_state(assemble(CONFIG, dataset), CONFIG, dataset, jax.random.key(0))
    assert float(state.opt_state.hyperparams["learning_rate"]) == pytest.approx(0.1)
    assert float(state.opt_state.hyperparams["weight_decay"]) == pytest.approx(0.1)


def test_flips_are_part_of_the_record_and_of_evaluation(finished, dataset, tmp_path):
    again = evaluate_run(finished.directory)
    assert again == pytest.approx({name: finished.metrics[f"test_{name}"] for name in again}, rel=1e-5)
    without = run(replace(CONFIG, task=Classification()), out=tmp_path / "plain", dataset=dataset, progress=False)
    assert without.metrics["train_loss"] == pytest.approx(finished.metrics["train_loss"], rel=1e-6)
    assert without.metrics["test_loss"] != pytest.approx(finished.metrics["test_loss"], rel=1e-4)
    assert finished.config.task == Classification(test_flips=True)


def test_an_accelerators_form_of_the_run_trains_alike(finished, dataset):
    """Whole epochs as one program and bfloat16 activations, as on a GPU."""
    result = run(replace(CONFIG, scan=True, compute_dtype="bfloat16"), dataset=dataset, progress=False)
    for epoch, record in enumerate(result.history):
        assert record["train_loss"] == pytest.approx(finished.history[epoch]["train_loss"], rel=0.02)
