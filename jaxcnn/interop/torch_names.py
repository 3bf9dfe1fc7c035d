"""Names of torchvision's weights for networks of jaxcnn, and the order of their axes.

Keys are those of torchvision's vgg.py, resnet.py, inception.py and mobilenetv2.py; timm's ResNets have the same.
Kernels are (out, in, height, width) there and (height, width, in, out) here. torchvision's networks are those of the
families vgg, resnet_imagenet, inception and mobilenet as they are: stride in the 3x3 convolution ("v1.5"), 3x3 max
pooling padded by 1, epsilon 1e-5 (Inception: 1e-3), momentum 0.9.
"""

from __future__ import annotations

import math
import re
from collections.abc import Collection

import numpy as np

from jaxcnn.interop.names import Arrays, Names, without_conv_biases
from jaxcnn.spec import ModelSpec

LEAVES = {"kernel": "weight", "scale": "weight", "bias": "bias", "mean": "running_mean", "var": "running_var"}
COUNTERS = "num_batches_tracked"
"""Ends of the names of entries that are no weights: numbers of batches seen."""
AUXILIARY = "AuxLogits."
"""Start of the names of Inception's auxiliary classifier, which our network does not have."""


def torch_key(path: str, spec: ModelSpec, norm: bool = False) -> str | None:
    """Return torchvision's key of a variable, by its path such as params/conv1/kernel.

    Args:
        path: Collection, layers and leaf.
        spec: The network, with stage_sizes set.
        norm: Whether a VGG has batch norm.

    Returns:
        The key; None for a variable of another head than torchvision's classifier.

    >>> torch_key("batch_stats/stage1_block2/conv1/norm/mean", ModelSpec("resnet_imagenet", 18, 64))
    'layer1.1.bn1.running_mean'
    """
    *layers, leaf = path.split("/")[1:]
    layer = LAYERS[spec.family]("/".join(layers), spec, norm)
    return None if layer is None else f"{layer}.{LEAVES[leaf]}"


