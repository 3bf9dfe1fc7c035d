"""The head that finds one object: its class and its box, from the last map of any backbone."""

from __future__ import annotations

from dataclasses import dataclass

import jax
import jax.numpy as jnp
from flax import linen as nn

from jaxcnn import ops
from jaxcnn.models.head import Head, register_head
from jaxcnn.nn.blocks import ConvNormAct
from jaxcnn.nn.layers import Dense, Dropout
from jaxcnn.nn.network import Maps
from jaxcnn.spec import Localization

LARGEST_MAP = 8  # side of the map that is flattened; larger ones are averaged down to it


@dataclass(frozen=True)
class LocalizerOptions:
    """Options of the head localizer.

    Args:
        head_width: Channels of the map that is flattened for the box.
        head_dropout: Share of units dropped before the last layers.
    """

    head_width: int = 16
    head_dropout: float = 0.0


class LocalizerHead(nn.Module):
    """Class from the average of the last map; box from the map itself, narrowed and flattened: places matter.

    Args:
        num_classes: Classes K.
        channels: Channels of the flattened map.
        dropout: Share of units dropped before the last layers.
        axis_name: Mapped axis over which batch norm shares its statistics and dropout its draw.
    """

    num_classes: int
    channels: int = 16
    dropout: float = 0.0
    axis_name: str | None = None

    @nn.compact
    def __call__(self, maps: Maps, train: bool = False, mask: jax.Array | None = None) -> dict[str, jax.Array]:
        """Map the last map (N, H, W, C) to {"logits": (N, K), "boxes": (N, 4)}.

        Boxes are (ymin, xmin, ymax, xmax) as shares of the image, from a centre and sides between 0 and 1.
        """
        x = maps[-1]
        places = ConvNormAct(self.channels, 1, axis_name=self.axis_name, name="box_conv")(x, train, mask)
        sides = min(places.shape[1], LARGEST_MAP), min(places.shape[2], LARGEST_MAP)
        places = ops.adaptive_avg_pool(places, sides).reshape(x.shape[0], -1)
        pooled = ops.global_avg_pool(x)
        if self.dropout:
            places, pooled = (
                Dropout(self.dropout, self.axis_name, name=name)(each, train)
                for name, each in (("box_drop", places), ("class_drop", pooled))
            )
        centres = nn.sigmoid(Dense(4, name="box")(places).astype(jnp.float32))
        return {"logits": Dense(self.num_classes, name="classes")(pooled), "boxes": ops.box_corners(centres)}


register_head(
    "localizer",
    Head(
        module=lambda spec, options: LocalizerHead(spec.num_classes or 0, options.head_width, options.head_dropout),
        task=Localization,
        options=LocalizerOptions,
    ),
)
