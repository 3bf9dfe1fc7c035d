"""Runs that start from the weights of a file: frozen layers keep every bit, and the run records the file."""

import json
from dataclasses import replace
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax.traverse_util import flatten_dict

from jaxcnn.data import load, normalize
from jaxcnn.errors import InputError
from jaxcnn.interop import load_weights
from jaxcnn.interop.torch_names import torch_key
from jaxcnn.interop.weights import variable_shapes
from jaxcnn.models import build
from jaxcnn.nn import Network
from jaxcnn.run import cached_features, load_model, predict, run
from jaxcnn.run.assemble import assemble
from jaxcnn.run.cached_features import with_cached_features
from jaxcnn.spec import Classification, DataConfig, FineTune, ModelSpec, OptimizerConfig, RunConfig
from jaxcnn.train.optimizer import LayerGroups, make_optimizer
from jaxcnn.train.state import UNOPTIMISED
from tests.interop.test_weights import save_safetensors

SPEC = ModelSpec("resnet_imagenet", 10, 4)
SHAPE = (32, 32, 3)


plain = partial(jax.jit, compiler_options=UNOPTIMISED)  # quick to compile


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder, rng = tmp_path_factory.mktemp("finetune"), np.random.default_rng(0)
    labels = np.arange(60) % 3
    images = rng.integers(0, 100, (60, *SHAPE)) + 50 * labels[:, None, None, None]
    np.savez(folder / "data.npz", images=images.astype(np.uint8), labels=labels)
    spec, arrays = replace(SPEC, num_classes=7), {}
    for path, shape in variable_shapes(spec, SHAPE).items():
        value = np.abs(rng.standard_normal(shape)) if path.endswith("var") else 0.1 * rng.standard_normal(shape)
        arrays[torch_key(path, spec)] = value.transpose((3, 2, 0, 1) if value.ndim == 4 else None)
    save_safetensors(arrays, folder / "weights.safetensors")
    return folder


def config_of(folder, unfreeze_from=None, **changes):
    return RunConfig(
        SPEC, DataConfig(str(folder / "data.npz")), OptimizerConfig(learning_rate=0.05), epochs=2, batch_size=16,
        weights=str(folder / "weights.safetensors"), finetune=FineTune(unfreeze_from), **changes,
    )  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize(
    ("unfreeze_from", "trained"), [pytest.param(None, set(), marks=pytest.mark.slow), ("stage4", {"stage4_block1"})]
)
def test_frozen_layers_keep_parameters_and_statistics_to_the_bit(folder, tmp_path, unfreeze_from, trained):
    run(config_of(folder, unfreeze_from, ema=None), out=tmp_path / "run", progress=False)
    _, variables = load_model(tmp_path / "run")
    loaded = load_weights(folder / "weights.safetensors", replace(SPEC, num_classes=3), SHAPE)
    assert loaded.new == ("dense",)
    after, before = (flatten_dict(each, sep="/") for each in (variables, loaded.variables))
    assert set(after) == set(before) | {"params/dense/kernel", "params/dense/bias"}
    moved = {path for path, value in before.items() if not np.array_equal(value, after[path])}
    assert moved == {path for path in before if path.split("/")[1] in trained}


@pytest.mark.slow
def test_a_run_records_its_weights_and_predicts_with_their_normalisation(folder, tmp_path):
    file, out = tmp_path / "copy.safetensors", tmp_path / "run"
    file.write_bytes((folder / "weights.safetensors").read_bytes())
    config = replace(config_of(folder), weights=str(file), epochs=1)
    result = run(config, out=out, progress=False)
    record = json.loads((out / "weights.json").read_text())
    assert record["path"] == str(file)
    assert len(record["sha256"]) == 64
    assert (record["names"], record["new"]) == ("torchvision", ["dense"])
    np.testing.assert_allclose(result.data["mean"], record["preprocessing"]["mean"], rtol=1e-6)
    np.testing.assert_allclose(json.loads((out / "data.json").read_text())["std"], [0.229, 0.224, 0.225], rtol=1e-6)
    file.unlink()  # a finished run needs it no more
    assert run(config, out=out, progress=False).metrics == result.metrics
    (out / "weights.json").write_text(json.dumps(record | {"sha256": "0" * 64}))
    with pytest.raises(InputError, match=r"weights\.json.*changed"):
        predict(out, [])


def test_a_frozen_network_in_training_is_the_network_in_inference(folder):
    spec = replace(SPEC, num_classes=7)
    variables = load_weights(folder / "weights.safetensors", spec, SHAPE).variables
    images, module = jax.random.normal(jax.random.key(0), (4, *SHAPE)), build(spec)
    assert isinstance(module, Network)
    frozen = module.clone(frozen=tuple(variables["params"]))
    expected = plain(module.apply)(variables, images)
    outputs, changed = plain(lambda v: frozen.apply(v, images, True, mutable=["batch_stats"]))(variables)
    np.testing.assert_array_equal(outputs, expected)
    jax.tree.map(np.testing.assert_array_equal, changed["batch_stats"], variables["batch_stats"])
    part = module.clone(frozen=("conv1", "stage1_block1"))

    def loss(params):
        return part.apply({**variables, "params": params}, images, True, mutable=["batch_stats"])[0].sum()

    still = {
        name: not any(np.any(leaf) for leaf in jax.tree.leaves(g))
        for name, g in plain(jax.grad(loss))(variables["params"]).items()
    }
    assert [name for name, zero in still.items() if zero] == ["conv1", "stage1_block1"]


