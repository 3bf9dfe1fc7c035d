"""The perceptron family: layers, counts by hand, and what every family promises."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxcnn.analysis.complexity import count
from jaxcnn.errors import InputError
from jaxcnn.models import build, default_input
from jaxcnn.nn import synchronised
from jaxcnn.spec import ModelSpec
from tests.fixtures.reference import draw_variables

SHAPE, CLASSES = (4, 4, 2), 3


def made(depth, width, **options):
    module = build(ModelSpec("dense", depth, width, options=options), CLASSES)
    images = jax.random.normal(jax.random.key(0), (4, *SHAPE))
    return module, draw_variables(module, images), images


def test_counts_by_hand():
    cost = count(build(ModelSpec("dense", 4, 100), 10), (28, 28, 1))
    assert cost.params == 784 * 100 + 100 + 2 * (100 * 100 + 100) + 100 * 10 + 10
    assert cost.macs == 784 * 100 + 2 * 100 * 100 + 100 * 10
    assert cost.activations == 0
    assert [layer.path for layer in cost.layers] == ["dense1", "dense2", "dense3", "dense4"]
    # A bias more or a scale and a bias: batch norm costs one parameter a unit.
    assert count(build(ModelSpec("dense", 4, 100, options={"norm": True}), 10), (28, 28, 1)).params == cost.params + 300
    assert default_input(ModelSpec("dense")) == ((28, 28, 1), 10)


def test_the_network_is_what_it_says():
    module, variables, images = made(depth=3, width=5)
    params = variables["params"]
    x = images.reshape(4, -1)
    for name in ("dense1", "dense2"):
        x = jnp.maximum(x @ params[name]["kernel"] + params[name]["bias"][None], 0)
    expected = x @ params["dense3"]["kernel"] + params["dense3"]["bias"][None]
    np.testing.assert_allclose(module.apply(variables, images), expected, rtol=1e-5, atol=1e-6)


def test_a_stage_is_a_layer_unless_said_otherwise():
    assert build(ModelSpec("dense", 5, 7), CLASSES).backbone.stage_sizes == (1, 1, 1, 1)
    uneven = build(ModelSpec("dense", 4, 7, stage_widths=(9, 6, 3)), CLASSES)
    assert [layer.output_shape for layer in count(uneven, SHAPE).layers] == [(9,), (6,), (3,), (3,)]
    grouped = build(ModelSpec("dense", 4, 7, stage_sizes=(2, 1), stage_widths=(9, 6)), CLASSES)
    assert [layer.output_shape for layer in count(grouped, SHAPE).layers] == [(9,), (9,), (6,), (3,)]


def test_gradients_are_finite_and_reach_every_layer():
    module, variables, images = made(depth=4, width=6, norm=True, dropout=0.3)

    @jax.jit
    def loss(params, key):
        logits, _ = module.apply(
            {**variables, "params": params}, images, train=True, rngs={"dropout": key}, mutable=["batch_stats"]
        )
        return jnp.mean(jnp.square(logits - 1.0))

    grads = jax.grad(loss)(variables["params"], jax.random.key(1))
    assert all(bool(jnp.isfinite(leaf).all()) for leaf in jax.tree.leaves(grads))
    assert all(float(jnp.abs(grads[f"dense{layer}"]["kernel"]).sum()) > 0 for layer in (1, 2, 3, 4))
    first, other = (loss(variables["params"], jax.random.key(seed)) for seed in (1, 2))
    assert first != other
    assert first == loss(variables["params"], jax.random.key(1))


def test_a_masked_batch_trains_as_the_smaller_batch():
    module, variables, images = made(depth=3, width=6, norm=True)

    def forward(images, mask):
        return module.apply(variables, images, train=True, mask=mask, mutable=["batch_stats"])

    logits, stats = forward(images.at[2:].set(9.0), jnp.array([1.0, 1.0, 0.0, 0.0]))
    small_logits, small_stats = forward(images[:2], None)
    np.testing.assert_allclose(logits[:2], small_logits, rtol=1e-3, atol=1e-4)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-3, atol=1e-5), stats, small_stats)


def test_synchronised_statistics_equal_one_device():
    module, variables, images = made(depth=3, width=6, norm=True)
    shared = synchronised(module, "batch")
    logits, stats = jax.pmap(
        lambda x: shared.apply(variables, x, train=True, mutable=["batch_stats"]), axis_name="batch"
    )(images[:, None])
    expected, expected_stats = module.apply(variables, images, train=True, mutable=["batch_stats"])
    np.testing.assert_allclose(logits[:, 0], expected, rtol=1e-4, atol=1e-5)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a[3], b, rtol=1e-4, atol=1e-6), stats, expected_stats)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"depth": 1}, r"depth=1: dense needs at least one hidden layer .*nearest is 2"),
        (
            {"depth": 3, "options": {"kernel": 3}},
            r"kernel=3: the family dense has no such option.*has norm, dropout",
        ),
        ({"depth": 3, "stage_widths": (4,)}, r"stage_widths=\(4,\): give 2 widths"),
        ({"depth": 3, "options": {"dropout": 1.0}}, "dropout=1.0: must be .* below 1"),
    ],
)
def test_errors(fields, message):
    with pytest.raises(InputError, match=message):
        build(ModelSpec("dense", **fields), CLASSES)
