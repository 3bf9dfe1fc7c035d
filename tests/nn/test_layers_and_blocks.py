"""Layers and blocks against PyTorch (stored) and flax.linen; formulas of their docstrings."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen

from jaxcnn import nn
from jaxcnn.errors import InputError
from tests.fixtures.reference import assert_close, draw_variables, load, nested

BLOCKS, CONV, DENSE, NORM, POOL = (load(name) for name in ("blocks", "conv", "dense", "norm", "pool"))


def as_jax(tree):
    return jax.tree.map(jnp.asarray, tree)


def tuples(value):
    return tuple(tuples(item) for item in value) if isinstance(value, list) else value


def check(module, arrays, params, *call, stats=None):
    """Outputs and gradients with respect to input and parameters; returns the statistics after the call."""
    x, g = jnp.asarray(arrays["x"]), jnp.asarray(arrays["g"])

    def apply(params, x):
        y, changed = module.apply({"params": params, "batch_stats": stats or {}}, x, *call, mutable=["batch_stats"])
        return y, changed

    def pull_back(params, x, g):
        y, pull, changed = jax.vjp(apply, params, x, has_aux=True)
        return y, pull(g), changed

    y, (grads, dx), changed = jax.jit(pull_back)(as_jax(params), x, g)
    assert_close(y, arrays["y"], "y")
    assert_close(dx, arrays["dx"], "dx")
    expected = nested(arrays, "dparams/") or {k: arrays[f"d{k}"] for k in params}
    assert jax.tree.structure(grads) == jax.tree.structure(expected)
    for (path, grad), value in zip(jax.tree_util.tree_leaves_with_path(grads), jax.tree.leaves(expected), strict=True):
        assert_close(grad, value, f"d{path}")
    return changed.get("batch_stats", {})


@pytest.mark.parametrize("case", CONV)
def test_conv_layer_agrees_with_pytorch(case):
    settings, arrays = CONV[case]
    layer = nn.Conv(4, kernel=(3, 2), **{k: tuples(v) for k, v in settings.items()})
    check(layer, arrays, {"kernel": arrays["kernel"], "bias": arrays["bias"]})


@pytest.mark.parametrize("case", DENSE)
def test_dense_layer_agrees_with_pytorch(case):
    settings, arrays = DENSE[case]
    check(nn.Dense(4, **settings), arrays, {k: arrays[k] for k in ("kernel", "bias") if k in arrays})


@pytest.mark.parametrize("case", NORM)
def test_batch_norm_layer_agrees_with_pytorch(case):
    """Running statistics too, after PyTorch's unbiased variance is made biased."""
    arrays = NORM[case][1]
    stats = as_jax({"mean": arrays["old_mean"], "var": arrays["old_var"]})
    params = {"scale": arrays["scale"], "bias": arrays["bias"]}
    new = check(nn.BatchNorm(), arrays, params, case != "inference", stats=stats)
    assert_close(new["mean"], arrays["new_mean"], "mean")
    assert_close(new["var"], arrays["new_var"], "var")


@pytest.mark.parametrize("case", [case for case in POOL if not case.startswith(("adaptive", "global_max"))])
def test_pool_layers_agree_with_pytorch(case):
    settings, arrays = POOL[case]
    layer = {"max": nn.MaxPool, "avg": nn.AvgPool, "global_avg": nn.GlobalAvgPool}[settings["kind"]]
    check(layer(**{k: tuples(v) for k, v in settings.items() if k not in ("kind", "size")}), arrays, {})


@pytest.mark.parametrize("case", BLOCKS)
def test_block_agrees_with_pytorch(case):
    settings, arrays = BLOCKS[case]
    module = getattr(nn, settings["block"])(
        settings["features"], settings["stride"], settings.get("skip", True), settings["shortcut"]
    )
    params = nested(arrays, "params/")
    fresh = draw_variables(module, jnp.asarray(arrays["x"]))
    assert jax.tree.structure(fresh["params"]) == jax.tree.structure(params)
    new = check(module, arrays, params, True, stats=fresh["batch_stats"])
    expected = nested(arrays, "stats/")
    assert jax.tree.structure(new) == jax.tree.structure(expected)
    jax.tree.map(assert_close, new, expected)


def test_layers_agree_with_linen():
    x = jax.random.normal(jax.random.key(0), (4, 6, 6, 3))
    pairs = [
        (nn.Conv(5), linen.Conv(5, (3, 3)), ()),
        (nn.Conv(6, 3, 2, groups=3), linen.Conv(6, (3, 3), 2, feature_group_count=3), ()),
        (nn.Dense(5), linen.Dense(5), ()),
        (nn.BatchNorm(), linen.BatchNorm(use_running_average=True, momentum=0.9), ()),
        (nn.BatchNorm(), linen.BatchNorm(use_running_average=False, momentum=0.9), (True,)),
    ]
    for ours, theirs, call in pairs:
        variables = theirs.init(jax.random.key(1), x)
        assert jax.tree.structure(variables) == jax.tree.structure(ours.init(jax.random.key(1), x))
        (mine, moved), (linens, expected) = (
            value_and_gradients(module, variables, x, *extra) for module, extra in ((ours, call), (theirs, ()))
        )
        jax.tree.map(assert_close, mine, linens)
        jax.tree.map(assert_close, moved, expected)


