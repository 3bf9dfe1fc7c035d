"""A convolution as one matrix product is the convolution, values and gradients; which form is taken; batch norm.

The reference is a sum over windows in NumPy, float64. XLA's own convolution is no reference for odd geometries: jaxlib
0.10 gave -1e27 for a 1x1 image, whose neighbours in memory it read.
"""

import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jaxcnn import ops
from jaxcnn.ops import forms

sides, small = st.integers(1, 6), st.integers(1, 3)


@st.composite
def geometry(draw):
    """Images, kernel, stride and pads that fit together."""
    image, taps, stride = ([draw(s), draw(s)] for s in (sides, small, small))
    pads = tuple((draw(st.integers(0, 3)), draw(st.integers(0, 3))) for _ in range(2))
    for axis in range(2):
        image[axis] = max(image[axis], taps[axis] - sum(pads[axis]))
    cin, cout = draw(small), draw(small)
    rng = np.random.default_rng(draw(st.integers(0, 99)))
    x, kernel = rng.normal(size=(2, *image, cin)), rng.normal(size=(*taps, cin, cout))
    return jnp.asarray(x, jnp.float32), jnp.asarray(kernel, jnp.float32), tuple(stride), pads


def reference(x, kernel, stride, pads):
    """The definition: every window times the kernel."""
    x, kernel = np.pad(np.float64(x), ((0, 0), *pads, (0, 0))), np.float64(kernel)
    windows = np.lib.stride_tricks.sliding_window_view(x, kernel.shape[:2], (1, 2))[:, :: stride[0], :: stride[1]]
    return np.einsum("nhwcij,ijco->nhwo", windows, kernel)


@pytest.mark.slow
@settings(max_examples=15, deadline=None)  # XLA has aborted on geometries that nobody uses
@given(geometry())
def test_one_product_equals_the_definition_and_its_gradients_are_the_adjoint(case):
    """A convolution is linear in both: <dy, conv(x', k)> = <dx, x'> and <dy, conv(x, k')> = <dk, k'>."""
    x, kernel, stride, pads = case

    @jax.jit  # one program instead of dozens
    def everything(x, kernel):
        found, pull = jax.vjp(lambda x, k: forms.unrolled(x, k, stride, pads), x, kernel)
        dy = jnp.cos(jnp.arange(found.size, dtype=jnp.float32)).reshape(found.shape)
        return found, dy, *pull(dy)

    found, dy, dx, dkernel = everything(x, kernel)
    np.testing.assert_allclose(found, reference(x, kernel, stride, pads), rtol=1e-4, atol=1e-4)
    for there, back, other in (
        (reference(x**2, kernel, stride, pads), dx, x**2),
        (reference(x, kernel**2, stride, pads), dkernel, kernel**2),
    ):
        np.testing.assert_allclose(np.sum(np.float64(back) * other), np.sum(dy * there), rtol=1e-3, atol=1e-3)


def primitives(stride, shape=(2, 2, 2, 4), taps=(3, 3)):
    """Names of what a convolution is traced to, inner programs included."""
    kernel = jnp.zeros((*taps, shape[3], 4))
    traced = jax.make_jaxpr(lambda x, k: ops.conv2d(x, k, stride=stride, padding="SAME"))(jnp.zeros(shape), kernel)
    return set(re.findall(r"= (\w+)\[", str(traced)))


def test_which_form_is_taken(monkeypatch):
    """By the number of pixels, by platform, and never where the network itself is of interest."""
    assert "dot_general" in primitives(1)
    assert "dot_general" not in primitives(1, (2, 3, 3, 4))
    with forms.as_written():
        assert primitives(1) == {"conv_general_dilated"}
    monkeypatch.setenv("JAXCNN_ONEDNN", "off")
    assert primitives(1, (2, 8, 8, 4)) == {"conv_general_dilated"}
    monkeypatch.delenv("JAXCNN_ONEDNN")
    monkeypatch.setattr(jax, "default_backend", lambda: "gpu")
    assert primitives(1) == primitives(1, (2, 8, 8, 4)) == {"conv_general_dilated"}


def test_batch_norm_differentiates_twice_like_its_definition():
    """The variance is taken about a constant; the derivatives of both orders must not notice (float64, to rounding)."""
    with jax.enable_x64(True):
        x = jnp.asarray(np.random.default_rng(0).normal(3.0, 2.0, (6, 3, 3, 2)))
        scale, bias = jnp.asarray([1.5, 0.5]), jnp.asarray([0.1, -0.2])

        def definition(x):
            mean, var = x.mean((0, 1, 2)), x.var((0, 1, 2))
            normal = (x - mean.reshape(1, 1, 1, -1)) / jnp.sqrt(var + 1e-5).reshape(1, 1, 1, -1)
            return jnp.sum(jnp.sin(normal * scale.reshape(1, 1, 1, -1) + bias.reshape(1, 1, 1, -1)))

        def ours(x):
            y, _, _ = ops.batch_norm_train(x.astype(jnp.float32), *(v.astype(jnp.float32) for v in (scale, bias)))
            return jnp.sum(jnp.sin(y.astype(jnp.float64)))

        way = jnp.cos(x)
        kinds = (
            lambda f: jax.jit(jax.grad(f))(x),
            lambda f: jax.jit(lambda x: jax.jvp(jax.grad(f), (x,), (way,))[1])(x),
        )
        for kind in kinds:
            np.testing.assert_allclose(kind(ours), kind(definition), rtol=1e-3, atol=2e-5)
