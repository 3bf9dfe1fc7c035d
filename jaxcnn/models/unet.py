"""U-Net: an encoder, and a decoder that sees the encoder's maps of every resolution.

Reference: Ronneberger, Fischer and Brox, "U-Net: convolutional networks for biomedical image segmentation", 2015. The
convolutions here are padded, so that the logits have the size of the images (the paper's shrink 572 pixels to 388).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import jax
import jax.numpy as jnp
from flax import linen as nn

from jaxcnn.errors import InputError
from jaxcnn.models.family import Family, register_family
from jaxcnn.nn.layers import LECUN, BatchNorm, Conv, Dropout, MaxPool, UpConv
from jaxcnn.nn.network import Maps
from jaxcnn.spec import ModelSpec

MOST_LEVELS = 12


@dataclass(frozen=True)
class UNetOptions:
    """Options of the family unet.

    Args:
        levels: Number of resolutions; each level has half the height and width of the one above.
        growth: doubling (each level has twice the channels of the one above) or constant (all have the same).
        norm: Batch norm after each 3x3 convolution, which then has no bias.
        dropout: Share of units dropped at the end of the encoder.
    """

    levels: int = 4
    growth: Literal["doubling", "constant"] = "doubling"
    norm: bool = True
    dropout: float = 0.0


class UNet(nn.Module):
    """3x3 convolutions with ReLU at each level, 2x2 max pooling down, transposed 2x2 convolutions up.

    Going up, a level's maps from the encoder are concatenated with those from below. Odd sides are rounded up on the
    way down and cut on the way up, so that any size of image will do.

    Args:
        stage_sizes: Convolutions at each level, the finest first; the decoder has as many at all levels but the last.
        stage_widths: Channels at each level.
        norm: Batch norm after each convolution.
        dropout: Share of units dropped at the end of the encoder.
        axis_name: Mapped axis over which batch norm shares its statistics and dropout its draw.
    """

    stage_sizes: tuple[int, ...]
    stage_widths: tuple[int, ...]
    norm: bool = True
    dropout: float = 0.0
    axis_name: str | None = None

    @nn.compact
    def __call__(self, images: jax.Array, train: bool = False, mask: jax.Array | None = None) -> Maps:
        """Map images (N, H, W, C) to the maps of the decoder and, last, that of the lowest level."""
        if images.ndim != 4:
            raise InputError(f"images of shape {images.shape}: give (N, H, W, C), grey images with C=1")
        levels, x, kept = tuple(zip(self.stage_sizes, self.stage_widths, strict=True)), images, []
        for level, (size, width) in enumerate(levels, start=1):
            if level > 1:
                x = MaxPool(2, padding="CEIL", name=f"pool{level}")(x)
            x = self._convolve(x, size, width, f"down{level}", train, mask)
            kept.append(x)
        if self.dropout:
            x = Dropout(self.dropout, self.axis_name, name="drop")(x, train)
        maps = [x]
        for level in range(len(levels) - 1, 0, -1):
            (size, width), beside = levels[level - 1], kept[level - 1]
            x = UpConv(width, name=f"up{level}")(x)[:, : beside.shape[1], : beside.shape[2]]
            x = jnp.concatenate([beside, x], axis=-1)
            x = self._convolve(x, size, width, f"up{level}", train, mask)
            maps.insert(0, x)
        return tuple(maps)

    def _convolve(
        self, x: jax.Array, size: int, width: int, name: str, train: bool, mask: jax.Array | None
    ) -> jax.Array:
        for number in range(1, size + 1):
            x = Conv(width, use_bias=not self.norm, name=f"{name}_conv{number}")(x)
            if self.norm:
                x = BatchNorm(axis_name=self.axis_name, name=f"{name}_norm{number}")(x, train, mask)
            x = nn.relu(x)
        return x


class PixelHead(nn.Module):
    """A 1x1 convolution on the finest map: U-Net's head. Parameters: C K + K."""

    num_classes: int

    @nn.compact
    def __call__(self, maps: Maps, train: bool = False, mask: jax.Array | None = None) -> jax.Array:
        """Map the first map (N, H, W, C) to logits (N, H, W, K)."""
        return Conv(self.num_classes, 1, kernel_init=LECUN, name="scores")(maps[0])


def _stages(spec: ModelSpec, options: UNetOptions) -> tuple[int, ...] | None:
    """Return the convolutions of each level, all alike: the depth is their number times 2 levels - 1, plus levels."""
    if not 1 <= options.levels <= MOST_LEVELS:
        raise InputError(f"levels={options.levels}: give 1 to {MOST_LEVELS} resolutions")
    size, rest = divmod(spec.depth - options.levels, 2 * options.levels - 1)
    return None if rest or size < 1 else (size,) * options.levels


register_family(
    "unet",
    Family(
        backbone=lambda spec, options: UNet(spec.stage_sizes, spec.stage_widths, options.norm, options.dropout),
        head=lambda spec, options: PixelHead(spec.num_classes),
        stages=_stages,
        # The encoder, the decoder without the lowest level, a transposed convolution between levels, the scores.
        depth_of=lambda spec, options, sizes: sum(sizes) + sum(sizes[:-1]) + len(sizes),
        widths=lambda spec, options, stages: tuple(
            spec.width * (2**stage if options.growth == "doubling" else 1) for stage in range(stages)
        ),
        rule="as many convolutions at each level: depth = levels + n (2 levels - 1), such as 11, 18 or 25 at 4 levels",
        image=((512, 512, 1), 2),
        options=UNetOptions,
    ),
)