def from_torch(key: str, value: np.ndarray, shape: tuple[int, ...], spec: ModelSpec) -> np.ndarray:
    """Return an array of a file in the order of axes of a network's variable.

    The first dense layer of a VGG sees a map flattened as (C, H, W) there and as (H, W, C) here.

    Args:
        key: Its name in the file.
        value: The array.
        shape: That of the variable; the result has it if the array fits.
        spec: The network, with stage_widths set.

    >>> from_torch("fc.weight", np.ones((10, 512)), (512, 10), ModelSpec("resnet_imagenet", 18, 64)).shape
    (512, 10)
    """
    if value.ndim == 4:
        return value.transpose(2, 3, 1, 0)
    if value.ndim != 2:
        return value
    channels = (spec.stage_widths or (0,))[-1]
    if key == "classifier.0.weight" and value.shape[::-1] == shape and channels and shape[0] % channels == 0:
        side = math.isqrt(shape[0] // channels)
        if side * side * channels == shape[0]:
            return value.reshape(-1, channels, side, side).transpose(2, 3, 1, 0).reshape(shape)
    return value.T


def conv_bias_keys(keys: Collection[str]) -> dict[str, str]:
    """Return the biases of convolutions under batch norm, by the mean from which they are to be subtracted.

    torchvision's VGGs with batch norm have them; here such convolutions have none.

    >>> conv_bias_keys(["features.0.bias", "features.1.running_mean"])
    {'features.1.running_mean': 'features.0.bias'}
    """
    means = [match for key in keys if (match := re.fullmatch(r"features\.(\d+)\.running_mean", key))]
    biases = {match[0]: f"features.{int(match[1]) - 1}.bias" for match in means}
    return {mean: bias for mean, bias in biases.items() if bias in keys}


def _prepared(arrays: Arrays, spec: ModelSpec) -> Arrays:
    weights = {key: value for key, value in arrays.items() if not key.endswith(COUNTERS)}
    if spec.family == "inception":
        weights = {key: value for key, value in weights.items() if not key.startswith(AUXILIARY)}
    return without_conv_biases(weights, conv_bias_keys(weights))


def _top(spec: ModelSpec) -> tuple[str, ...]:
    if spec.family == "vgg":
        return "classifier.0.", "classifier.3.", "classifier.6."
    return ({"mobilenet": "classifier.1.", "efficientnet_lite": "_fc."}.get(spec.family, "fc."),)


def _resnet_layer(layer: str, spec: ModelSpec, norm: bool) -> str | None:
    """Return torchvision's name of a layer such as stage1_block2/conv1/norm."""
    if layer == "dense":
        return "fc"
    if match := re.fullmatch(r"(?:stage(\d+)_block(\d+)/)?(conv(\d)|projection)/(conv|norm)", layer):
        stage, block, name, number, kind = match.groups()
        last = f"{'conv' if kind == 'conv' else 'bn'}{number}"
        if name == "projection":
            last = "downsample.0" if kind == "conv" else "downsample.1"
        return last if stage is None else f"layer{stage}.{int(block) - 1}.{last}"
    return None


def _vgg_layer(layer: str, spec: ModelSpec, norm: bool) -> str | None:
    """Return torchvision's name of a layer such as conv3, norm3 or dense1; poolings count among its features."""
    match = re.fullmatch(r"(conv|norm|dense)(\d+)", layer)
    if match is None:
        return None
    kind, number = match[1], int(match[2])
    if kind == "dense":
        return f"classifier.{3 * (number - 1)}"
    pools = sum(number > sum((spec.stage_sizes or ())[: stage + 1]) for stage in range(len(spec.stage_sizes or ())))
    return f"features.{(number - 1) * (3 if norm else 2) + pools + (kind == 'norm')}"


def _mobilenet_layer(layer: str, spec: ModelSpec, norm: bool) -> str | None:
    """Return torchvision's name of a layer such as stage2_block1_expand/conv; blocks are numbered through."""
    if layer == "dense":
        return "classifier.1"
    sizes = spec.stage_sizes or ()
    if match := re.fullmatch(r"(conv1|last)/(conv|norm)", layer):
        return f"features.{0 if match[1] == 'conv1' else sum(sizes) + 1}.{int(match[2] == 'norm')}"
    match = re.fullmatch(r"stage(\d+)_block(\d+)_(expand|depthwise|project)/(conv|norm)", layer)
    if match is None:
        return None
    stage, block, is_norm = int(match[1]), int(match[2]), int(match[4] == "norm")
    place = ("expand", "depthwise", "project").index(match[3]) - (stage == 1)  # the first stage does not expand
    last = f"{place + is_norm}" if match[3] == "project" else f"{place}.{is_norm}"
    return f"features.{sum(sizes[: stage - 1]) + block}.conv.{last}"


def _inception_layer(layer: str, spec: ModelSpec, norm: bool) -> str | None:
    """Return torchvision's name of a layer such as stage2_block1/branch3x3/conv."""
    if layer == "dense":
        return "fc"
    match = re.fullmatch(r"(?:conv(\d)|stage(\d)_block(\d+)/(\w+))/(conv|norm)", layer)
    if match is None:
        return None
    kind = "conv" if match[5] == "conv" else "bn"
    if match[1]:
        return f"Conv2d_{('1a_3x3', '2a_3x3', '2b_3x3', '3b_1x1', '4a_3x3')[int(match[1]) - 1]}.{kind}"
    letter = "abcdefghijklmnopqrstuvwxyz"[(int(match[3]) - 1 + (match[2] == "1")) % 26]  # Mixed_5b is the first
    return f"Mixed_{int(match[2]) + 4}{letter}.{match[4]}.{kind}"


def _lite_layer(layer: str, spec: ModelSpec, norm: bool) -> str | None:
    """Return efficientnet_pytorch's name of a layer such as stage2_block1_expand/conv; blocks are numbered through."""
    ends = {"dense": "_fc", "conv1/conv": "_conv_stem", "conv1/norm": "_bn0", "last/conv": "_conv_head"}
    ends["last/norm"] = "_bn1"
    match = re.fullmatch(r"stage(\d+)_block(\d+)_(expand|depthwise|project)/(conv|norm)", layer)
    if match is None:
        return ends.get(layer)
    number = sum((spec.stage_sizes or ())[: int(match[1]) - 1]) + int(match[2]) - 1
    place = ("expand", "depthwise", "project").index(match[3])
    return f"_blocks.{number}." + (f"_{match[3]}_conv" if match[4] == "conv" else f"_bn{place}")


LAYERS = {
    "vgg": _vgg_layer, "resnet_imagenet": _resnet_layer, "inception": _inception_layer, "mobilenet": _mobilenet_layer,
    "efficientnet_lite": _lite_layer,
}  # fmt: skip
"""Functions from a layer of a family to its name."""
TRUNK = {
    "vgg": r"features\.", "resnet_imagenet": r"(conv1|bn1|layer\d+)\.", "inception": "(Conv2d|Mixed)_",
    "mobilenet": r"features\.",
}  # fmt: skip
TORCHVISION = Names("torchvision", TRUNK, torch_key, _top, _prepared, from_torch)
EFFICIENTNET = Names(
    "efficientnet_pytorch", {"efficientnet_lite": "_(conv|bn|blocks)"}, torch_key, _top, _prepared, from_torch
)
"""Names of the package efficientnet_pytorch, for EfficientNet-lite."""
