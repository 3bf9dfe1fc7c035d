"""All families and names, and `build`: from a spec to a Flax module."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Mapping
from types import MappingProxyType

from flax import linen as nn

from jaxcnn.errors import InputError
from jaxcnn.models.airbench import AIRBENCH
from jaxcnn.models.dense import DENSE
from jaxcnn.models.family import Family, complete, nearest
from jaxcnn.models.plain import LENET, PLAIN, VGG
from jaxcnn.models.resnet import RESNET, RESNET_IMAGENET, WRN
from jaxcnn.spec import ModelSpec

FAMILIES: Mapping[str, Family] = MappingProxyType(
    {
        "dense": DENSE,
        "lenet": LENET,
        "plain": PLAIN,
        "vgg": VGG,
        "resnet": RESNET,
        "resnet_imagenet": RESNET_IMAGENET,
        "wrn": WRN,
        "airbench": AIRBENCH,
    }
)

NAMES: Mapping[str, ModelSpec] = MappingProxyType(
    {
        "lenet5": ModelSpec("lenet", depth=5, width=6),
        "lenet_caffe": ModelSpec("lenet", 4, 20, stage_widths=(20, 50), dense=2, units=(500,), padding="valid"),
        **{f"vgg{d}": ModelSpec("vgg", d, 64, dropout=0.5) for d in (11, 13, 16, 19)},
        **{f"resnet{d}": ModelSpec("resnet", d, 16) for d in (20, 32, 44, 56, 110, 1202)},
        **{f"resnet{d}b": ModelSpec("resnet", d, 16, shortcut="B") for d in (20, 32, 44, 56, 110)},
        **{f"plain{d}": ModelSpec("resnet", d, 16, skip=False) for d in (20, 56)},
        **{f"resnet{d}": ModelSpec("resnet_imagenet", d, 64) for d in (18, 34, 50, 101, 152)},
        "resnet18_cifar": ModelSpec("resnet_imagenet", 18, 64, stem="cifar"),
        **{f"wrn_{d}_{k}": ModelSpec("wrn", d, k) for d, k in ((16, 4), (16, 8), (28, 10), (40, 1), (40, 2), (40, 4))},
        "airbench94": ModelSpec("airbench", 8, 64),
    }
)


def build(spec: ModelSpec | nn.Module, num_classes: int | None = None) -> nn.Module:
    """Make the Flax module a spec describes.

    Its call is `module.apply(variables, images, train=False, mask=None)`: images (N, H, W, C), logits (N, num_classes);
    variables hold 'params' and, with batch norm, 'batch_stats'; training with dropout needs a 'dropout' key.
    `module.clone(axis_name="batch")` shares batch statistics over that mapped axis; parameters stay the same.

    Args:
        spec: The architecture, or any Flax module, which comes back unchanged.
        num_classes: Length of the logits where the spec leaves it open.

    Returns:
        The module.

    Raises:
        InputError: An unknown family, an invalid depth or a field the family does not have.

    Example:
        >>> from jaxcnn.models import build, named
        >>> build(named("resnet20"), num_classes=10).stage_sizes
        (3, 3, 3)
    """
    if isinstance(spec, nn.Module):
        return spec
    if not isinstance(spec, ModelSpec):
        raise InputError(f"spec={spec!r}: give a ModelSpec or a Flax module; a name goes through jaxcnn.models.named")
    if spec.family not in FAMILIES:
        raise InputError(f"family={spec.family!r}: there is no such family; {nearest(spec.family, FAMILIES)}")
    classes = spec.num_classes if spec.num_classes is not None else num_classes
    if classes is None:
        raise InputError("num_classes=None: say how many classes there are, in the spec or beside it")
    family = FAMILIES[spec.family]
    return family.make(complete(dataclasses.replace(spec, num_classes=classes), family))


def named(name: str) -> ModelSpec:
    """Spec of a published architecture.

    Beside `NAMES`: resnetN and resnetNb (He et al. 2015 on CIFAR, shortcut A or B) and plainN (the same without
    skips) for every N = 6n+2, and wrn_D_K for every D = 6n+4. resnet18, 34, 50, 101 and 152 are the ImageNet nets.

    Args:
        name: Such as lenet5, resnet20, plain56, wrn_28_10.

    Returns:
        The spec, with num_classes open.

    Raises:
        InputError: No such name, or a depth that the family does not have.
    """
    if name in NAMES:
        return NAMES[name]
    if match := re.fullmatch(r"(resnet|plain)(\d+)(b?)", name):
        kind, depth, b = match[1], int(match[2]), match[3]
        spec = ModelSpec("resnet", depth, 16, shortcut="B" if b else None, skip=False if kind == "plain" else None)
    elif match := re.fullmatch(r"wrn_(\d+)_(\d+)", name):
        spec = ModelSpec("wrn", int(match[1]), int(match[2]))
    else:
        raise InputError(f"name={name!r}: there is no such model; {nearest(name, NAMES)}")
    complete(spec, FAMILIES[spec.family])
    return spec


def default_input(model: str | ModelSpec) -> tuple[tuple[int, int, int], int]:
    """Image shape (H, W, C) and number of classes that an architecture was published for.

    Args:
        model: A name (see `named`) or a spec; a spec's own num_classes wins.

    Raises:
        InputError: An unknown name or family.
    """
    spec = named(model) if isinstance(model, str) else model
    if spec.family not in FAMILIES:
        raise InputError(f"family={spec.family!r}: there is no such family; {nearest(spec.family, FAMILIES)}")
    shape, classes = ((32, 32, 3), 10) if spec.stem == "cifar" else FAMILIES[spec.family].image
    return shape, classes if spec.num_classes is None else spec.num_classes
