"""Convolution and pooling against PyTorch (stored), flax.linen, and their own laws."""

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

CONV, POOL = load("conv"), load("pool")
KINDS = {
    "max": ops.max_pool,
    "avg": ops.avg_pool,
    "adaptive": ops.adaptive_avg_pool,
    "global_avg": ops.global_avg_pool,
    "global_max": ops.global_max_pool,
}


def check_gradients(function, arrays, names):
    """y and the gradient of sum(y * g) for every input, against the stored ones."""
    inputs = [jnp.asarray(arrays[name]) for name in names]
    y, pull = jax.vjp(function, *inputs)
    assert_close(y, arrays["y"], "y")
    for name, grad in zip(names, pull(jnp.asarray(arrays["g"])), strict=True):
        assert_close(grad, arrays[f"d{name}"], f"d{name}")


@pytest.mark.parametrize("case", CONV)
def test_conv_agrees_with_pytorch(case):
    keywords, arrays = CONV[case]
    check_gradients(lambda x, k, b: ops.conv2d(x, k, b, **keywords), arrays, ("x", "kernel", "bias"))


@pytest.mark.parametrize("case", POOL)
def test_pool_agrees_with_pytorch(case):
    keywords, arrays = POOL[case]
    keywords = {k: v for k, v in keywords.items() if k not in ("kind", "window", "size")}
    window = [POOL[case][0]["window"]] if "window" in POOL[case][0] else []
    pool = KINDS[POOL[case][0]["kind"]]
    check_gradients(lambda x: pool(x, *window, **keywords), arrays, ("x",))


@pytest.mark.parametrize(("stride", "dilation", "groups", "padding"), [(1, 1, 1, "SAME"), (2, 2, 2, "VALID")])
def test_conv_agrees_with_linen(stride, dilation, groups, padding):
    x = jax.random.normal(jax.random.key(0), (2, 9, 8, 4))
    theirs = nn.Conv(6, (3, 3), strides=stride, kernel_dilation=dilation, feature_group_count=groups, padding=padding)
    params = theirs.init(jax.random.key(1), x)["params"]
    ours = ops.conv2d(
        x, params["kernel"], params["bias"], stride=stride, dilation=dilation, groups=groups, padding=padding
    )
    assert_close(ours, theirs.apply({"params": params}, x))


def test_pools_agree_with_linen():
    x = jax.random.normal(jax.random.key(0), (2, 7, 8, 3))
    for padding in ("VALID", "SAME"):
        for window, stride in ((2, 2), (3, 2)):
            pair = (window, window), (stride, stride)
            assert_close(ops.max_pool(x, window, stride=stride, padding=padding), nn.max_pool(x, *pair, padding))
            with jax.numpy_dtype_promotion("standard"):  # linen's own division mixes int and float
                theirs = nn.avg_pool(x, *pair, padding)
            assert_close(ops.avg_pool(x, window, stride=stride, padding=padding), theirs)


def test_ceil_keeps_the_last_row():
    x = jnp.arange(25.0).reshape(1, 5, 5, 1)
    assert ops.max_pool(x, 2, padding="CEIL").shape == (1, 3, 3, 1)
    assert float(ops.avg_pool(x, 2, padding="CEIL")[0, 2, 2, 0]) == 24.0


def test_tied_maxima_share_the_gradient_only_in_the_reshaped_form():
    x = jnp.ones((1, 2, 2, 1))
    reshaped = jax.grad(lambda x: ops.max_pool(x, 2).sum())(x)
    general = jax.grad(lambda x: ops.max_pool(x, 2, padding=((0, 1), (0, 0))).sum())(x)
    np.testing.assert_array_equal(reshaped, np.full((1, 2, 2, 1), 0.25))
    np.testing.assert_array_equal(general, np.array([1.0, 0, 0, 0]).reshape(1, 2, 2, 1))


GEOMETRY = st.tuples(
    st.integers(1, 12),
    st.integers(1, 4),
    st.integers(1, 3),
    st.integers(1, 2),
    st.sampled_from(["SAME", "VALID", "CEIL", 0, 1, 2]),
)


