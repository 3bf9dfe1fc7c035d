"""ONNX files by onnxruntime: every family agrees at other batch sizes; what is not written is named."""

from collections import Counter

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxcnn.errors import InputError
from jaxcnn.export import trace
from jaxcnn.export.onnx import run_onnx, to_onnx
from tests.export.networks import NETWORKS, agreement, network

QUICK = ("lenet", "resnet", "unet", "dense")
OTHERS = [pytest.param(name, marks=pytest.mark.slow) for name in NETWORKS if name not in (*QUICK, "faster_rcnn")]


@pytest.mark.parametrize("name", [*QUICK, *OTHERS])
def test_families_agree_for_any_number_of_images(name):
    compute, shape = network(name)
    content = to_onnx(trace(compute, shape), {}).SerializeToString()
    assert agreement(lambda images: run_onnx(content, images), compute, shape) <= 1e-5


def test_a_residual_network_has_no_operation_too_many():
    compute, shape = network("resnet")
    model = to_onnx(trace(compute, shape), {"classes": "[]"})
    assert Counter(node.op_type for node in model.graph.node) == {
        "Transpose": 1, "Conv": 7, "Relu": 7, "Add": 3, "Slice": 2, "Pad": 2, "ReduceMean": 1, "Gemm": 1, "Identity": 1,
    }  # fmt: skip
    assert [each.key for each in model.metadata_props] == ["classes"]
    assert model.graph.input[0].type.tensor_type.shape.dim[0].dim_param == "batch"


def test_what_is_not_written_is_named():
    with pytest.raises(InputError, match="'top_k', which is not written to ONNX; export it to stablehlo"):
        to_onnx(trace(*network("faster_rcnn")), {})
    with pytest.raises(InputError, match="transposed convolution"):
        to_onnx(trace(lambda x: jax.lax.conv_transpose(x, jnp.ones((2, 2, 1, 1)), (2, 2), "SAME"), (4, 4, 1)), {})


@pytest.mark.parametrize(
    "compute",
    [
        lambda x: jnp.clip(x, 0, 6),
        lambda x: jnp.minimum(jnp.maximum(x, 0), x),
        lambda x: jnp.maximum(x, -1),
        lambda x: x.sum((1, 2)) / 12,
        lambda x: x.mean((1, 2)) * 2 + x.sum((1, 2)),
        lambda x: x.max((2,)) - x.min((2,)),
        lambda x: jnp.transpose(x, (0, 3, 2, 1)),
        lambda x: x[:, 1:3, ::2, 1:] * jnp.arange(12.0).reshape(1, 2, 2, 3)[..., :1],
        lambda x: x[:, 1, :, 0] + x[:, :, 2].sum(1),
        lambda x: jnp.concatenate([x, x[..., :1] ** 3], -1).reshape(x.shape[0], -1),
        lambda x: jax.nn.sigmoid(x) + jnp.tanh(x) + jnp.exp(-x),
        lambda x: jax.nn.gelu(x, approximate=False) * jax.lax.rsqrt(jnp.square(x) + 1),
        lambda x: jnp.einsum("nhwc,cd->ndhw", x, jnp.arange(6.0).reshape(3, 2)),
        lambda x: jnp.einsum("nhwc,nhkc->nhwk", x, x),
        lambda x: jax.lax.reduce_window(x, 0.0, jax.lax.add, (1, 2, 2, 1), (1, 1, 1, 1), "SAME"),
        lambda x: jnp.repeat(x, 2, axis=1) + jnp.broadcast_to(jnp.ones((1, 1, 3)), (8, 3, 3))[None],
    ],
)
def test_single_operations(compute):
    def pooled(x):  # the same with channels first
        return compute(jax.lax.reduce_window(x, -jnp.inf, jax.lax.max, (1, 1, 1, 1), (1, 1, 1, 1), "SAME"))

    images = np.random.default_rng(0).normal(0, 3, (2, 4, 3, 3)).astype(np.float32)
    for program in (trace(compute, (4, 3, 3)), trace(pooled, (4, 3, 3))):
        found = run_onnx(to_onnx(program, {}).SerializeToString(), images)["output"]
        np.testing.assert_allclose(found, compute(images), rtol=1e-5, atol=1e-5)
