"""Flax layers and blocks over `jaxcnn.ops`."""

from jaxcnn.nn.blocks import BasicBlock, Bottleneck, ConvNormAct, PreActBlock
from jaxcnn.nn.layers import AvgPool, BatchNorm, Conv, Dense, Dropout, GlobalAvgPool, MaxPool, StochasticDepth

__all__ = [
    "AvgPool",
    "BasicBlock",
    "BatchNorm",
    "Bottleneck",
    "Conv",
    "ConvNormAct",
    "Dense",
    "Dropout",
    "GlobalAvgPool",
    "MaxPool",
    "PreActBlock",
    "StochasticDepth",
]
