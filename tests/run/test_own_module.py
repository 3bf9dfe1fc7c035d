"""A user-defined module is trained as its author means it, or refused in one sentence before anything is compiled."""

import json
import os
import subprocess
import sys
from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen, nnx

from jaxcnn import nn
from jaxcnn.errors import InputError
from jaxcnn.models import FAMILIES, register_family
from jaxcnn.run import evaluate_run, load_model, load_result, predict, run, run_members, run_seeds
from jaxcnn.run.folder import RunFolder
from jaxcnn.run.own_module import computation
from jaxcnn.spec import DataConfig, ModelSpec, RunConfig
from jaxcnn.train.state import apply, init_variables

CONFIG = RunConfig(model=ModelSpec("plain", 3, 4), data=DataConfig(train_size=100), epochs=1, batch_size=50)
SHAPE = (8, 8, 1)
IMAGES = np.random.default_rng(0).normal(size=(16, *SHAPE)).astype(np.float32)


def trunk(x, train):
    """Convolution, batch norm and dropout of flax.linen."""
    x = linen.relu(linen.BatchNorm(use_running_average=not train)(linen.Conv(4, (3, 3))(x)))
    x = linen.Dropout(0.5)(x.reshape(len(x), -1), deterministic=not train)
    return linen.Dense(10)(x)


class Train(linen.Module):
    @linen.compact
    def __call__(self, x, train):
        return trunk(x, train)


class Training(linen.Module):
    @linen.compact
    def __call__(self, x, training=False):
        return trunk(x, training)


class IsTraining(linen.Module):
    @linen.compact
    def __call__(self, x, *, is_training):
        return trunk(x, is_training)


class Deterministic(linen.Module):
    @linen.compact
    def __call__(self, x, deterministic: bool = True):
        return trunk(x, not deterministic)


class RunningAverage(linen.Module):
    @linen.compact
    def __call__(self, x, use_running_average=True):
        return trunk(x, not use_running_average)


class Keywords(linen.Module):
    @linen.compact
    def __call__(self, x, **keywords):
        return trunk(x, keywords["train"])


class Field(linen.Module):
    deterministic: bool = True

    @linen.compact
    def __call__(self, x):
        return trunk(x, not self.deterministic)


class Without(linen.Module):
    norm: bool = True

    @linen.compact
    def __call__(self, x):
        x = linen.Conv(4, (3, 3))(x)
        x = nn.BatchNorm()(x) if self.norm else linen.Dropout(0.5, deterministic=False)(x)
        return linen.Dense(10)(x.reshape(len(x), -1))


class NoImages(linen.Module):
    def __call__(self):
        return jnp.zeros((2, 10))


class NamedImages(linen.Module):
    def __call__(self, *, images):
        return images


class ByPosition(linen.Module):
    @linen.compact
    def __call__(self, x, train=False, /):
        return trunk(x, train)


class Linear(linen.Module):
    """Plain layers of flax.linen with so many outputs; it records the dtype of its activations."""

    outputs: int = 10
    scale: float = 1.0

    @linen.compact
    def __call__(self, x):
        x = scaled(linen.Conv(4, (3, 3))(x)) * self.scale
        x = linen.LayerNorm()(x)
        self.sow("intermediates", "hidden", x)
        return linen.Dense(self.outputs)(x.reshape(len(x), -1))


def scaled(x):
    return linen.relu(x)


def edited(x):
    return linen.tanh(x)


