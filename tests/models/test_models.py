"""One table of small models and the properties every model has; LeNet-5 whole against PyTorch (stored)."""

from dataclasses import replace
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxcnn.models import build, named
from jaxcnn.nn import synchronised
from jaxcnn.spec import ModelSpec
from tests.fixtures.reference import assert_close, draw_variables, load_flat

SHAPE, CLASSES = (16, 16, 2), 5
SPECS = {
    "lenet_norm": ModelSpec(
        "lenet", 6, 3, options={"norm": True, "dense": 2, "kernel": 3, "padding": "same", "dropout": 0.3}
    ),
    "plain": ModelSpec("plain", 5, 3),
    "plain_dropout": ModelSpec("plain", 3, 3, options={"norm": False, "dropout": 0.3}),
    "vgg": ModelSpec("vgg", 5, 1, stage_sizes=(1, 1), options={"norm": True, "dropout": 0.3}),
    "resnet": ModelSpec("resnet", 8, 3),
    "resnet_b": ModelSpec("resnet", 8, 3, options={"shortcut": "B", "zero_init": True, "stochastic_depth": 0.4}),
    "resnet_without_skip": ModelSpec("resnet", 8, 3, options={"skip": False}),
    "resnet_imagenet": ModelSpec("resnet_imagenet", 8, 2, stage_sizes=(1, 1), options={"block": "bottleneck"}),
    "airbench": ModelSpec("airbench", 5, 3),
    "wrn": ModelSpec("wrn", 7, 1, stage_sizes=(1, 1), stage_widths=(3, 4), options={"dropout": 0.3}),
    "mobilenet": ModelSpec(
        "mobilenet", 8, 4, stage_sizes=(1, 1), stage_widths=(4, 6), options={"stem": "cifar", "dropout": 0.2}
    ),
    "dense": ModelSpec("dense", 3, 4, options={"norm": True, "dropout": 0.3}),
}


class Case:
    """A model with variables and its jitted forms, made once."""

    def __init__(self, name):
        self.spec = SPECS[name]
        self.module = build(self.spec, CLASSES)
        self.images = jax.random.normal(jax.random.key(0), (4, *SHAPE))
        self.variables = draw_variables(self.module, self.images)
        self.stats = self.variables.get("batch_stats", {})
        self.eval = jax.jit(self.module.apply)
        self.step = jax.jit(jax.value_and_grad(self.loss, has_aux=True))

    def loss(self, params, images, key, mask=None):
        logits, changed = self.module.apply(
            {"params": params, "batch_stats": self.stats},
            images,
            train=True,
            mask=mask,
            rngs={"dropout": key},
            mutable=["batch_stats"],
        )
        return jnp.mean(jnp.square(logits - 1.0)), (logits, changed.get("batch_stats", {}))


LARGE = ("resnet_b", "resnet_imagenet", "mobilenet", "wrn")


@pytest.fixture(
    scope="module", params=[pytest.param(name, marks=pytest.mark.slow) if name in LARGE else name for name in SPECS]
)
def case(request):
    return Case(request.param)


def test_logits_have_the_right_shape_and_dtype(case):
    logits = case.eval(case.variables, case.images)
    assert logits.shape == (4, CLASSES)
    assert logits.dtype == jnp.float32
    assert bool(jnp.isfinite(logits).all())


@pytest.mark.slow
@pytest.mark.parametrize(
    "case", ["plain_dropout", "airbench", "resnet_imagenet", "wrn", "mobilenet", "dense"], indirect=True
)
def test_eager_equals_jit(case):
    """One network of each file of `jaxcnn.models`, and of each kind of block but the basic one."""
    eager = case.module.apply(case.variables, case.images[:2])
    np.testing.assert_allclose(eager, case.eval(case.variables, case.images)[:2], rtol=1e-4, atol=1e-5)


