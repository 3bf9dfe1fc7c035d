"""One residual network: CIFAR and ImageNet stems, basic, bottleneck and pre-activation blocks, skips on or off.

References: He et al., "Deep residual learning", 2015 (resnet, resnet_imagenet; the stride sits in the 3x3, "v1.5");
Zagoruyko and Komodakis, "Wide residual networks", 2016 (wrn); Huang et al., "Deep networks with stochastic depth",
2016.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import jax
from flax import linen as nn

from jaxcnn.errors import InputError
from jaxcnn.models.family import Family, register_family, spread
from jaxcnn.nn.blocks import BasicBlock, Bottleneck, ConvNormAct, PreActBlock
from jaxcnn.nn.layers import BatchNorm, Conv, MaxPool
from jaxcnn.nn.network import ClassifierHead, Maps
from jaxcnn.spec import ModelSpec

IMAGENET_STAGES = {
    ("basic", 18): (2, 2, 2, 2),
    ("basic", 34): (3, 4, 6, 3),
    ("bottleneck", 50): (3, 4, 6, 3),
    ("bottleneck", 101): (3, 4, 23, 3),
    ("bottleneck", 152): (3, 8, 36, 3),
}
LAYERS = {"basic": 2, "bottleneck": 3}
WRN_STEM = 16
VARIANTS: Mapping[str, dict[str, Any]] = {
    "torchvision": {},
    "keras": {"stride_first": True, "epsilon": 1.001e-5, "momentum": 0.99},
}
"""What publishers of weights do differently."""


@dataclass(frozen=True)
class ResidualOptions:
    """Options that all residual families have.

    Args:
        skip: Use shortcuts; False: a plain network of the same layers.
        zero_init: Start the last batch-norm scale of each block at zero (wrn: its last convolution).
        stochastic_depth: Share of examples for which the last block is skipped in training; it grows linearly from the
            first block to the last.
        dilated: Number of last stages that keep the size of their maps: dilation replaces their stride (as FCN and
            DeepLab do).
    """

    skip: bool = True
    zero_init: bool = False
    stochastic_depth: float = 0.0
    dilated: int = 0


@dataclass(frozen=True)
class ResNetOptions(ResidualOptions):
    """Options of the family resnet.

    Args:
        shortcut: A (zero padding) or B (1x1 projection) where shapes change.
    """

    shortcut: Literal["A", "B"] = "A"


@dataclass(frozen=True)
class ImageNetOptions(ResidualOptions):
    """Options of the family resnet_imagenet.

    Args:
        block: basic or bottleneck. Default: basic below depth 50, bottleneck from there on.
        stem: cifar (3x3) or imagenet (7x7, stride 2, max pooling).
        variant: torchvision, or keras: the stride of a bottleneck in its first convolution (v1), epsilon 1.001e-5 and
            momentum 0.99 in batch norm. Published weights need that of their publisher.
    """

    block: Literal["basic", "bottleneck"] | None = None
    stem: Literal["cifar", "imagenet"] = "imagenet"
    variant: Literal["torchvision", "keras"] = "torchvision"


@dataclass(frozen=True)
class WrnOptions(ResidualOptions):
    """Options of the family wrn.

    Args:
        dropout: Share of units dropped between the convolutions of a block.
    """

    dropout: float = 0.0


class ResNet(nn.Module):
    """Stem and stages of residual blocks; the first block of every stage but the first has stride 2.

    Args:
        stage_sizes: Blocks per stage.
        stage_widths: Channels per stage (bottleneck: inside the block; 4 times as many come out).
        block: basic, bottleneck or preact.
        stem: cifar (3x3) or imagenet (7x7 with stride 2, then 3x3 max pooling with stride 2).
        stem_width: Channels of the stem; None: those of the first stage.
        stochastic_depth: Share of examples for which the last block's residual branch is dropped in training; for block
            l of L it is l / L of that.
        axis_name: Mapped axis over which batch norm shares its statistics and the drops their draw.
        dilated: Number of last stages with dilation in place of their stride: the first block has the dilation of the
            stage before, its other blocks twice that.
        stride_first: Bottlenecks have their stride in the first 1x1 convolution (v1).
        epsilon: Added to the variance by batch norm.
        momentum: Share of the old running average kept per step by batch norm.

    The other fields are the options of the families.
    """

    stage_sizes: tuple[int, ...]
    stage_widths: tuple[int, ...]
    block: str = "basic"
    stem: str = "cifar"
    stem_width: int | None = None
    skip: bool = True
    shortcut: str = "B"
    zero_init: bool = False
    dropout: float = 0.0
    stochastic_depth: float = 0.0
    axis_name: str | None = None
    dilated: int = 0
    stride_first: bool = False
    epsilon: float = 1e-5
    momentum: float = 0.9

    @nn.compact
    def __call__(self, images: jax.Array, train: bool = False, mask: jax.Array | None = None) -> Maps:
        """Map images (N, H, W, C) to the maps of all stages."""
        x, maps = self._stem(images, train, mask), []
        blocks, passed, dilation = sum(self.stage_sizes), 0, 1
        for stage, (size, width) in enumerate(zip(self.stage_sizes, self.stage_widths, strict=True)):
            dilates = stage > 0 and stage >= len(self.stage_sizes) - self.dilated
            before, dilation = dilation, 2 * dilation if dilates else dilation
            for index in range(size):
                stride = 2 if stage > 0 and index == 0 and not dilates else 1
                dilations = (before if index == 0 else dilation, dilation)
                passed += 1
                block = self._block(width, stride, dilations, passed / blocks, f"stage{stage + 1}_block{index + 1}")
                x = block(x, train, mask)
            maps.append(x)
        if self.block == "preact":
            maps[-1] = nn.relu(BatchNorm(name="norm", **self._norm)(x, train, mask))
        return tuple(maps)

    @property
    def _norm(self) -> dict[str, Any]:
        return {"axis_name": self.axis_name, "epsilon": self.epsilon, "momentum": self.momentum}

    def _stem(self, x: jax.Array, train: bool, mask: jax.Array | None) -> jax.Array:
        width = self.stem_width or self.stage_widths[0]
        imagenet = self.stem == "imagenet"
        kernel, stride = (7, 2) if imagenet else (3, 1)
        if self.block == "preact":
            x = Conv(width, kernel, stride=stride, padding=kernel // 2, use_bias=False, name="conv1")(x)
        else:
            x = ConvNormAct(width, kernel, stride=stride, name="conv1", **self._norm)(x, train, mask)
        return MaxPool(3, stride=2, padding=1, name="pool1")(x) if imagenet else x

    def _block(self, width: int, stride: int, dilations: tuple[int, int], reached: float, name: str) -> nn.Module:
        drop = self.stochastic_depth * reached
        fields: dict[str, Any] = {
            "features": width, "stride": stride, "skip": self.skip, "shortcut": self.shortcut, "name": name,
            "zero_init": self.zero_init, "stochastic_depth": drop, "dilations": dilations, **self._norm,
        }  # fmt: skip
        if self.block == "preact":
            return PreActBlock(dropout=self.dropout, **fields)
        if self.block == "bottleneck":
            return Bottleneck(stride_first=self.stride_first, **fields)
        return BasicBlock(**fields)


def _three_stages(depth: int, others: int) -> tuple[int, ...] | None:
    """Return the blocks of three equal stages, two layers each, beside so many other layers."""
    blocks, rest = divmod(depth - others, 6)
    return None if rest or blocks < 1 else (blocks,) * 3


def _kind(depth: int, options: ImageNetOptions) -> str:
    return options.block or ("basic" if depth < 50 else "bottleneck")


def _imagenet_stages(spec: ModelSpec, options: ImageNetOptions) -> tuple[int, ...] | None:
    kind = _kind(spec.depth, options)
    if known := IMAGENET_STAGES.get((kind, spec.depth)):
        return known
    blocks, rest = divmod(spec.depth - 2, LAYERS[kind])
    # The published nets put most blocks into the third stage, then the second.
    return None if rest or blocks < 4 else spread(blocks, 4, (2, 1, 3))


def _doubling(spec: ModelSpec, options: Any, stages: int) -> tuple[int, ...]:
    return tuple(spec.width * 2**stage for stage in range(stages))


def _backbone(spec: ModelSpec, options: ResidualOptions, **fields: Any) -> nn.Module:
    for name in ("zero_init", "stochastic_depth"):
        if (value := getattr(options, name)) and not options.skip:
            raise InputError(
                f"{name}={value}: without skips such a block passes nothing on; set {name} or skip to its default"
            )
    stages = spec.stage_sizes or ()
    if not 0 <= options.dilated < len(stages):
        raise InputError(
            f"dilated={options.dilated}: the first of {len(stages)} stages has no stride to replace; give 0 to "
            f"{len(stages) - 1}"
        )
    return ResNet(
        stages, spec.stage_widths or (), skip=options.skip, zero_init=options.zero_init,
        stochastic_depth=options.stochastic_depth, dilated=options.dilated, **fields,
    )  # fmt: skip


def _head(spec: ModelSpec, options: ResidualOptions) -> nn.Module:
    return ClassifierHead(spec.num_classes or 0, numbered=False)


register_family(
    "resnet",
    Family(
        backbone=lambda spec, options: _backbone(spec, options, shortcut=options.shortcut),
        head=_head,
        stages=lambda spec, options: _three_stages(spec.depth, 2),
        depth_of=lambda spec, options, sizes: 2 * sum(sizes) + 2,
        widths=_doubling,
        rule="6n+2 weighted layers",
        image=((32, 32, 3), 10),
        options=ResNetOptions,
    ),
)
register_family(
    "resnet_imagenet",
    Family(
        backbone=lambda spec, options: _backbone(
            spec, options, block=_kind(spec.depth, options), stem=options.stem, **VARIANTS[options.variant]
        ),
        head=_head,
        stages=_imagenet_stages,
        depth_of=lambda spec, options, sizes: LAYERS[_kind(spec.depth, options)] * sum(sizes) + 2,
        widths=_doubling,
        rule="2n+2 weighted layers with basic blocks (below 50 unless block is set), 3n+2 with bottlenecks, n >= 4",
        image=((224, 224, 3), 1000),
        options=ImageNetOptions,
    ),
)
register_family(
    "wrn",
    Family(
        backbone=lambda spec, options: _backbone(
            spec, options, block="preact", stem_width=WRN_STEM, dropout=options.dropout
        ),
        head=_head,
        stages=lambda spec, options: _three_stages(spec.depth, 4),
        # The authors of WRN count the three projections too: 6n+4, not 6n+2.
        depth_of=lambda spec, options, sizes: 2 * sum(sizes) + 1 + len(sizes),
        widths=lambda spec, options, stages: tuple(WRN_STEM * spec.width * 2**stage for stage in range(stages)),
        rule="6n+4 weighted layers",
        image=((32, 32, 3), 10),
        options=WrnOptions,
    ),
)
