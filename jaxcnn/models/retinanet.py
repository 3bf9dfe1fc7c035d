"""The head of a dense detector whose loss is focal: two towers over a feature pyramid. Lin et al. 2017, "RetinaNet".

Layers and anchors are those of torchvision's retinanet_resnet50_fpn.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn

from jaxcnn import ops
from jaxcnn.errors import require
from jaxcnn.models.head import Head, register_head
from jaxcnn.models.ssd import detection_maps
from jaxcnn.models.yolo import PRIOR
from jaxcnn.nn.layers import HE_FAN_IN, LECUN, Conv
from jaxcnn.nn.network import Maps
from jaxcnn.spec import Detection, ModelSpec

OCTAVES, RATIOS = (0.0, 1 / 3, 2 / 3), (0.5, 1.0, 2.0)
"""Sizes of a map's anchors, as powers of two times the smallest, and their height over their width."""


@dataclass(frozen=True)
class RetinaOptions:
    """Options of the head retinanet.

    Args:
        head_stride: Smallest stride of a map that is used, in pixels of the image.
        head_width: Channels of the pyramid. Default: a quarter of those of the last map.
        head_scale: Side of the smallest square anchor of a map, in cells of the map.
        head_depth: Number of 3x3 convolutions of each tower.
    """

    head_stride: int = 8
    head_width: int | None = None
    head_scale: float = 4.0
    head_depth: int = 4


class RetinaHead(nn.Module):
    """Scores and codes of nine anchors a cell, by two towers that all maps share; two maps follow the last one.

    Parameters beside the pyramid, for c channels, K classes and depth d: 2 (9 c^2 + c) further maps, 2 d (9 c^2 + c)
    towers, and 9 (9 c + 1) (K + 4).

    Args:
        num_classes: Classes K.

    The other fields are the options, or what a pyramid alone has.
    """

    num_classes: int
    stride: int = 8
    width: int | None = None
    scale: float = 4.0
    depth: int = 4
    extras: int = 0
    pyramid: bool = True
    axis_name: str | None = None

    @nn.compact
    def __call__(
        self, maps: Maps, train: bool = False, mask: jax.Array | None = None, size: tuple[int, int] = (0, 0)
    ) -> dict[str, jax.Array]:
        """Map the maps of a backbone to logits (N, A, K), without background, codes (N, A, 4) and anchors (A, 4)."""
        used = list(detection_maps(self, maps, train, mask, size, prefix="retina"))
        channels = used[-1].shape[-1]
        for number in (1, 2):
            x = used[-1] if number == 1 else nn.relu(used[-1])
            used.append(Conv(channels, 3, stride=2, padding=1, kernel_init=LECUN, name=f"retina_extra{number}")(x))
        count, start = len(OCTAVES) * len(RATIOS), nn.initializers.constant(math.log(PRIOR / (1 - PRIOR)))
        towers = {
            name: [
                Conv(channels, 3, padding=1, kernel_init=HE_FAN_IN, name=f"retina_{name}_conv{number}")
                for number in range(1, self.depth + 1)
            ]
            for name in ("scores", "codes")
        }
        last = {
            "scores": Conv(
                count * self.num_classes, 3, padding=1, kernel_init=LECUN, bias_init=start, name="retina_scores"
            ),
            "codes": Conv(count * 4, 3, padding=1, kernel_init=LECUN, name="retina_codes"),
        }
        found: dict[str, list[jax.Array]] = {"scores": [], "codes": []}
        for name, layers in towers.items():
            for x in used:
                for layer in layers:
                    x = nn.relu(layer(x))
                values = 4 if name == "codes" else self.num_classes
                found[name].append(last[name](x).reshape(x.shape[0], -1, values))
        anchors = [self._anchors((x.shape[1], x.shape[2])) for x in used]
        return {
            "logits": jnp.concatenate(found["scores"], axis=1),
            "codes": jnp.concatenate(found["codes"], axis=1),
            "anchors": jnp.asarray(np.concatenate(anchors)),
        }

    def _anchors(self, size: tuple[int, int]) -> np.ndarray:
        shapes = [
            (side * math.sqrt(ratio) / size[0], side / math.sqrt(ratio) / size[1])
            for side in (self.scale * 2**octave for octave in OCTAVES)
            for ratio in RATIOS
        ]
        return ops.grid_anchors(size, shapes)


def _head(spec: ModelSpec, options: RetinaOptions) -> nn.Module:
    require(options.head_depth >= 0, "head_depth", options.head_depth, "must not be negative")
    return RetinaHead(
        spec.num_classes or 0, options.head_stride, options.head_width, options.head_scale, options.head_depth
    )


register_head("retinanet", Head(module=_head, task=Detection, options=RetinaOptions, classes=20))
