"""Flax layers that own variables and call `jaxcnn.ops`. Parameters are float32, arithmetic in the input's dtype.

Modules are configured by tuples, never lists: a module with a list inside cannot be hashed, and jit needs that.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
from flax import linen as nn
from flax.typing import Initializer

from jaxcnn import ops
from jaxcnn.errors import InputError
from jaxcnn.ops.window import as_pair

HE_FAN_OUT = nn.initializers.variance_scaling(2.0, "fan_out", "normal")
HE_FAN_IN = nn.initializers.variance_scaling(2.0, "fan_in", "normal")
LECUN = nn.initializers.variance_scaling(1.0, "fan_in", "normal")


class Conv(nn.Module):
    """Convolution of (N, H, W, Cin) to (N, H', W', features).

    Parameters: kernel kh kw (Cin / groups) features, bias features. Multiply-accumulates: kernel's count times H' W'.
    H' = floor((H + 2p - kh) / stride) + 1 for integer padding p; `jaxcnn.ops.output_size` has the other paddings.

    Args:
        features: Channels out.
        kernel: Side of the kernel, or (height, width).
        stride: Pixels between windows.
        dilation: Pixels between taps.
        groups: Channel groups that do not see each other.
        padding: "SAME", "VALID", "CEIL", "CIRCULAR", "REFLECT", an integer, or (height, width), each an integer or
            (low, high); as for `jaxcnn.ops.conv2d`.
        use_bias: Add a bias; pointless before a batch norm.
        kernel_init: Default: normal with variance 2 / (kh kw features), He et al. 2015, "Delving deep into rectifiers".
        bias_init: Default: zeros.
    """

    features: int
    kernel: ops.Size = 3
    stride: ops.Size = 1
    dilation: ops.Size = 1
    groups: int = 1
    padding: ops.Padding = "SAME"
    use_bias: bool = True
    kernel_init: Initializer = HE_FAN_OUT
    bias_init: Initializer = nn.initializers.zeros

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """Convolve; raises InputError where shapes do not fit."""
        if self.groups < 1 or x.shape[-1] % self.groups or self.features % self.groups:
            raise InputError(f"groups={self.groups}: it must divide {x.shape[-1]} channels in and {self.features} out")
        shape = (*as_pair("kernel", self.kernel), x.shape[-1] // self.groups, self.features)
        kernel = self.param("kernel", self.kernel_init, shape, jnp.float32).astype(x.dtype)
        bias = _bias(self, x) if self.use_bias else None
        return ops.conv2d(
            x, kernel, bias, stride=self.stride, dilation=self.dilation, groups=self.groups, padding=self.padding
        )


class UpConv(nn.Module):
    """Transposed convolution with 2x2 kernels and stride 2: (N, H, W, Cin) to (N, 2H, 2W, features).

    Each pixel becomes a 2x2 block, kernel[a, b] giving its pixel (a, b): windows do not overlap. Computed as a 1x1
    convolution to 4 features channels. Parameters: 4 Cin features + features; MACs: 4 Cin features per pixel in.

    Args:
        features: Channels out.
        use_bias: Add a bias.
        kernel_init: Default: normal with variance 2 / Cin.
        bias_init: Default: zeros.
    """

    features: int
    use_bias: bool = True
    kernel_init: Initializer = nn.initializers.variance_scaling(
        2.0, "fan_in", "normal", in_axis=-2, out_axis=-1, batch_axis=(0, 1)
    )
    bias_init: Initializer = nn.initializers.zeros

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """Double height and width."""
        n, height, width, channels = x.shape
        kernel = self.param("kernel", self.kernel_init, (2, 2, channels, self.features), jnp.float32).astype(x.dtype)
        flat = jnp.transpose(kernel, (2, 0, 1, 3)).reshape(1, 1, channels, 4 * self.features)
        y = ops.conv2d(x, flat).reshape(n, height, width, 2, 2, self.features)
        y = jnp.transpose(y, (0, 1, 3, 2, 4, 5)).reshape(n, 2 * height, 2 * width, self.features)
        return y + _bias(self, x).reshape(1, 1, 1, -1) if self.use_bias else y


class Dense(nn.Module):
    """Linear map of (..., in) to (..., features). Parameters: in * features + features.

    Args:
        features: Values out.
        use_bias: Add a bias.
        kernel_init: Default: normal with variance 1 / in (LeCun et al. 1998, "Efficient BackProp").
        bias_init: Default: zeros.
    """

    features: int
    use_bias: bool = True
    kernel_init: Initializer = LECUN
    bias_init: Initializer = nn.initializers.zeros

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """Map the last axis."""
        shape = (x.shape[-1], self.features)
        kernel = self.param("kernel", self.kernel_init, shape, jnp.float32).astype(x.dtype)
        y = x @ kernel
        return y + _bias(self, x).reshape((1,) * (y.ndim - 1) + (-1,)) if self.use_bias else y


class BatchNorm(nn.Module):
    """Batch normalisation of (N, ..., C). Parameters: scale C and bias C; running mean and var (2C) are no parameters.

    In training the batch's own statistics are used and the running ones move: new = momentum old + (1 - momentum) batch
    (PyTorch calls 1 - momentum its momentum). The variance is biased in both uses. A batch without a single example
    (all masked out) leaves the running statistics alone.

    Args:
        momentum: Share of the old running average kept per step.
        epsilon: Added to the variance.
        axis_name: Mapped axis over which batch statistics are shared; None: per device.
        scale_init: Initial scale, one by default.
    """

    momentum: float = 0.9
    epsilon: float = 1e-5
    axis_name: str | None = None
    scale_init: Initializer = nn.initializers.ones

    @nn.compact
    def __call__(self, x: jax.Array, train: bool = False, mask: jax.Array | None = None) -> jax.Array:
        """Normalise by the batch (train) or by the running average; mask (N,) says which examples count."""
        channels = (x.shape[-1],)
        scale = self.param("scale", self.scale_init, channels, jnp.float32)
        bias = self.param("bias", nn.initializers.zeros, channels, jnp.float32)
        mean = self.variable("batch_stats", "mean", jnp.zeros, channels, jnp.float32)
        var = self.variable("batch_stats", "var", jnp.ones, channels, jnp.float32)
        if not train or self.is_initializing():  # parameters may be drawn with one example, and without a device axis
            return ops.batch_norm_inference(x, scale, bias, mean.value, var.value, epsilon=self.epsilon)
        y, batch_mean, batch_var = ops.batch_norm_train(
            x, scale, bias, mask=mask, axis_name=self.axis_name, epsilon=self.epsilon
        )
        keep = jnp.where(ops.example_count(x, mask, self.axis_name) > 0, self.momentum, 1.0).astype(jnp.float32)
        mean.value = keep * mean.value + (1.0 - keep) * batch_mean
        var.value = keep * var.value + (1.0 - keep) * batch_var
        return y


class Dropout(nn.Module):
    """Drop a share of values in training; the identity otherwise. No parameters; random numbers from 'dropout'.

    Args:
        rate: Share of values dropped, from 0 to 1.
        axis_name: Mapped axis over which a batch is spread: the same values are dropped as on one device.
    """

    rate: float
    axis_name: str | None = None
    drop = staticmethod(ops.dropout)

    @nn.compact
    def __call__(self, x: jax.Array, train: bool = False) -> jax.Array:
        """Drop in training."""
        if not train or self.rate == 0.0:
            return x
        axis_name = None if self.is_initializing() else self.axis_name  # no device axis exists while initialising
        return self.drop(self.make_rng("dropout"), x, self.rate, axis_name=axis_name)


class StochasticDepth(Dropout):
    """Drop a residual branch for a share `rate` of the examples in training; otherwise as `Dropout`."""

    drop = staticmethod(ops.stochastic_depth)


class MaxPool(nn.Module):
    """Maximum of each window: (N, H, W, C) to (N, floor((H - window) / stride) + 1, ..., C). No parameters.

    Args:
        window: Side of the window, or (height, width).
        stride: Pixels between windows; None: the window.
        padding: As for `Conv`; "CEIL" rounds the output size up.
    """

    window: ops.Size = 2
    stride: ops.Size | None = None
    padding: ops.Padding = "VALID"

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """Pool."""
        return ops.max_pool(x, self.window, stride=self.stride, padding=self.padding)


class AvgPool(nn.Module):
    """Mean of each window; shapes and fields as for `MaxPool`. No parameters.

    Args:
        count_include_pad: Whether padded zeros count in the mean (never those of "CEIL").
    """

    window: ops.Size = 2
    stride: ops.Size | None = None
    padding: ops.Padding = "VALID"
    count_include_pad: bool = True

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """Pool."""
        return ops.avg_pool(
            x, self.window, stride=self.stride, padding=self.padding, count_include_pad=self.count_include_pad
        )


class GlobalAvgPool(nn.Module):
    """Mean over all pixels: (N, H, W, C) to (N, C). No parameters."""

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """Pool."""
        return ops.global_avg_pool(x)


def _bias(layer: Conv | UpConv | Dense, x: jax.Array) -> jax.Array:
    return layer.param("bias", layer.bias_init, (layer.features,), jnp.float32).astype(x.dtype)
