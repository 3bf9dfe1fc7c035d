"""Multilayer perceptrons: the images flattened, hidden dense layers, a classifier.

Reference: Rumelhart, Hinton and Williams, "Learning representations by back-propagating errors", 1986.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
from flax import linen as nn

from jaxcnn.models.family import Family
from jaxcnn.nn.layers import HE_FAN_IN, BatchNorm, Dense, Dropout
from jaxcnn.spec import ModelSpec


class DenseNet(nn.Module):
    """Hidden dense layers with ReLU over flattened images.

    Args:
        stage_sizes: Hidden layers per stage.
        stage_widths: Units of the layers of a stage.
        num_classes: Length of the logits.
        norm: Batch norm after each hidden layer, which then has no bias.
        dropout: Share of units dropped after each hidden layer.
        axis_name: Mapped axis over which batch norm shares its statistics and dropout its draw.
    """

    stage_sizes: tuple[int, ...]
    stage_widths: tuple[int, ...]
    num_classes: int
    norm: bool = False
    dropout: float = 0.0
    axis_name: str | None = None

    @nn.compact
    def __call__(self, images: jax.Array, train: bool = False, mask: jax.Array | None = None) -> jax.Array:
        """Images (N, H, W, C) to logits (N, num_classes)."""
        x, number = jnp.reshape(images, (images.shape[0], -1)), 0
        for size, width in zip(self.stage_sizes, self.stage_widths, strict=True):
            for _ in range(size):
                number += 1
                x = Dense(width, use_bias=not self.norm, kernel_init=HE_FAN_IN, name=f"dense{number}")(x)
                if self.norm:
                    x = BatchNorm(axis_name=self.axis_name, name=f"norm{number}")(x, train, mask)
                x = nn.relu(x)
                if self.dropout:
                    x = Dropout(self.dropout, self.axis_name, name=f"drop{number}")(x, train)
        return Dense(self.num_classes, name=f"dense{number + 1}")(x)


def _make(spec: ModelSpec) -> nn.Module:
    assert spec.stage_sizes
    assert spec.stage_widths
    assert spec.num_classes
    return DenseNet(
        stage_sizes=spec.stage_sizes,
        stage_widths=spec.stage_widths,
        num_classes=spec.num_classes,
        norm=bool(spec.norm),
        dropout=spec.dropout,
    )


DENSE = Family(
    make=_make,
    defaults={"stage_sizes": None, "stage_widths": None, "norm": False, "dropout": 0.0},
    rule="at least one hidden layer before its classifier (depth >= 2)",
    # One stage a layer, so that single layers can fine-tune a budget.
    stages=lambda spec: (1,) * (spec.depth - 1) if spec.depth > 1 else None,
    depth_of=lambda spec, sizes: sum(sizes) + 1,
    widths=lambda spec, stages: (spec.width,) * stages,
    image=((28, 28, 1), 10),
)
