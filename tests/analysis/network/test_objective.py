"""Gradients, curvature and landscapes of a tiny network against finite differences, the exact Hessian, quadratics."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.flatten_util import ravel_pytree

from jaxcnn.analysis.network.curvature import top_eigenvalue
from jaxcnn.analysis.network.gradient_norms import norms_by_layer
from jaxcnn.analysis.network.landscape import filter_normalised, landscape
from jaxcnn.analysis.network.objective import mean_loss
from jaxcnn.models import build
from jaxcnn.nn.calls import infer
from jaxcnn.spec import ModelSpec
from jaxcnn.tasks import classification
from tests.fixtures.reference import draw_variables

MODULE = build(ModelSpec("plain", 3, 2, options={"norm": True}), num_classes=3)
RNG = np.random.default_rng(0)
IMAGES = jnp.asarray(RNG.standard_normal((8, 6, 6, 1)), jnp.float32)
LABELS = jnp.asarray(RNG.integers(0, 3, 8))
MASK = jnp.array([1.0] * 7 + [0.0])
VARIABLES = draw_variables(MODULE, IMAGES)
BATCHES = [{"images": IMAGES[part], "labels": LABELS[part], "mask": MASK[part]} for part in (slice(0, 4), slice(4, 8))]
LOSS = mean_loss(MODULE, VARIABLES, classification(), BATCHES)
PARAMS = VARIABLES["params"]


def test_the_mean_is_over_all_batches_without_padding():
    logits = np.asarray(infer(MODULE, VARIABLES, IMAGES), np.float64)
    each = np.log(np.exp(logits).sum(1)) - logits[np.arange(8), np.asarray(LABELS)]
    assert float(LOSS(PARAMS)) == pytest.approx(each[:7].mean(), rel=1e-5)
    with pytest.raises(ValueError, match="batches is empty"):
        mean_loss(MODULE, VARIABLES, classification(), [])


def test_norms_of_gradients():
    gradients = jax.jit(jax.grad(LOSS))(PARAMS)
    norms = norms_by_layer(gradients, PARAMS)
    assert set(norms) == {"conv1", "conv2", "dense1"}
    kernel = np.asarray(PARAMS["conv1"]["kernel"], np.float64)
    # The derivative along the gradient is its norm squared: by finite differences.
    direction, step = gradients["conv1"]["kernel"], 1e-2
    ends = []
    for sign in (1, -1):
        moved = {**PARAMS, "conv1": {**PARAMS["conv1"], "kernel": PARAMS["conv1"]["kernel"] + sign * step * direction}}
        ends.append(float(LOSS(moved)))
    assert (ends[0] - ends[1]) / (2 * step) == pytest.approx(norms["conv1"].norm ** 2, rel=2e-2)
    assert norms["conv1"].relative == pytest.approx(norms["conv1"].norm / np.linalg.norm(kernel), rel=1e-5)
    zero = norms_by_layer(gradients, jax.tree.map(jnp.zeros_like, PARAMS))
    assert np.isnan(zero["conv1"].relative)


def test_the_top_eigenvalue_is_that_of_the_exact_hessian():
    flat, unravel = ravel_pytree(PARAMS)
    hessian = np.asarray(jax.jit(jax.hessian(lambda flat: LOSS(unravel(flat))))(flat), np.float64)
    exact = np.linalg.eigvalsh((hessian + hessian.T) / 2)[-1]
    for seed in (0, 1):
        assert top_eigenvalue(LOSS, PARAMS, jax.random.key(seed), tolerance=1e-5) == pytest.approx(exact, rel=1e-3)


def test_the_top_eigenvalue_is_signed():
    def saddle(params):
        return params["x"] @ jnp.diag(jnp.array([-9.0, 1.0, 2.0])) @ params["x"] / 2

    assert top_eigenvalue(saddle, {"x": jnp.ones(3)}, jax.random.key(0)) == pytest.approx(2, rel=1e-4)


def test_directions_have_the_lengths_of_the_filters():
    direction = filter_normalised(PARAMS, jax.random.key(0))
    for layer, axes in (("conv1", (0, 1, 2)), ("dense1", (0,))):
        ours, theirs = (np.sqrt((np.asarray(t[layer]["kernel"]) ** 2).sum(axes)) for t in (direction, PARAMS))
        np.testing.assert_allclose(ours, theirs, rtol=1e-5)
    assert not any(np.asarray(leaf).any() for leaf in jax.tree.leaves(direction) if leaf.ndim < 2)
    other = filter_normalised(PARAMS, jax.random.key(1))
    assert not np.allclose(direction["conv1"]["kernel"], other["conv1"]["kernel"])
    scaled = filter_normalised(jax.tree.map(lambda leaf: 10 * leaf, PARAMS), jax.random.key(0))
    np.testing.assert_allclose(scaled["conv1"]["kernel"], 10 * direction["conv1"]["kernel"], rtol=1e-5)


def test_the_landscape_of_a_quadratic():
    rng, steps = np.random.default_rng(1), np.linspace(-1, 1, 5)
    root, centre, *ways = (jnp.asarray(rng.standard_normal((4, 4) if n == 0 else 4), jnp.float32) for n in range(4))
    matrix = root @ root.T

    def bowl(params):
        return params["x"] @ matrix @ params["x"]

    line = landscape(bowl, {"x": centre}, [{"x": ways[0]}], steps)
    plane = landscape(bowl, {"x": centre}, [{"x": way} for way in ways], steps)
    c, p, q, m = (np.asarray(each, np.float64) for each in (centre, *ways, matrix))
    for i, a in enumerate(steps):
        assert line[i] == pytest.approx((c + a * p) @ m @ (c + a * p), rel=1e-4)
        for j, b in enumerate(steps):
            x = c + a * p + b * q
            assert plane[i, j] == pytest.approx(x @ m @ x, rel=1e-3, abs=1e-4)


def test_the_middle_of_a_landscape_is_the_network():
    way = filter_normalised(PARAMS, jax.random.key(0))
    assert landscape(LOSS, PARAMS, [way], [-0.5, 0.0, 0.5])[1] == pytest.approx(float(LOSS(PARAMS)), rel=1e-5)
