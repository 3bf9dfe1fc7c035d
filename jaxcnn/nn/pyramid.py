"""A feature pyramid: maps of several strides, each of which has seen the coarser ones."""

from __future__ import annotations

import jax
from flax import linen as nn

from jaxcnn import ops
from jaxcnn.nn.layers import LECUN, Conv
from jaxcnn.nn.network import Maps


class Pyramid(nn.Module):
    """Top-down pathway with lateral connections. Lin et al. 2017, "Feature pyramid networks".

    Parameters, for maps of C_1 .. C_L channels: sum of C_l c + c (lateral, 1x1) and L (9 c^2 + c) (output, 3x3).

    Args:
        channels: Channels c of all maps out.
    """

    channels: int

    @nn.compact
    def __call__(self, maps: Maps) -> Maps:
        """Map maps (N, H, W, C_l), the finest first, to as many of the same sizes with `channels` channels."""
        lateral = [
            Conv(self.channels, 1, kernel_init=LECUN, name=f"lateral{level}")(each)
            for level, each in enumerate(maps, 1)
        ]
        merged = [lateral[-1]]
        for finer in lateral[-2::-1]:
            merged.append(finer + _enlarged(merged[-1], (finer.shape[1], finer.shape[2])))
        return tuple(
            Conv(self.channels, 3, padding=1, kernel_init=LECUN, name=f"output{level}")(each)
            for level, each in enumerate(merged[::-1], 1)
        )


def _enlarged(x: jax.Array, size: tuple[int, int]) -> jax.Array:
    """Repeat pixels to twice the size where that fits, as the paper does; else resize bilinearly."""
    if (2 * x.shape[1], 2 * x.shape[2]) != size:
        return ops.resize_bilinear(x, size)
    return x.repeat(2, axis=1).repeat(2, axis=2)
