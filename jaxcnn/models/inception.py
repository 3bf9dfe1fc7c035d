"""Inception v3: blocks of parallel branches whose outputs are concatenated.

Reference: Szegedy et al., "Rethinking the Inception architecture for computer vision", 2015, as torchvision and Keras
have it. Branches have torchvision's names. The auxiliary classifier is left out: only training from scratch uses it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import reduce
from typing import Literal, NamedTuple

import jax
import jax.numpy as jnp
from flax import linen as nn

from jaxcnn import ops
from jaxcnn.errors import require
from jaxcnn.models.family import Family, register_family
from jaxcnn.nn.blocks import ConvNormAct
from jaxcnn.nn.network import ClassifierHead, Maps
from jaxcnn.spec import ModelSpec

EPSILON = 1e-3
SMALLEST = 75
"""Side of the smallest images, in pixels."""


class Layer(NamedTuple):
    """A convolution with batch norm and ReLU.

    Args:
        name: Its name.
        share: Channels, as a share of the width of its stage.
        kernel: Side of the kernel, or (height, width).
        stride: Pixels between windows.
        padded: Pad by kernel // 2; otherwise not at all.
    """

    name: str
    share: float
    kernel: int | tuple[int, int] = 1
    stride: int = 1
    padded: bool = True


Branch = tuple[str | Layer | tuple[Layer, ...], ...]
"""Steps in a row: average or max (pooling), a layer, or layers side by side."""
STEM = (
    Layer("conv1", 1 / 2, 3, 2, False), Layer("conv2", 1 / 2, 3, 1, False), Layer("conv3", 1, 3),
    Layer("conv4", 5 / 4), Layer("conv5", 3, 3, 1, False),
)  # fmt: skip
"""Layers before the first stage; max pooling follows the third and the last. Shares are of the first stage's width."""
REDUCE_TO_17: tuple[Branch, ...] = (
    (Layer("branch3x3", 2, 3, 2, False),),
    (Layer("branch3x3dbl_1", 1 / 3), Layer("branch3x3dbl_2", 1 / 2, 3), Layer("branch3x3dbl_3", 1 / 2, 3, 2, False)),
    ("max",),
)
REDUCE_TO_8: tuple[Branch, ...] = (
    (Layer("branch3x3_1", 3 / 5), Layer("branch3x3_2", 1, 3, 2, False)),
    (
        Layer("branch7x7x3_1", 3 / 5), Layer("branch7x7x3_2", 3 / 5, (1, 7)), Layer("branch7x7x3_3", 3 / 5, (7, 1)),
        Layer("branch7x7x3_4", 3 / 5, 3, 2, False),
    ),
    ("max",),
)  # fmt: skip
EXPANDED: tuple[Branch, ...] = (
    (Layer("branch1x1", 1),),
    (Layer("branch3x3_1", 6 / 5), (Layer("branch3x3_2a", 6 / 5, (1, 3)), Layer("branch3x3_2b", 6 / 5, (3, 1)))),
    (
        Layer("branch3x3dbl_1", 7 / 5), Layer("branch3x3dbl_2", 6 / 5, 3),
        (Layer("branch3x3dbl_3a", 6 / 5, (1, 3)), Layer("branch3x3dbl_3b", 6 / 5, (3, 1))),
    ),
    ("average", Layer("branch_pool", 3 / 5)),
)  # fmt: skip


def factorised_5x5(pooled: float) -> tuple[Branch, ...]:
    """Return a block of the first stage; `pooled` is the share of channels behind its pooling.

    >>> [len(branch) for branch in factorised_5x5(1)]
    [1, 2, 3, 2]
    """
    return (
        (Layer("branch1x1", 1),),
        (Layer("branch5x5_1", 3 / 4), Layer("branch5x5_2", 1, 5)),
        (Layer("branch3x3dbl_1", 1), Layer("branch3x3dbl_2", 3 / 2, 3), Layer("branch3x3dbl_3", 3 / 2, 3)),
        ("average", Layer("branch_pool", pooled)),
    )


