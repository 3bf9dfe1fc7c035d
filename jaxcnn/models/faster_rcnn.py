"""The head of a two-stage detector: proposals, and what is in the regions that they name. Ren et al. 2015.

It differs from the paper in the sample of the second stage: the best proposals, in training as in inference, of which
the loss counts the objects and the hardest background (Shrivastava et al. 2016, "Online hard example mining"). So the
network needs neither true boxes nor random numbers as inputs.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn

from jaxcnn import ops
from jaxcnn.errors import require
from jaxcnn.models.head import Head, register_head
from jaxcnn.models.ssd import SsdOptions, anchor_shapes_of, detection_maps
from jaxcnn.nn.layers import HE_FAN_IN, LECUN, Conv, Dense
from jaxcnn.nn.network import Maps
from jaxcnn.spec import Detection, ModelSpec

CANDIDATES = 256
"""Anchors an image, the best by objectness, among which suppression chooses the proposals; five a proposal at least."""
OVERLAP = 0.7  # IoU above which the worse of two proposals is dropped, as in the paper


@dataclass(frozen=True)
class FasterRcnnOptions(SsdOptions):
    """Options of the head faster_rcnn.

    Args:
        head_proposals: Number of regions an image.
        head_units: Units of the two dense layers that judge a region.
        head_size: Side of a region after RoIAlign, in cells.
        head_published: As in torchvision's networks: one network proposes on all maps of the pyramid and on a further
            one, three anchors a cell, and each class has codes of its own. False: a network for each map, four anchors
            a cell, codes for all classes together.
    """

    head_proposals: int = 48
    head_units: int = 128
    head_size: int = 5
    head_published: bool = False

    @property
    def regions(self) -> dict[str, Any]:
        """The same, without those of the maps, by the names that modules have for them."""
        return {"scale": self.head_scale, "proposals": self.head_proposals, "units": self.head_units,
                "size": self.head_size, "published": self.head_published}  # fmt: skip


class FasterRcnnHead(nn.Module):
    """Objectness and codes of anchors, the best of them as regions, and classes and codes of the regions.

    Args:
        num_classes: Classes K, without background.

    The other fields are the options; axis_name is the mapped axis over which batch norm shares its statistics.
    """

    num_classes: int
    stride: int = 4
    extras: int = 0
    width: int | None = None
    pyramid: bool = True
    scale: float = 3.0
    proposals: int = 48
    units: int = 128
    size: int = 5
    published: bool = False
    axis_name: str | None = None

    @nn.compact
    def __call__(
        self, maps: Maps, train: bool = False, mask: jax.Array | None = None, size: tuple[int, int] = (0, 0)
    ) -> dict[str, jax.Array]:
        """Map the maps of a backbone to the outputs of both stages.

        Returns:
            objectness: (N, A) logits of the anchors.
            codes: (N, A, 4) of the anchors.
            anchors: (A, 4).
            proposals: (N, R, 4) boxes, without gradient.
            scores: (N, R, K + 1) of the regions, background first.
            refined: (N, R, 4) codes relative to the proposals; published: (N, R, K, 4), those of each class.
        """
        return self.two_stages(detection_maps(self, maps, train, mask, size, prefix="rcnn"))

    def two_stages(self, used: Maps) -> dict[str, jax.Array]:
        """Return the outputs of both stages from the maps that are looked at; call it within a compact method."""
        objectness, codes, anchors, layers = [], [], [], None
        for level, x in enumerate((*used, used[-1][:, ::2, ::2]) if self.published else used, 1):
            n, height, width, channels = x.shape
            shapes = anchor_shapes_of((height, width), self.scale)
            shapes = shapes[:1] + shapes[2:] if self.published else shapes
            if layers is None or not self.published:
                layers = self._first_stage(channels, len(shapes), "" if self.published else str(level))
            inner, judge, place = layers
            y = nn.relu(inner(x))
            objectness.append(judge(y).reshape(n, -1))
            codes.append(place(y).reshape(n, -1, 4))
            anchors.append(ops.grid_anchors((height, width), shapes))
        first = {"objectness": jnp.concatenate(objectness, axis=1), "codes": jnp.concatenate(codes, axis=1)}
        boxes = jnp.asarray(np.concatenate(anchors))
        proposals = jax.vmap(lambda scores, codes: self._propose(scores, codes, boxes))(
            jax.lax.stop_gradient(first["objectness"]), jax.lax.stop_gradient(first["codes"])
        )
        regions = self.cut(used, proposals, self.size)
        x = regions.reshape(*regions.shape[:2], -1)
        for number in (1, 2):
            x = nn.relu(Dense(self.units, kernel_init=HE_FAN_IN, name=f"rcnn_dense{number}")(x))
        refined = Dense(4 * (self.num_classes + 1) if self.published else 4, name="rcnn_codes")(x)
        if self.published:  # those of the background are not used
            refined = refined.reshape(*x.shape[:2], -1, 4)[:, :, 1:]
        return {
            **first,
            "anchors": boxes,
            "proposals": proposals,
            "scores": Dense(self.num_classes + 1, name="rcnn_scores")(x),
            "refined": refined,
        }

    def _first_stage(self, channels: int, shapes: int, name: str) -> tuple[Conv, Conv, Conv]:
        return (
            Conv(channels, 3, padding=1, kernel_init=HE_FAN_IN, name=f"rpn_conv{name}"),
            Conv(shapes, 1, kernel_init=LECUN, name=f"rpn_scores{name}"),
            Conv(4 * shapes, 1, kernel_init=LECUN, name=f"rpn_codes{name}"),
        )

    def cut(self, used: Maps, boxes: jax.Array, size: int) -> jax.Array:
        """Return regions (N, R, size, size, C), each from the map on which it is about as large as an anchor."""
        levels = used if self.pyramid else used[:1]
        canonical = 2 * self.scale / min(levels[-1].shape[1:3])
        return jax.vmap(lambda maps, its: ops.multilevel_roi_align(maps, its, size, canonical=canonical))(
            tuple(levels), boxes
        )

    def _propose(self, scores: jax.Array, codes: jax.Array, anchors: jax.Array) -> jax.Array:
        """Return the best boxes (R, 4) of one image; where suppression leaves fewer, dropped ones follow."""
        count = max(CANDIDATES, 5 * self.proposals)
        best, places = jax.lax.top_k(scores.astype(jnp.float32), min(count, len(scores)))
        boxes = ops.clip_boxes(ops.decode_boxes(codes[places].astype(jnp.float32), anchors[places]))
        keep = ops.nms(boxes, best, OVERLAP)
        order = jnp.where(keep, 2.0, 1.0) + jax.nn.sigmoid(best) * 0.5
        return boxes[jax.lax.top_k(order, min(self.proposals, len(best)))[1]]


def check_regions(options: FasterRcnnOptions) -> None:
    """Refuse options of the second stage that no head can have."""
    for name in ("head_proposals", "head_units", "head_size"):
        require(getattr(options, name) >= 1, name, getattr(options, name), "must be at least 1")
    pyramid = options.head_pyramid or not options.head_published
    require(pyramid, "head_published", True, "one network for all maps needs head_pyramid, whose maps are alike")


def _head(spec: ModelSpec, options: FasterRcnnOptions) -> nn.Module:
    check_regions(options)
    return FasterRcnnHead(spec.num_classes or 0, **options.regions, **options.maps)


register_head("faster_rcnn", Head(module=_head, task=Detection, options=FasterRcnnOptions, classes=20))