@settings(max_examples=30, deadline=None)
@given(GEOMETRY)
def test_output_size_is_the_shape_that_comes_out(geometry):
    size, window, stride, dilation, padding = geometry
    shape = jax.ShapeDtypeStruct((1, size, 14, 1), jnp.float32)
    kernel = jax.ShapeDtypeStruct((window, 1, 1, 1), jnp.float32)

    def conv(x, kernel):
        return ops.conv2d(x, kernel, stride=(stride, 1), dilation=(dilation, 1), padding=padding)

    try:
        expected = ops.output_size(size, window, stride=stride, dilation=dilation, padding=padding)
    except InputError:
        with pytest.raises(InputError, match="size="):
            jax.eval_shape(conv, shape, kernel)
        return
    assert expected >= 1
    assert jax.eval_shape(conv, shape, kernel).shape[1] == expected
    if dilation == 1:
        pooled = jax.eval_shape(lambda x: ops.max_pool(x, (window, 1), stride=(stride, 1), padding=padding), shape)
        assert pooled.shape[1] == expected


@settings(max_examples=20, deadline=None)
@given(st.integers(-3, 3), st.integers(-3, 3), st.integers(0, 2**31 - 1))
def test_conv_is_translation_equivariant(down, right, seed):
    """Away from the border, moving the image moves the output."""
    rng = np.random.default_rng(seed)
    image = np.zeros((1, 16, 16, 2), np.float32)
    image[:, 5:11, 5:11] = rng.standard_normal((1, 6, 6, 2))
    kernel = jnp.asarray(rng.standard_normal((3, 3, 2, 3)), jnp.float32)
    moved = np.roll(image, (down, right), (1, 2))
    y, y_moved = (ops.conv2d(jnp.asarray(x), kernel) for x in (image, moved))
    np.testing.assert_allclose(np.roll(y, (down, right), (1, 2)), y_moved, atol=1e-5)


def images(*shape, dtype=jnp.float32):
    return jnp.zeros(shape, dtype)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: ops.conv2d(images(4, 4, 1), images(3, 3, 1, 1)), r"x of shape \(4, 4, 1\).*reshape"),
        (lambda: ops.conv2d(images(1, 4, 4, 1), images(3, 3, 1)), "kernel of shape"),
        (lambda: ops.conv2d(images(1, 4, 4, 2), images(3, 3, 1, 1)), "reads 1 channels, the images have 2"),
        (lambda: ops.conv2d(images(1, 4, 4, 2), images(3, 3, 1, 3), groups=2), "groups=2"),
        (lambda: ops.conv2d(images(1, 4, 4, 1, dtype=jnp.uint8), images(3, 3, 1, 1)), "dtype uint8.*255"),
        (lambda: ops.conv2d(images(1, 4, 4, 1), images(3, 3, 1, 2), images(3)), r"bias of shape \(3,\)"),
        (lambda: ops.conv2d(images(1, 4, 4, 1), images(3, 3, 1, 1), stride=0), "stride=0"),
        (lambda: ops.conv2d(images(1, 4, 4, 1), images(3, 3, 1, 1), padding="FULL"), "padding='FULL'"),
        (lambda: ops.conv2d(images(1, 4, 4, 1), images(3, 3, 1, 1), padding=-1), "padding=-1"),
        (lambda: ops.conv2d(images(1, 4, 4, 1), images(3, 3, 1, 1), padding=(1, 1, 1)), r"padding=\(1, 1, 1\)"),
        (lambda: ops.conv2d(images(1, 4, 4, 1), images(5, 5, 1, 1), padding="VALID"), "size=4.*larger image"),
        (lambda: ops.max_pool(images(1, 1, 1, 1), 2), "size=1"),
        (lambda: ops.max_pool(images(2, 2, 1), 2), "x of shape"),
        (lambda: ops.avg_pool(images(1, 4, 4, 1), (2, 2, 2)), r"window=\(2, 2, 2\)"),
        (lambda: ops.global_avg_pool(images(2, 2, 1)), "x of shape"),
    ],
)
def test_errors_name_argument_value_and_remedy(call, message):
    with pytest.raises(InputError, match=message):
        call()


def test_bfloat16_stays_bfloat16():
    x, kernel = images(1, 4, 4, 1, dtype=jnp.bfloat16), images(3, 3, 1, 1, dtype=jnp.bfloat16)
    results = (
        ops.conv2d(x, kernel),
        ops.max_pool(x, 3, stride=1),
        ops.avg_pool(x, 3, padding="CEIL"),
        ops.avg_pool(x, 3, padding="SAME"),
        ops.adaptive_avg_pool(x, 3),
        ops.dropout(jax.random.key(0), x, 0.5),
    )
    assert {y.dtype for y in results} == {jnp.dtype(jnp.bfloat16)}