def test_features_are_one_map_per_stride_and_the_head_sees_the_last(case):
    def features(module, images):
        return module.features(images)

    def head_on_the_last(module, images):
        *others, last = module.features(images)
        return module.head((*[None] * len(others), last))

    maps = jax.eval_shape(lambda v, x: case.module.apply(v, x, method=features), case.variables, case.images)
    sides = [each.shape[1] for each in maps]
    assert sides == sorted(set(sides), reverse=True)
    assert all(each.ndim == 4 and each.shape[:2] == (4, each.shape[2]) for each in maps)
    assert len(maps) >= len(case.module.backbone.stage_sizes) or case.spec.family in ("dense", "mobilenet")
    whole, on_the_last = (
        jax.make_jaxpr(lambda v, x, m=method: case.module.apply(v, x, method=m))(case.variables, case.images)
        for method in ("__call__", head_on_the_last)
    )
    assert str(whole) == str(on_the_last)


def test_features_have_the_parameters_of_the_network(case):
    """By name and shape, so that weights of a classifier are those of its backbone."""
    whole, part = (
        jax.eval_shape(lambda x, m=method: case.module.init(jax.random.key(0), x, method=m), case.images)
        for method in ("__call__", "features")
    )
    named = dict(jax.tree_util.tree_leaves_with_path(whole))
    shared = dict(jax.tree_util.tree_leaves_with_path(part))
    assert shared.items() < named.items()
    heads = {jax.tree_util.keystr(path) for path in named.keys() - shared.keys()}
    assert all("dense" in name or "head" in name for name in heads)
    assert len(heads) <= 2 * (len(getattr(case.module.head, "units", ())) + 1)


def test_features_begin_with_the_values_of_the_network():
    module, images = build(SPECS["plain"], CLASSES), jnp.zeros((1, *SHAPE))
    whole, part = (jax.jit(partial(module.init, method=m))(jax.random.key(0), images) for m in ("__call__", "features"))
    jax.tree.map(np.testing.assert_array_equal, part["params"], {k: whole["params"][k] for k in part["params"]})


def test_examples_do_not_see_each_other_in_inference(case):
    whole = case.eval(case.variables, case.images)
    np.testing.assert_allclose(case.eval(case.variables, case.images[::-1])[::-1], whole, rtol=1e-4, atol=1e-5)


@pytest.mark.slow
def test_gradients_are_finite_and_somewhere_not_zero(case):
    (loss, _), grads = case.step(case.variables["params"], case.images, jax.random.key(2))
    leaves = jax.tree.leaves(grads)
    assert bool(jnp.isfinite(loss))
    assert all(bool(jnp.isfinite(leaf).all()) for leaf in leaves)
    assert sum(float(jnp.abs(leaf).sum()) for leaf in leaves) > 0


@pytest.mark.slow
def test_statistics_move_only_in_training(case):
    _, changed = jax.jit(lambda v, x: case.module.apply(v, x, mutable=["batch_stats"]))(case.variables, case.images)
    jax.tree.map(np.testing.assert_array_equal, changed.get("batch_stats", {}), case.stats)
    (_, (_, moved)), _ = case.step(case.variables["params"], case.images, jax.random.key(2))
    assert jax.tree.structure(moved) == jax.tree.structure(case.stats)
    for old, new in zip(jax.tree.leaves(case.stats), jax.tree.leaves(moved), strict=True):
        assert not np.array_equal(old, new)


def test_dropout_acts_only_in_training(case):
    def train(seed):
        return case.step(case.variables["params"], case.images, jax.random.key(seed))[0][1][0]

    assert np.array_equal(train(0), train(1)) == (not set(case.spec.options) & {"dropout", "stochastic_depth"})
    np.testing.assert_array_equal(train(0), train(0))
    np.testing.assert_array_equal(case.eval(case.variables, case.images), case.eval(case.variables, case.images))


NO_DROPOUT = {"wrn": {"dropout": 0.0}, "resnet_b": {"stochastic_depth": 0.0}}


