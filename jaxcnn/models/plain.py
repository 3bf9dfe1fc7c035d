"""Networks without shortcuts: LeNet and its deeper and wider relatives, plain CNNs, VGG.

References: LeCun et al., "Gradient-based learning applied to document recognition", 1998; Simonyan and Zisserman,
"Very deep convolutional networks", 2014.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import Any, Literal

import jax
from flax import linen as nn

from jaxcnn.errors import InputError
from jaxcnn.models.family import Family, register_family, spread
from jaxcnn.nn.layers import BatchNorm, Conv, MaxPool
from jaxcnn.nn.network import ClassifierHead, Maps
from jaxcnn.spec import ModelSpec

VGG_MAP = 7  # side of the map that VGG's dense layers see at 224 pixels
VGG_16_CONVS = (2, 2, 4, 4, 4)  # VGG-19, the one layout that an even spread does not give


@dataclass(frozen=True)
class PlainOptions:
    """Options of the family plain.

    Args:
        kernel: Side of the convolution kernels.
        norm: Batch norm after each convolution.
        dropout: Share of units dropped before the classifier.
    """

    kernel: int = 3
    norm: bool = True
    dropout: float = 0.0


@dataclass(frozen=True)
class VggOptions:
    """Options of the family vgg.

    Args:
        dense: Number of dense layers, the classifier included. Default: 3.
        units: Units of the hidden dense layers, dense - 1 of them. Default: they grow with the width.
        norm: Batch norm after each convolution.
        dropout: Share of units dropped after each hidden dense layer.
    """

    dense: int | None = None
    units: tuple[int, ...] | None = None
    norm: bool = False
    dropout: float = 0.0


@dataclass(frozen=True)
class LenetOptions(VggOptions):
    """Options of the family lenet: those of vgg and two more.

    Args:
        kernel: Side of the convolution kernels.
        padding: same_first (pad the first convolution by 2, then valid), valid or same.
    """

    kernel: int = 5
    padding: Literal["same_first", "valid", "same"] = "same_first"


class PlainNet(nn.Module):
    """Stages of convolutions with ReLU, 2x2 max pooling between them.

    Args:
        stage_sizes: Convolutions per stage.
        stage_widths: Channels per stage.
        kernel: Side of the kernels.
        padding: same, valid (first convolution of each stage; its others keep the size) or same_first (as valid, but
            the first stage keeps the size too).
        norm: Batch norm after each convolution, which then has no bias.
        pool_last: Max pooling after the last stage too, not only between stages.
        axis_name: Mapped axis over which batch norm shares its statistics.
    """

    stage_sizes: tuple[int, ...]
    stage_widths: tuple[int, ...]
    kernel: int = 3
    padding: str = "same"
    norm: bool = False
    pool_last: bool = True
    axis_name: str | None = None

    @nn.compact
    def __call__(self, images: jax.Array, train: bool = False, mask: jax.Array | None = None) -> Maps:
        """Map images (N, H, W, C) to the maps of all stages before pooling and, with pool_last, the last one pooled.

        Raises:
            InputError: The images are too small.
        """
        self._check_size(images)
        x, number, maps = images, 0, []
        for stage, (size, width) in enumerate(zip(self.stage_sizes, self.stage_widths, strict=True)):
            for block in range(size):
                number += 1
                padding = "VALID" if block == 0 and self._shrinks(stage) else "SAME"
                x = Conv(width, self.kernel, padding=padding, use_bias=not self.norm, name=f"conv{number}")(x)
                if self.norm:
                    x = BatchNorm(axis_name=self.axis_name, name=f"norm{number}")(x, train, mask)
                x = nn.relu(x)
            maps.append(x)
            if self._pools(stage):
                x = MaxPool(2, name=f"pool{stage + 1}")(x)
        return (*maps, x) if self.pool_last else tuple(maps)

    def _shrinks(self, stage: int) -> bool:
        return self.padding == "valid" or (self.padding == "same_first" and stage > 0)

    def _pools(self, stage: int) -> bool:
        return self.pool_last or stage < len(self.stage_sizes) - 1

    def _check_size(self, images: jax.Array) -> None:
        if images.ndim != 4:
            raise InputError(f"images of shape {images.shape}: give (N, H, W, C), grey images with C=1")
        least = 1
        for stage in reversed(range(len(self.stage_sizes))):
            least = least * (2 if self._pools(stage) else 1) + (self.kernel - 1 if self._shrinks(stage) else 0)
        if min(images.shape[1:3]) < least:
            same = "" if self.padding == "same" else ", padding='same'"
            raise InputError(
                f"images of {images.shape[1]}x{images.shape[2]} pixels: {len(self.stage_sizes)} stages with "
                f"kernel={self.kernel} and padding={self.padding!r} need at least {least}x{least}; "
                f"use data.size={least} or larger{same}, or fewer stages (stage_sizes)"
            )


def _units(spec: ModelSpec, options: VggOptions, scale: tuple[int, ...]) -> tuple[int, ...]:
    """Return the units of the hidden dense layers: as given, or `scale` times the width, its last entry repeated."""
    if options.units is not None:
        if any(count < 1 for count in options.units) or options.dense not in (None, len(options.units) + 1):
            raise InputError(
                f"units={options.units}: give dense - 1 positive counts (dense={options.dense}, classifier included)"
            )
        return options.units
    hidden = (options.dense or 3) - 1
    return tuple(scale[min(layer, len(scale) - 1)] * spec.width for layer in range(hidden))


_lenet_units = partial(_units, scale=(20, 14))  # LeNet-5: 120 and 84 at width 6
_vgg_units = partial(_units, scale=(64,))  # VGG: 4096 at width 64


def _dense_layers(options: VggOptions) -> int:
    return options.dense or (3 if options.units is None else len(options.units) + 1)


def _vgg_stages(spec: ModelSpec, options: VggOptions) -> tuple[int, ...] | None:
    convs = spec.depth - _dense_layers(options)
    if convs == sum(VGG_16_CONVS):
        return VGG_16_CONVS
    return spread(convs, min(5, convs)) if convs > 0 else None


def _lenet_stages(spec: ModelSpec, options: LenetOptions) -> tuple[int, ...] | None:
    convs = spec.depth - _dense_layers(options)
    return spread(convs, min(2, convs)) if convs > 0 else None


def _flat_depth(spec: ModelSpec, options: VggOptions, sizes: tuple[int, ...]) -> int:
    return sum(sizes) + _dense_layers(options)


def _head(spec: ModelSpec, options: VggOptions, units: tuple[int, ...], **pooling: Any) -> nn.Module:
    return ClassifierHead(spec.num_classes, units, options.dropout, average=False, **pooling)  # type: ignore[arg-type]


register_family(
    "lenet",
    Family(
        backbone=lambda spec, options: PlainNet(
            spec.stage_sizes, spec.stage_widths, options.kernel, options.padding, options.norm
        ),
        head=lambda spec, options: _head(spec, options, _lenet_units(spec, options)),
        stages=_lenet_stages,
        depth_of=_flat_depth,
        widths=lambda spec, options, stages: tuple(
            max(1, round(spec.width * (16 / 6) ** stage)) for stage in range(stages)
        ),
        rule="at least one convolution before its dense layers (depth > dense, 3 unless set)",
        image=((28, 28, 1), 10),
        options=LenetOptions,
        units=_lenet_units,
    ),
)
register_family(
    "plain",
    Family(
        backbone=lambda spec, options: PlainNet(
            spec.stage_sizes, spec.stage_widths, options.kernel, norm=options.norm, pool_last=False
        ),
        head=lambda spec, options: ClassifierHead(spec.num_classes, dropout=options.dropout),
        stages=lambda spec, options: spread(spec.depth - 1, min(3, spec.depth - 1)) if spec.depth > 1 else None,
        depth_of=lambda spec, options, sizes: sum(sizes) + 1,
        widths=lambda spec, options, stages: tuple(spec.width * 2**stage for stage in range(stages)),
        rule="at least one convolution before its one dense layer (depth >= 2)",
        image=((32, 32, 3), 10),
        options=PlainOptions,
    ),
)
register_family(
    "vgg",
    Family(
        backbone=lambda spec, options: PlainNet(spec.stage_sizes, spec.stage_widths, norm=options.norm),
        head=lambda spec, options: _head(spec, options, _vgg_units(spec, options), largest_map=VGG_MAP),
        stages=_vgg_stages,
        depth_of=_flat_depth,
        widths=lambda spec, options, stages: tuple(spec.width * min(2**stage, 8) for stage in range(stages)),
        rule="a convolution or more before its dense layers (depth > dense, 3 unless set); published: 11, 13, 16, 19",
        image=((224, 224, 3), 1000),
        options=VggOptions,
        units=_vgg_units,
    ),
)
