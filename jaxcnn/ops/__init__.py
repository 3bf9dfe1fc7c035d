"""Pure functions on NHWC arrays and HWIO kernels. They need jax alone."""

from jaxcnn.ops.conv import conv2d
from jaxcnn.ops.drop import dropout, stochastic_depth
from jaxcnn.ops.norm import batch_norm_inference, batch_norm_train, example_count
from jaxcnn.ops.pool import adaptive_avg_pool, avg_pool, global_avg_pool, global_max_pool, max_pool
from jaxcnn.ops.resize import resize_bilinear
from jaxcnn.ops.whiten import whitening_kernel
from jaxcnn.ops.window import Padding, Size, output_size

__all__ = [
    "Padding",
    "Size",
    "adaptive_avg_pool",
    "avg_pool",
    "batch_norm_inference",
    "batch_norm_train",
    "conv2d",
    "dropout",
    "example_count",
    "global_avg_pool",
    "global_max_pool",
    "max_pool",
    "output_size",
    "resize_bilinear",
    "stochastic_depth",
    "whitening_kernel",
]
