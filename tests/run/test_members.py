"""Several runs in one program: each folder ends as `run` alone would have left it."""

import json
import os
import shutil
import signal
from dataclasses import replace

import jax
import numpy as np
import pytest

from jaxcnn.data import load
from jaxcnn.errors import InputError
from jaxcnn.run import load_result, members, run, run_members
from jaxcnn.runtime import onednn
from jaxcnn.spec import Classification, DataConfig, ModelSpec, OptimizerConfig, RunConfig
from jaxcnn.train import Interrupted
from tests.train.small import difference

BASE = RunConfig(
    model=ModelSpec("dense", depth=3, width=8, options={"norm": True, "dropout": 0.1}),
    data=DataConfig(train_size=100, augment=("crop",)),
    optimizer=OptimizerConfig(warmup_epochs=0.5), epochs=3, batch_size=32, checkpoint_every=2,
)  # fmt: skip
DATA = load(BASE.data, progress=False)
CONFIGS = [
    BASE,
    replace(BASE, seed=1),
    replace(BASE, seed=2, optimizer=replace(BASE.optimizer, learning_rate=0.02)),
    replace(BASE, optimizer=replace(BASE.optimizer, weight_decay=0.0)),
]


@pytest.fixture(scope="module")
def alone(tmp_path_factory):
    folder = tmp_path_factory.mktemp("alone")
    return [run(config, out=folder / str(i), dataset=DATA, progress=False) for i, config in enumerate(CONFIGS)]


def together(folder, configs=CONFIGS, **options):
    outs = [folder / str(i) for i in range(len(configs))]
    return run_members(configs, outs, **{"dataset": DATA, "together": len(configs), "progress": False, **options})


def assert_as_alone(found, alone):
    for result, wanted in zip(found, alone, strict=True):
        assert result.config == wanted.config
        assert [record["step"] for record in result.history] == [record["step"] for record in wanted.history]
        assert {name: pytest.approx(value, rel=1e-4) for name, value in wanted.metrics.items()} == result.metrics
        np.testing.assert_array_equal(result.predictions["predictions"], wanted.predictions["predictions"])
        np.testing.assert_allclose(result.predictions["probability"], wanted.predictions["probability"], rtol=1e-3)


@pytest.mark.slow
def test_folders_end_as_those_of_single_runs(alone, tmp_path):
    found = together(tmp_path)
    assert_as_alone(found, alone)
    scan = onednn.bridge() is not None
    assert found[0].programs == {"mode": "jit", "devices": 1, "scan": scan, "members": 4}
    assert alone[0].programs == {"mode": "jit", "devices": 1, "scan": scan, "members": 1}
    for result, wanted in zip(found, alone, strict=True):
        names = [sorted(path.name for path in each.directory.iterdir()) for each in (result, wanted)]
        assert names[0] == names[1]
        steps = [sorted(path.name for path in (each.directory / "checkpoints").iterdir()) for each in (result, wanted)]
        assert steps[0] == steps[1]
        for file in ("config.json", "data.json"):
            assert json.loads((result.directory / file).read_text()) == json.loads(
                (wanted.directory / file).read_text()
            )
        lines = [json.loads(line) for line in (result.directory / "metrics.jsonl").read_text().splitlines()]
        assert lines[:-1] == list(result.history[:-1])
        assert lines[-1].items() >= result.history[-1].items()
        rates = [record["learning_rate"] for record in result.history]
        assert rates == [record["learning_rate"] for record in wanted.history]
        assert_as_alone([load_result(result.directory)], [wanted])


@pytest.mark.slow
def test_the_states_saved_are_the_members_own(alone, tmp_path):
    from jaxcnn.run.assemble import assemble
    from jaxcnn.train import Checkpoints

    together(tmp_path)
    states = []
    for folder in (tmp_path, alone[0].directory.parent):
        for i, config in enumerate(CONFIGS):
            with Checkpoints(folder / str(i) / "checkpoints") as checkpoints:
                like = jax.device_get(assemble(config, DATA).init(jax.random.key(0)))
                states.append(checkpoints.restore(like)[0])
    for found, wanted in zip(states[:4], states[4:], strict=True):
        assert difference(found.params, wanted.params) < 1e-4
        assert found.opt_state.hyperparams == wanted.opt_state.hyperparams


@pytest.mark.slow
def test_finished_ones_are_read_and_the_others_trained_in_groups(alone, tmp_path):
    shutil.copytree(alone[1].directory, tmp_path / "1")
    before = (tmp_path / "1" / "result.json").stat().st_mtime_ns
    seen = []
    found = together(tmp_path, together=2, on_epoch=lambda record: seen.append(record["epoch"]))
    assert_as_alone(found, alone)
    assert (tmp_path / "1" / "result.json").stat().st_mtime_ns == before
    assert [result.programs["members"] for result in found] == [2, 1, 2, 1]
    assert seen == [1, 1, 2, 2, 3, 3, 1, 2, 3]


