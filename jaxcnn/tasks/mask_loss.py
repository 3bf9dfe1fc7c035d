"""The loss of the masks of regions: cross-entropy of each pixel, at the class of the matched object. He et al. 2017."""

from __future__ import annotations

import jax
import jax.numpy as jnp

from jaxcnn import ops
from jaxcnn.tasks.anchor_loss import true_labels
from jaxcnn.tasks.proposal_loss import REGION
from jaxcnn.tasks.task import Batch


def mask_loss(outputs: dict[str, jax.Array], batch: Batch) -> jax.Array:
    """Compute the mean loss (N,) of the masks of each image, over pixels and over the regions that hold an object.

    Args:
        outputs: mask_boxes (N, R, 4) and masks (N, R, S, S, K), logits.
        batch: labels (N, M), boxes (N, M, 4), instances (N, H, W), and crowd (N, M) if there are any.
    """

    def one(
        regions: jax.Array, logits: jax.Array, boxes: jax.Array, labels: jax.Array, instances: jax.Array
    ) -> jax.Array:
        match = ops.match_anchors(regions, boxes, labels, foreground=REGION, force=False)
        found, box = (match >= 0).astype(jnp.float32), jnp.maximum(match, 0)
        of_class = take_class(logits.astype(jnp.float32), labels[box])
        target = mask_targets(instances, regions, box + 1, logits.shape[1])
        entropy = (jnp.logaddexp(0.0, of_class) - target * of_class).mean(axis=(1, 2))
        return (entropy * found).sum() / jnp.maximum(found.sum(), 1.0)

    return jax.vmap(one)(
        outputs["mask_boxes"], outputs["masks"], batch["boxes"], true_labels(batch), batch["instances"]
    )


def mask_targets(instances: jax.Array, regions: jax.Array, numbers: jax.Array, size: int) -> jax.Array:
    """Return what is seen of one object in each region: float32 (R, size, size) of 0 and 1.

    Each value is that of the pixel under the middle of its cell. No mask of a whole image is formed.

    Args:
        instances: (H, W) int, number of the object that each pixel shows.
        regions: (R, 4) corners as shares of the image.
        numbers: (R,) int, the number of the object of each region.
        size: Side of a mask.

    >>> instances = jnp.array([[1, 1, 2, 2]] * 4)
    >>> mask_targets(instances, jnp.array([[0.0, 0.25, 1.0, 0.75]]), jnp.array([2]), 2).tolist()
    [[[0.0, 1.0], [0.0, 1.0]]]
    """
    steps = (jnp.arange(size, dtype=jnp.float32) + 0.5) / size
    places = []
    for axis, side in enumerate(instances.shape):
        low, high = regions[:, axis, None], regions[:, axis + 2, None]
        pixels = jnp.floor((low + (high - low) * steps[None, :]) * side).astype(jnp.int32)
        places.append(jnp.clip(pixels, 0, side - 1))
    seen = instances[places[0][:, :, None], places[1][:, None, :]].astype(jnp.int32)
    return (seen == numbers[:, None, None]).astype(jnp.float32)


def take_class(masks: jax.Array, labels: jax.Array) -> jax.Array:
    """Return the mask (R, S, S) of one class from those of all (R, S, S, K); negative labels are taken as 0."""
    return jnp.take_along_axis(masks, jnp.maximum(labels, 0)[:, None, None, None], axis=-1)[..., 0]
