"""Batches of nearly equal size: the default of new runs, while records without the field keep the former batches."""

from dataclasses import replace

import numpy as np
import pytest

from jaxcnn.data import load
from jaxcnn.data.stream import read_ahead
from jaxcnn.records import as_record, from_record
from jaxcnn.run import run
from jaxcnn.spec import DataConfig, ModelSpec, OptimizerConfig, RunConfig
from tests.train.small import timeless

CONFIG = RunConfig(
    model=ModelSpec("dense", depth=2, width=8), data=DataConfig(train_size=65), epochs=2, batch_size=32,
    optimizer=OptimizerConfig(warmup_epochs=0.0),
)  # fmt: skip


def test_a_new_run_has_even_batches_and_a_record_without_the_field_full_ones():
    assert RunConfig().batches == "even"
    record = as_record(CONFIG)
    assert from_record(RunConfig, record) == CONFIG
    former = {name: value for name, value in record.items() if name != "batches"}
    assert from_record(RunConfig, former) == replace(CONFIG, batches="full")


@pytest.mark.slow
def test_both_take_as_many_steps_and_differ_only_where_an_epoch_does_not_divide():
    """65 examples in batches of 32: two of 32 and one of 1, or 21, 22 and 22."""
    even, full = (run(replace(CONFIG, batches=kind), progress=False) for kind in ("even", "full"))
    assert [record["step"] for record in even.history] == [record["step"] for record in full.history] == [3, 6]
    assert timeless(even.history) != timeless(full.history)
    divides = replace(CONFIG, data=replace(CONFIG.data, train_size=64))
    even, full = (run(replace(divides, batches=kind), progress=False) for kind in ("even", "full"))
    assert timeless(even.history) == timeless(full.history)


@pytest.mark.slow
def test_prefetching_decodes_the_batches_that_training_takes(tmp_path):
    from PIL import Image

    rng = np.random.default_rng(0)
    for label in "ab":
        (tmp_path / label).mkdir()
        for i in range(20):
            Image.fromarray(rng.integers(0, 255, (6, 6)).astype(np.uint8)).save(tmp_path / label / f"{i}.png")
    config = replace(CONFIG, data=DataConfig(str(tmp_path), stream=True), batch_size=9)
    memory = run(replace(config, data=replace(config.data, stream=False)), progress=False)
    assert timeless(run(config, progress=False).history) == timeless(memory.history)
    train = load(config.data, progress=False).train
    with read_ahead(train, batch_size=9, even=True):
        assert train["images"][np.arange(7)].shape[0] == 7


@pytest.mark.parametrize("together", [1, 2])
def test_runs_side_by_side_have_them_too(together):
    from jaxcnn.run import run_members

    members = run_members([CONFIG, replace(CONFIG, seed=1)], together=together, progress=False)
    assert members[1].metrics == pytest.approx(run(replace(CONFIG, seed=1), progress=False).metrics, rel=1e-4)
