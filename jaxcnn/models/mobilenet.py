"""Small networks for phones, of inverted residual blocks: MobileNetV2 and EfficientNet-lite.

References: Sandler et al., "MobileNetV2: inverted residuals and linear bottlenecks", 2018; Tan and Le, "EfficientNet",
2019; its lite variants have ReLU6 and no squeeze-and-excitation (github.com/tensorflow/tpu, efficientnet/lite).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

import jax
from flax import linen as nn

from jaxcnn.errors import require
from jaxcnn.models.family import Family, register_family, spread
from jaxcnn.nn.layers import BatchNorm, Conv
from jaxcnn.nn.network import ClassifierHead, Maps
from jaxcnn.spec import ModelSpec


class Layout(NamedTuple):
    """What the networks of a family share.

    Args:
        widths: Channels of each stage, as a multiple of those of the first.
        strides: Stride of the first block of each stage.
        kernels: Side of the depthwise filters of each stage.
        stages: Published blocks per stage, by their number.
        same: Pad as TensorFlow's SAME does; otherwise by kernel // 2.
        epsilon: Of batch norm, and its momentum.
    """

    widths: tuple[float, ...]
    strides: tuple[int, ...]
    kernels: tuple[int, ...]
    stages: dict[int, tuple[int, ...]]
    same: bool
    epsilon: float
    momentum: float


V2 = Layout(
    widths=(1, 1.5, 2, 4, 6, 10, 20), strides=(1, 2, 2, 2, 1, 2, 1), kernels=(3,) * 7,
    stages={17: (1, 2, 3, 4, 3, 3, 1)}, same=False, epsilon=1e-5, momentum=0.9,
)  # fmt: skip
"""torchvision's mobilenet_v2."""
LITE = Layout(
    widths=(1, 1.5, 2.5, 5, 7, 12, 20), strides=(1, 2, 2, 2, 1, 2, 1), kernels=(3, 3, 5, 3, 5, 5, 3),
    stages={16: (1, 2, 2, 3, 3, 4, 1)}, same=True, epsilon=1e-3, momentum=0.99,
)  # fmt: skip
"""efficientnet-lite0."""
EXPANSION, STEM, LAST = 6, 2, 4
"""Channels inside a block as a multiple of those that enter it; of the stem, of those of the first stage; of the last
convolution, of those of the last stage."""


@dataclass(frozen=True)
class MobileOptions:
    """Options of the families mobilenet and efficientnet_lite.

    Args:
        stem: imagenet (stride 2), or cifar (stride 1 in the stem and in the second stage) for images of some 32 pixels.
        dropout: Share of units dropped before the classifier.
    """

    stem: Literal["cifar", "imagenet"] = "imagenet"
    dropout: float = 0.2


class ConvNormReLU6(nn.Module):
    """Convolution without bias, batch norm and, with `act`, ReLU6: the ReLU cut at 6, which 8 bits represent well.

    Parameters: k^2 (Cin / groups) features + 2 features.

    Args:
        features: Channels out.
        kernel: Side of the kernel.
        stride: Pixels between windows.
        groups: Channel groups that do not see each other.
        act: ReLU6 at the end.
        same: Pad as TensorFlow's SAME does; otherwise by kernel // 2.
        epsilon: Added to the variance.
        momentum: Share of the old running average kept per step.
        axis_name: Mapped axis over which batch norm shares its statistics.
    """

    features: int
    kernel: int = 1
    stride: int = 1
    groups: int = 1
    act: bool = True
    same: bool = False
    epsilon: float = 1e-5
    momentum: float = 0.9
    axis_name: str | None = None

    @nn.compact
    def __call__(self, x: jax.Array, train: bool = False, mask: jax.Array | None = None) -> jax.Array:
        """Apply the three in turn."""
        padding = "SAME" if self.same else self.kernel // 2
        shape = {"stride": self.stride, "groups": self.groups, "padding": padding}
        x = Conv(self.features, self.kernel, use_bias=False, name="conv", **shape)(x)
        x = BatchNorm(self.momentum, self.epsilon, self.axis_name, name="norm")(x, train, mask)
        return nn.relu6(x) if self.act else x