@pytest.mark.slow
def test_cached_features_give_the_same_run(folder, monkeypatch):
    """Uncached: as if all features were too large."""
    cached = run(config_of(folder), progress=False)
    monkeypatch.setattr(cached_features, "MOST_BYTES", 0)
    plain = run(config_of(folder), progress=False)
    assert cached.programs == plain.programs
    for name, value in plain.metrics.items():
        assert cached.metrics[name] == pytest.approx(value, rel=1e-4), name
    np.testing.assert_allclose(cached.predictions["probability"], plain.predictions["probability"], atol=1e-5)


@pytest.mark.slow
def test_mean_features_are_the_averaged_maps_of_the_trunk(folder):
    """Seven images in batches of four: the last batch is filled up, and what fills it is left out."""
    images = np.asarray(load(DataConfig(str(folder / "data.npz"))).train["images"][:7])
    found = cached_features.mean_features(folder / "weights.safetensors", SPEC, images, batch=4)
    loaded = load_weights(folder / "weights.safetensors", replace(SPEC, num_classes=7), SHAPE)
    mean, std = (np.asarray(loaded.record["preprocessing"][name], np.float32) for name in ("mean", "std"))
    seen = normalize(images, mean, std)
    maps = plain(build(replace(SPEC, num_classes=7)).apply, static_argnames="method")(
        loaded.variables, seen, method="features"
    )
    assert len(found) == len(maps)
    for each, expected in zip(found, maps, strict=True):
        np.testing.assert_allclose(each, expected.mean(axis=(1, 2)), rtol=1e-4, atol=1e-5)


def test_features_are_cached_only_where_they_stand_still(folder):
    config = config_of(folder)
    data = load(config.data)

    def is_cached(config):
        parts = assemble(config, data)
        return with_cached_features(parts, config, data) is not parts

    assert is_cached(config)
    assert not is_cached(replace(config, finetune=FineTune("stage4")))
    assert not is_cached(replace(config, data=replace(config.data, augment=("flip",))))
    assert not is_cached(replace(config, data=replace(config.data, mix=("mixup",))))
    assert not is_cached(replace(config, task=Classification(test_flips=True)))


def test_each_group_has_its_learning_rate():
    params = {name: {"kernel": jnp.ones((2, 2))} for name in ("conv1", "conv2", "dense")}
    config = OptimizerConfig(learning_rate=0.5, momentum=0.0, schedule="constant", warmup_epochs=0, weight_decay=0.1)
    tx = make_optimizer(config, 10, 5, LayerGroups(("conv1",), ("conv1", "conv2"), 0.1))
    updates, _ = tx.update(jax.tree.map(jnp.ones_like, params), tx.init(params), params)
    values = {name: float(each["kernel"][0, 0]) for name, each in updates.items()}
    assert values == pytest.approx({"conv1": 0.0, "conv2": -0.055, "dense": -0.55})
    moved = optax.apply_updates(params, updates)
    np.testing.assert_array_equal(moved["conv1"]["kernel"], params["conv1"]["kernel"])


def test_what_no_run_can_start_from_is_refused(folder, tmp_path):
    config = config_of(folder)
    data = load(config.data)
    with pytest.raises(InputError, match="unfreeze_from='stage9': the network has no such layer; choose one of conv1"):
        assemble(replace(config, finetune=FineTune("stage9")), data)
    with pytest.raises(InputError, match="trunk_scale"):
        assemble(replace(config, finetune=FineTune(trunk_scale=0.0)), data)
    with pytest.raises(InputError, match="no names of published weights"):
        assemble(replace(config, model=ModelSpec("plain", 4, 4)), data)
    with pytest.raises(InputError, match="it is for colour images"):
        run(replace(config, data=DataConfig("digits")), progress=False)
    with pytest.raises(InputError, match="differences between the network"):
        run(replace(config, model=replace(SPEC, width=8)), progress=False)


def test_a_rate_of_a_trunk_that_is_not_trained_is_refused(folder):
    with pytest.raises(InputError, match=r"trunk_scale=0\.1: nothing of the trunk is trained; give unfreeze_from"):
        run(replace(config_of(folder), finetune=FineTune(trunk_scale=0.1)), progress=False)


def test_weights_that_are_not_finite_are_refused(folder, tmp_path):
    spec = replace(SPEC, num_classes=7)
    arrays = {torch_key(path, spec): np.ones(shape) for path, shape in variable_shapes(spec, SHAPE).items()}
    arrays = {key: value.transpose((3, 2, 0, 1) if value.ndim == 4 else None) for key, value in arrays.items()}
    arrays["conv1.weight"][0] = np.nan
    save_safetensors(arrays, tmp_path / "nan.safetensors")
    with pytest.raises(InputError, match=r"conv1\.weight has values that are not finite"):
        run(replace(config_of(folder), weights=str(tmp_path / "nan.safetensors")), progress=False)
