"""Flax layers and blocks over `jaxcnn.ops`."""

from jaxcnn.nn.blocks import BasicBlock, Bottleneck, ConvNormAct, PreActBlock
from jaxcnn.nn.layers import AvgPool, BatchNorm, Conv, Dense, Dropout, GlobalAvgPool, MaxPool, StochasticDepth
from jaxcnn.nn.network import ClassifierHead, Network, synchronised

__all__ = [
    "AvgPool",
    "BasicBlock",
    "BatchNorm",
    "Bottleneck",
    "ClassifierHead",
    "Conv",
    "ConvNormAct",
    "Dense",
    "Dropout",
    "GlobalAvgPool",
    "MaxPool",
    "Network",
    "PreActBlock",
    "StochasticDepth",
    "synchronised",
]
