"""Architectures: from a `ModelSpec` or a published name to a Flax module."""

from jaxcnn.models.airbench import AirbenchNet
from jaxcnn.models.family import FAMILIES, Family, family_named, register_family
from jaxcnn.models.plain import PlainNet
from jaxcnn.models.resnet import ResNet
from jaxcnn.models.zoo import NAMES, build, default_input, named

__all__ = [
    "FAMILIES",
    "NAMES",
    "AirbenchNet",
    "Family",
    "PlainNet",
    "ResNet",
    "build",
    "default_input",
    "family_named",
    "named",
    "register_family",
]
