"""Flax layers and blocks over `jaxcnn.ops`."""

from flax.linen import ConvTranspose, GroupNorm, LayerNorm

from jaxcnn.nn.blocks import BasicBlock, Bottleneck, ConvNormAct, PreActBlock
from jaxcnn.nn.layers import AvgPool, BatchNorm, Conv, Dense, Dropout, GlobalAvgPool, MaxPool, StochasticDepth, UpConv
from jaxcnn.nn.network import ClassifierHead, Network, synchronised

__all__ = [
    "AvgPool",
    "BasicBlock",
    "BatchNorm",
    "Bottleneck",
    "ClassifierHead",
    "Conv",
    "ConvNormAct",
    "ConvTranspose",
    "Dense",
    "Dropout",
    "GlobalAvgPool",
    "GroupNorm",
    "LayerNorm",
    "MaxPool",
    "Network",
    "PreActBlock",
    "StochasticDepth",
    "UpConv",
    "synchronised",
]