@pytest.mark.parametrize("name", ["plain", "resnet_b", "wrn"])
def test_a_masked_batch_trains_as_the_smaller_batch(name):
    """Logits of the kept examples and running statistics, through the whole model."""
    case = Case(name)
    module = build(replace(case.spec, options={**case.spec.options, **NO_DROPOUT.get(name, {})}), CLASSES)

    @jax.jit
    def forward(images, mask):
        return module.apply(case.variables, images, train=True, mask=mask, mutable=["batch_stats"])

    logits, stats = forward(case.images.at[2:].set(9.0), jnp.array([1.0, 1.0, 0.0, 0.0]))
    small_logits, small_stats = forward(case.images[:2], None)
    np.testing.assert_allclose(logits[:2], small_logits, rtol=1e-3, atol=1e-4)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-3, atol=1e-5), stats, small_stats)


@pytest.mark.slow
def test_synchronised_statistics_equal_one_device():
    """Four devices with one example each give what one device gives with four."""
    case = Case("resnet")
    shared = synchronised(case.module, "batch")

    def device(images):
        return shared.apply(case.variables, images, train=True, mutable=["batch_stats"])

    logits, stats = jax.pmap(device, axis_name="batch")(case.images[:, None])
    expected, expected_stats = jax.jit(
        lambda x: case.module.apply(case.variables, x, train=True, mutable=["batch_stats"])
    )(case.images)
    np.testing.assert_allclose(logits[:, 0], expected, rtol=1e-4, atol=1e-5)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a[3], b, rtol=1e-4, atol=1e-6), stats, expected_stats)


def test_vgg_pools_large_maps_to_seven():
    module = build(ModelSpec("vgg", 4, 1, stage_sizes=(1,)), 3)
    for size, inputs in ((20, 49), (14, 49), (8, 16)):
        params = jax.eval_shape(module.init, jax.random.key(0), jnp.zeros((1, size, size, 1)))["params"]
        assert params["dense1"]["kernel"].shape[0] == inputs


def test_lenet5_agrees_with_pytorch():
    stored = load_flat("lenet5")
    rng, params = np.random.RandomState(5), {}
    for name, shape in (
        ("conv1", (5, 5, 1, 6)),
        ("conv2", (5, 5, 6, 16)),
        ("dense1", (400, 120)),
        ("dense2", (120, 84)),
        ("dense3", (84, 10)),
    ):
        parts = (("kernel", shape), ("bias", shape[-1:]))
        root = np.sqrt(np.prod(shape[:-1]))
        params[name] = {part: jnp.asarray(rng.standard_normal(size) / root, jnp.float32) for part, size in parts}
    module = build(named("lenet5"), 10)

    def loss(params):
        logits = module.apply({"params": params}, jnp.asarray(stored["x"]), train=True)
        chosen = jnp.take_along_axis(jax.nn.log_softmax(logits), jnp.asarray(stored["labels"])[:, None], axis=1)
        return -jnp.mean(chosen), logits

    (value, logits), grads = jax.jit(jax.value_and_grad(loss, has_aux=True))(params)
    assert_close(logits, stored["logits"], "logits")
    assert_close(value, stored["loss"], "loss")
    for name, layer in grads.items():
        for part, grad in layer.items():
            expected = stored[f"d/{name}/{part}"]
            assert_close(grad[::8] if grad.size > 5000 else grad, expected, f"d{name}/{part}")


@pytest.mark.parametrize("name", SPECS)
def test_every_family_takes_rectangles_and_maps_keep_their_shape(name):
    module, images = build(SPECS[name], CLASSES), jax.ShapeDtypeStruct((2, 16, 40, 2), jnp.float32)
    variables = jax.eval_shape(module.init, jax.random.key(0), images)
    assert jax.eval_shape(module.apply, variables, images).shape == (2, CLASSES)
    maps = jax.eval_shape(partial(module.apply, method="features"), variables, images)
    assert all(each.shape[2] > each.shape[1] for each in maps) or name == "dense"  # whose maps are 1x1
