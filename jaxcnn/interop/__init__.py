"""Weights from elsewhere: readers of their files, and names for our networks."""

from jaxcnn.interop.h5 import read_h5
from jaxcnn.interop.pth import read_pth
from jaxcnn.interop.safetensors import read_safetensors
from jaxcnn.interop.weights import Weights, load_weights

__all__ = ["Weights", "load_weights", "read_h5", "read_pth", "read_safetensors"]
