"""Names of Keras' weights for networks of jaxcnn.

Names are those of keras.applications' vgg16.py, vgg19.py, resnet.py and inception_v3.py, as `read_h5` gives them:
layer/weight. Axes have our order. VGG and ResNet see images in the order blue, green, red there; the first kernel is
turned round, so that ours see red, green, blue. Inception's layers have only numbers, and no scale under batch norm.
"""

from __future__ import annotations

import re

import numpy as np

from jaxcnn.interop.names import Arrays, Names, without_conv_biases
from jaxcnn.models.inception import STEM, blocks, layers
from jaxcnn.spec import ModelSpec

WEIGHTS = {"kernel": "kernel", "scale": "gamma", "bias": "bias", "mean": "moving_mean", "var": "moving_variance"}
FIRST = {"vgg": "block1_conv1/kernel", "resnet_imagenet": "conv1_conv/kernel"}
"""Kernels that see the image."""


def keras_key(path: str, spec: ModelSpec, norm: bool = False) -> str | None:
    """Return Keras' name of a variable, by its path such as params/conv1/kernel.

    Args:
        path: Collection, layers and leaf.
        spec: The network, with stage_sizes set.
        norm: Not used: Keras has no VGG with batch norm.

    Returns:
        The name; None for a variable of another head than Keras' classifier.

    >>> keras_key("batch_stats/stage1_block2/conv1/norm/mean", ModelSpec("resnet_imagenet", 50, 64))
    'conv2_block2_1_bn/moving_mean'
    """
    *parts, leaf = path.split("/")[1:]
    layer = LAYERS[spec.family]("/".join(parts), spec)
    if layer is None:
        return None
    return f"{layer}/{'beta' if leaf == 'bias' and parts[-1].startswith('norm') else WEIGHTS[leaf]}"


def _vgg_layer(layer: str, spec: ModelSpec) -> str | None:
    match = re.fullmatch(r"(conv|norm|dense)(\d+)", layer)
    if match is None:
        return None
    kind, number = match[1], int(match[2])
    if kind == "dense":
        return "predictions" if number == 3 else f"fc{number}"
    for stage, size in enumerate(spec.stage_sizes or (), start=1):
        if number <= size:
            return f"block{stage}_{kind}{number}"
        number -= size
    return None


def _resnet_layer(layer: str, spec: ModelSpec) -> str | None:
    if layer == "dense":
        return "predictions"
    match = re.fullmatch(r"(?:stage(\d+)_block(\d+)/)?(?:conv(\d)|projection)/(conv|norm)", layer)
    if match is None:
        return None
    stage, block, number, kind = match.groups()
    last = "conv" if kind == "conv" else "bn"
    return f"conv1_{last}" if stage is None else f"conv{int(stage) + 1}_block{block}_{number or 0}_{last}"


def _inception_layer(layer: str, spec: ModelSpec) -> str | None:
    if layer == "dense":
        return "predictions"
    parts = layer.rpartition("/")
    order = [each.name for each in STEM]
    for name, branches in blocks(spec.stage_sizes or ()).items():
        order += [f"{name}/{each.name}" for each in layers(branches)]
    if parts[0] not in order:
        return None
    return f"{'conv2d' if parts[2] == 'conv' else 'batch_normalization'}_{order.index(parts[0]) + 1}"


LAYERS = {"vgg": _vgg_layer, "resnet_imagenet": _resnet_layer, "inception": _inception_layer}
"""Functions from a layer of a family to Keras' name."""


def _prepared(arrays: Arrays, spec: ModelSpec) -> Arrays:
    found = without_conv_biases(arrays, {
        key: f"{key.removesuffix('_bn/moving_mean')}_conv/bias" for key in arrays if key.endswith("_bn/moving_mean")
    })  # fmt: skip
    if spec.family == "inception":
        found = numbered_from_one(found)
        for key in [key for key in found if re.fullmatch(r"batch_normalization_\d+/beta", key)]:
            found.setdefault(key.replace("beta", "gamma"), np.ones_like(found[key]))
    first = found.get(FIRST.get(spec.family, ""))
    if first is not None and first.ndim == 4:
        found[FIRST[spec.family]] = first[:, :, ::-1]
    return found


def numbered_from_one(arrays: Arrays) -> dict[str, np.ndarray]:
    """Return arrays with the layers of each kind numbered from 1 in their order; Keras counts on from model to model.

    >>> list(numbered_from_one({"conv2d/kernel": np.ones(1), "conv2d_7/kernel": np.ones(1)}))
    ['conv2d_1/kernel', 'conv2d_2/kernel']
    """
    matches = [re.fullmatch(r"(conv2d|batch_normalization)(?:_(\d{1,9}))?/(\w+)", key) for key in arrays]
    places = {(match[1], int(match[2] or 0)) for match in matches if match}
    order = {kind: sorted(number for other, number in places if other == kind) for kind, _ in places}
    return {
        f"{match[1]}_{order[match[1]].index(int(match[2] or 0)) + 1}/{match[3]}" if match else key: value
        for match, (key, value) in zip(matches, arrays.items(), strict=True)
    }


def _top(spec: ModelSpec) -> tuple[str, ...]:
    return ("fc1/", "fc2/", "predictions/") if spec.family == "vgg" else ("predictions/",)


TRUNK = {
    "vgg": r"block\d+_conv\d+/", "resnet_imagenet": r"conv\d+_", "inception": "(conv2d|batch_normalization)_",
}  # fmt: skip
KERAS = Names("keras", TRUNK, keras_key, _top, _prepared, lambda key, value, shape, spec: value)