def value_and_gradients(module, variables, x, *call):
    """Output, gradients of a weighted sum of it with respect to input and parameters; and the statistics after."""
    stats = {name: value for name, value in variables.items() if name != "params"}

    def apply(params, x):
        return module.apply({"params": params, **stats}, x, *call, mutable=["batch_stats"])

    @jax.jit  # one program instead of dozens
    def everything(params, x):
        y, pull, moved = jax.vjp(apply, params, x, has_aux=True)
        return (y, pull(jax.random.normal(jax.random.key(2), y.shape))), moved

    return everything(variables["params"], x)


@jax.numpy_dtype_promotion("standard")  # linen.avg_pool divides by an integer
def test_pooling_agrees_with_linen():
    x = jax.random.normal(jax.random.key(0), (2, 6, 6, 3))
    g = jax.random.normal(jax.random.key(1), (2, 3, 3, 3))
    for ours, theirs in [(nn.MaxPool(2), linen.max_pool), (nn.AvgPool(2), linen.avg_pool)]:
        (y, pull), (expected, pull_expected) = (
            jax.vjp(f, x) for f in (lambda x, m=ours: m.apply({}, x), lambda x, f=theirs: f(x, (2, 2), (2, 2)))
        )
        assert_close(y, expected)
        assert_close(pull(g)[0], pull_expected(g)[0])


def test_masked_batch_norm_moves_by_the_kept_examples_only():
    x = jax.random.normal(jax.random.key(0), (4, 2, 2, 3))
    layer = nn.BatchNorm()
    variables = layer.init(jax.random.key(0), x)

    def stats(x, mask):
        return layer.apply(variables, x, True, mask, mutable=["batch_stats"])[1]["batch_stats"]

    jax.tree.map(assert_close, stats(x, jnp.array([1.0, 0.0, 1.0, 0.0])), stats(x[::2], None))
    jax.tree.map(np.testing.assert_array_equal, stats(x, jnp.zeros(4)), variables["batch_stats"])


def test_he_init_has_the_published_variance():
    kernel = nn.Conv(64, 3).init(jax.random.key(0), jnp.zeros((1, 4, 4, 64)))["params"]["kernel"]
    assert np.var(kernel) == pytest.approx(2 / (9 * 64), rel=0.05)


def test_dropout_acts_in_training_only():
    x = jnp.ones((2, 50))
    layer = nn.Dropout(0.5)
    np.testing.assert_array_equal(layer.apply({}, x), x)
    assert set(np.unique(layer.apply({}, x, True, rngs={"dropout": jax.random.key(0)}))) == {0.0, 2.0}


@pytest.mark.slow
@pytest.mark.parametrize("block", [nn.BasicBlock, nn.Bottleneck, nn.PreActBlock])
def test_zero_init_starts_as_the_shortcut_and_still_learns(block):
    x = jnp.abs(jax.random.normal(jax.random.key(0), (2, 4, 4, 8)))
    module = block(2 if block is nn.Bottleneck else 8, zero_init=True)
    variables = jax.jit(module.init)(jax.random.key(1), x)
    assert_close(jax.jit(module.apply)(variables, x), x)

    def loss(params):
        return jnp.sum(module.apply({**variables, "params": params}, x) ** 2)

    last = {nn.BasicBlock: "conv2", nn.Bottleneck: "conv3", nn.PreActBlock: "conv2"}[block]
    grads = jax.jit(jax.grad(loss))(variables["params"])[last]
    assert max(float(jnp.abs(leaf).max()) for leaf in jax.tree.leaves(grads)) > 0


@pytest.mark.parametrize(
    ("module", "formula"),
    [
        (nn.Conv(6, (3, 5), groups=2), 3 * 5 * 2 * 6 + 6),
        (nn.Dense(6), 4 * 6 + 6),
        (nn.BatchNorm(), 2 * 4),
        (nn.ConvNormAct(6, 3), 9 * 4 * 6 + 2 * 6),
        (nn.BasicBlock(4), 9 * 4 * 8 + 4 * 4),
        (nn.BasicBlock(6, 2), 9 * 6 * 10 + 4 * 6 + 6 * (4 + 2)),
        (nn.BasicBlock(6, 2, shortcut="A"), 9 * 6 * 10 + 4 * 6),
        (nn.Bottleneck(3), 3 * (4 + 13 * 3) + 12 * 3 + 12 * (4 + 2)),
        (nn.PreActBlock(6, 2), 9 * 6 * 10 + 2 * 4 + 2 * 6 + 4 * 6),
    ],
)
def test_parameter_formulas(module, formula):
    shapes = jax.eval_shape(module.init, jax.random.key(0), jnp.zeros((1, 8, 8, 4)))
    assert sum(leaf.size for leaf in jax.tree.leaves(shapes["params"])) == formula


def test_errors():
    x = jnp.zeros((1, 4, 4, 4))
    with pytest.raises(InputError, match="shortcut A cannot go down from 4 channels"):
        nn.BasicBlock(2, shortcut="A").init(jax.random.key(0), x)
    with pytest.raises(InputError, match="groups=3"):
        nn.Conv(6, groups=3).init(jax.random.key(0), x)
