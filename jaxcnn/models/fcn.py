"""The head of fully convolutional networks: the class of each pixel, from the maps of any backbone.

References: Long, Shelhamer and Darrell, "Fully convolutional networks for semantic segmentation", 2015; the layers are
those of torchvision's fcn_resnet50.
"""

from __future__ import annotations

from dataclasses import dataclass

import jax
from flax import linen as nn

from jaxcnn import ops
from jaxcnn.errors import InputError
from jaxcnn.models.head import Head, register_head
from jaxcnn.nn.blocks import ConvNormAct
from jaxcnn.nn.layers import LECUN, Conv, Dropout
from jaxcnn.nn.network import Maps
from jaxcnn.spec import Segmentation


@dataclass(frozen=True)
class FcnOptions:
    """Options of the head fcn.

    Args:
        head_width: Channels of its 3x3 convolution. Default: a quarter of those of the last map.
        head_dropout: Share of units dropped before the scores.
        head_skips: Number of finer maps whose scores are added (0 is FCN-32s, 1 FCN-16s, 2 FCN-8s in a net of stride
            32).
    """

    head_width: int | None = None
    head_dropout: float = 0.1
    head_skips: int = 0


class FcnHead(nn.Module):
    """A 3x3 convolution on the last map, scores by a 1x1 convolution, resized to the images.

    Parameters: 9 C c + 2 c and c K + K, for C channels in, c inside and K classes; C' K + K for each finer map.

    Args:
        num_classes: Classes K.
        channels: Channels c; None: a quarter of those of the last map.
        dropout: Share of units dropped before the scores.
        skips: Number of finer maps whose scores are added; their kernels start at zero, as in the paper.
        axis_name: Mapped axis over which batch norm shares its statistics and dropout its draw.
    """

    num_classes: int
    channels: int | None = None
    dropout: float = 0.1
    skips: int = 0
    axis_name: str | None = None

    @nn.compact
    def __call__(
        self, maps: Maps, train: bool = False, mask: jax.Array | None = None, size: tuple[int, int] | None = None
    ) -> jax.Array:
        """Map the maps (N, H / s, W / s, C) to logits (N, *size, K); None: of the size of the finest map."""
        if not 0 <= self.skips < len(maps):
            raise InputError(
                f"head_skips={self.skips}: the backbone has {len(maps) - 1} maps beside its last; give 0 to "
                f"{len(maps) - 1}"
            )
        channels = self.channels or max(1, maps[-1].shape[-1] // 4)
        x = ConvNormAct(channels, axis_name=self.axis_name, name="fcn_conv")(maps[-1], train, mask)
        if self.dropout:
            x = Dropout(self.dropout, self.axis_name, name="fcn_drop")(x, train)
        scores = Conv(self.num_classes, 1, kernel_init=LECUN, name="fcn_scores")(x)
        for number, finer in enumerate(maps[::-1][1 : 1 + self.skips], start=1):
            own = Conv(self.num_classes, 1, kernel_init=nn.initializers.zeros, name=f"fcn_skip{number}")(finer)
            scores = ops.resize_bilinear(scores, (finer.shape[1], finer.shape[2])) + own
        return ops.resize_bilinear(scores, size or (maps[0].shape[1], maps[0].shape[2]))


register_head(
    "fcn",
    Head(
        module=lambda spec, options: FcnHead(
            spec.num_classes or 0, options.head_width, options.head_dropout, options.head_skips
        ),
        task=Segmentation,
        options=FcnOptions,
        classes=21,
    ),
)
