"""Small networks of every family with drawn weights, and how far a file's outputs are from theirs."""

import jax
import jax.numpy as jnp
import numpy as np

from jaxcnn.models import build
from jaxcnn.nn.calls import infer
from jaxcnn.spec import ModelSpec

NETWORKS = {
    "lenet": (ModelSpec("lenet", 5, 6), (28, 28, 1)),
    "vgg": (ModelSpec("vgg", 9, 4, options={"norm": True}), (40, 40, 3)),
    "resnet": (ModelSpec("resnet", 8, 4), (16, 16, 3)),
    "imagenet": (ModelSpec("resnet_imagenet", 14, 4, options={"block": "bottleneck"}), (40, 40, 3)),
    "wrn": (ModelSpec("wrn", 10, 1), (16, 16, 3)),
    "mobilenet": (ModelSpec("mobilenet", 23, 4), (32, 32, 3)),
    "efficientnet_lite": (ModelSpec("efficientnet_lite", 23, 4), (32, 32, 3)),
    "dense": (ModelSpec("dense", 3, 8), (8, 8, 1)),
    "airbench": (ModelSpec("airbench", 8, 4), (32, 32, 3)),
    "ssd": (ModelSpec("resnet_imagenet", 10, 4, head="ssd"), (48, 48, 3)),
    "yolo": (ModelSpec("resnet_imagenet", 10, 4, head="yolo"), (48, 48, 3)),
    "localizer": (ModelSpec("resnet", 8, 4, head="localizer"), (16, 16, 3)),
    "unet": (ModelSpec("unet", 18, 4), (32, 32, 1)),
    "fcn": (ModelSpec("resnet_imagenet", 10, 4, options={"dilated": 1}, head="fcn"), (40, 40, 3)),
    "reader": (ModelSpec("plain", 3, 4, head="reader"), (16, 64, 1)),
    "embedding": (ModelSpec("plain", 3, 4, head="embedding"), (16, 16, 1)),
    "inception": (ModelSpec("inception", 48, 4), (96, 96, 3)),
    "faster_rcnn": (ModelSpec("resnet_imagenet", 10, 4, head="faster_rcnn"), (48, 48, 3)),
}
"""Name -> spec and image shape."""


def network(name):
    """Return the function of images that a network with drawn weights and statistics is, and its image shape."""
    spec, shape = NETWORKS[name]
    module, rng = build(spec, 5), np.random.default_rng(0)
    shapes = jax.eval_shape(module.init, jax.random.key(0), jnp.zeros((1, *shape)))

    def draw(path, leaf):
        kind = path[-1].key
        if kind in ("scale", "var"):
            return rng.uniform(0.5, 1.5, leaf.shape).astype(np.float32)
        if kind in ("bias", "mean"):
            return rng.normal(0, 0.1, leaf.shape).astype(np.float32)
        return rng.normal(0, np.sqrt(2 / max(1, np.prod(leaf.shape[:-1]))), leaf.shape).astype(np.float32)

    variables = jax.tree_util.tree_map_with_path(draw, shapes)
    return lambda images: infer(module, variables, images), shape


def agreement(run, compute, shape, batches=(1, 3)):
    """Return the largest difference of a file's outputs from a network's, over the largest output."""
    worst, rng, compute = 0.0, np.random.default_rng(1), jax.jit(compute)
    for count in batches:
        images = rng.normal(size=(count, *shape)).astype(np.float32)
        found, expected = run(images), jax.tree_util.tree_leaves_with_path(compute(images))
        assert len(found) == len(expected)
        for path, value in expected:
            name = "/".join(each.key for each in path) or "output"
            assert found[name].shape == value.shape
            worst = max(worst, np.abs(found[name] - value).max() / np.abs(value).max())
    return worst