def factorised_7x7(inner: float) -> tuple[Branch, ...]:
    """Return a block of the second stage; `inner` is the share of channels between its 1x7 and 7x1 convolutions.

    >>> [len(branch) for branch in factorised_7x7(1)]
    [1, 3, 5, 2]
    """
    return (
        (Layer("branch1x1", 1),),
        (Layer("branch7x7_1", inner), Layer("branch7x7_2", inner, (1, 7)), Layer("branch7x7_3", 1, (7, 1))),
        (
            Layer("branch7x7dbl_1", inner), Layer("branch7x7dbl_2", inner, (7, 1)),
            Layer("branch7x7dbl_3", inner, (1, 7)), Layer("branch7x7dbl_4", inner, (7, 1)),
            Layer("branch7x7dbl_5", 1, (1, 7)),
        ),
        ("average", Layer("branch_pool", 1)),
    )  # fmt: skip


def blocks(sizes: tuple[int, ...]) -> dict[str, tuple[Branch, ...]]:
    """Return the blocks by name, in their order; the second and third stage begin with one that halves the map.

    Args:
        sizes: Blocks of the three stages, as (3, 5, 3).

    >>> list(blocks((1, 2, 1)))
    ['stage1_block1', 'stage2_block1', 'stage2_block2', 'stage3_block1']
    """
    require(len(sizes) == 3, "stage_sizes", sizes, "give the blocks of 3 stages, such as 3 5 3")
    first, second, third = sizes
    inner = [2 / 3, *[5 / 6] * (second - 3), 1][: second - 1]  # published: 128, 160, 160, 192 of 192 channels
    stages = (
        [factorised_5x5(1 if index else 1 / 2) for index in range(first)],
        [REDUCE_TO_17, *map(factorised_7x7, inner)],
        [REDUCE_TO_8, *[EXPANDED] * (third - 1)],
    )
    return {
        f"stage{stage}_block{number}": block
        for stage, row in enumerate(stages, start=1)
        for number, block in enumerate(row, start=1)
    }


def layers(branches: tuple[Branch, ...]) -> list[Layer]:
    """Return the layers of a block in their order.

    >>> [layer.name for layer in layers(REDUCE_TO_17)][:2]
    ['branch3x3', 'branch3x3dbl_1']
    """
    steps = [step for branch in branches for step in branch]
    rows = [(step,) if isinstance(step, Layer) else step for step in steps if not isinstance(step, str)]
    return [layer for row in rows for layer in row]


@dataclass(frozen=True)
class InceptionOptions:
    """Options of the family inception.

    Args:
        dropout: Share of units dropped before the classifier.
        variant: torchvision, or keras: average pooling leaves the padding out of its means, momentum 0.99 in batch
            norm. Published weights need that of their publisher.
    """

    dropout: float = 0.5
    variant: Literal["torchvision", "keras"] = "torchvision"


class InceptionBlock(nn.Module):
    """Branches side by side, concatenated.

    Args:
        branches: Steps of each branch.
        width: Channels of a share of 1.
        count_padding: Average pooling counts the padding.
        momentum: Share of the old running average kept per step.
        axis_name: Mapped axis over which batch norm shares its statistics.
    """

    branches: tuple[Branch, ...]
    width: int
    count_padding: bool = True
    momentum: float = 0.9
    axis_name: str | None = None

    @nn.compact
    def __call__(self, x: jax.Array, train: bool = False, mask: jax.Array | None = None) -> jax.Array:
        """Apply all branches to x (N, H, W, C)."""

        def convolve(x: jax.Array, layer: Layer) -> jax.Array:
            return convolution(layer, self.width, self.momentum, self.axis_name)(x, train, mask)

        def apply(x: jax.Array, step: str | Layer | tuple[Layer, ...]) -> jax.Array:
            if step == "max":
                return ops.max_pool(x, 3, stride=2)
            if isinstance(step, str):
                return ops.avg_pool(x, 3, stride=1, padding=1, count_include_pad=self.count_padding)
            if isinstance(step, Layer):
                return convolve(x, step)
            return jnp.concatenate([convolve(x, layer) for layer in step], axis=-1)

        return jnp.concatenate([reduce(apply, branch, x) for branch in self.branches], axis=-1)


