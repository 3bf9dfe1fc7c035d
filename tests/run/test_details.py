"""result.json holds accuracy by class, confusion counts and top-5 accuracy of the test split, against scikit-learn."""

import json
from dataclasses import replace

import numpy as np
import pytest
from sklearn.metrics import confusion_matrix, recall_score, top_k_accuracy_score

from jaxcnn.run import load_result, run
from jaxcnn.runtime.files import write_sealed
from jaxcnn.spec import DataConfig, ModelSpec, OptimizerConfig, RunConfig
from jaxcnn.tasks import classification
from tests.run.counting_task import Counting

CONFIG = RunConfig(
    model=ModelSpec("dense", depth=2, width=16), data=DataConfig(train_size=200), epochs=2, batch_size=50,
    optimizer=OptimizerConfig(learning_rate=0.02),
)  # fmt: skip


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    return run(CONFIG, out=tmp_path_factory.mktemp("details") / "run", progress=False)


def test_counts_by_class_are_those_of_the_predictions(finished):
    found, stored = finished.predictions, json.loads((finished.directory / "result.json").read_text())
    details = finished.details
    assert load_result(finished.directory).details == stored["details"] == details
    assert set(details) == {"class_accuracy", "confusion", "top5_accuracy"}
    np.testing.assert_array_equal(details["confusion"], confusion_matrix(found["labels"], found["predictions"]))
    np.testing.assert_allclose(
        details["class_accuracy"], recall_score(found["labels"], found["predictions"], average=None), rtol=1e-12
    )
    right = np.trace(details["confusion"]) / np.sum(details["confusion"])
    assert right == pytest.approx(finished.metrics["test_accuracy"])
    assert details["top5_accuracy"] >= finished.metrics["test_accuracy"]


def test_top5_and_classes_without_examples():
    rng = np.random.default_rng(0)
    labels, probabilities = rng.integers(0, 7, 40).astype(np.int32), rng.dirichlet(np.ones(8), 40)
    decoded = {"predictions": probabilities.argmax(1), "probabilities": probabilities}
    details = classification().details(decoded, {"labels": labels})
    expected = top_k_accuracy_score(labels, probabilities, k=5, labels=np.arange(8))
    assert details["top5_accuracy"] == pytest.approx(expected)
    assert details["class_accuracy"][7] is None  # no example
    assert np.shape(details["confusion"]) == (8, 8)
    few = {"predictions": probabilities[:, :5].argmax(1), "probabilities": probabilities[:, :5]}
    assert "top5_accuracy" not in classification().details(few, {"labels": labels % 5})  # it would be 1 always


def test_a_run_that_reads_no_test_split_and_a_task_without_them_have_none(tmp_path):
    assert run(replace(CONFIG, evaluate_test=False), out=tmp_path / "tuning", progress=False).details == {}
    assert run(replace(CONFIG, task=Counting()), out=tmp_path / "own", progress=False).details == {}
    assert load_result(tmp_path / "own").details == {}


def test_results_of_earlier_versions_have_none_and_are_read(finished, tmp_path):
    import shutil

    copy = shutil.copytree(finished.directory, tmp_path / "copy")
    record = json.loads((copy / "result.json").read_text())
    for name in ("details", "extended"):
        del record[name]
    write_sealed(copy / "result.json", record)
    old = load_result(copy)
    assert (old.details, old.extended) == ({}, ())
    assert old.metrics == finished.metrics
