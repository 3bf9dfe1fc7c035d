"""Programs: batch norm is folded, constants are computed, and the outputs stay those of the function."""

from collections import Counter

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jaxcnn import nn
from jaxcnn.export import trace
from jaxcnn.export.stablehlo import run_stablehlo, to_stablehlo
from tests.export.networks import NETWORKS, agreement, network


def kinds(program):
    return Counter(each.primitive.name for each in program.operations)


def test_batch_norm_is_folded_into_the_convolution_before():
    compute, shape = network("resnet")
    assert kinds(trace(compute, shape)) == {
        "conv_general_dilated": 7, "add": 7 + 3 + 1, "max": 7, "slice": 2, "pad": 2, "reduce_sum": 1, "mul": 1,
        "dot_general": 1,
    }  # fmt: skip


def test_pooling_is_written_as_windows():
    compute, shape = network("lenet")
    assert kinds(trace(compute, shape))["reduce_window_max"] == 2


@pytest.mark.parametrize("name", ["resnet", "unet", pytest.param("faster_rcnn", marks=pytest.mark.slow)])
def test_stablehlo_agrees_for_any_number_of_images(name):
    compute, shape = network(name)
    content = to_stablehlo(trace(compute, shape))
    assert agreement(lambda images: run_stablehlo(content, images), compute, shape) <= 1e-5


def test_a_value_that_is_used_twice_keeps_its_kernel():
    kernel = np.ones((3, 3, 1, 2), np.float32)

    def compute(images):
        y = nn.Conv(2, use_bias=False).apply({"params": {"kernel": kernel}}, images)
        z = y * 2.0
        return {"once": jnp.maximum(z + 1.0, 0.0), "twice": z * 3.0, "raw": y}

    images = np.random.default_rng(0).normal(size=(2, 5, 5, 1)).astype(np.float32)
    found, expected = run_stablehlo(to_stablehlo(trace(compute, (5, 5, 1))), images), compute(images)
    for name, value in expected.items():
        np.testing.assert_allclose(found[name], value, rtol=1e-5, atol=1e-5)


STEPS = st.lists(st.tuples(st.sampled_from("+-*/r"), st.floats(0.25, 4.0), st.booleans(), st.booleans()), max_size=6)


@settings(max_examples=8, deadline=None)
@given(STEPS)
def test_chains_of_constants_keep_their_value(steps):
    def compute(images):
        x, kept = jax.lax.dot(images.reshape(images.shape[0], 4), jnp.eye(4) + 0.5), []
        for kind, number, vector, keep in steps:
            c = jnp.linspace(0.5, number, 4)[None] if vector else jnp.float32(number)
            x = {"+": x + c, "-": x - c, "*": x * c, "/": x / c, "r": c - x}[kind]
            if keep:
                kept.append(jnp.tanh(x))
        return [x, *kept]

    images = np.arange(8, dtype=np.float32).reshape(2, 2, 2, 1) / 8
    found = run_stablehlo(to_stablehlo(trace(compute, (2, 2, 1))), images)
    for value, expected in zip(found.values(), compute(images), strict=True):
        np.testing.assert_allclose(value, expected, rtol=1e-4, atol=1e-4)


def test_every_network_is_traced():
    assert {"lenet", "vgg", "resnet", "wrn", "ssd", "unet"} <= set(NETWORKS)
