"""Batch normalisation and dropout against PyTorch (stored), flax.linen, and their own laws."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn
from hypothesis import given, settings
from hypothesis import strategies as st

from jaxcnn import ops
from jaxcnn.errors import InputError
from tests.fixtures.reference import assert_close, load

NORM = load("norm")


@pytest.mark.parametrize("case", NORM)
def test_batch_norm_agrees_with_pytorch(case):
    arrays = {name: jnp.asarray(value) for name, value in NORM[case][1].items()}

    def train(x, scale, bias):
        return ops.batch_norm_train(x, scale, bias)[0]

    def inference(x, scale, bias):
        return ops.batch_norm_inference(x, scale, bias, arrays["old_mean"], arrays["old_var"])

    y, pull = jax.vjp(inference if case == "inference" else train, arrays["x"], arrays["scale"], arrays["bias"])
    assert_close(y, arrays["y"], "y")
    for name, grad in zip(("x", "scale", "bias"), pull(arrays["g"]), strict=True):
        assert_close(grad, arrays[f"d{name}"], f"d{name}")


def test_batch_norm_agrees_with_linen():
    x = 2.0 + 3.0 * jax.random.normal(jax.random.key(0), (5, 4, 4, 3))
    scale, bias = jnp.array([1.0, 2.0, -1.0]), jnp.array([0.0, 1.0, 2.0])
    theirs, stats = nn.BatchNorm(use_running_average=False, momentum=0.0).apply(
        {"params": {"scale": scale, "bias": bias}, "batch_stats": {"mean": jnp.zeros(3), "var": jnp.ones(3)}},
        x,
        mutable=["batch_stats"],
    )
    y, mean, var = ops.batch_norm_train(x, scale, bias)
    assert_close(y, theirs)
    assert_close(mean, stats["batch_stats"]["mean"])
    assert_close(var, stats["batch_stats"]["var"])


def weighted(x, scale, bias, mask, weights):
    """Sum of the kept outputs, each times a weight, with the statistics."""
    y, mean, var = ops.batch_norm_train(x, scale, bias, mask=mask)
    keep = jnp.ones(x.shape[0], bool) if mask is None else mask.astype(bool)
    return jnp.sum(jnp.where(keep[:, None, None, None], y * weights, 0.0)), (mean, var)


VALUE_AND_GRADS = jax.jit(jax.value_and_grad(weighted, argnums=(0, 1, 2), has_aux=True))


@settings(max_examples=15, deadline=None)
@given(st.lists(st.booleans(), min_size=6, max_size=6).filter(any), st.integers(0, 2**31 - 1))
def test_a_masked_batch_is_the_smaller_batch(kept, seed):
    """Statistics and gradients do not see masked-out examples, whatever is in them."""
    rng = np.random.default_rng(seed)
    x = rng.standard_normal((6, 3, 3, 2)).astype(np.float32)
    weights = rng.standard_normal(x.shape).astype(np.float32)
    mask = np.array(kept)
    x[~mask] = 1e3
    scale, bias = jnp.array([1.5, -2.0]), jnp.array([0.5, 1.0])
    (_, stats), grads = VALUE_AND_GRADS(
        jnp.asarray(x), scale, bias, jnp.asarray(mask, jnp.float32), jnp.asarray(weights)
    )
    (_, small_stats), small = VALUE_AND_GRADS(jnp.asarray(x[mask]), scale, bias, None, jnp.asarray(weights[mask]))
    for ours, theirs in zip((*stats, *grads[1:]), (*small_stats, *small[1:]), strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(np.asarray(grads[0])[mask], small[0], rtol=1e-3, atol=1e-4)
    np.testing.assert_array_equal(np.asarray(grads[0])[~mask], 0.0)


def test_statistics_do_not_see_nan_behind_the_mask():
    x = jnp.array([[1.0], [jnp.nan], [3.0]])
    _, mean, var = ops.batch_norm_train(x, jnp.ones(1), jnp.zeros(1), mask=jnp.array([1.0, 0.0, 1.0]))
    assert (float(mean[0]), float(var[0])) == (2.0, 1.0)


def test_a_batch_without_examples_gives_zero_statistics():
    x = jnp.full((2, 2, 2, 1), 7.0)
    y, mean, var = ops.batch_norm_train(x, jnp.ones(1), jnp.zeros(1), mask=jnp.zeros(2))
    assert float(mean[0]) == float(var[0]) == 0.0
    assert bool(jnp.isfinite(y).all())


@pytest.mark.parametrize("mapped", [jax.pmap, jax.vmap])
def test_devices_with_uneven_masks_agree_with_one_device(mapped):
    """Statistics and, with the loss summed over devices, gradients."""
    assert jax.device_count() >= 4
    x = jax.random.normal(jax.random.key(0), (4, 3, 2, 2, 5)) + 1.0
    weights = jax.random.normal(jax.random.key(1), x.shape)
    mask = jnp.array([[1, 1, 1], [1, 0, 0], [0, 0, 0], [1, 1, 0]], jnp.float32)
    scale, bias = jnp.linspace(0.5, 2.0, 5), jnp.linspace(-1.0, 1.0, 5)

    def kept(y, mask, weights):
        return jnp.sum(y * weights * mask[:, None, None, None])

    def shard(x, mask, weights):
        def loss(x):
            y, mean, var = ops.batch_norm_train(x, scale, bias, mask=mask, axis_name="batch")
            return kept(y, mask, weights), (y, mean, var)

        return jax.grad(loss, has_aux=True)(x)

    grad, (y, mean, var) = mapped(shard, axis_name="batch")(x, mask, weights)
    flat, flat_mask = x.reshape(12, 2, 2, 5), mask.reshape(12)

    def whole(x):
        y, mean, var = ops.batch_norm_train(x, scale, bias, mask=flat_mask)
        return kept(y, flat_mask, weights.reshape(x.shape)), (y, mean, var)

    expected, (one_y, one_mean, one_var) = jax.grad(whole, has_aux=True)(flat)
    assert_close(y.reshape(flat.shape), one_y)
    for device in range(4):
        assert_close(mean[device], one_mean)
        assert_close(var[device], one_var)
    if mapped is jax.pmap:  # there psum's gradient is psum: each device gets the gradient of the sum of all losses
        assert_close(grad.reshape(flat.shape), expected)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: ops.batch_norm_train(jnp.ones((2, 3)), jnp.ones(2), jnp.ones(3)), r"scale of shape \(2,\)"),
        (lambda: ops.batch_norm_train(jnp.ones((2, 3)), jnp.ones(3), jnp.ones(3), mask=jnp.ones(3)), "mask of shape"),
        (lambda: ops.batch_norm_train(jnp.ones(3), jnp.ones(3), jnp.ones(3)), "x of shape"),
        (lambda: ops.dropout(jax.random.key(0), jnp.ones(3), 1.1), "rate=1.1"),
        (lambda: ops.dropout(jax.random.key(0), jnp.ones(3), -0.1), "rate=-0.1"),
    ],
)
def test_errors_name_argument_and_value(call, message):
    with pytest.raises(InputError, match=message):
        call()


@settings(max_examples=20, deadline=None)
@given(st.floats(0.0, 0.95), st.integers(0, 2**31 - 1))
def test_dropout_keeps_the_mean_and_scales_the_rest(rate, seed):
    x = jnp.ones(20_000)
    y = np.asarray(ops.dropout(jax.random.key(seed), x, rate))
    kept = y[y != 0]
    np.testing.assert_allclose(kept, 1.0 / (1.0 - rate), rtol=1e-6)
    spread = np.sqrt(rate / (1.0 - rate) / x.size)  # standard deviation of the mean of a scaled Bernoulli variable
    assert abs(y.mean() - 1.0) <= 6.0 * spread + 1e-5


def test_dropout_is_a_function_of_its_key():
    x = jnp.ones(100)
    first, again, other = (ops.dropout(jax.random.key(seed), x, 0.5) for seed in (0, 0, 1))
    np.testing.assert_array_equal(first, again)
    assert not np.array_equal(first, other)
