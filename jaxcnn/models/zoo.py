"""Published names, and `build`: from a spec to a Flax module."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Mapping
from types import MappingProxyType

from flax import linen as nn

from jaxcnn.errors import InputError
from jaxcnn.models import (  # each registers its families and heads
    airbench,
    borders,
    dense,
    faster_rcnn,
    fcn,
    inception,
    mask_rcnn,
    mobilenet,
    plain,
    resnet,
    retinanet,
    ssd,
    ssd_vgg,
    tiny_yolo,
    unet,
    yolo,
)
from jaxcnn.models.family import complete, family_named, nearest
from jaxcnn.models.head import head_named
from jaxcnn.nn.network import Network
from jaxcnn.spec import ModelSpec

__all__ = [
    "NAMES",
    "airbench",
    "borders",
    "build",
    "default_input",
    "dense",
    "faster_rcnn",
    "fcn",
    "inception",
    "mask_rcnn",
    "mobilenet",
    "named",
    "plain",
    "resnet",
    "retinanet",
    "ssd",
    "ssd_vgg",
    "tiny_yolo",
    "unet",
    "yolo",
]

_FPN = {
    "head_published": True, "head_width": 256, "head_scale": 8.0, "head_proposals": 100, "head_units": 1024,
    "head_size": 7,
}  # fmt: skip
_CAFFE = {"dense": 2, "units": (500,), "padding": "valid"}
NAMES: Mapping[str, ModelSpec] = MappingProxyType(
    {
        "lenet5": ModelSpec("lenet", depth=5, width=6),
        "lenet_caffe": ModelSpec("lenet", 4, 20, stage_widths=(20, 50), options=_CAFFE),
        **{f"vgg{d}": ModelSpec("vgg", d, 64, options={"dropout": 0.5}) for d in (11, 13, 16, 19)},
        **{f"resnet{d}": ModelSpec("resnet", d, 16) for d in (20, 32, 44, 56, 110, 1202)},
        **{f"resnet{d}b": ModelSpec("resnet", d, 16, options={"shortcut": "B"}) for d in (20, 32, 44, 56, 110)},
        **{f"plain{d}": ModelSpec("resnet", d, 16, options={"skip": False}) for d in (20, 56)},
        **{f"resnet{d}": ModelSpec("resnet_imagenet", d, 64) for d in (18, 34, 50, 101, 152)},
        "resnet18_cifar": ModelSpec("resnet_imagenet", 18, 64, options={"stem": "cifar"}),
        **{f"wrn_{d}_{k}": ModelSpec("wrn", d, k) for d, k in ((16, 4), (16, 8), (28, 10), (40, 1), (40, 2), (40, 4))},
        "airbench94": ModelSpec("airbench", 8, 64),
        "inception_v3": ModelSpec("inception", 48, 32),
        "mobilenet_v2": ModelSpec("mobilenet", 53, 16),
        "efficientnet_lite0": ModelSpec("efficientnet_lite", 50, 16),
        "ssd": ModelSpec("resnet_imagenet", 10, 24, head="ssd"),
        "ssd300_vgg16": ModelSpec("ssd_vgg", 15, 64),
        "faster_rcnn": ModelSpec("resnet_imagenet", 10, 24, head="faster_rcnn"),
        "fasterrcnn_resnet50_fpn": ModelSpec("resnet_imagenet", 50, 64, options=_FPN, head="faster_rcnn"),
        "mask_rcnn": ModelSpec("resnet_imagenet", 10, 24, head="mask_rcnn"),
        "maskrcnn_resnet50_fpn": ModelSpec(
            "resnet_imagenet", 50, 64, options=_FPN | {"head_mask_depth": 4}, head="mask_rcnn"
        ),
        "retinanet_resnet50_fpn": ModelSpec("resnet_imagenet", 50, 64, options={"head_width": 256}, head="retinanet"),
        "yolo": ModelSpec("resnet_imagenet", 10, 24, head="yolo"),
        "tiny_yolov2": ModelSpec("tiny_yolo", 9, 16),
        "unet": ModelSpec("unet", 18, 16),
        "unet_2015": ModelSpec("unet", 23, 64, options={"levels": 5, "norm": False}),
        "fcn_resnet50": ModelSpec("resnet_imagenet", 50, 64, options={"dilated": 2}, head="fcn"),
    }
)


def build(spec: ModelSpec | nn.Module, num_classes: int | None = None) -> nn.Module:
    """Make the Flax module that a spec describes.

    Its call is `module.apply(variables, images, train=False, mask=None)`: images (N, H, W, C), logits (N, num_classes)
    or what its head gives (fcn, and the family unet: logits of each pixel, (N, H, W, num_classes));
    variables hold 'params' and, with batch norm, 'batch_stats'; training with dropout needs a 'dropout' key.
    `module.apply(variables, images, method="features")` gives the maps of its backbone, one per stride.
    `jaxcnn.nn.synchronised(module, "batch")` shares batch statistics over a mapped axis; parameters stay the same.

    Args:
        spec: The architecture, or any Flax module, which comes back unchanged.
        num_classes: Length of the logits where the spec leaves it open.

    Returns:
        The module.

    Raises:
        InputError: An unknown family, an invalid depth or a field the family does not have.

    Example:
        >>> from jaxcnn.models import build, named
        >>> build(named("resnet20"), num_classes=10).backbone.stage_sizes
        (3, 3, 3)
    """
    if isinstance(spec, nn.Module):
        return spec
    if not isinstance(spec, ModelSpec):
        raise InputError(f"spec={spec!r}: give a ModelSpec or a Flax module; a name goes through jaxcnn.models.named")
    spec, family, options = complete(spec)
    classes = spec.num_classes if spec.num_classes is not None else num_classes
    if classes is None:
        raise InputError("num_classes=None: give the number of classes, in the spec or as an argument")
    spec = dataclasses.replace(spec, num_classes=classes)
    head = family.head if spec.head is None else head_named(spec.head).module
    return Network(family.backbone(spec, options), head(spec, options))


def named(name: str) -> ModelSpec:
    """Return the spec of a published architecture.

    Beside `NAMES`: resnetN and resnetNb (He et al. 2015 on CIFAR, shortcut A or B) and plainN (the same without
    skips) for every N = 6n+2, and wrn_D_K for every D = 6n+4. resnet18, 34, 50, 101 and 152 are the ImageNet nets.

    Args:
        name: Such as lenet5, resnet20, plain56, wrn_28_10.

    Returns:
        The spec, with num_classes open.

    Raises:
        InputError: No such name, or a depth that the family does not have.

    >>> named("wrn_28_10").depth
    28
    """
    if name in NAMES:
        return NAMES[name]
    if match := re.fullmatch(r"(resnet|plain)(\d+)(b?)", name):
        kind, depth, b = match[1], int(match[2]), match[3]
        spec = ModelSpec(
            "resnet", depth, 16, options=({"shortcut": "B"} if b else {}) | ({"skip": False} if kind == "plain" else {})
        )
    elif match := re.fullmatch(r"wrn_(\d+)_(\d+)", name):
        spec = ModelSpec("wrn", int(match[1]), int(match[2]))
    else:
        raise InputError(f"name={name!r}: unknown model; {nearest(name, NAMES)} (`jaxcnn models` lists all)")
    complete(spec)
    return spec


def default_input(model: str | ModelSpec) -> tuple[tuple[int, int, int], int]:
    """Return the image shape (H, W, C) and the number of classes that an architecture was published for.

    Args:
        model: A name (see `named`) or a spec; a spec's own num_classes wins.

    Raises:
        InputError: An unknown name or family.

    >>> default_input("lenet5")
    ((28, 28, 1), 10)
    """
    spec = named(model) if isinstance(model, str) else model
    shape, classes = family_named(spec.family).image
    if spec.options.get("stem") == "cifar":
        shape, classes = (32, 32, 3), 10
    if spec.head is not None:
        classes = head_named(spec.head).classes or classes
    return shape, classes if spec.num_classes is None else spec.num_classes
