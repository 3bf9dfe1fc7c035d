"""How a run's step is driven: resolved from its config, recorded with its result, refused where it cannot be."""

from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image

from jaxcnn.data import load
from jaxcnn.errors import InputError
from jaxcnn.ops.forms import as_written
from jaxcnn.run import cost, load_result, predict, run
from jaxcnn.run.assemble import assemble, initial_state
from jaxcnn.spec import DataConfig, ModelSpec, OptimizerConfig, RunConfig
from jaxcnn.train.parallel import programs

CONFIG = RunConfig(
    model=ModelSpec("plain", depth=3, width=8), data=DataConfig(train_size=200), epochs=3, batch_size=50,
    optimizer=OptimizerConfig(learning_rate=0.05, warmup_epochs=0.5),
)  # fmt: skip
DATA = load(CONFIG.data, progress=False)
SMALL = replace(CONFIG, model=ModelSpec("dense", 3, 8, options={"norm": True, "dropout": 0.2}), batch_size=30)


@pytest.fixture(scope="module")
def one(tmp_path_factory):
    return run(SMALL, out=tmp_path_factory.mktemp("one") / "r", dataset=DATA, progress=False)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("changes", "record"),
    [
        ({"parallel": "pmap"}, {"mode": "pmap", "devices": 4, "scan": False, "members": 1}),
        ({"parallel": "sharded"}, {"mode": "sharded", "devices": 4, "scan": False, "members": 1}),
        ({"parallel": "sharded", "scan": True}, {"mode": "sharded", "devices": 4, "scan": True, "members": 1}),
        ({"scan": True, "deterministic": True}, {"mode": "jit", "devices": 1, "scan": True, "members": 1}),
    ],
)
def test_the_same_run_is_driven_and_recorded(one, tmp_path, changes, record):
    found = run(replace(SMALL, **changes), out=tmp_path / "r", dataset=DATA, progress=False)
    assert found.programs == load_result(tmp_path / "r").programs == record
    for name, value in one.metrics.items():
        assert found.metrics[name] == pytest.approx(value, rel=1e-4), name
    np.testing.assert_array_equal(found.predictions["predictions"], one.predictions["predictions"])


def test_what_cannot_be_is_refused_before_anything_is_written(tmp_path, monkeypatch):
    def refused(match, **changes):
        with pytest.raises(InputError, match=match):
            run(replace(SMALL, **changes), out=tmp_path / "r", dataset=DATA, progress=False)
        assert not (tmp_path / "r").exists()

    refused("scan=True: pmap makes one step at a time", scan=True, parallel="pmap")
    refused("parallel='threads': choose auto or jit or pmap or sharded", parallel="threads")
    refused("compute_dtype='float16': choose float32 or bfloat16", compute_dtype="float16")
    refused("deterministic=True: pmap", deterministic=True, parallel="pmap")
    monkeypatch.setattr(programs, "RESIDENT_BYTES", 1000)
    refused(r"scan=True: the training split of [\d,]+ bytes does not fit", scan=True)


@pytest.mark.slow
def test_a_step_is_timed_however_it_is_driven():
    pairs = [
        (replace(SMALL, **changes), None)
        for changes in ({"parallel": "jit"}, {"scan": True}, {"parallel": "sharded"}, {"parallel": "pmap"})
    ]
    for found in cost.measure_costs(pairs, DATA, rounds=1, steps=1, warmup=1):
        assert found.step > 0
        assert found.memory > 0


def one_step(config):
    """Types that convolutions compute in, the state before a training step, and after it."""
    parts = assemble(config, DATA)
    state, key = initial_state(parts, config, DATA, jax.random.key(0)), jax.random.key(0)
    batch = {**{name: jnp.asarray(values[:50]) for name, values in DATA.train.items()}, "mask": jnp.ones(50)}
    train = parts.make_steps(None)[0]
    with as_written():
        lines = str(jax.make_jaxpr(lambda *inputs: train(*inputs))(state, batch, key)).splitlines()
    types = {line.split("=")[0].split(":")[-1].split("[")[0] for line in lines if "= conv_general_dilated" in line}
    return types, state, jax.jit(train)(state, batch, key)[0]


@pytest.mark.slow
def test_bfloat16_is_for_activations_alone():
    plain = OptimizerConfig(momentum=0.0, nesterov=False, weight_decay=0.0, schedule="constant", warmup_epochs=0)
    config = replace(CONFIG, optimizer=plain)
    types, start, wanted = one_step(config)
    short_types, _, found = one_step(replace(config, compute_dtype="bfloat16"))
    assert (types, short_types) == ({"f32"}, {"bf16"})
    assert [leaf.dtype for leaf in jax.tree.leaves(found)] == [leaf.dtype for leaf in jax.tree.leaves(start)]
    assert {leaf.dtype.name for leaf in jax.tree.leaves(found)} == {"float32", "int32"}
    # Such a step is the gradient.
    gradients = [
        np.concatenate([np.ravel(a - b) for a, b in zip(*map(jax.tree.leaves, (s.params, start.params)), strict=True)])
        for s in (found, wanted)
    ]
    distance = np.linalg.norm(gradients[0] - gradients[1]) / np.linalg.norm(gradients[1])
    assert 1e-4 < distance < 0.1


@pytest.mark.slow
def test_bfloat16_learns_and_predicts(tmp_path):
    longer = replace(CONFIG, model=SMALL.model, epochs=15, optimizer=replace(CONFIG.optimizer, learning_rate=0.5))
    short = run(replace(longer, compute_dtype="bfloat16"), out=tmp_path / "r", dataset=DATA, progress=False)
    full = run(longer, dataset=DATA, progress=False)
    assert short.history[-1]["train_loss"] < 0.5 * short.history[0]["train_loss"]
    assert short.metrics["test_accuracy"] > full.metrics["test_accuracy"] - 0.1
    Image.fromarray(DATA.load_test()["images"][0, :, :, 0]).save(tmp_path / "image.png")
    (found,) = predict(tmp_path / "r", [tmp_path / "image.png"])
    assert found["probability"] == pytest.approx(float(short.predictions["probability"][0]), abs=0.02)