@pytest.mark.parametrize("kind", [Train, Training, IsTraining, Deterministic, RunningAverage, Keywords, Field])
def test_every_name_of_the_switch_trains_in_training_mode_and_evaluates_in_inference(kind):
    module = kind()
    variables = init_variables(module, SHAPE, jax.random.key(0))
    outputs, stats = apply(module, variables, (IMAGES,), train=True, key=jax.random.key(1))
    same, expected = Train(), [variables["params"], stats]
    reference, moved = apply(same, variables, (IMAGES,), train=True, key=jax.random.key(1))
    np.testing.assert_array_equal(outputs, reference)
    jax.tree.map(np.testing.assert_array_equal, expected[1], moved)
    assert not np.allclose(stats["BatchNorm_0"]["var"], 1.0)  # the running variance moves
    other, _ = apply(module, variables, (IMAGES,), train=True, key=jax.random.key(2))
    assert not np.allclose(outputs, other)  # dropout drops
    first, kept = apply(module, variables, (IMAGES,), train=False)
    second, _ = apply(module, variables, (IMAGES[:8],), train=False)
    np.testing.assert_allclose(first[:8], second, rtol=1e-5, atol=1e-6)  # no batch statistics, no dropout
    jax.tree.map(np.testing.assert_array_equal, kept, variables["batch_stats"])


def test_a_run_moves_the_running_statistics_of_a_module_with_flaxs_word(tmp_path):
    run(CONFIG, model=Deterministic(), out=tmp_path / "run", progress=False)
    _, variables = load_model(tmp_path / "run", model=Deterministic())
    assert not np.allclose(variables["batch_stats"]["BatchNorm_0"]["var"], 1.0)


