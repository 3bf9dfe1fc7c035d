"""TensorBoard's own reader finds every tag, and a resumed run draws no point twice."""

import json
from dataclasses import replace

import jax
import numpy as np
import pytest

from jaxcnn.run import run
from jaxcnn.runtime.signals import Interrupted
from jaxcnn.spec import DataConfig, ModelSpec, OptimizerConfig, RunConfig
from jaxcnn.train.tensorboard import TensorBoard
from tests.train.hparams_table import FINISHED, read_table
from tests.train.small import parts

pytestmark = pytest.mark.slow  # all of it needs trained runs

pytest.importorskip("tensorboardX")
reader = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")

CONFIG = RunConfig(ModelSpec("plain", 3, 4), DataConfig("digits"), epochs=4, checkpoint_every=2)


def read(folder):
    found = {}
    for split in ("train", "validation"):
        found[split] = reader.EventAccumulator(str(folder / split), size_guidance=dict.fromkeys(
            (reader.SCALARS, reader.HISTOGRAMS, reader.IMAGES, reader.TENSORS), 0))  # fmt: skip
        found[split].Reload()
    return found


def points(events, tag):
    return [(event.step, event.value) for event in events.Scalars(tag)]


@pytest.fixture(scope="module")
def interrupted(tmp_path_factory):
    """A run that is stopped after its third epoch, and goes on from the checkpoint of the second."""
    out = tmp_path_factory.mktemp("board") / "run"

    def stop(record):
        if record["epoch"] == 3:
            raise Interrupted

    with pytest.raises(KeyboardInterrupt):
        run(CONFIG, out=out, progress=False, tensorboard=True, on_epoch=stop)
    return run(CONFIG, out=out, progress=False, tensorboard=True), read(out / "tensorboard")


def test_both_runs_have_the_same_tags_and_a_resume_draws_each_epoch_once(interrupted):
    result, events = interrupted
    for split in ("train", "validation"):
        for metric in ("loss", "accuracy"):
            drawn = points(events[split], f"epoch_{metric}")
            wanted = [(record["epoch"], record[f"{split}_{metric}"]) for record in result.history]
            assert [step for step, _ in drawn] == [1, 2, 3, 4]
            np.testing.assert_allclose([value for _, value in drawn], [value for _, value in wanted], rtol=1e-6)
    rates = points(events["train"], "epoch_learning_rate")
    assert [value for _, value in rates] == pytest.approx([record["learning_rate"] for record in result.history])
    assert min(value for _, value in points(events["train"], "images_per_second")) > 0


def test_histograms_pictures_and_text_are_there(interrupted):
    result, events = interrupted
    train, validation = events["train"].Tags(), events["validation"].Tags()
    kernels = [name for name in train["histograms"] if name.endswith("kernel/histogram")]
    assert len(kernels) == 3
    for name in kernels:
        assert [event.step for event in events["train"].Histograms(name)] == [1, 2, 3, 4]
        last = events["train"].Histograms(name)[-1].histogram_value
        assert sum(last.bucket) == last.num > 0
    updates = [name for name in train["histograms"] if name.endswith("/update")]
    gradients = [name for name in train["histograms"] if name.endswith("/gradient")]
    assert len(updates) == len(gradients) == len(train["histograms"]) / 3
    for name in gradients:
        assert [event.step for event in events["train"].Histograms(name)] == [1, 2, 3, 4]
    assert [name for name in train["images"] if name.endswith("kernel/image")]
    assert set(validation["images"]) == {"confusion", "mistakes", "features", "attribution"}
    text = events["train"].Tensors("config/text_summary")[0].tensor_proto.string_val[0].decode()
    assert f"| seed | {result.config.seed} |" in text


def test_runs_of_a_folder_are_one_table_whose_first_columns_are_what_differs(interrupted):
    result, _ = interrupted
    folder = result.directory.parent
    rates = OptimizerConfig(learning_rate=0.02)
    other = run(replace(CONFIG, optimizer=rates, epochs=1), out=folder / "other", progress=False, tensorboard=True)
    table = read_table(folder)
    assert [name for name, differs in table.columns if differs] == ["epochs", "optimizer.learning_rate"]
    assert [name for name, _ in table.columns[:2]] == ["epochs", "optimizer.learning_rate"]
    assert table.metrics == ["epoch_accuracy", "epoch_loss"]
    assert table.statuses == {FINISHED}
    rows = {name.partition("/")[0]: row for name, row in table.rows.items()}
    assert len(table.rows) == len(rows) == 2
    for name, each in (("run", result), ("other", other)):
        assert rows[name]["optimizer.learning_rate"] == each.config.optimizer.learning_rate
        assert rows[name]["model.family"] == "plain"
        assert rows[name]["epoch_accuracy"] == pytest.approx(each.metrics["validation_accuracy"])


class Lines:
    """Another logger: anything with `write`."""

    def __init__(self, path):
        self.path = path

    def write(self, record, state):
        with self.path.open("a") as file:
            file.write(json.dumps({"epoch": record["epoch"], "step": int(state.step)}) + "\n")


def test_another_writer_gets_record_and_state(tmp_path):
    result = run(CONFIG, writers=[Lines(tmp_path / "log")], progress=False)
    written = [json.loads(line) for line in (tmp_path / "log").read_text().splitlines()]
    assert written == [{"epoch": record["epoch"], "step": record["step"]} for record in result.history]


def test_a_weight_that_is_not_finite_has_no_histogram_and_no_picture(tmp_path):
    state = parts()[2](jax.random.key(0))
    state = state.with_params(jax.tree.map(lambda leaf: np.full_like(leaf, np.nan), state.params))
    writer = TensorBoard(tmp_path, {"epochs": 1})
    writer.write({"epoch": 1, "train_loss": float("nan"), "validation_loss": float("nan")}, state)
    writer.close()
    events = read(tmp_path)["train"]
    assert events.Tags()["histograms"] == events.Tags()["images"] == []
    assert events.Tags()["scalars"] == ["epoch_loss"]
