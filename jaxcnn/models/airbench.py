"""The network of the CIFAR-10 speed runs: whitened patches, blocks that begin as the identity, few and wide layers.

Reference: Jordan, "94% on CIFAR-10 in 3.29 seconds on a single GPU", 2024, arXiv:2404.00498, section 3.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn

from jaxcnn import ops
from jaxcnn.errors import InputError
from jaxcnn.models.family import Family, register_family, spread
from jaxcnn.nn.layers import BatchNorm, Conv, Dense, MaxPool
from jaxcnn.nn.network import Maps

PATCH = 2  # side of the patches that the first layer whitens
GROWTH = 4  # channels of later stages over those of the first
HEAD_SCALE = 1 / 9  # the head's outputs are shrunk so that training begins with small logits
MOMENTUM, EPSILON = 0.6, 1e-12  # of batch norm: running statistics that follow a short run
UNIFORM = nn.initializers.variance_scaling(1 / 3, "fan_in", "uniform")  # PyTorch's default


def partial_identity(key: jax.Array, shape: Sequence[int], dtype: Any = jnp.float32) -> jax.Array:
    """Draw a kernel (height, width, in, out) whose first `in` filters pass their channel on; the rest is uniform."""
    kernel = UNIFORM(key, tuple(shape), dtype)
    height, width, channels, filters = shape
    passed = min(channels, filters)
    identity = jnp.zeros((height, width, channels, passed), dtype).at[height // 2, width // 2].set(
        jnp.eye(channels, passed, dtype=dtype)
    )  # fmt: skip
    return kernel.at[..., :passed].set(identity)


class AirbenchNet(nn.Module):
    """Whitening layer and stages of 3x3 convolutions with GELU.

    Each stage's first convolution is followed by 2x2 max pooling; every convolution by batch norm and GELU.
    The whitening layer, 2x2 with two filters a component, and the norms' scales are meant to stay as they begin:
    OptimizerConfig(frozen=("whiten/kernel", "scale")).

    Args:
        stage_sizes: Convolutions per stage.
        stage_widths: Channels per stage.
        axis_name: Mapped axis over which batch norm shares its statistics.
    """

    stage_sizes: tuple[int, ...]
    stage_widths: tuple[int, ...]
    axis_name: str | None = None

    @nn.compact
    def __call__(self, images: jax.Array, train: bool = False, mask: jax.Array | None = None) -> Maps:
        """Map images (N, H, W, C) to the maps of all stages; raises InputError where the images are too small."""
        self._check_size(images)
        maps = []
        filters = 2 * PATCH * PATCH * images.shape[-1]
        x = nn.gelu(
            Conv(filters, PATCH, padding="VALID", kernel_init=UNIFORM, name="whiten")(images), approximate=False
        )
        number = 0
        for stage, (size, width) in enumerate(zip(self.stage_sizes, self.stage_widths, strict=True), start=1):
            for block in range(size):
                number += 1
                x = Conv(width, use_bias=False, kernel_init=partial_identity, name=f"conv{number}")(x)
                if block == 0:
                    x = MaxPool(2, name=f"pool{stage}")(x)
                x = BatchNorm(MOMENTUM, EPSILON, self.axis_name, name=f"norm{number}")(x, train, mask)
                x = nn.gelu(x, approximate=False)
            maps.append(x)
        return tuple(maps)

    @nn.nowrap
    def data_init(self, params: Mapping[str, Any], images: jax.Array) -> dict[str, Any]:
        """Return the initial parameters with a first kernel that whitens the patches of `images`.

        Args:
            params: As `init` draws them.
            images: Training images (N, H, W, C), normalised as the network will see them.
        """
        return {**params, "whiten": {**params["whiten"], "kernel": ops.whitening_kernel(images, PATCH)}}

    def _check_size(self, images: jax.Array) -> None:
        least = PATCH - 1 + 2 ** len(self.stage_sizes)
        if images.ndim != 4 or min(images.shape[1:3]) < least:
            raise InputError(
                f"images of shape {images.shape}: {len(self.stage_sizes)} stages need (N, H, W, C) of at least "
                f"{least}x{least} pixels; use data.size={least} or larger, or fewer stages (stage_sizes)"
            )


class AirbenchHead(Dense):
    """Maximum over the last map and a linear layer, its logits scaled down; the fields are those of `Dense`."""

    def __call__(  # type: ignore[override]
        self, maps: Maps, train: bool = False, mask: jax.Array | None = None
    ) -> jax.Array:
        """Map the last map (N, H, W, C) to logits (N, features)."""
        return HEAD_SCALE * super().__call__(ops.global_max_pool(maps[-1]))


register_family(
    "airbench",
    Family(
        backbone=lambda spec, options: AirbenchNet(spec.stage_sizes, spec.stage_widths),
        head=lambda spec, options: AirbenchHead(spec.num_classes, use_bias=False, kernel_init=UNIFORM),
        stages=lambda spec, options: spread(spec.depth - 2, min(3, spec.depth - 2)) if spec.depth > 2 else None,
        depth_of=lambda spec, options, sizes: sum(sizes) + 2,
        widths=lambda spec, options, stages: (spec.width, *(GROWTH * spec.width,) * (stages - 1)),
        rule="at least one convolution between its whitening layer and its head (depth >= 3)",
        image=((32, 32, 3), 10),
    ),
)
