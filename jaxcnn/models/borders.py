"""The head of an instance segmenter without boxes: whether each pixel is background, a border, or inside an object.

The inside of each object is one connected piece, as its border keeps it apart from others. Caicedo et al. 2019,
"Nucleus segmentation across imaging experiments" (the 2018 Data Science Bowl, which such a U-Net won).
"""

from __future__ import annotations

import jax
from flax import linen as nn

from jaxcnn import ops
from jaxcnn.models.head import Head, register_head
from jaxcnn.nn.layers import LECUN, Conv
from jaxcnn.nn.network import Maps
from jaxcnn.spec import Instances


class BordersHead(nn.Module):
    """A 1x1 convolution on the finest map, resized to the images. Parameters: (C + 1) (K + 2) for C channels.

    Args:
        num_classes: Classes K of objects.
    """

    num_classes: int

    @nn.compact
    def __call__(
        self, maps: Maps, train: bool = False, mask: jax.Array | None = None, size: tuple[int, int] | None = None
    ) -> dict[str, jax.Array]:
        """Map the first map (N, H / s, W / s, C) to pixels (N, *size, K + 2): logits of background, border, classes."""
        scores = Conv(self.num_classes + 2, 1, kernel_init=LECUN, name="border_scores")(maps[0])
        return {"pixels": ops.resize_bilinear(scores, size or (scores.shape[1], scores.shape[2]))}


register_head(
    "borders", Head(module=lambda spec, options: BordersHead(spec.num_classes or 0), task=Instances, classes=1)
)
