"""Every operation on no images at all, on images of one pixel and of one channel."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxcnn import nn, ops
from jaxcnn.errors import InputError
from jaxcnn.models import build
from jaxcnn.ops import forms, onednn
from jaxcnn.spec import ModelSpec

GEOMETRY = onednn.Geometry((2, 2), (1, 1), ((1, 1), (1, 1)), 1)
FORMS = {
    "plain": lambda x, k: onednn.plain(x, k, GEOMETRY),
    "convolve": lambda x, k: onednn.convolve(x, k, GEOMETRY),
    "unrolled": lambda x, k: forms.unrolled(x, k, GEOMETRY.stride, GEOMETRY.pads),
}
SHAPES = [(0, 8, 8, 3), (0, 1, 1, 1), (2, 1, 1, 1), (2, 1, 1, 3), (1, 5, 1, 1)]
OPERATIONS = {
    "conv2d": lambda x: ops.conv2d(x, jnp.ones((3, 3, x.shape[3], 2)), jnp.ones(2), stride=2),
    "conv2d over pixels": lambda x: ops.conv2d(x, jnp.ones((1, 1, x.shape[3], 2))),
    "conv2d circular": lambda x: ops.conv2d(x, jnp.ones((3, 3, x.shape[3], 2)), padding="CIRCULAR"),
    "conv2d reflect": lambda x: ops.conv2d(x, jnp.ones((3, 3, x.shape[3], 2)), padding="REFLECT"),
    "max_pool": lambda x: ops.max_pool(x, 3, stride=2, padding=1),
    "max_pool of blocks": lambda x: ops.max_pool(x, 1),
    "avg_pool": lambda x: ops.avg_pool(x, 3, stride=2, padding=1),
    "adaptive_avg_pool": lambda x: ops.adaptive_avg_pool(x, (min(3, x.shape[1]), 1)),
    "global_avg_pool": ops.global_avg_pool,
    "global_max_pool": ops.global_max_pool,
    "batch_norm_inference": lambda x: ops.batch_norm_inference(x, *(jnp.ones(x.shape[3]) for _ in range(4))),
    "batch_norm_train": lambda x: ops.batch_norm_train(x, jnp.ones(x.shape[3]), jnp.zeros(x.shape[3]))[0],
    "batch_norm_train masked": lambda x: ops.batch_norm_train(
        x, jnp.ones(x.shape[3]), jnp.zeros(x.shape[3]), mask=jnp.ones(len(x))
    )[0],
    "dropout": lambda x: ops.dropout(jax.random.key(0), x, 0.5),
    "stochastic_depth": lambda x: ops.stochastic_depth(jax.random.key(0), x, 0.5),
}


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("name", OPERATIONS)
def test_an_operation_takes_no_images_one_pixel_and_one_channel(name, shape):
    y, pull = jax.vjp(OPERATIONS[name], jnp.ones(shape))
    (dx,) = pull(jnp.ones(y.shape))
    assert y.shape[0] == shape[0]
    assert dx.shape == shape
    assert np.isfinite(y).all()
    assert np.isfinite(dx).all()


@pytest.mark.slow
@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("form", FORMS)
def test_a_form_of_convolution_takes_them_with_its_gradients(form, shape):
    kernel = jnp.ones((3, 3, shape[3], 2))
    y, pull = jax.vjp(FORMS[form], jnp.ones(shape), kernel)
    dx, dkernel = pull(jnp.ones(y.shape))
    assert y.shape == (shape[0], -(-shape[1] // 2), -(-shape[2] // 2), 2)
    assert dx.shape == shape
    assert dkernel.shape == kernel.shape
    if shape[0] == 0:
        np.testing.assert_array_equal(dkernel, 0.0)


@pytest.mark.parametrize("train", [False, True])
@pytest.mark.parametrize(
    "block", [nn.BasicBlock(4), nn.Bottleneck(4), nn.PreActBlock(4)], ids=lambda b: type(b).__name__
)
def test_a_block_takes_no_images(block, train):
    variables = block.init(jax.random.key(0), jnp.ones((1, 4, 4, 4)))
    y, moved = block.apply(variables, jnp.ones((0, 4, 4, 4)), train, mutable=["batch_stats"])
    assert y.shape[0] == 0
    jax.tree.map(np.testing.assert_array_equal, moved["batch_stats"], variables["batch_stats"])  # nothing was seen


@pytest.mark.parametrize(
    ("family", "depth"),
    [("dense", 3), ("lenet", 5), ("plain", 6), ("vgg", 11), ("resnet", 8), ("wrn", 10), ("airbench", 8)],
)
def test_a_network_takes_no_images(family, depth):
    network = build(ModelSpec(family, depth, 2), num_classes=4)
    variables = jax.eval_shape(network.init, jax.random.key(0), jnp.ones((1, 32, 32, 1)))
    outputs = jax.eval_shape(network.apply, variables, jnp.ones((0, 32, 32, 1)))
    assert outputs.shape == (0, 4)


def test_whitening_without_images_says_so():
    with pytest.raises(InputError, match=r"images of shape \(0, 8, 8, 3\): there are none"):
        ops.whitening_kernel(jnp.ones((0, 8, 8, 3)))
