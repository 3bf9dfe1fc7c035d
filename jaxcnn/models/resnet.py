"""One residual network: CIFAR and ImageNet stems, basic, bottleneck and pre-activation blocks, skips on or off.

References: He et al., "Deep residual learning", 2015 (resnet, resnet_imagenet; the stride sits in the 3x3, "v1.5");
Zagoruyko and Komodakis, "Wide residual networks", 2016 (wrn); Huang et al., "Deep networks with stochastic depth",
2016.
"""

from __future__ import annotations

import jax
from flax import linen as nn

from jaxcnn.errors import InputError
from jaxcnn.models.family import Family, spread
from jaxcnn.nn.blocks import BasicBlock, Bottleneck, ConvNormAct, PreActBlock
from jaxcnn.nn.layers import BatchNorm, Conv, Dense, GlobalAvgPool, MaxPool
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


class ResNet(nn.Module):
    """Stem, stages of residual blocks (the first block of every stage but the first has stride 2), mean, classifier.

    Args:
        stage_sizes: Blocks per stage.
        stage_widths: Channels per stage (bottleneck: inside the block; 4 times as many come out).
        num_classes: Length of the logits.
        block: basic, bottleneck or preact.
        stem: cifar (3x3) or imagenet (7x7 with stride 2, then 3x3 max pooling with stride 2).
        stem_width: Channels of the stem; None: those of the first stage.
        skip: Shortcuts on or off.
        shortcut: A or B where shapes change.
        zero_init: Start every block as its shortcut.
        dropout: Share of units dropped inside preact blocks.
        stochastic_depth: Share of examples for which the last block's residual branch is dropped in training; for block
            l of L it is l / L of that.
        axis_name: Mapped axis over which batch norm shares its statistics and the drops their draw.
    """

    stage_sizes: tuple[int, ...]
    stage_widths: tuple[int, ...]
    num_classes: int
    block: str = "basic"
    stem: str = "cifar"
    stem_width: int | None = None
    skip: bool = True
    shortcut: str = "B"
    zero_init: bool = False
    dropout: float = 0.0
    stochastic_depth: float = 0.0
    axis_name: str | None = None

    @nn.compact
    def __call__(self, images: jax.Array, train: bool = False, mask: jax.Array | None = None) -> jax.Array:
        """Images (N, H, W, C) to logits (N, num_classes)."""
        x = self._stem(images, train, mask)
        blocks, passed = sum(self.stage_sizes), 0
        for stage, (size, width) in enumerate(zip(self.stage_sizes, self.stage_widths, strict=True)):
            for index in range(size):
                stride = 2 if stage > 0 and index == 0 else 1
                passed += 1
                block = self._block(width, stride, passed / blocks, f"stage{stage + 1}_block{index + 1}")
                x = block(x, train, mask)
        if self.block == "preact":
            x = nn.relu(BatchNorm(axis_name=self.axis_name, name="norm")(x, train, mask))
        x = GlobalAvgPool(name="average")(x)
        return Dense(self.num_classes, name="dense")(x)

    def _stem(self, x: jax.Array, train: bool, mask: jax.Array | None) -> jax.Array:
        width = self.stem_width or self.stage_widths[0]
        imagenet = self.stem == "imagenet"
        kernel, stride = (7, 2) if imagenet else (3, 1)
        if self.block == "preact":
            x = Conv(width, kernel, stride=stride, padding=kernel // 2, use_bias=False, name="conv1")(x)
        else:
            x = ConvNormAct(width, kernel, stride=stride, axis_name=self.axis_name, name="conv1")(x, train, mask)
        return MaxPool(3, stride=2, padding=1, name="pool1")(x) if imagenet else x

    def _block(self, width: int, stride: int, reached: float, name: str) -> nn.Module:
        shared = {
            "features": width,
            "stride": stride,
            "skip": self.skip,
            "shortcut": self.shortcut,
            "zero_init": self.zero_init,
            "stochastic_depth": self.stochastic_depth * reached,
            "axis_name": self.axis_name,
            "name": name,
        }
        if self.block == "preact":
            return PreActBlock(dropout=self.dropout, **shared)
        return Bottleneck(**shared) if self.block == "bottleneck" else BasicBlock(**shared)


def _kind(spec: ModelSpec) -> str:
    """Block of an ImageNet net: as given, else basic below 50 layers and bottleneck from there on."""
    return spec.block or ("basic" if spec.depth < 50 else "bottleneck")


def _cifar_stages(spec: ModelSpec) -> tuple[int, ...] | None:
    blocks, rest = divmod(spec.depth - 2, 6)
    return None if rest or blocks < 1 else (blocks,) * 3


def _wrn_stages(spec: ModelSpec) -> tuple[int, ...] | None:
    blocks, rest = divmod(spec.depth - 4, 6)
    return None if rest or blocks < 1 else (blocks,) * 3


def _imagenet_stages(spec: ModelSpec) -> tuple[int, ...] | None:
    known = IMAGENET_STAGES.get((_kind(spec), spec.depth))
    if known:
        return known
    blocks, rest = divmod(spec.depth - 2, LAYERS[_kind(spec)])
    # The published nets put most blocks into the third stage, then the second.
    return None if rest or blocks < 4 else spread(blocks, 4, (2, 1, 3))


def _doubling(spec: ModelSpec, stages: int) -> tuple[int, ...]:
    return tuple(spec.width * 2**stage for stage in range(stages))


def _make(spec: ModelSpec) -> nn.Module:
    assert spec.stage_sizes
    assert spec.stage_widths
    assert spec.num_classes
    if spec.zero_init and spec.skip is False:
        raise InputError("zero_init=True: with skip=False a block would pass nothing on; switch one of the two")
    if spec.stochastic_depth and spec.skip is False:
        raise InputError(
            f"stochastic_depth={spec.stochastic_depth}: with skip=False a dropped block would pass nothing on; "
            "switch one of the two off"
        )
    wrn = spec.family == "wrn"
    return ResNet(
        stage_sizes=spec.stage_sizes,
        stage_widths=spec.stage_widths,
        num_classes=spec.num_classes,
        block="preact" if wrn else _kind(spec) if spec.family == "resnet_imagenet" else "basic",
        stem=spec.stem or "cifar",
        stem_width=WRN_STEM if wrn else None,
        skip=spec.skip is not False,
        shortcut=spec.shortcut or "B",
        zero_init=bool(spec.zero_init),
        dropout=spec.dropout,
        stochastic_depth=spec.stochastic_depth or 0.0,
    )


_SHARED = {"stage_sizes": None, "stage_widths": None, "skip": True, "zero_init": False, "stochastic_depth": 0.0}

RESNET = Family(
    make=_make,
    defaults={**_SHARED, "shortcut": "A"},
    rule="6n+2 weighted layers",
    stages=_cifar_stages,
    depth_of=lambda spec, sizes: 2 * sum(sizes) + 2,
    widths=_doubling,
    image=((32, 32, 3), 10),
)
RESNET_IMAGENET = Family(
    make=_make,
    defaults={**_SHARED, "block": None, "stem": "imagenet"},
    rule="2n+2 weighted layers with basic blocks (below 50 unless block is set), 3n+2 with bottlenecks, n >= 4",
    stages=_imagenet_stages,
    depth_of=lambda spec, sizes: LAYERS[_kind(spec)] * sum(sizes) + 2,
    widths=_doubling,
    image=((224, 224, 3), 1000),
)
WRN = Family(
    make=_make,
    defaults={**_SHARED, "dropout": 0.0},
    rule="6n+4 weighted layers",
    stages=_wrn_stages,
    # The authors of WRN count the three projections too: 6n+4, not 6n+2.
    depth_of=lambda spec, sizes: 2 * sum(sizes) + 1 + len(sizes),
    widths=lambda spec, stages: tuple(WRN_STEM * spec.width * 2**stage for stage in range(stages)),
    image=((32, 32, 3), 10),
)
