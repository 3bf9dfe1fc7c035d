"""The head that reads a line of text: a distribution over the characters for each column of the last map."""

from __future__ import annotations

from dataclasses import dataclass

import jax
import jax.numpy as jnp
from flax import linen as nn

from jaxcnn.models.head import Head, register_head
from jaxcnn.nn.layers import BatchNorm, Conv, Dense, Dropout
from jaxcnn.nn.network import Maps
from jaxcnn.spec import Reading


@dataclass(frozen=True)
class ReaderOptions:
    """Options of the head reader.

    Args:
        reader_width: Channels of the columns.
        reader_layers: Convolutions over neighbouring columns, 3 wide.
        reader_dropout: Share of units dropped before the last layer.
    """

    reader_width: int = 128
    reader_layers: int = 2
    reader_dropout: float = 0.0


class ReaderHead(nn.Module):
    """Stack the rows of the last map, so that it is one row of columns, and convolve along the line.

    Args:
        num_classes: Characters K.
        channels: Channels of the columns.
        layers: Convolutions over neighbouring columns.
        dropout: Share of units dropped before the last layer.
        axis_name: Mapped axis over which batch norm shares its statistics and dropout its draw.
    """

    num_classes: int
    channels: int = 128
    layers: int = 2
    dropout: float = 0.0
    axis_name: str | None = None

    @nn.compact
    def __call__(self, maps: Maps, train: bool = False, mask: jax.Array | None = None) -> jax.Array:
        """Map the last map (N, H, W, C) to logits (N, W, K + 1), one row a column; the last class is the blank."""
        x = jnp.transpose(maps[-1], (0, 2, 1, 3))
        x = x.reshape(x.shape[0], 1, x.shape[1], -1)
        for layer in range(self.layers + 1):
            size = (1, 3) if layer else 1
            x = Conv(self.channels, size, use_bias=False, name=f"column{layer}_conv")(x)
            x = nn.relu(BatchNorm(axis_name=self.axis_name, name=f"column{layer}_norm")(x, train, mask))
        x = x[:, 0]
        if self.dropout:
            x = Dropout(self.dropout, self.axis_name, name="column_drop")(x, train)
        return Dense(self.num_classes + 1, name="characters")(x)


register_head(
    "reader",
    Head(
        module=lambda spec, options: ReaderHead(
            spec.num_classes or 0, options.reader_width, options.reader_layers, options.reader_dropout
        ),
        task=Reading,
        options=ReaderOptions,
    ),
)
