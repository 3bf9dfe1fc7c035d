"""The head of a single-shot detector, over the maps of any backbone. Liu et al. 2016, "SSD"."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn

from jaxcnn import ops
from jaxcnn.errors import InputError
from jaxcnn.models.head import Head, register_head
from jaxcnn.nn.blocks import ConvNormAct
from jaxcnn.nn.layers import LECUN, Conv
from jaxcnn.nn.network import Maps
from jaxcnn.nn.pyramid import Pyramid
from jaxcnn.spec import Detection, ModelSpec

RATIOS = (2.0,)


@dataclass(frozen=True)
class DetectorOptions:
    """Options of the maps of any detector over a backbone.

    Args:
        head_stride: Smallest stride of a map that is used, in pixels of the image.
        head_extras: Number of further maps, each with half the side of the one before.
        head_width: Channels of the further maps and of the pyramid. Default: a quarter of those of the last map.
        head_pyramid: Let the finer maps see the coarser ones (FPN). False: each map alone, as in the SSD paper;
            faster_rcnn: regions are cut out of the finest map alone.
    """

    head_stride: int = 4
    head_extras: int = 0
    head_width: int | None = None
    head_pyramid: bool = True

    @property
    def maps(self) -> dict[str, Any]:
        """The same, by the names that modules have for them."""
        return {"stride": self.head_stride, "extras": self.head_extras, "width": self.head_width,
                "pyramid": self.head_pyramid}  # fmt: skip


@dataclass(frozen=True)
class SsdOptions(DetectorOptions):
    """Options of the head ssd.

    Args:
        head_scale: Side of the square anchors of a map, in cells of the map.
    """

    head_scale: float = 3.0


class SsdHead(nn.Module):
    """Scores and codes of the anchors of several maps, by 3x3 convolutions.

    Each cell has four anchors: two squares, of sides s and s sqrt(2) for s = scale cells, and two of side s with the
    ratios 2 and 1/2. Parameters: 9 c a (K + 1 + 4) + a (K + 1 + 4) a map, for c channels, a anchors and K classes.

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
    axis_name: str | None = None

    @nn.compact
    def __call__(
        self, maps: Maps, train: bool = False, mask: jax.Array | None = None, size: tuple[int, int] = (0, 0)
    ) -> dict[str, jax.Array]:
        """Map the maps of a backbone to scores (N, A, K + 1), background first, codes (N, A, 4) and anchors (A, 4)."""
        used = detection_maps(self, maps, train, mask, size, prefix="ssd")
        anchors = [
            ops.grid_anchors((x.shape[1], x.shape[2]), anchor_shapes_of((x.shape[1], x.shape[2]), self.scale))
            for x in used
        ]
        return judge_anchors(used, anchors, self.num_classes)


def judge_anchors(maps: Maps, anchors: Sequence[np.ndarray], classes: int) -> dict[str, jax.Array]:
    """Return scores, codes and anchors of an SSD, by a convolution for each map; call it within a module.

    Args:
        maps: (N, H, W, C) each.
        anchors: (H W a, 4) of each map, cell by cell.
        classes: Number of classes, without background.
    """
    scores, codes = [], []
    for level, (x, its) in enumerate(zip(maps, anchors, strict=True), 1):
        n, height, width, _ = x.shape
        count = len(its) // (height * width)
        named = Conv(count * (classes + 1), 3, padding=1, kernel_init=LECUN, name=f"ssd_scores{level}")(x)
        boxes = Conv(count * 4, 3, padding=1, kernel_init=LECUN, name=f"ssd_codes{level}")(x)
        scores.append(named.reshape(n, len(its), classes + 1))
        codes.append(boxes.reshape(n, len(its), 4))
    return {
        "scores": jnp.concatenate(scores, axis=1),
        "codes": jnp.concatenate(codes, axis=1),
        "anchors": jnp.asarray(np.concatenate(anchors)),
    }


def detection_maps(
    head: Any, maps: Maps, train: bool, mask: jax.Array | None, size: tuple[int, int], prefix: str
) -> Maps:
    """Return the maps that a detector looks at: those of a backbone from a stride on, more of them, as a pyramid.

    It makes submodules of `head`, whose fields stride, extras, width, pyramid and axis_name it reads.

    Raises:
        InputError: The backbone has no map of such a stride.
    """
    height = size[0] or maps[0].shape[1]
    used = [x for x in maps if round(height / x.shape[1]) >= head.stride]
    if not used:
        coarsest = round(height / maps[-1].shape[1])
        raise InputError(
            f"head_stride={head.stride}: the coarsest map of the backbone has stride {coarsest}; lower head_stride, or "
            "take a backbone with more stages"
        )
    width = head.width or max(1, used[-1].shape[-1] // 4)
    for number in range(1, head.extras + 1):
        extra = ConvNormAct(width, 3, stride=2, axis_name=head.axis_name, name=f"{prefix}_extra{number}")
        used.append(extra(used[-1], train, mask))
    return Pyramid(width, name=f"{prefix}_pyramid")(tuple(used)) if head.pyramid else tuple(used)


def anchor_shapes_of(map_size: tuple[int, int], scale: float) -> list[tuple[float, float]]:
    """Return the (height, width) of a map's anchors as shares of the image, so that squares are squares in cells."""
    shapes = ops.anchor_shapes(scale, 2 * scale, RATIOS)
    return [(height / map_size[0], width / map_size[1]) for height, width in shapes]


def _head(spec: ModelSpec, options: SsdOptions) -> nn.Module:
    return SsdHead(spec.num_classes or 0, scale=options.head_scale, **options.maps)


register_head("ssd", Head(module=_head, task=Detection, options=SsdOptions, classes=20))
