"""The head of an anchor-free single-shot detector: each cell tells its object's distances to the four sides.

Without anchors there is nothing to fit to a data set, and nothing that a study of depth and width would have to hold
fixed. References: Redmon et al. 2016, "You only look once" (the cell at the centre finds the object); Tian et al. 2019,
"FCOS" (distances to the sides, a stride for each size); Ge et al. 2021, "YOLOX" (objectness, several centre cells).
"""

from __future__ import annotations

from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn

from jaxcnn.models.head import Head, register_head
from jaxcnn.models.ssd import DetectorOptions, detection_maps
from jaxcnn.nn.layers import LECUN, BatchNorm, Conv
from jaxcnn.nn.network import Maps
from jaxcnn.spec import Detection, ModelSpec

PRIOR = 0.01
"""Score of every cell at the start: most cells are background, whose loss would swamp the rest (Lin et al. 2017)."""


@dataclass(frozen=True)
class YoloOptions(DetectorOptions):
    """Options of the head yolo.

    Args:
        head_depth: Number of 3x3 convolutions before the outputs, shared by all maps.
    """

    head_depth: int = 1


class YoloHead(nn.Module):
    """A score for each class and the four distances of each cell of several maps.

    Parameters, for L maps of c channels: depth (9 c^2 + 2 c L), and 9 c (K + 4) + K + 4 for K classes.

    Args:
        num_classes: Classes K.

    The other fields are the options; axis_name is the mapped axis over which batch norm shares its statistics.
    """

    num_classes: int
    stride: int = 4
    extras: int = 0
    width: int | None = None
    pyramid: bool = True
    depth: int = 1
    axis_name: str | None = None

    @nn.compact
    def __call__(
        self, maps: Maps, train: bool = False, mask: jax.Array | None = None, size: tuple[int, int] = (0, 0)
    ) -> dict[str, jax.Array]:
        """Map the maps of a backbone to scores and distances of A cells.

        Returns:
            scores: (N, A, K) logits, one a class, without background.
            distances: (N, A, 4) logarithms of the distances from the centre of the cell to the top, left, bottom and
                right side, in cells.
            cells: (A, 4), y and x of the centre and height and width of the cell, as shares of the image.
        """
        used = detection_maps(self, maps, train, mask, size, prefix="yolo")
        start = nn.initializers.constant(float(np.log(PRIOR / (1 - PRIOR))))
        tower = [Conv(used[0].shape[-1], 3, padding=1, use_bias=False, name=f"yolo_conv{i}") for i in
                 range(1, self.depth + 1)]  # fmt: skip
        classes = Conv(self.num_classes, 3, padding=1, kernel_init=LECUN, bias_init=start, name="yolo_scores")
        sides = Conv(4, 3, padding=1, kernel_init=LECUN, name="yolo_distances")
        scores, distances, cells = [], [], []
        shared = self.pyramid or len({x.shape[-1] for x in used}) == 1
        for level, x in enumerate(used, 1):
            if not shared:
                x = Conv(used[0].shape[-1], 1, kernel_init=LECUN, name=f"yolo_level{level}")(x)
            for index, layer in enumerate(tower, 1):
                # Each map has a norm of its own: running statistics of all maps together would fit none of them.
                norm = BatchNorm(axis_name=self.axis_name, name=f"yolo_norm{index}_level{level}")
                x = nn.relu(norm(layer(x), train, mask))
            n, height, width, _ = x.shape
            scores.append(classes(x).reshape(n, height * width, self.num_classes))
            distances.append(sides(x).reshape(n, height * width, 4))
            cells.append(grid_cells((height, width)))
        return {
            "scores": jnp.concatenate(scores, axis=1),
            "distances": jnp.concatenate(distances, axis=1),
            "cells": jnp.asarray(np.concatenate(cells)),
        }


def grid_cells(map_size: tuple[int, int]) -> np.ndarray:
    """Return the cells of a map, row by row: float32 (H W, 4), centre y, x, height and width as shares of the image."""
    height, width = map_size
    y, x = np.meshgrid((np.arange(height) + 0.5) / height, (np.arange(width) + 0.5) / width, indexing="ij")
    sides = np.broadcast_to([1 / height, 1 / width], (height * width, 2))
    return np.concatenate([np.stack([y.ravel(), x.ravel()], axis=1), sides], axis=1).astype(np.float32)


def _head(spec: ModelSpec, options: YoloOptions) -> nn.Module:
    return YoloHead(spec.num_classes or 0, depth=options.head_depth, **options.maps)


register_head("yolo", Head(module=_head, task=Detection, options=YoloOptions, classes=20))