def interrupting(after):
    """An `on_epoch` that sends SIGINT when it is called for the n-th time."""
    seen = []

    def on_epoch(record):
        seen.append(record)
        if len(seen) == after:
            os.kill(os.getpid(), signal.SIGINT)

    return on_epoch


@pytest.mark.slow
def test_an_interrupt_saves_all_and_they_go_on_together_or_alone(alone, tmp_path):
    with pytest.raises(Interrupted, match="after step 4, saved; run the same command again"):
        together(tmp_path, on_epoch=interrupting(4))
    assert not list(tmp_path.glob("*/result.json"))
    for i in range(4):
        assert [path.name for path in (tmp_path / str(i) / "checkpoints").iterdir()] == ["4"]
    second = run(CONFIGS[1], out=tmp_path / "1", dataset=DATA, progress=False)
    found = together(tmp_path)
    assert found[1].metrics == second.metrics
    assert_as_alone(found, alone)


@pytest.mark.slow
def test_runs_that_stopped_at_different_steps(alone, tmp_path):
    """The first is an epoch ahead: it is trained apart from the others."""
    with pytest.raises(Interrupted):
        run(CONFIGS[0], out=tmp_path / "0", dataset=DATA, progress=False, on_epoch=interrupting(1))
    found = together(tmp_path, CONFIGS[:3])
    assert_as_alone(found, alone[:3])
    assert [result.programs["members"] for result in found] == [1, 2, 2]


def test_scanned_members(alone, tmp_path):
    configs = [replace(config, scan=True) for config in CONFIGS[:2]]
    found = together(tmp_path, configs)
    assert found[0].programs == {"mode": "jit", "devices": 1, "scan": True, "members": 2}
    for result, wanted in zip(found, alone, strict=False):
        np.testing.assert_array_equal(result.predictions["predictions"], wanted.predictions["predictions"])


def test_one_after_another_on_a_cpu(alone):
    (found,) = run_members(CONFIGS[:1], dataset=DATA, progress=False)
    assert found.directory is None
    assert_as_alone([found], alone[:1])
    both = run_members(CONFIGS[:2], dataset=DATA, progress=False)
    assert [result.programs["members"] for result in both] == [1, 1]


@pytest.mark.parametrize(
    ("change", "match"),
    [
        ({"model": replace(BASE.model, width=5)}, r"configs\[1\]: its model.width is 5, that of the first 8"),
        ({"epochs": 4}, r"configs\[1\]: its epochs is 4"),
        (
            {"model": replace(BASE.model, options={"norm": True})},
            r"its model.options.dropout is None, .* first 0.1",
        ),
        ({"task": Classification(0.1)}, r"its task.label_smoothing is 0.1, that of the first 0.0"),
        ({"optimizer": replace(BASE.optimizer, momentum=0.5)}, r"its optimizer.momentum is 0.5"),
        ({"data": DataConfig()}, r"its data.train_size is None"),
    ],
)
def test_runs_of_another_kind_are_refused_before_anything_is_written(tmp_path, change, match):
    with pytest.raises(InputError, match=match):
        together(tmp_path / "new", [BASE, replace(BASE, **change)])
    assert not (tmp_path / "new").exists()


def test_wrong_use_is_named(tmp_path):
    with pytest.raises(InputError, match=r"configs=\[\]"):
        run_members([])
    with pytest.raises(InputError, match="outs: 1 folders for 2 configs"):
        run_members(CONFIGS[:2], [tmp_path])
    with pytest.raises(InputError, match="outs: a folder is given twice"):
        run_members(CONFIGS[:2], [tmp_path, tmp_path / "."])
    with pytest.raises(InputError, match="together=0"):
        run_members(CONFIGS[:2], together=0)
    with pytest.raises(InputError, match="parallel='pmap': runs in one program share one device"):
        run_members([replace(config, parallel="pmap") for config in CONFIGS[:2]], together=2)


@pytest.mark.slow
def test_more_runs_than_memory(monkeypatch, tmp_path):
    """A device that holds two and a half of them, its data aside."""
    monkeypatch.setattr(members, "memory_limit", lambda: 10**12)
    taken = []
    compiled = members.memory_bytes
    monkeypatch.setattr(members, "memory_bytes", lambda program: taken.append(compiled(program)) or taken[-1])
    together(tmp_path / "fits", epochs := [replace(config, epochs=1) for config in CONFIGS])
    data = sum(part.nbytes for split in (DATA.train, DATA.validation) for part in split.values())
    monkeypatch.setattr(members, "memory_limit", lambda: data + int(taken[0] * 2.5 / 4))
    with pytest.raises(InputError, match=r"together=4: these runs take .* MiB at once .* 2 fit, so give together=2"):
        together(tmp_path / "not", epochs)
    assert [result.programs["members"] for result in together(tmp_path / "not", epochs, together=2)] == [2] * 4