class MobileNet(nn.Module):
    """Stem, stages of inverted residual blocks, and a last 1x1 convolution.

    A block widens its input by a 1x1 convolution (not in the first stage), filters each channel, and narrows it by a
    1x1 convolution without activation; input and output are added where their shapes are equal.

    Args:
        stage_sizes: Blocks per stage.
        stage_widths: Channels per stage.
        strides: Of the stem, then of the first block of each stage.
        kernels: Side of the depthwise filters of each stage.
        axis_name: Mapped axis over which batch norm shares its statistics.

    The other fields are those of `ConvNormReLU6`.
    """

    stage_sizes: tuple[int, ...]
    stage_widths: tuple[int, ...]
    strides: tuple[int, ...]
    kernels: tuple[int, ...]
    same: bool = False
    epsilon: float = 1e-5
    momentum: float = 0.9
    axis_name: str | None = None

    @nn.compact
    def __call__(self, images: jax.Array, train: bool = False, mask: jax.Array | None = None) -> Maps:
        """Map images (N, H, W, C) to one map per stride; the last one is that of the last convolution."""

        def convolve(x: jax.Array, name: str, features: int, **shape: Any) -> jax.Array:
            norm = {"epsilon": self.epsilon, "momentum": self.momentum, "axis_name": self.axis_name}
            return ConvNormReLU6(features, same=self.same, name=name, **norm, **shape)(x, train, mask)

        x, maps = convolve(images, "conv1", STEM * self.stage_widths[0], kernel=3, stride=self.strides[0]), []
        for stage, (size, width) in enumerate(zip(self.stage_sizes, self.stage_widths, strict=True)):
            for index in range(size):
                stride, name = self.strides[stage + 1] if index == 0 else 1, f"stage{stage + 1}_block{index + 1}"
                if stride > 1:
                    maps.append(x)
                y, inside = x, x.shape[-1] * (1 if stage == 0 else EXPANSION)
                if stage > 0:
                    y = convolve(y, f"{name}_expand", inside)
                filters = {"kernel": self.kernels[stage], "stride": stride, "groups": inside}
                y = convolve(y, f"{name}_depthwise", inside, **filters)
                y = convolve(y, f"{name}_project", width, act=False)
                x = x + y if stride == 1 and x.shape[-1] == width else y
        return (*maps, convolve(x, "last", LAST * self.stage_widths[-1]))


def _stages(depth: int, layout: Layout) -> tuple[int, ...] | None:
    blocks, rest = divmod(depth - 2, 3)
    if rest or blocks < len(layout.widths):
        return None
    return layout.stages.get(blocks) or (1, *spread(blocks - 2, len(layout.widths) - 2), 1)


def _backbone(spec: ModelSpec, options: MobileOptions, layout: Layout) -> nn.Module:
    stages = len(spec.stage_sizes or ())
    require(stages <= len(layout.widths), "stage_sizes", spec.stage_sizes, f"give at most {len(layout.widths)} stages")
    strides = (2, *layout.strides)
    if options.stem == "cifar":
        strides = (1, strides[1], 1, *strides[3:])
    return MobileNet(
        spec.stage_sizes or (), spec.stage_widths or (), strides, layout.kernels, layout.same, layout.epsilon,
        layout.momentum,
    )  # fmt: skip


def _family(layout: Layout) -> Family:
    return Family(
        backbone=lambda spec, options: _backbone(spec, options, layout),
        head=lambda spec, options: ClassifierHead(spec.num_classes or 0, dropout=options.dropout, numbered=False),
        stages=lambda spec, options: _stages(spec.depth, layout),
        # The blocks of the first stage have two layers, all others three; stem, last convolution and classifier.
        depth_of=lambda spec, options, sizes: 3 * sum(sizes) - sizes[0] + 3,
        widths=lambda spec, options, stages: tuple(max(1, round(spec.width * each)) for each in layout.widths),
        rule="3n+2 weighted layers, n >= 7 blocks",
        image=((224, 224, 3), 1000),
        options=MobileOptions,
    )


register_family("mobilenet", _family(V2))
register_family("efficientnet_lite", _family(LITE))
