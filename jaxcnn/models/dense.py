"""Multilayer perceptrons: flattened images, hidden dense layers, a classifier.

Reference: Rumelhart, Hinton and Williams, "Learning representations by back-propagating errors", 1986.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import jax
import jax.numpy as jnp
from flax import linen as nn

from jaxcnn.models.family import Family, register_family
from jaxcnn.nn.layers import HE_FAN_IN, BatchNorm, Dense, Dropout
from jaxcnn.nn.network import Maps


@dataclass(frozen=True)
class DenseOptions:
    """Options of the family dense.

    Args:
        norm: Batch norm after each hidden layer.
        dropout: Share of units dropped after each hidden layer.
    """

    norm: bool = False
    dropout: float = 0.0


class DenseNet(nn.Module):
    """Hidden dense layers with ReLU over flattened images.

    Args:
        stage_sizes: Hidden layers per stage.
        stage_widths: Units of the layers of a stage.
        norm: Batch norm after each hidden layer, which then has no bias.
        dropout: Share of units dropped after each hidden layer.
        axis_name: Mapped axis over which batch norm shares its statistics and dropout its draw.
    """

    stage_sizes: tuple[int, ...]
    stage_widths: tuple[int, ...]
    norm: bool = False
    dropout: float = 0.0
    axis_name: str | None = None

    @nn.compact
    def __call__(self, images: jax.Array, train: bool = False, mask: jax.Array | None = None) -> Maps:
        """Map images (N, H, W, C) to the units of the last hidden layer, one map of a single pixel."""
        x, number = jnp.reshape(images, (images.shape[0], math.prod(images.shape[1:]))), 0
        for size, width in zip(self.stage_sizes, self.stage_widths, strict=True):
            for _ in range(size):
                number += 1
                x = Dense(width, use_bias=not self.norm, kernel_init=HE_FAN_IN, name=f"dense{number}")(x)
                if self.norm:
                    x = BatchNorm(axis_name=self.axis_name, name=f"norm{number}")(x, train, mask)
                x = nn.relu(x)
                if self.dropout:
                    x = Dropout(self.dropout, self.axis_name, name=f"drop{number}")(x, train)
        return (x[:, None, None, :],)


class DenseHead(nn.Module):
    """The last layer of a perceptron; its name has its number, counted from the first hidden layer."""

    num_classes: int
    number: int

    @nn.compact
    def __call__(self, maps: Maps, train: bool = False, mask: jax.Array | None = None) -> jax.Array:
        """Map the last map (N, 1, 1, C) to logits (N, num_classes)."""
        return Dense(self.num_classes, name=f"dense{self.number}")(maps[-1][:, 0, 0, :])


DENSE = register_family(
    "dense",
    Family(
        backbone=lambda spec, options: DenseNet(spec.stage_sizes, spec.stage_widths, options.norm, options.dropout),
        head=lambda spec, options: DenseHead(spec.num_classes, spec.depth),
        # One stage per layer, so that single layers can fine-tune a budget.
        stages=lambda spec, options: (1,) * (spec.depth - 1) if spec.depth > 1 else None,
        depth_of=lambda spec, options, sizes: sum(sizes) + 1,
        widths=lambda spec, options, stages: (spec.width,) * stages,
        rule="at least one hidden layer before its classifier (depth >= 2)",
        image=((28, 28, 1), 10),
        options=DenseOptions,
    ),
)
