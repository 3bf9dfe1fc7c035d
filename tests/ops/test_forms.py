"""Every form of a convolution is the convolution: values, gradients, forward-mode and second derivatives.

The reference is a sum over windows in NumPy, float64. XLA's own convolution is no reference for odd geometries: jaxlib
0.10 gave -1e27 for a 1x1 image, whose neighbours in memory it read.
"""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jaxcnn import ops
from jaxcnn.ops import conv, forms

ALL = (forms.planar, forms.spatial, forms.blocked, forms.unrolled, forms.banded)
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


@pytest.mark.parametrize("form", ALL[1:], ids=lambda form: form.__name__)
@settings(max_examples=7, deadline=None, derandomize=True)  # XLA has aborted on geometries that nobody uses
@given(geometry())
def test_a_form_equals_the_definition_and_its_gradients_are_the_adjoint(form, case):
    """A convolution is linear in both: <dy, conv(x', k)> = <dx, x'> and <dy, conv(x, k')> = <dk, k'>."""
    x, kernel, stride, pads = case

    @jax.jit  # one program instead of dozens
    def everything(x, kernel):
        found, pull = jax.vjp(lambda x, k: form(x, k, stride, pads), x, kernel)
        dy = jnp.cos(jnp.arange(found.size, dtype=jnp.float32)).reshape(found.shape)
        return found, dy, *pull(dy)

    found, dy, dx, dkernel = everything(x, kernel)
    np.testing.assert_allclose(found, reference(x, kernel, stride, pads), rtol=1e-4, atol=1e-4)
    for there, back, other in (
        (reference(x**2, kernel, stride, pads), dx, x**2),
        (reference(x, kernel**2, stride, pads), dkernel, kernel**2),
    ):
        np.testing.assert_allclose(np.sum(np.float64(back) * other), np.sum(dy * there), rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("chosen", [(f, g, h) for f in ALL[:2] for g in ALL[1:3] for h in ALL[:2]])
def test_derivatives_of_every_kind_with_each_direction_in_its_own_form(chosen, monkeypatch):
    """Reverse, forward, and the second derivative along a direction (forward over reverse)."""
    x, kernel = (jax.random.normal(jax.random.key(i), s) for i, s in enumerate([(2, 6, 5, 3), (3, 3, 3, 4)]))
    stride, pads, way = (2, 1), ((1, 1), (0, 1)), (x * 0.5, kernel * 2.0)

    def value(convolve):
        return lambda x, k: jnp.sum(jnp.tanh(convolve(x, k)))

    monkeypatch.setattr(conv, "forms", lambda *_: forms.Forms(*chosen))
    shaped = value(lambda x, k: ops.conv2d(x, k, stride=stride, padding=pads))
    plain = value(lambda x, k: forms.planar(x, k, stride, pads))
    for kind in (lambda f, *a: jax.grad(f, (0, 1))(*a), lambda f, *a: jax.jvp(f, a, way)[1]):
        for a, b in zip(*map(jax.tree.leaves, (kind(shaped, x, kernel), kind(plain, x, kernel))), strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-4)
    second = [jax.jvp(jax.grad(f), (x, kernel), way)[1] for f in (shaped, plain)]
    np.testing.assert_allclose(*second, rtol=1e-3, atol=1e-3)


def test_an_accelerator_sees_the_plain_operation(monkeypatch):
    monkeypatch.setattr(jax, "default_backend", lambda: "gpu")
    assert forms.forms((8, 8), (3, 3, 16, 16), (1, 1)) is None
    traced = str(jax.make_jaxpr(ops.conv2d)(jnp.zeros((1, 8, 8, 3)), jnp.zeros((3, 3, 3, 4))))
    assert traced.count("conv_general_dilated") == 1
    assert "optimization_barrier" not in traced
    assert "custom_jvp" not in traced


def test_which_form_is_taken(monkeypatch):
    """By platform, by what the backend was told, by version, by size."""
    monkeypatch.setenv("XLA_FLAGS", "--xla_dump_to=nowhere " + forms.ONEDNN_FLAGS[0])
    assert forms.forms((32, 32), (3, 3, 16, 16), (1, 1)) == (forms.planar,) * 3  # one of the two flags is not enough
    monkeypatch.setenv("XLA_FLAGS", " ".join(forms.ONEDNN_FLAGS))
    monkeypatch.setattr(jax, "__version__", "0.12.0")
    assert forms.forms((32, 32), (3, 3, 16, 16), (1, 1)) == (forms.spatial, forms.spatial, forms.planar)
    assert forms.forms((8, 8), (3, 3, 16, 16), (1, 1)) == (forms.spatial,) * 3
    assert forms.forms((32, 32), (3, 3, 16, 16), (2, 2)) == (forms.spatial, forms.blocked, forms.planar)
    assert forms.forms((2, 2), (3, 3, 16, 16), (1, 1)) == (forms.unrolled,) * 3
    assert forms.forms((8, 8), (3, 3, 4, 10), (2, 2)) == (forms.banded,) * 3
    monkeypatch.setattr(jax, "__version__", "0.10.2")
    assert forms.forms((32, 32), (3, 3, 16, 16), (1, 1)) == (forms.planar,) * 3


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


def test_those_who_count_see_the_plain_operation():
    with forms.as_written():
        assert forms.forms((2, 2), (3, 3, 16, 16), (1, 1)) is None
    assert forms.forms((2, 2), (3, 3, 16, 16), (1, 1)) is not None
