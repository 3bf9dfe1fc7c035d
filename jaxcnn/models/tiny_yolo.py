"""The small detector of YOLO9000: convolutions with leaky ReLU, five anchors a cell. Redmon and Farhadi 2017.

Layers and anchors are those of the authors' yolov2-tiny-voc. Their 25 outputs an anchor, for 20 classes, are read as
those of an SSD, so that its loss and its detections serve: the objectness is the score of the background, and the codes
are relative to the anchor rather than to the cell.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
from flax import linen as nn

from jaxcnn import ops
from jaxcnn.errors import InputError
from jaxcnn.models.family import Family, register_family, spread
from jaxcnn.nn.layers import LECUN, BatchNorm, Conv, MaxPool
from jaxcnn.nn.network import Maps
from jaxcnn.spec import ModelSpec

STAGES = 6
SLOPE = 0.1
"""Slope of the activation below zero."""
ANCHORS = ((1.19, 1.08), (4.41, 3.42), (11.38, 6.63), (5.11, 9.42), (10.52, 16.62))
"""Heights and widths of the anchors in cells of a map of 13 x 13: clusters of the boxes of Pascal VOC."""
MAP = 13  # cells a side of images of 416 pixels


class TinyYolo(nn.Module):
    """Stages of 3x3 convolutions with max pooling between them, then two more of twice the channels.

    Args:
        stage_sizes: Convolutions of each of the six stages.
        stage_widths: Their channels.
        axis_name: Mapped axis over which batch norm shares its statistics.
    """

    stage_sizes: tuple[int, ...]
    stage_widths: tuple[int, ...]
    axis_name: str | None = None

    @nn.compact
    def __call__(self, images: jax.Array, train: bool = False, mask: jax.Array | None = None) -> Maps:
        """Map images (N, H, W, C) to the one map of stride 32."""
        if min(images.shape[1:3]) < 2 ** (STAGES - 1):
            shape, least = f"{images.shape[1]}x{images.shape[2]}", 2 ** (STAGES - 1)
            raise InputError(f"images of {shape} pixels: tiny_yolo needs at least {least}x{least}; set data.size")
        x, number = images, 0
        sizes, widths = (*self.stage_sizes, 2), (*self.stage_widths, 2 * self.stage_widths[-1])
        for stage, (size, width) in enumerate(zip(sizes, widths, strict=True), 1):
            for _ in range(size):
                number += 1
                x = Conv(width, padding=1, use_bias=False, name=f"conv{number}")(x)
                x = BatchNorm(axis_name=self.axis_name, name=f"norm{number}")(x, train, mask)
                x = nn.leaky_relu(x, SLOPE)
            if stage < STAGES:
                x = MaxPool(2, name=f"pool{stage}")(x)
            elif stage == STAGES:  # the last one keeps the size
                x = MaxPool(2, stride=1, padding="SAME", name=f"pool{stage}")(x)
        return (x,)


class TinyYoloHead(nn.Module):
    """Scores and codes of five anchors a cell by a 1x1 convolution: 5 (K + 5) (c + 1) parameters for c channels.

    Args:
        num_classes: Classes K, without background.
    """

    num_classes: int

    @nn.compact
    def __call__(self, maps: Maps, train: bool = False, mask: jax.Array | None = None) -> dict[str, jax.Array]:
        """Map the map to scores (N, A, K + 1), background first, codes (N, A, 4) and anchors (A, 4)."""
        x = maps[-1]
        n, height, width, _ = x.shape
        y = Conv(len(ANCHORS) * (self.num_classes + 5), 1, kernel_init=LECUN, name="scores_codes")(x)
        y = y.reshape(n, height * width * len(ANCHORS), self.num_classes + 5)
        anchors = ops.grid_anchors((height, width), [(high / MAP, wide / MAP) for high, wide in ANCHORS])
        return {"scores": y[..., 4:], "codes": y[..., :4], "anchors": jnp.asarray(anchors)}


def _stages(spec: ModelSpec, options: object) -> tuple[int, ...] | None:
    return spread(spec.depth - 3, STAGES) if spec.depth >= STAGES + 3 else None


register_family(
    "tiny_yolo",
    Family(
        backbone=lambda spec, options: TinyYolo(spec.stage_sizes or (), spec.stage_widths or ()),
        head=lambda spec, options: TinyYoloHead(spec.num_classes or 0),
        stages=_stages,
        depth_of=lambda spec, options, sizes: sum(sizes) + 3,
        widths=lambda spec, options, stages: tuple(spec.width * 2**stage for stage in range(stages)),
        rule="at least nine convolutions: six stages, the two after them, and the one that judges anchors",
        image=((416, 416, 3), 20),
    ),
)