SEQUENTIAL = linen.Sequential([nn.Conv(4), nn.ConvNormAct(4), nn.GlobalAvgPool(), nn.Dense(10)])
REFUSED = {
    "BatchNorm": (Without(), r"model=Without: it has BatchNorm and no switch .*; give its call an argument train"),
    "Dropout": (Without(norm=False), r"model=Without: it has Dropout and no switch between training and inference"),
    "Sequential": (SEQUENTIAL, r"model=Sequential: it has BatchNorm and no switch"),
    "three logits": (
        Linear(3),
        r"its outputs for 2 images are float32 \(2, 3\) in training; .*10 classes needs float32 \(2, 10\)",
    ),
    "twelve logits": (Linear(12), r"model=Linear: its outputs for 2 images are float32 \(2, 12\)"),
    "nnx": (nnx.Dropout(0.5), r"model=Dropout: give a flax.linen module, for one of flax.nnx"),
    "bridge": (nnx.bridge.to_linen(nnx.Dropout, 0.5), r"model=ToLinen: write it with flax.linen, for one of flax.nnx"),
    "no images": (NoImages(), r"model=NoImages: its call takes no images; let it begin \(self, images\)"),
    "named images": (NamedImages(), r"model=NamedImages: its call takes no images"),
    "by position": (ByPosition(), r"model=ByPosition: its call takes train by position only; move or leave out the /"),
    "class": (Linear, r"model=Linear: give an instance, Linear\(\.\.\.\)"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_a_module_that_would_not_be_trained_as_it_is_meant_is_refused_and_nothing_is_written(case, tmp_path):
    model, message = REFUSED[case]
    with pytest.raises(InputError, match=message):
        run(CONFIG, model=model, out=tmp_path / "run", progress=False)
    assert not (tmp_path / "run").exists()
    if isinstance(model, linen.Module):
        with pytest.raises(InputError, match=message):
            run_members([CONFIG], model=model, progress=False)


def test_a_module_with_several_outputs_or_inputs_or_whole_numbers_is_refused():
    class Pair(linen.Module):
        @linen.compact
        def __call__(self, x):
            logits = linen.Dense(10)(x.reshape(len(x), -1))
            return logits, x

    class Boxes(linen.Module):
        @linen.compact
        def __call__(self, x, boxes, scale=1.0):
            return linen.Dense(10)(x.reshape(len(x), -1))

    class Rounded(linen.Module):
        @linen.compact
        def __call__(self, x):
            return linen.Dense(10)(x.reshape(len(x), -1)).astype(jnp.int32)

    class Auxiliary(linen.Module):
        """A second output in training alone, as Inception has."""

        @linen.compact
        def __call__(self, x, train=False):
            logits = linen.Dense(10)(x.reshape(len(x), -1))
            return (logits, logits) if train else logits

    for model, message in (
        (Auxiliary(), r"are \(float32 \(2, 10\), float32 \(2, 10\)\) in training; .* needs float32 \(2, 10\)"),
        (Pair(), r"are \(float32 \(2, 10\), float32 \(2, 8, 8, 1\)\)"),
        (Boxes(), r"model=Boxes: its call needs boxes beside the images"),
        (Rounded(), r"are int32 \(2, 10\) in training; .* needs float32 \(2, 10\)"),
    ):
        with pytest.raises(InputError, match=message):
            run(CONFIG, model=model, progress=False)


def test_a_batch_norm_that_does_not_get_the_switch_is_warned_of():
    class Forgotten(linen.Module):
        @linen.compact
        def __call__(self, x, train=False):
            x = nn.ConvNormAct(4, name="first")(x, train)
            x = nn.ConvNormAct(4, name="second")(x)
            return nn.Dense(10)(nn.GlobalAvgPool()(x))

    with pytest.warns(UserWarning, match="model=Forgotten: training leaves the statistics of second/norm as they are"):
        run(CONFIG, model=Forgotten(), progress=False)


@pytest.mark.slow
def test_a_sequential_of_layers_is_trained():
    flat = linen.Sequential([linen.Conv(4, (3, 3)), linen.relu, lambda x: x.reshape(len(x), -1), linen.Dense(10)])
    assert run(CONFIG, model=flat, progress=False).params == 40 + 2570
    first = linen.Sequential([lambda x: x.reshape(len(x), -1), linen.Dense(10)])
    assert run(CONFIG, model=first, progress=False).params == 650


def test_an_edited_module_is_another_configuration(tmp_path, monkeypatch):
    """Same class, same fields: what differs is a function that it calls."""
    first = run(CONFIG, model=Linear(), out=tmp_path / "run", progress=False)
    before = {path: path.read_bytes() for path in (tmp_path / "run").rglob("*") if path.is_file()}
    assert run(CONFIG, model=Linear(), out=tmp_path / "run", progress=False).metrics == first.metrics
    monkeypatch.setattr(f"{__name__}.scaled", edited)
    with pytest.raises(
        InputError, match=r"another configuration \(model.computation.training is '\w+', not '\w+', model.c"
    ):
        run(CONFIG, model=Linear(), out=tmp_path / "run", progress=False)
    for use in (evaluate_run, load_model, lambda folder, model: predict(folder, [], model=model)):
        with pytest.raises(InputError, match=r"its network was edited since"):
            use(tmp_path / "run", model=Linear())
    assert {path: path.read_bytes() for path in (tmp_path / "run").rglob("*") if path.is_file()} == before
    # In the same process, no program of the module as it was is used again.
    assert run(CONFIG, model=Linear(), progress=False).metrics != first.metrics


def test_an_edit_while_a_run_is_interrupted_is_refused(tmp_path, monkeypatch):
    class Stop(Exception):
        pass

    def stop(record):
        raise Stop

    with pytest.raises(Stop):
        run(replace(CONFIG, epochs=2), model=Linear(), out=tmp_path / "run", progress=False, on_epoch=stop)
    with monkeypatch.context() as patch:
        patch.setattr(f"{__name__}.scaled", edited)
        with pytest.raises(InputError, match=r"model\.computation\.training is"):
            run(replace(CONFIG, epochs=2), model=Linear(), out=tmp_path / "run", progress=False)
    assert run(replace(CONFIG, epochs=2), model=Linear(), out=tmp_path / "run", progress=False).metrics


def test_folders_of_earlier_versions_or_other_versions_of_jax_have_no_comparable_computation(tmp_path):
    first = run(CONFIG, model=Linear(), out=tmp_path / "run", progress=False)
    folder = RunFolder(tmp_path / "run")
    stored = folder.read("config.json")["model"]
    assert set(stored) == {"module", "fields", "computation"}
    for traced in (None, {**stored["computation"], "traced_by": "jax 0.1", "training": "0"}):
        model = {name: value for name, value in stored.items() if name != "computation"}
        record = folder.read("config.json") | {"model": model | ({"computation": traced} if traced else {})}
        (folder.path / "config.json").write_text(json.dumps(record))
        folder.store(first)
        assert run(CONFIG, model=Linear(), out=folder.path, progress=False).metrics == first.metrics
        assert evaluate_run(folder.path, model=Linear())["loss"] == pytest.approx(first.metrics["test_loss"], rel=1e-5)


def test_the_computation_sees_initial_values_gradients_constants_and_no_names():
    class Straight(linen.Module):
        """Rounding whose gradient is that of the identity, by a rule of its own."""

        slope: float
        start: float = 0.0
        table: object = None

        @linen.compact
        def __call__(self, x):
            @jax.custom_vjp
            def rounded(x):
                return jnp.round(x)

            rounded.defvjp(lambda x: (jnp.round(x), None), lambda _, g: (self.slope * g,))
            x = linen.Dense(10, bias_init=linen.initializers.constant(self.start))(x.reshape(len(x), -1))
            return rounded(x) if self.table is None else rounded(x) * self.table.value

    one = computation(Straight(1.0), SHAPE)
    assert computation(Straight(1.0), SHAPE) == one
    changed = {
        (1.0, 0.5): {"initialisation"},
        (2.0,): {"training"},
        (1.0, 0.0, Table(0.0)): {"training", "inference"},
    }
    for arguments, names in changed.items():
        other = computation(Straight(*arguments), SHAPE)
        assert {name for name in one if other[name] != one[name]} == names
    tables = [computation(Straight(1.0, 0.0, Table(value)), SHAPE)["inference"] for value in (1.0, 2.0)]
    assert tables[0] != tables[1]


class Table:
    """An array in a module's field; its repr says nothing of its values."""

    def __init__(self, value):
        self.value = np.full((1, 10), value, np.float32)

    def __repr__(self):
        return "Table()"


@pytest.mark.slow
def test_the_computation_is_the_same_in_every_process():
    code = (
        "from tests.run.test_own_module import *; "
        "print([computation(each, SHAPE) for each in (Train(), Linear(), nn.ConvNormAct(10))])"
    )
    found = {
        subprocess.run(
            [sys.executable, "-c", code], env={**os.environ, "PYTHONHASHSEED": seed}, check=True,
            capture_output=True, text=True,
        ).stdout
        for seed in ("0", "1")
    }  # fmt: skip
    assert len(found) == 1


@pytest.fixture
def standard():
    """Layers of Flax rely on JAX's promotion of dtypes, which the tests of jaxcnn's own layers forbid."""
    with jax.numpy_dtype_promotion("standard"):
        yield


@pytest.mark.slow
@pytest.mark.parametrize("train", [True, False])
def test_bfloat16_reaches_the_layers_of_flax(train, standard):
    """Their parameters, statistics and gradients stay float32; so does what has a dtype of its own."""

    class Wide(linen.Module):
        @linen.compact
        def __call__(self, x, train):
            x = linen.BatchNorm(use_running_average=not train)(linen.Conv(4, (3, 3))(x))
            hidden = x.dtype
            logits = linen.Dense(10, dtype=jnp.float32)(linen.Dense(10)(x.reshape(len(x), -1)))
            return logits, jnp.zeros((), hidden)

    variables = init_variables(Wide(), SHAPE, jax.random.key(0))
    images = jnp.asarray(IMAGES, jnp.bfloat16)
    (logits, hidden), stats = apply(Wide(), variables, (images,), train=train)
    assert (logits.dtype, hidden.dtype) == (jnp.float32, jnp.bfloat16)
    assert {leaf.dtype for leaf in jax.tree.leaves((variables, stats))} == {np.dtype(np.float32)}
    jaxpr = str(jax.make_jaxpr(lambda x: apply(Wide(), variables, (x,), train=train)[0])(images))
    assert "bf16[16,8,8,4] = conv_general_dilated" in jaxpr
    (wide, plain), _ = apply(Wide(), variables, (IMAGES,), train=train)
    assert plain.dtype == jnp.float32
    np.testing.assert_allclose(logits, wide, atol=0.05)
    assert not np.array_equal(logits, wide)


@pytest.mark.slow
def test_a_run_in_bfloat16_differs_for_plain_layers_and_stays_close(standard):
    wide = run(CONFIG, model=Linear(), progress=False)
    narrow = run(replace(CONFIG, compute_dtype="bfloat16"), model=Linear(), progress=False)
    assert narrow.metrics["train_loss"] != wide.metrics["train_loss"]
    assert narrow.metrics["train_loss"] == pytest.approx(wide.metrics["train_loss"], rel=0.02)


def test_load_model_gives_the_network_and_its_trained_variables(tmp_path):
    result = run(CONFIG, out=tmp_path / "spec", progress=False)
    module, variables = load_model(tmp_path / "spec")
    from jaxcnn.data import load, normalize

    data = load(CONFIG.data)
    images = normalize(data.load_test()["images"], data.mean, data.std)
    logits = module.apply(variables, images, train=False)
    np.testing.assert_array_equal(np.argmax(logits, 1), result.predictions["predictions"])
    run(replace(CONFIG, ema=0.9), model=Linear(), out=tmp_path / "own", progress=False)
    module, variables = load_model(tmp_path / "own", model=Linear())
    assert module == Linear()
    assert set(variables) == {"params", "batch_stats"}
    with pytest.raises(InputError, match="your own module"):
        load_model(tmp_path / "own")
    with pytest.raises(InputError, match="checkpoint='first'"):
        load_model(tmp_path / "spec", checkpoint="first")


def test_seeds_of_an_own_module_resume(tmp_path):
    results = run_seeds(CONFIG, (0, 1), model=Linear(), out=tmp_path, progress=False)
    again = run_seeds(CONFIG, (0, 1), model=Linear(), out=tmp_path, progress=False)
    assert [each.metrics for each in again] == [each.metrics for each in results]
    assert load_result(tmp_path / "seed1").metrics == results[1].metrics


@pytest.mark.slow
def test_an_edited_family_is_another_configuration(tmp_path, monkeypatch):
    """A family that the user registered has a spec, and is as easily edited as a module."""
    monkeypatch.setattr("jaxcnn.models.family.FAMILIES", {**FAMILIES})
    family = FAMILIES["dense"]

    def make(act):
        class Trunk(linen.Module):
            @linen.compact
            def __call__(self, images, train=False, mask=None):
                return (act(nn.Dense(8, name="first")(images.reshape(len(images), -1)))[:, None, None],)

        return family._replace(backbone=lambda spec, options: Trunk())

    config = replace(CONFIG, model=ModelSpec("mine", 2, 4))
    register_family("mine", make(linen.relu))
    first = run(config, out=tmp_path / "run", progress=False)
    assert load_result(tmp_path / "run").config == config
    register_family("mine", make(linen.relu))
    assert run(config, out=tmp_path / "run", progress=False).metrics == first.metrics
    assert evaluate_run(tmp_path / "run")["loss"] == pytest.approx(first.metrics["test_loss"], rel=1e-5)
    register_family("mine", make(linen.tanh))
    with pytest.raises(InputError, match=r"another configuration \(model.computation.training is"):
        run(config, out=tmp_path / "run", progress=False)
    with pytest.raises(InputError, match="its network was edited since"):
        evaluate_run(tmp_path / "run")
    register_family("mine", make(linen.relu)._replace(head=lambda spec, options: nn.ClassifierHead(12, average=False)))
    with pytest.raises(InputError, match=r"are float32 \(2, 12\)"):
        run(config, progress=False)