class Inception(nn.Module):
    """Stem, then three stages of blocks, on maps of 35x35, 17x17 and 8x8 pixels where images have 299.

    Args:
        stage_sizes: Blocks of the three stages.
        stage_widths: Channels of the 1x1 branches of the three stages.
        count_padding: Average pooling counts the padding.
        momentum: Share of the old running average kept per step.
        axis_name: Mapped axis over which batch norm shares its statistics.
    """

    stage_sizes: tuple[int, ...]
    stage_widths: tuple[int, ...]
    count_padding: bool = True
    momentum: float = 0.9
    axis_name: str | None = None

    @nn.compact
    def __call__(self, images: jax.Array, train: bool = False, mask: jax.Array | None = None) -> Maps:
        """Map images (N, H, W, C) to one map per stride.

        Raises:
            InputError: The images are smaller than 75x75 pixels.
        """
        remedy = f"inception needs images of at least {SMALLEST}x{SMALLEST} pixels; set data.size={SMALLEST} or larger"
        require(min(images.shape[1:3]) >= SMALLEST, "images of shape", images.shape, remedy)
        x, maps = images, []
        for layer in STEM:
            x = convolution(layer, self.stage_widths[0], self.momentum, self.axis_name)(x, train, mask)
            if layer.name in ("conv3", "conv5"):
                maps.append(x)
                x = ops.max_pool(x, 3, stride=2)
        shared = {"count_padding": self.count_padding, "momentum": self.momentum, "axis_name": self.axis_name}
        rows = blocks(self.stage_sizes)
        for stage, (size, width) in enumerate(zip(self.stage_sizes, self.stage_widths, strict=True), start=1):
            for name in (f"stage{stage}_block{number}" for number in range(1, size + 1)):
                x = InceptionBlock(rows[name], width, name=name, **shared)(x, train, mask)
            maps.append(x)
        return tuple(maps)


def convolution(layer: Layer, width: int, momentum: float, axis_name: str | None) -> ConvNormAct:
    """Return the module of a layer in a stage of some width.

    >>> convolution(Layer("branch1x1", 1 / 2), 64, 0.9, None).features
    32
    """
    return ConvNormAct(
        max(1, round(layer.share * width)), layer.kernel, layer.stride, axis_name=axis_name, padded=layer.padded,
        epsilon=EPSILON, momentum=momentum, name=layer.name,
    )  # fmt: skip


VARIANTS: Mapping[str, tuple[bool, float]] = {"torchvision": (True, 0.9), "keras": (False, 0.99)}
"""count_padding and momentum of the publishers of weights."""


def _stages(spec: ModelSpec, options: InceptionOptions) -> tuple[int, ...] | None:
    count, rest = divmod(spec.depth, 16)
    return None if rest or count < 1 else (count, 2 * count - 1, count)


def _depth(spec: ModelSpec, options: InceptionOptions, sizes: tuple[int, ...]) -> int:
    """Return the weighted layers of the longest path: the stem's 5, 3 to 5 a block, and the classifier."""
    return len(STEM) + sum(max(map(len, branches)) for branches in blocks(sizes).values()) + 1


register_family(
    "inception",
    Family(
        backbone=lambda spec, options: Inception(
            spec.stage_sizes or (), spec.stage_widths or (), *VARIANTS[options.variant]
        ),
        head=lambda spec, options: ClassifierHead(spec.num_classes or 0, dropout=options.dropout, numbered=False),
        stages=_stages,
        depth_of=_depth,
        widths=lambda spec, options, stages: tuple(share * spec.width for share in (2, 6, 10)[:stages]),
        rule="16n weighted layers on the longest path",
        image=((299, 299, 3), 1000),
        options=InceptionOptions,
    ),
)
