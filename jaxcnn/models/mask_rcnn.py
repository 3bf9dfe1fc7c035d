"""The head of an instance segmenter: a two-stage detector with a mask for each region. He et al. 2017, "Mask R-CNN".

It differs from the paper in the regions of the masks: they are the refined boxes, in training as in inference, so that
a mask is of the very box that is found (as in the cascades of Chen et al. 2019, "Hybrid task cascade").
"""

from __future__ import annotations

from dataclasses import dataclass

import jax
import jax.numpy as jnp
from flax import linen as nn

from jaxcnn import ops
from jaxcnn.errors import require
from jaxcnn.models.faster_rcnn import FasterRcnnHead, FasterRcnnOptions, check_regions
from jaxcnn.models.head import Head, register_head
from jaxcnn.models.ssd import detection_maps
from jaxcnn.nn.layers import HE_FAN_IN, Conv, UpConv
from jaxcnn.nn.network import Maps
from jaxcnn.spec import Instances, ModelSpec


@dataclass(frozen=True)
class MaskRcnnOptions(FasterRcnnOptions):
    """Options of the head mask_rcnn.

    Args:
        head_mask_size: Side of a region of the mask branch after RoIAlign, in cells; a mask has twice as many.
        head_mask_depth: Number of 3x3 convolutions of the mask branch.
    """

    head_mask_size: int = 14
    head_mask_depth: int = 2


class MaskRcnnHead(FasterRcnnHead):
    """The outputs of `FasterRcnnHead`, and a mask for each region and class.

    Further parameters, for maps of c channels, K classes (published: one more) and depth d: d (9 c^2 + c) + 4 c^2 + c
    + K (c + 1).

    Args:
        mask_size: As the option of that name, like mask_depth.
    """

    mask_size: int = 14
    mask_depth: int = 2

    @nn.compact
    def __call__(
        self, maps: Maps, train: bool = False, mask: jax.Array | None = None, size: tuple[int, int] = (0, 0)
    ) -> dict[str, jax.Array]:
        """Map the maps of a backbone to the outputs of `FasterRcnnHead` and masks.

        Returns:
            mask_boxes: (N, R, 4), the regions that the masks cover, without gradient.
            masks: (N, R, 2 mask_size, 2 mask_size, K) logits.
        """
        used = detection_maps(self, maps, train, mask, size, prefix="rcnn")
        outputs = self.two_stages(used)
        boxes = jax.lax.stop_gradient(self._refined(outputs))
        x = self.cut(used, boxes, self.mask_size)
        regions, channels = x.shape[:2], x.shape[-1]
        x = x.reshape(-1, *x.shape[2:])
        for number in range(1, self.mask_depth + 1):
            x = nn.relu(Conv(channels, 3, padding=1, kernel_init=HE_FAN_IN, name=f"mask_conv{number}")(x))
        x = nn.relu(UpConv(channels, name="mask_up")(x))
        x = Conv(self.num_classes + self.published, 1, name="mask_logits")(x)
        return {**outputs, "mask_boxes": boxes, "masks": x[..., self.published :].reshape(*regions, *x.shape[1:3], -1)}

    def _refined(self, outputs: dict[str, jax.Array]) -> jax.Array:
        """Return the boxes (N, R, 4) of the regions, those of the best class where each has its own."""
        codes = outputs["refined"]
        if self.published:
            best = outputs["scores"][..., 1:].argmax(axis=-1)
            codes = jnp.take_along_axis(codes, best[..., None, None], axis=2)[:, :, 0]
        return ops.clip_boxes(ops.decode_boxes(codes.astype(jnp.float32), outputs["proposals"]))


def _head(spec: ModelSpec, options: MaskRcnnOptions) -> nn.Module:
    check_regions(options)
    require(options.head_mask_size >= 1, "head_mask_size", options.head_mask_size, "must be at least 1")
    require(options.head_mask_depth >= 0, "head_mask_depth", options.head_mask_depth, "must not be negative")
    return MaskRcnnHead(
        spec.num_classes or 0, mask_size=options.head_mask_size, mask_depth=options.head_mask_depth,
        **options.regions, **options.maps,
    )  # fmt: skip


register_head("mask_rcnn", Head(module=_head, task=Instances, options=MaskRcnnOptions, classes=90))
