"""The detector of the SSD paper: VGG without its dense layers, four further maps, anchors on six. Liu et al. 2016.

Layers and anchors are those of torchvision's ssd300_vgg16: no batch norm, the fourth map normalised to length.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
from flax import linen as nn

from jaxcnn import ops
from jaxcnn.errors import InputError
from jaxcnn.models.family import Family, register_family, spread
from jaxcnn.models.ssd import judge_anchors
from jaxcnn.nn.layers import Conv, MaxPool
from jaxcnn.nn.network import Maps

SCALES = (0.07, 0.15, 0.33, 0.51, 0.69, 0.87, 1.05)
"""Sides of the square anchors of each map, as shares of the image; the last belongs to no map."""
RATIOS = ((2.0,), (2.0, 3.0), (2.0, 3.0), (2.0, 3.0), (2.0,), (2.0,))
STRIDES = (8, 16, 32, 64)
"""Distances of two anchors of the first maps, in pixels; those of the last two spread over the image."""
SMALLEST = 268  # of smaller images nothing is left for the last map


class SsdVgg(nn.Module):
    """Convolutions of a VGG, two of 16 width channels in place of its dense layers, and four pairs of further ones.

    Args:
        stage_sizes: Convolutions of each of the five stages.
        stage_widths: Their channels.
        width: A sixteenth of the channels of the two convolutions after the stages; a quarter or an eighth of those of
            the further maps.
    """

    stage_sizes: tuple[int, ...]
    stage_widths: tuple[int, ...]
    width: int

    @nn.compact
    def __call__(self, images: jax.Array, train: bool = False, mask: jax.Array | None = None) -> Maps:
        """Map images (N, H, W, C) to the six maps that are judged; of 300 pixels: 38, 19, 10, 5, 3 and 1 a side."""
        if min(images.shape[1:3]) < SMALLEST:
            shape = f"{images.shape[1]}x{images.shape[2]}"
            raise InputError(f"images of {shape} pixels: ssd_vgg needs at least {SMALLEST}x{SMALLEST}; set data.size")
        x, number, first = images, 0, images
        for stage, (size, width) in enumerate(zip(self.stage_sizes, self.stage_widths, strict=True)):
            for _ in range(size):
                number += 1
                x = nn.relu(Conv(width, name=f"conv{number}")(x))
            if stage == 3:
                first = x
            if stage < 4:
                x = MaxPool(2, padding="CEIL" if stage == 2 else "VALID", name=f"pool{stage + 1}")(x)
        x = MaxPool(3, stride=1, padding=1, name="pool5")(x)
        x = nn.relu(Conv(16 * self.width, dilation=6, padding=6, name="conv_fc6")(x))
        x = nn.relu(Conv(16 * self.width, 1, name="conv_fc7")(x))
        scale = self.param("norm4_scale", nn.initializers.constant(20.0), (first.shape[-1],), jnp.float32)
        length = jnp.sqrt(jnp.square(first).sum(axis=-1, keepdims=True) + 1e-12)
        maps = [first / length * scale.astype(first.dtype).reshape(1, 1, 1, -1), x]
        for level, (inner, outer) in enumerate(((4, 8), (2, 4), (2, 4), (2, 4)), 1):
            x = nn.relu(Conv(inner * self.width, 1, name=f"extra{level}_conv1")(x))
            stride, padding = (2, 1) if level <= 2 else (1, 0)
            x = nn.relu(Conv(outer * self.width, 3, stride, padding=padding, name=f"extra{level}_conv2")(x))
            maps.append(x)
        return tuple(maps)


class SsdVggHead(nn.Module):
    """Scores and codes of 4 or 6 anchors a cell, 8,732 for images of 300 pixels.

    Args:
        num_classes: Classes, without background.
    """

    num_classes: int

    @nn.compact
    def __call__(
        self, maps: Maps, train: bool = False, mask: jax.Array | None = None, size: tuple[int, int] = (300, 300)
    ) -> dict[str, jax.Array]:
        """Map the six maps to scores (N, A, K + 1), background first, codes (N, A, 4) and anchors (A, 4)."""
        anchors = []
        for level, x in enumerate(maps):
            shapes = ops.anchor_shapes(SCALES[level], SCALES[level + 1], RATIOS[level])
            step = (STRIDES[level] / size[0], STRIDES[level] / size[1]) if level < len(STRIDES) else None
            anchors.append(ops.grid_anchors((x.shape[1], x.shape[2]), shapes, step=step))
        return judge_anchors(maps, anchors, self.num_classes)


register_family(
    "ssd_vgg",
    Family(
        backbone=lambda spec, options: SsdVgg(spec.stage_sizes or (), spec.stage_widths or (), spec.width),
        head=lambda spec, options: SsdVggHead(spec.num_classes or 0),
        stages=lambda spec, options: spread(spec.depth - 2, 5) if spec.depth >= 7 else None,
        depth_of=lambda spec, options, sizes: sum(sizes) + 2,
        widths=lambda spec, options, stages: tuple(spec.width * min(2**stage, 8) for stage in range(stages)),
        rule="at least seven convolutions: five stages and the two after them",
        image=((300, 300, 3), 90),
    ),
)
