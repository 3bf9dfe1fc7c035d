"""Networks without shortcuts: LeNet and its deeper and wider relatives, plain CNNs, VGG.

References: LeCun et al., "Gradient-based learning applied to document recognition", 1998; Simonyan and Zisserman,
"Very deep convolutional networks", 2014.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
from flax import linen as nn

from jaxcnn import ops
from jaxcnn.errors import InputError
from jaxcnn.models.family import Family, spread
from jaxcnn.nn.layers import HE_FAN_IN, BatchNorm, Conv, Dense, Dropout, GlobalAvgPool, MaxPool
from jaxcnn.spec import ModelSpec

VGG_MAP = 7  # side of the map that VGG's dense layers see at 224 pixels
VGG_16_CONVS = (2, 2, 4, 4, 4)  # VGG-19, the one layout that an even spread does not give


class PlainNet(nn.Module):
    """Stages of convolutions with 2x2 max pooling, then dense layers.

    Args:
        stage_sizes: Convolutions per stage.
        stage_widths: Channels per stage.
        num_classes: Length of the logits.
        units: Units of the hidden dense layers.
        kernel: Side of the kernels.
        padding: same, valid (first convolution of each stage; its others keep the size) or same_first (as valid, but
            the first stage keeps the size too).
        norm: Batch norm after each convolution, which then has no bias.
        dropout: Share of units dropped after each hidden dense layer; without one, before the classifier.
        pool_last: Max pooling after the last stage too, not only between stages.
        average: Global average pooling before the dense layers instead of flattening.
        largest_map: Average maps larger than this down to it before flattening; None: never.
        axis_name: Mapped axis over which batch norm shares its statistics and dropout its draw.
    """

    stage_sizes: tuple[int, ...]
    stage_widths: tuple[int, ...]
    num_classes: int
    units: tuple[int, ...] = ()
    kernel: int = 3
    padding: str = "same"
    norm: bool = False
    dropout: float = 0.0
    pool_last: bool = True
    average: bool = False
    largest_map: int | None = None
    axis_name: str | None = None

    @nn.compact
    def __call__(self, images: jax.Array, train: bool = False, mask: jax.Array | None = None) -> jax.Array:
        """Images (N, H, W, C) to logits (N, num_classes); raises InputError where the images are too small."""
        self._check_size(images)
        x, number = images, 0
        for stage, (size, width) in enumerate(zip(self.stage_sizes, self.stage_widths, strict=True)):
            for block in range(size):
                number += 1
                padding = "VALID" if block == 0 and self._shrinks(stage) else "SAME"
                conv = Conv(width, self.kernel, padding=padding, use_bias=not self.norm, name=f"conv{number}")
                x = conv(x)
                if self.norm:
                    x = BatchNorm(axis_name=self.axis_name, name=f"norm{number}")(x, train, mask)
                x = nn.relu(x)
            if self._pools(stage):
                x = MaxPool(2, name=f"pool{stage + 1}")(x)
        return self._classify(x, train)

    def _classify(self, x: jax.Array, train: bool) -> jax.Array:
        if self.average:
            x = GlobalAvgPool(name="average")(x)
        else:
            if self.largest_map is not None:
                x = ops.adaptive_avg_pool(x, (min(x.shape[1], self.largest_map), min(x.shape[2], self.largest_map)))
            x = jnp.reshape(x, (x.shape[0], -1))
        for index, units in enumerate(self.units, start=1):
            x = nn.relu(Dense(units, kernel_init=HE_FAN_IN, name=f"dense{index}")(x))
            if self.dropout:
                x = Dropout(self.dropout, self.axis_name, name=f"drop{index}")(x, train)
        if self.dropout and not self.units:
            x = Dropout(self.dropout, self.axis_name, name="drop1")(x, train)
        return Dense(self.num_classes, name=f"dense{len(self.units) + 1}")(x)

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
                f"use DataConfig.size={least} or larger{same}, or fewer stages (stage_sizes)"
            )


def _units(spec: ModelSpec) -> tuple[int, ...]:
    """Units of the hidden dense layers: as given, or to scale: LeNet-5's 120 and 84 at width 6, VGG's 4096 at 64."""
    if spec.units is not None:
        units = tuple(spec.units)
        if any(count < 1 for count in units) or spec.dense not in (None, len(units) + 1):
            raise InputError(f"units={units}: give dense - 1 positive counts (dense={spec.dense}, classifier included)")
        return units
    hidden = (3 if spec.dense is None else spec.dense) - 1
    if spec.family == "vgg":
        return (64 * spec.width,) * hidden
    return (20 * spec.width, *(14 * spec.width,) * hidden)[:hidden]


def _convs(spec: ModelSpec) -> int:
    return spec.depth - len(_units(spec)) - 1


def _flat_depth(spec: ModelSpec, sizes: tuple[int, ...]) -> int:
    return sum(sizes) + len(_units(spec)) + 1


def _lenet_stages(spec: ModelSpec) -> tuple[int, ...] | None:
    convs = _convs(spec)
    return spread(convs, min(2, convs)) if convs > 0 else None


def _vgg_stages(spec: ModelSpec) -> tuple[int, ...] | None:
    convs = _convs(spec)
    if convs == sum(VGG_16_CONVS):
        return VGG_16_CONVS
    return spread(convs, min(5, convs)) if convs > 0 else None


def _plain_stages(spec: ModelSpec) -> tuple[int, ...] | None:
    convs = spec.depth - 1
    return spread(convs, min(3, convs)) if convs > 0 else None


def _lenet_widths(spec: ModelSpec, stages: int) -> tuple[int, ...]:
    return tuple(max(1, round(spec.width * (16 / 6) ** stage)) for stage in range(stages))


def _make(spec: ModelSpec) -> nn.Module:
    assert spec.stage_sizes
    assert spec.stage_widths
    assert spec.num_classes
    plain, vgg = spec.family == "plain", spec.family == "vgg"
    return PlainNet(
        stage_sizes=spec.stage_sizes,
        stage_widths=spec.stage_widths,
        num_classes=spec.num_classes,
        units=() if plain else _units(spec),
        kernel=spec.kernel or 3,
        padding=spec.padding or "same",
        norm=bool(spec.norm),
        dropout=spec.dropout,
        pool_last=not plain,
        average=plain,
        largest_map=VGG_MAP if vgg else None,
    )


_SHARED = {"stage_sizes": None, "stage_widths": None, "norm": False, "dropout": 0.0}
_DENSE = {"dense": None, "units": None}

LENET = Family(
    make=_make,
    defaults={**_SHARED, **_DENSE, "kernel": 5, "padding": "same_first"},
    rule="at least one convolution before its dense layers (depth > dense, 3 unless set)",
    stages=_lenet_stages,
    depth_of=_flat_depth,
    widths=_lenet_widths,
    image=((28, 28, 1), 10),
)
PLAIN = Family(
    make=_make,
    defaults={**_SHARED, "kernel": 3, "norm": True},
    rule="at least one convolution before its one dense layer (depth >= 2)",
    stages=_plain_stages,
    depth_of=lambda spec, sizes: sum(sizes) + 1,
    widths=lambda spec, stages: tuple(spec.width * 2**stage for stage in range(stages)),
    image=((32, 32, 3), 10),
)
VGG = Family(
    make=_make,
    defaults={**_SHARED, **_DENSE},
    rule="at least one convolution before its dense layers (depth > dense, 3 unless set); published are 11, 13, 16, 19",
    stages=_vgg_stages,
    depth_of=_flat_depth,
    widths=lambda spec, stages: tuple(spec.width * min(2**stage, 8) for stage in range(stages)),
    image=((224, 224, 3), 1000),
)
