"""Stochastic depth: whole examples, in training only, alike on any number of devices, deeper blocks more often."""

from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen
from hypothesis import given, settings
from hypothesis import strategies as st

from jaxcnn import nn
from jaxcnn.errors import InputError
from jaxcnn.models import build
from jaxcnn.nn.layers import StochasticDepth
from jaxcnn.ops.drop import stochastic_depth
from jaxcnn.spec import ModelSpec

BLOCKS = {"basic": nn.BasicBlock(8), "bottleneck": nn.Bottleneck(2), "preact": nn.PreActBlock(8)}


@settings(max_examples=15, deadline=None)
@given(st.floats(0.0, 0.95), st.integers(0, 2**31 - 1))
def test_examples_are_dropped_whole_and_the_mean_stays(rate, seed):
    x = jnp.full((5000, 2, 1, 3), 2.0)
    y = np.asarray(stochastic_depth(jax.random.key(seed), x, rate)).reshape(5000, 6)
    np.testing.assert_array_equal(y, np.repeat(y[:, :1], 6, axis=1))
    kept = y[y != 0]
    np.testing.assert_allclose(kept, 2.0 / (1.0 - rate), rtol=1e-6)
    spread = 2.0 * np.sqrt(rate / (1.0 - rate) / len(y))  # standard deviation of the mean
    assert abs(y.mean() - 2.0) <= 6.0 * spread + 1e-4


def test_rate_zero_is_the_identity_and_rates_above_one_are_refused():
    x = jax.random.normal(jax.random.key(0), (3, 4))
    np.testing.assert_array_equal(stochastic_depth(jax.random.key(1), x, 0.0), x)
    with pytest.raises(InputError, match=r"rate=1\.1"):
        stochastic_depth(jax.random.key(1), x, 1.1)


@pytest.mark.parametrize("name", BLOCKS)
def test_a_dropped_example_passes_the_shortcut_alone(name):
    """And a kept one has its branch divided by the share that is kept."""
    x = jnp.abs(jax.random.normal(jax.random.key(0), (24, 4, 4, 8)))  # its ReLU is itself
    block, dropping = BLOCKS[name], BLOCKS[name].clone(stochastic_depth=0.4)
    variables = jax.jit(block.init)(jax.random.key(1), x)
    assert jax.tree.structure(jax.eval_shape(dropping.init, jax.random.key(1), x)) == jax.tree.structure(variables)
    np.testing.assert_array_equal(dropping.apply(variables, x), block.apply(variables, x))
    linear = name == "preact"  # no ReLU after the sum, so the branch itself can be seen
    whole, _ = block.apply(variables, x, True, mutable=["batch_stats"])
    drop = {"dropout": jax.random.key(2)}
    thinned, _ = dropping.apply(variables, x, True, mutable=["batch_stats"], rngs=drop)
    dropped = np.asarray((thinned == x).all(axis=(1, 2, 3)))
    assert 2 < dropped.sum() < 20
    if linear:
        np.testing.assert_allclose((thinned - x)[~dropped], (whole - x)[~dropped] / 0.6, rtol=1e-4, atol=1e-5)


def test_devices_drop_the_examples_that_one_device_would():
    """With `axis_name` and one key for all."""
    x, key = jnp.ones((16, 3)), jax.random.key(3)
    layer, shared = StochasticDepth(0.5), StochasticDepth(0.5, axis_name="batch")
    one = layer.apply({}, x, True, rngs={"dropout": key})

    def device(block):
        return shared.apply({}, block, True, rngs={"dropout": key})

    blocks = x.reshape(jax.device_count(), -1, 3)
    np.testing.assert_array_equal(jax.pmap(device, axis_name="batch")(blocks).reshape(x.shape), one)


@pytest.mark.parametrize(
    "spec",
    [ModelSpec("resnet", 20, 2), ModelSpec("resnet_imagenet", 18, 2), ModelSpec("wrn", 10, 1)],
    ids=lambda spec: spec.family,
)
def test_rates_rise_linearly_to_the_last_block(spec):
    """Huang et al. 2016, equation 4: block l of L survives with probability 1 - l / L (1 - p_L)."""
    plain, rates = build(spec, 3), []
    module = build(replace(spec, options={"stochastic_depth": 0.5}), 3)

    def watch(call, arguments, keywords, context):
        if isinstance(context.module, StochasticDepth) and context.method_name == "__call__":
            rates.append(context.module.rate)
        return call(*arguments, **keywords)

    def trace(images):
        keys = {"params": jax.random.key(0), "dropout": jax.random.key(1)}
        return module.init(keys, images, train=True)

    images = jnp.zeros((2, 32, 32, 3))
    with linen.intercept_methods(watch):
        shapes = jax.eval_shape(trace, images)
    blocks = sum(plain.backbone.stage_sizes)
    np.testing.assert_allclose(rates, 0.5 * np.arange(1, blocks + 1) / blocks)
    assert shapes == jax.eval_shape(lambda x: plain.init(jax.random.key(0), x), images)
