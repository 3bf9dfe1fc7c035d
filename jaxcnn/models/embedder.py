"""The head that gives each image a vector, from the last map of any backbone."""

from __future__ import annotations

from dataclasses import dataclass

import jax
import jax.numpy as jnp
from flax import linen as nn

from jaxcnn import ops
from jaxcnn.models.head import Head, register_head
from jaxcnn.nn.layers import Dense
from jaxcnn.nn.network import Maps
from jaxcnn.spec import Embedding

LARGEST_MAP = 4  # side of the map that is flattened; larger ones are averaged down to it
LEAST_SQUARE = 1e-12  # added to squared lengths: the gradient at a vector of zeros is finite


@dataclass(frozen=True)
class EmbeddingOptions:
    """Options of the head embedding.

    Args:
        dimensions: Length of the vectors. 0: the flattened map itself, without a dense layer.
        unit_length: Scale vectors to the length 1, so that distances are from 0 to 2.
    """

    dimensions: int = 64
    unit_length: bool = False


class EmbeddingHead(nn.Module):
    """A vector from the last map, flattened, by one dense layer.

    Args:
        dimensions: Length of the vectors; 0: no dense layer.
        unit_length: Scale vectors to the length 1.
    """

    dimensions: int = 64
    unit_length: bool = False

    @nn.compact
    def __call__(self, maps: Maps, train: bool = False, mask: jax.Array | None = None) -> jax.Array:
        """Map the last map (N, H, W, C) to vectors (N, D) float32."""
        x = maps[-1]
        x = ops.adaptive_avg_pool(x, (min(x.shape[1], LARGEST_MAP), min(x.shape[2], LARGEST_MAP)))
        x = x.reshape(x.shape[0], -1)
        if self.dimensions:
            x = Dense(self.dimensions, name="embedding")(x)
        x = x.astype(jnp.float32)
        return x / jnp.sqrt(jnp.square(x).sum(axis=1, keepdims=True) + LEAST_SQUARE) if self.unit_length else x


register_head(
    "embedding",
    Head(
        module=lambda spec, options: EmbeddingHead(options.dimensions, options.unit_length),
        task=Embedding,
        options=EmbeddingOptions,
    ),
)
