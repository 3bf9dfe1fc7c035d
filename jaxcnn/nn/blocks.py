"""Blocks of residual networks, and the convolution, norm, activation they are made of.

References: He et al., "Deep residual learning", 2015 (basic, bottleneck); He et al., "Identity mappings", 2016 and
Zagoruyko and Komodakis, "Wide residual networks", 2016 (pre-activation).

All take `(x, train=False, mask=None)` with x (N, H, W, C) and give (N, ceil(H / stride), ceil(W / stride), out), out
being `features` (times 4 for the bottleneck). Kernels of 3 are padded by 1 on every side, as in PyTorch: with stride 2
that is not XLA's SAME, and published weights need it.
"""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn

from jaxcnn import ops
from jaxcnn.errors import InputError
from jaxcnn.nn.layers import HE_FAN_OUT, BatchNorm, Conv, Dropout, StochasticDepth
from jaxcnn.ops.window import as_pair


class ConvNormAct(nn.Module):
    """Convolution without bias, padded by kernel // 2 (times the dilation); batch norm; ReLU.

    Parameters: kh kw Cin features + 2 features.

    Args:
        features: Channels out.
        kernel: Side of the kernel, or (height, width).
        stride: Pixels between windows.
        act: ReLU at the end.
        zero_init: Start the norm's scale at zero.
        axis_name: Mapped axis over which batch norm shares its statistics.
        dilation: Pixels between taps.
        padded: False: no padding at all.
        epsilon: Added to the variance.
        momentum: Share of the old running average kept per step.
    """

    features: int
    kernel: ops.Size = 3
    stride: int = 1
    act: bool = True
    zero_init: bool = False
    axis_name: str | None = None
    dilation: int = 1
    padded: bool = True
    epsilon: float = 1e-5
    momentum: float = 0.9

    @nn.compact
    def __call__(self, x: jax.Array, train: bool = False, mask: jax.Array | None = None) -> jax.Array:
        """Apply the three in turn."""
        init = nn.initializers.zeros if self.zero_init else nn.initializers.ones
        sides, shape = as_pair("kernel", self.kernel), (self.features, self.kernel, self.stride, self.dilation)
        pixels = tuple(side // 2 * self.dilation for side in sides) if self.padded else "VALID"
        x = Conv(*shape, padding=pixels, use_bias=False, name="conv")(x)
        x = BatchNorm(self.momentum, self.epsilon, self.axis_name, init, name="norm")(x, train, mask)
        return nn.relu(x) if self.act else x


class ResidualBlock(nn.Module):
    """What all residual blocks share: their fields, and how the branch meets the shortcut.

    Args:
        features: Channels out (bottleneck: inside the block; 4 times as many come out).
        stride: Of the first 3x3 convolution and the shortcut.
        skip: Add the shortcut; without it the block is a piece of a plain network.
        shortcut: Where shapes change: A (every stride-th pixel, zero channels appended; no parameters) or B (1x1
            convolution and norm: (Cin + 2) out).
        zero_init: Start the last norm's scale at zero: the block starts as its shortcut (Goyal et al. 2017).
        stochastic_depth: Share of examples for which the residual branch is dropped in training (Huang et al. 2016).
        axis_name: Mapped axis over which batch norm shares its statistics and the drops their draw.
        dilations: Pixels between taps of the first 3x3 convolution and of the others.
        epsilon: Added to the variance by batch norm.
        momentum: Share of the old running average kept per step by batch norm.
    """

    features: int
    stride: int = 1
    skip: bool = True
    shortcut: str = "B"
    zero_init: bool = False
    stochastic_depth: float = 0.0
    axis_name: str | None = None
    dilations: tuple[int, int] = (1, 1)
    epsilon: float = 1e-5
    momentum: float = 0.9

    @property
    def _norm(self) -> dict[str, Any]:
        return {"axis_name": self.axis_name, "epsilon": self.epsilon, "momentum": self.momentum}

    def _join(self, branch: jax.Array, x: jax.Array, train: bool, mask: jax.Array | None) -> jax.Array:
        """Add the branch, under stochastic depth, and the shortcut of x."""
        if not self.skip:
            return branch
        return self._dropped(branch, train) + self._shortcut(x, branch.shape[-1], train, mask)

    def _dropped(self, branch: jax.Array, train: bool) -> jax.Array:
        if not self.stochastic_depth:
            return branch
        return StochasticDepth(self.stochastic_depth, self.axis_name, name="survive")(branch, train)

    def _shortcut(self, x: jax.Array, features: int, train: bool, mask: jax.Array | None) -> jax.Array:
        if self.stride == 1 and x.shape[-1] == features:
            return x
        if self.shortcut == "A":
            return _zero_pad(x, features, self.stride)
        project = ConvNormAct(features, 1, stride=self.stride, act=False, name="projection", **self._norm)
        return project(x, train, mask)


class BasicBlock(ResidualBlock):
    """Two 3x3 convolutions beside a shortcut. Parameters: 9 features (Cin + features) + 4 features, plus shortcut."""

    @nn.compact
    def __call__(self, x: jax.Array, train: bool = False, mask: jax.Array | None = None) -> jax.Array:
        """Add the residual branch and the shortcut, then apply ReLU."""
        norm, (first, then) = self._norm, self.dilations
        y = ConvNormAct(self.features, stride=self.stride, dilation=first, name="conv1", **norm)(x, train, mask)
        last = ConvNormAct(self.features, act=False, zero_init=self.zero_init, dilation=then, name="conv2", **norm)
        return nn.relu(self._join(last(y, train, mask), x, train, mask))


class Bottleneck(ResidualBlock):
    """1x1, 3x3 (with the stride: v1.5) and 1x1 convolutions beside a shortcut; the last has 4 features channels.

    Parameters: features (Cin + 13 features) + 12 features, and 4 features (Cin + 2) for shortcut B where shapes change.

    Args:
        stride_first: Stride in the first 1x1 convolution, as in the paper and in Keras (v1); the other fields are those
            of `ResidualBlock`.
    """

    stride_first: bool = False

    @nn.compact
    def __call__(self, x: jax.Array, train: bool = False, mask: jax.Array | None = None) -> jax.Array:
        """Add the residual branch and the shortcut, then apply ReLU."""
        norm, (first, then) = self._norm, (self.stride, 1) if self.stride_first else (1, self.stride)
        y = ConvNormAct(self.features, 1, stride=first, name="conv1", **norm)(x, train, mask)
        wide = ConvNormAct(self.features, 3, stride=then, dilation=self.dilations[0], name="conv2", **norm)
        y = wide(y, train, mask)
        last = ConvNormAct(4 * self.features, 1, act=False, zero_init=self.zero_init, name="conv3", **norm)
        return nn.relu(self._join(last(y, train, mask), x, train, mask))


class PreActBlock(ResidualBlock):
    """Norm, ReLU, 3x3 convolution, twice, beside a shortcut.

    Parameters: 9 features (Cin + features) + 2 Cin + 2 features, plus shortcut (B: a 1x1 convolution without norm).
    Where shapes change the shortcut starts from the activated input, elsewhere from the raw one (as WRN's authors do).
    zero_init starts the last convolution at zero: the last norm stands before a ReLU here, and with a zero scale the
    ReLU's gradient would be zero too, so that the block would never learn.

    Args:
        dropout: Share of units dropped between the convolutions; the other fields are those of `ResidualBlock`.
    """

    dropout: float = 0.0

    @nn.compact
    def __call__(self, x: jax.Array, train: bool = False, mask: jax.Array | None = None) -> jax.Array:
        """Add the residual branch and the shortcut; no activation follows."""
        active = nn.relu(BatchNorm(**self._norm, name="norm1")(x, train, mask))
        first, then = self.dilations
        y = Conv(self.features, 3, self.stride, first, padding=first, use_bias=False, name="conv1")(active)
        y = nn.relu(BatchNorm(**self._norm, name="norm2")(y, train, mask))
        if self.dropout:
            y = Dropout(self.dropout, self.axis_name, name="drop")(y, train)
        init = nn.initializers.zeros if self.zero_init else HE_FAN_OUT
        y = Conv(self.features, 3, 1, then, padding=then, use_bias=False, kernel_init=init, name="conv2")(y)
        if not self.skip:
            return y
        y = self._dropped(y, train)
        if self.stride == 1 and x.shape[-1] == self.features:
            return y + x
        if self.shortcut == "A":
            return y + _zero_pad(active, self.features, self.stride)
        project = Conv(self.features, 1, stride=self.stride, padding=0, use_bias=False, name="projection")
        return y + project(active)


def _zero_pad(x: jax.Array, features: int, stride: int) -> jax.Array:
    missing = features - x.shape[-1]
    if missing < 0:
        raise InputError(
            f"features={features}: shortcut A cannot go down from {x.shape[-1]} channels; "
            "use shortcut='B' or stage_widths that do not shrink"
        )
    return jnp.pad(x[:, ::stride, ::stride, :], ((0, 0), (0, 0), (0, 0), (0, missing)))
