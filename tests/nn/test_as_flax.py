"""Layers as Flax has them: paddings in all their forms, initialisers, layers taken over, dropout of everything."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen

from jaxcnn import nn, ops
from jaxcnn.analysis.complexity import count
from jaxcnn.errors import InputError
from jaxcnn.run import run
from jaxcnn.spec import DataConfig, RunConfig
from tests.fixtures.reference import assert_close

X = jax.random.normal(jax.random.key(0), (2, 7, 6, 3))


@pytest.mark.slow
@pytest.mark.parametrize("padding", ["CIRCULAR", "REFLECT", "SAME", "VALID", 1, (1, 2), (1, (0, 2)), ((2, 0), 1)])
@pytest.mark.parametrize("other", [{}, {"stride": 2}, {"dilation": 2}], ids=str)
def test_a_convolution_pads_as_flax_does(padding, other):
    theirs = linen.Conv(
        4, (3, 2), other.get("stride", 1), padding, kernel_dilation=other.get("dilation", 1),
        bias_init=linen.initializers.ones,
    )  # fmt: skip
    ours = nn.Conv(4, (3, 2), padding=padding, bias_init=linen.initializers.ones, **other)
    variables = theirs.init(jax.random.key(1), X)
    np.testing.assert_array_equal(ours.init(jax.random.key(1), X)["params"]["bias"], variables["params"]["bias"])

    def both(module):
        y, pull = jax.vjp(module.apply, variables, X)
        return y, pull(jnp.cos(y))

    y, (dparams, dx) = both(ours)
    expected, (dvariables, dinputs) = both(theirs)
    assert_close(y, expected)
    assert_close(dx, dinputs)
    jax.tree.map(assert_close, dparams, dvariables)
    sides = padding if isinstance(padding, tuple) else (padding, padding)
    sizes = [
        ops.output_size(size, taps, padding=side, **other)
        for size, taps, side in zip((7, 6), (3, 2), sides, strict=True)
    ]
    assert list(y.shape[1:3]) == sizes


def test_a_dense_layer_has_a_bias_initialiser():
    layer = nn.Dense(4, bias_init=linen.initializers.ones)
    np.testing.assert_array_equal(layer.init(jax.random.key(0), X)["params"]["bias"], 1.0)


@pytest.mark.parametrize(
    ("padding", "message"),
    [
        ("CAUSAL", "padding='CAUSAL'"),
        ((1, 2, 3), r"padding=\(1, 2, 3\)"),
        ((1, "SAME"), r"padding=\(1, 'SAME'\)"),
        ((1, -1), "cannot be negative"),
    ],
)
def test_other_paddings_are_refused_by_name(padding, message):
    with pytest.raises(InputError, match=message):
        nn.Conv(4, padding=padding).init(jax.random.key(0), X)


@pytest.mark.parametrize("padding", ["CIRCULAR", "REFLECT"])
@pytest.mark.parametrize("pool", [ops.max_pool, ops.avg_pool])
def test_pooling_refuses_paddings_of_convolutions(pool, padding):
    with pytest.raises(InputError, match=f"padding='{padding}': only convolutions"):
        pool(X, 2, padding=padding)


@pytest.mark.parametrize("name", ["ConvTranspose", "GroupNorm", "LayerNorm"])
def test_layers_taken_over_from_flax_are_flax_own(name):
    assert getattr(nn, name) is getattr(linen, name)


class Own(linen.Module):
    """A user's network of layers that come from Flax, and of circular convolutions."""

    @linen.compact
    def __call__(self, images, train=False):
        x = linen.relu(nn.GroupNorm(2)(nn.Conv(4, padding="CIRCULAR")(images)))
        x = linen.relu(nn.LayerNorm()(nn.ConvTranspose(4, (2, 2), (2, 2))(x)))
        x = nn.Dropout(0.2)(nn.GlobalAvgPool()(x), train)
        return nn.Dense(10)(x)


@pytest.mark.slow
def test_a_network_of_them_trains_and_is_counted():
    result = run(RunConfig(data=DataConfig(train_size=100), epochs=3, batch_size=32), model=Own(), progress=False)
    losses = [record["train_loss"] for record in result.history]
    assert losses[-1] < losses[0]
    counted = count(Own(), (8, 8, 1))
    assert result.params == counted.params == (9 * 4 + 4) + 8 + (4 * 4 * 4 + 4) + 8 + (4 * 10 + 10)
    assert counted.macs == 9 * 4 * 64 + 4 * 4 * 4 * 64 + 40


def test_a_dropout_rate_of_one_drops_everything_with_finite_gradients():
    y, pull = jax.vjp(lambda x: nn.Dropout(1.0).apply({}, x, True, rngs={"dropout": jax.random.key(0)}), X)
    np.testing.assert_array_equal(y, 0.0)
    np.testing.assert_array_equal(pull(jnp.ones_like(y))[0], 0.0)
    np.testing.assert_array_equal(nn.Dropout(1.0).apply({}, X), X)
    np.testing.assert_array_equal(ops.stochastic_depth(jax.random.key(0), X, 1.0), 0.0)


@pytest.mark.parametrize("shape", [(1, 1, 1, 3), (1, 3)])
def test_batch_norm_over_one_value_per_channel_is_refused(shape):
    """Its variance is zero and its output the offset alone, whatever it sees; PyTorch refuses it too."""
    x, layer = jnp.ones(shape), nn.BatchNorm()
    with pytest.raises(InputError, match=r"batch norm in training needs more than one value per channel"):
        ops.batch_norm_train(x, jnp.ones(3), jnp.zeros(3))
    variables = layer.init(jax.random.key(0), x, train=True)  # one example is enough to draw parameters
    with pytest.raises(InputError, match="choose a larger batch_size"):
        layer.apply(variables, x, True, mutable=["batch_stats"])
    layer.apply(variables, x)
    layer.apply(variables, jnp.ones((1, 2, 1, 3)), True, mutable=["batch_stats"])
