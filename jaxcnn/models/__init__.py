"""Architectures: from a `ModelSpec` or a published name to a Flax module."""

from jaxcnn.models.airbench import AirbenchNet
from jaxcnn.models.embedder import EmbeddingHead
from jaxcnn.models.family import FAMILIES, Family, family_named, register_family
from jaxcnn.models.fcn import FcnHead
from jaxcnn.models.head import HEADS, Head, head_named, register_head
from jaxcnn.models.localizer import LocalizerHead
from jaxcnn.models.plain import PlainNet
from jaxcnn.models.reader import ReaderHead
from jaxcnn.models.resnet import ResNet
from jaxcnn.models.unet import PixelHead, UNet
from jaxcnn.models.zoo import NAMES, build, default_input, named

__all__ = [
    "FAMILIES",
    "HEADS",
    "NAMES",
    "AirbenchNet",
    "EmbeddingHead",
    "Family",
    "FcnHead",
    "Head",
    "LocalizerHead",
    "PixelHead",
    "PlainNet",
    "ReaderHead",
    "ResNet",
    "UNet",
    "build",
    "default_input",
    "family_named",
    "head_named",
    "named",
    "register_family",
    "register_head",
]
