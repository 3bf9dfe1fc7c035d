"""A task that `jaxcnn.run` has never heard of is trained, resumed, saved, evaluated and shown images."""

import json
from dataclasses import dataclass, replace
from typing import ClassVar

import numpy as np
import pytest
from PIL import Image

from jaxcnn.data import load
from jaxcnn.errors import InputError
from jaxcnn.run import evaluate_run, load_result, predict, run, run_members
from jaxcnn.spec import DataConfig, ModelSpec, OptimizerConfig, RunConfig, TaskConfig
from jaxcnn.tasks import register_task
from tests.run.counting_task import Counting, make
from tests.train.small import timeless

CONFIG = RunConfig(
    model=ModelSpec("dense", depth=2, width=16), data=DataConfig(train_size=200), epochs=6, batch_size=50,
    optimizer=OptimizerConfig(learning_rate=0.02, warmup_epochs=0.0), task=Counting(),
)  # fmt: skip


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    return run(CONFIG, out=tmp_path_factory.mktemp("task") / "run", progress=False)


def test_it_trains_and_is_saved_as_the_task_says(finished):
    assert set(finished.metrics) == {"train_error", "validation_error", "test_error"}
    assert finished.metrics["train_error"] < 0.5 * finished.history[0]["train_error"]
    stored = load_result(finished.directory)
    assert stored.config == CONFIG
    assert stored.metrics == finished.metrics
    assert set(stored.predictions) == {"labels", "value"}
    errors = np.abs(stored.predictions["value"] - stored.predictions["labels"]) ** 2
    assert finished.metrics["test_error"] == pytest.approx(errors.mean(), rel=1e-5)
    record = json.loads((finished.directory / "config.json").read_text())
    assert record["task"] == {"kind": "counting", "power": 2.0, "centre": None}


def test_another_option_is_another_run(finished):
    with pytest.raises(InputError, match=r"another configuration \(task.power is 2.0, not 1.0\)"):
        run(replace(CONFIG, task=Counting(power=1.0)), out=finished.directory, progress=False)
    assert run(replace(CONFIG, task=Counting(centre=9.0)), progress=False).metrics != finished.metrics


def test_it_resumes_to_the_bit(finished, tmp_path):
    class Stop(Exception):
        pass

    def stop(record):
        if record["epoch"] == 2:
            raise Stop

    with pytest.raises(Stop):
        run(CONFIG, out=tmp_path / "run", progress=False, on_epoch=stop)
    assert timeless(run(CONFIG, out=tmp_path / "run", progress=False).history) == timeless(finished.history)


def test_it_is_evaluated_and_shown_images(finished, tmp_path):
    assert evaluate_run(finished.directory) == pytest.approx({"error": finished.metrics["test_error"]}, rel=1e-5)
    test = load(CONFIG.data, progress=False).load_test()
    Image.fromarray(test["images"][3, :, :, 0]).save(tmp_path / "image.png")
    (found,) = predict(finished.directory, [tmp_path / "image.png"])
    assert found["value"] == pytest.approx(float(finished.predictions["value"][3]), rel=1e-4)
    assert found["text"] == f"about {found['value']:.2f}"
    assert found["path"] == tmp_path / "image.png"


def test_several_in_one_program(finished):
    members = run_members([CONFIG, replace(CONFIG, seed=1)], together=2, progress=False)
    assert members[0].metrics == pytest.approx(finished.metrics, rel=1e-3)


@dataclass(frozen=True)
class Boxes(TaskConfig):
    kind: ClassVar[str] = "boxes"


@dataclass(frozen=True)
class Unregistered(TaskConfig):
    kind: ClassVar[str] = "unregistered"


register_task(Boxes, lambda config: make(Counting(centre=0.0))._replace(targets=("boxes",)))


def test_what_does_not_fit_is_refused_before_anything_is_written(tmp_path):
    with pytest.raises(InputError, match="task='boxes': it needs boxes, and data set digits has one class"):
        run(replace(CONFIG, task=Boxes()), out=tmp_path / "run", progress=False)
    with pytest.raises(InputError, match=r"not registered; call jaxcnn\.tasks\.register_task"):
        run(replace(CONFIG, task=Unregistered()), out=tmp_path / "run", progress=False)
    assert not (tmp_path / "run").exists()
    with pytest.raises(InputError, match="patience=2: the task's metrics have no loss"):
        run(replace(CONFIG, patience=2), progress=False)


def test_a_run_whose_task_no_module_has_registered_is_named(finished, tmp_path):
    record = json.loads((finished.directory / "config.json").read_text())
    record["task"]["kind"] = "forgotten"
    (tmp_path / "config.json").write_text(json.dumps(record))
    with pytest.raises(InputError, match=r"task 'forgotten' is unknown; choose .*counting.*import the module"):
        load_result(tmp_path)
