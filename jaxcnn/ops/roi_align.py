"""RoIAlign: maps of a fixed size cut out of a feature map, bilinearly. He et al. 2017, "Mask R-CNN", section 3."""

from __future__ import annotations

from collections.abc import Sequence

import jax
import jax.numpy as jnp

from jaxcnn.ops.boxes import box_area
from jaxcnn.ops.window import Size, as_pair


def roi_align(
    features: jax.Array, boxes: jax.Array, size: Size, *, sampling: int = 2, aligned: bool = False
) -> jax.Array:
    """Cut regions out of a feature map and resample each to one size; equal to torchvision's `roi_align`.

    Bilinear interpolation is separable, so a region is `rows @ map @ columns` with two small matrices of weights,
    averaged over the samples of a bin: no gather, and gradients are products too.

    Args:
        features: (H, W, C).
        boxes: (R, 4) corners as shares of the map, which covers the whole image.
        size: Side of the resampled regions, or (height, width).
        sampling: Samples a bin and axis.
        aligned: Shift by half a pixel, so that pixels are points at their centres. False: regions are at least one
            pixel of the map wide, as in torchvision's detectors.

    Returns:
        (R, height, width, C).

    >>> roi_align(jnp.ones((4, 4, 2)), jnp.array([[0.0, 0.0, 0.5, 0.5]]), 3).shape
    (1, 3, 3, 2)
    """
    height, width = as_pair("size", size)
    rows = _weights(boxes[:, 0], boxes[:, 2], features.shape[0], height, sampling, aligned)
    columns = _weights(boxes[:, 1], boxes[:, 3], features.shape[1], width, sampling, aligned)
    return jnp.einsum("HWc,ThH,TwW->Thwc", features, rows.astype(features.dtype), columns.astype(features.dtype))


def multilevel_roi_align(
    maps: Sequence[jax.Array], boxes: jax.Array, size: Size, *, canonical: float = 1.0, sampling: int = 2
) -> jax.Array:
    """Cut each region out of the map of a pyramid whose stride fits its size. Lin et al. 2017, "FPN", equation 1.

    Args:
        maps: (H, W, C) each, the finest first, each half as large as the one before.
        boxes: (R, 4) corners as shares of the image.
        size: As for `roi_align`, like `sampling`.
        canonical: Square root of the area, as a share of the image, from which on the last map is taken; half of it and
            more: the one before, and so on.

    Returns:
        (R, height, width, C).

    >>> maps = [jnp.zeros((4, 4, 1)), jnp.ones((2, 2, 1))]
    >>> boxes = jnp.array([[0.0, 0.0, 0.25, 0.25], [0.0, 0.0, 1.0, 1.0]])
    >>> multilevel_roi_align(maps, boxes, 1).ravel().tolist()
    [0.0, 1.0]
    """
    side = jnp.sqrt(jnp.maximum(box_area(boxes), 1e-12))
    steps = jnp.floor(jnp.log2(side / canonical) + 1e-6).astype(jnp.int32)
    level = jnp.clip(steps + (len(maps) - 1), 0, len(maps) - 1)
    total = None
    for index, features in enumerate(maps):
        chosen = (level == index).astype(features.dtype)[:, None, None, None]
        part = roi_align(features, boxes, size, sampling=sampling) * chosen
        total = part if total is None else total + part
    assert total is not None
    return total


def _weights(low: jax.Array, high: jax.Array, length: int, bins: int, sampling: int, aligned: bool) -> jax.Array:
    """Return the weights (R, bins, length) of the pixels of one axis; samples further outside than a pixel count 0."""
    first, last = low * length, high * length
    if aligned:
        first, last = first - 0.5, last - 0.5
    extent = last - first if aligned else jnp.maximum(last - first, 1.0)
    steps = (jnp.arange(bins * sampling, dtype=jnp.float32) + 0.5) / (bins * sampling)
    places = first[:, None] + extent[:, None] * steps[None, :]
    inside = (places >= -1.0) & (places <= length)
    places = jnp.clip(places, 0.0, length - 1.0)
    pixels = jnp.arange(length, dtype=jnp.float32)
    # Bilinear weights are a triangle around the sample.
    weights = jnp.maximum(1.0 - jnp.abs(places[:, :, None] - pixels[None, None, :]), 0.0)
    weights = weights * inside.astype(jnp.float32)[:, :, None]
    return weights.reshape(-1, bins, sampling, length).mean(axis=2)
