"""Loss and instances of the head `borders`: the kind of each pixel; connected insides are the objects.

Reference: Caicedo et al. 2019, "Nucleus segmentation across imaging experiments", the U-Net with three kinds of pixels.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np

from jaxcnn.spec import Detection
from jaxcnn.tasks.anchor_loss import Parts, true_labels
from jaxcnn.tasks.mask_loss import mask_targets
from jaxcnn.tasks.task import Batch

BACKGROUND, BORDER, INSIDE = 0, 1, 2
"""Kinds of pixels; the k-th class of objects is INSIDE + k."""
WEIGHTS = (1.0, 4.0, 2.0)
"""Weight of a pixel in the loss by its kind: the few that keep objects apart count most."""
SURE = 0.85
"""Probability of a pixel that is certainly inside, chosen with GROWN on the validation images of nuclei.

With a run of experiments/nuclei.py, `jaxcnn evaluate RUN --split validation` gives an instance AP of 0.739 with 0.75
here, 0.746 with 0.85, 0.696 with 0.9."""
GROWN = 3
"""Pixels by which what is certainly inside grows into the object around it."""
SMALLEST = 4
"""Pixels of an inside below which it is no object."""
SIDE = 28
"""Side of the mask of an object, which covers its box: that of the published Mask R-CNN."""


def border_targets(instances: jax.Array, labels: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Return the kind of each pixel int32 (H, W), and whether it counts.

    A pixel of an object is border if one of its four neighbours is not of that object. Pixels of an object that does
    not count, such as a crowd, do not count.

    Args:
        instances: (H, W) int, number of the object that each pixel shows, 0 for none.
        labels: (M,) int, class of each object, negative for one that does not count.

    >>> kinds, counts = border_targets(jnp.array([[1, 1, 1, 2, 2, 0]]), jnp.array([0, -1]))
    >>> kinds.tolist(), counts.tolist()
    ([[2, 2, 1, 1, 1, 0]], [[True, True, True, False, False, True]])
    """
    number = instances.astype(jnp.int32)
    apart = jnp.zeros(number.shape, bool)
    for beside in _neighbours(number):
        apart |= beside != number
    classes = jnp.concatenate([jnp.zeros(1, jnp.int32), labels.astype(jnp.int32)])
    label = classes[jnp.clip(number, 0, len(labels))]
    kind = jnp.where(number == 0, BACKGROUND, jnp.where(apart, BORDER, INSIDE + jnp.maximum(label, 0)))
    return kind.astype(jnp.int32), label >= 0


def border_parts(outputs: dict[str, jax.Array], batch: Batch, config: Detection) -> Parts:
    """Compute the weighted mean cross-entropy of the pixels of each image.

    Args:
        outputs: pixels (N, H, W, K + 2), logits.
        batch: labels (N, M), instances (N, H, W), and crowd (N, M) if there are any.
        config: Not used.
    """
    labels = true_labels(batch)
    kinds, counts = jax.vmap(border_targets)(batch["instances"], labels)
    log_p = jax.nn.log_softmax(outputs["pixels"].astype(jnp.float32))
    entropy = -jnp.take_along_axis(log_p, kinds[..., None], axis=-1)[..., 0]
    weight = jnp.asarray(WEIGHTS)[jnp.minimum(kinds, INSIDE)] * counts.astype(jnp.float32)
    total = weight.sum(axis=(1, 2))
    mean = (entropy * weight).sum(axis=(1, 2)) / jnp.where(total > 0, total, 1.0)
    ones = jnp.ones_like(mean)
    return Parts(mean, jnp.zeros_like(mean), ones, (labels >= 0).sum(axis=1).astype(jnp.float32))


def border_instances(outputs: dict[str, jax.Array], config: Detection) -> dict[str, jax.Array]:
    """Return the largest objects of each image, the surest first, as the task `instances` decodes them.

    Connected pixels that are certainly inside are an object, which then grows into the pixels around it that are not
    background. The score of an object is the mean probability of its class inside.
    """
    return jax.vmap(lambda pixels: _objects(pixels.astype(jnp.float32), config))(outputs["pixels"])


def connected(inside: jax.Array) -> jax.Array:
    """Return the connected pieces of a mask bool (H, W), int32: the same number above 0 at all pixels of a piece.

    Each pixel takes the largest number of its four neighbours until nothing changes: as many passes as the longest way
    through a piece.

    >>> connected(jnp.array([[True, True, False, True]])).tolist()
    [[2, 2, 0, 4]]
    """
    places = jnp.arange(1, inside.size + 1, dtype=jnp.int32).reshape(inside.shape)

    def once(state: tuple[jax.Array, jax.Array]) -> tuple[jax.Array, jax.Array]:
        number, _ = state
        new = jnp.where(inside, _largest(number), 0)
        return new, (new != number).any()

    return jax.lax.while_loop(lambda state: state[1], once, (jnp.where(inside, places, 0), inside.any()))[0]


def _objects(logits: jax.Array, config: Detection) -> dict[str, jax.Array]:
    """Return the objects of one image from its logits (H, W, K + 2)."""
    height, width, _ = logits.shape
    p, kind = jax.nn.softmax(logits), logits.argmax(axis=-1)
    pieces = connected((kind >= INSIDE) & (p[..., INSIDE:].max(axis=-1) > SURE))
    areas = jnp.zeros(height * width + 1, jnp.int32).at[pieces.reshape(-1)].add(1).at[0].set(0)
    count = min(config.detections, height * width)
    area, numbers = jax.lax.top_k(areas, count)
    # Objects have numbers 1 to count from here on; all other pieces are 0.
    named = jnp.zeros(len(areas), jnp.int32).at[jnp.where(area >= SMALLEST, numbers, len(areas))].set(
        jnp.arange(1, count + 1, dtype=jnp.int32), mode="drop", unique_indices=False
    )  # fmt: skip
    inner = named[pieces]
    whole = inner
    for _ in range(GROWN):
        whole = jnp.where((whole == 0) & (kind != BACKGROUND), _largest(whole), whole)
    of_classes = jax.ops.segment_sum(p[..., INSIDE:].reshape(height * width, -1), inner.reshape(-1), count + 1)[1:]
    real = area >= SMALLEST
    mean = of_classes / jnp.maximum(area, 1).astype(jnp.float32)[:, None]
    scores = jnp.where(real, mean.max(axis=1), 0.0)
    rows, columns = (
        jnp.broadcast_to(jnp.arange(side, dtype=jnp.float32).reshape(shape), (height, width)).reshape(-1)
        for side, shape in ((height, (-1, 1)), (width, (1, -1)))
    )
    low = [jax.ops.segment_min(each, whole.reshape(-1), count + 1)[1:] for each in (rows, columns)]
    high = [jax.ops.segment_max(each, whole.reshape(-1), count + 1)[1:] + 1 for each in (rows, columns)]
    boxes = jnp.stack([low[0] / height, low[1] / width, high[0] / height, high[1] / width], axis=1)
    boxes = jnp.where(real[:, None], boxes, 0.0)  # a number without a pixel has infinite limits
    masks = mask_targets(whole, boxes, jnp.arange(1, count + 1, dtype=jnp.int32), SIDE)
    found = {
        "boxes": boxes, "scores": scores, "labels": jnp.where(real, mean.argmax(axis=1).astype(jnp.int32), -1),
        "mask_boxes": boxes, "masks": jnp.where(real[:, None, None], 255.0 * masks, 0.0).astype(jnp.uint8),
    }  # fmt: skip
    order, padding = jnp.argsort(-scores, stable=True), config.detections - count
    fill = {"labels": -1}
    return {
        name: jnp.pad(
            each[order], ((0, padding), *[(0, 0)] * (each.ndim - 1)),
            constant_values=np.asarray(fill.get(name, 0), each.dtype),
        )
        for name, each in found.items()
    }  # fmt: skip


def _largest(number: jax.Array) -> jax.Array:
    """Return the largest of each pixel (H, W) and its four neighbours."""
    above, below, before, after = _neighbours(number)
    return jnp.maximum(number, jnp.maximum(jnp.maximum(above, below), jnp.maximum(before, after)))


def _neighbours(number: jax.Array) -> list[jax.Array]:
    """Return the four neighbours of each pixel (H, W); beyond the edge, the pixel itself."""
    padded = jnp.pad(number, 1, mode="edge")
    return [padded[:-2, 1:-1], padded[2:, 1:-1], padded[1:-1, :-2], padded[1:-1, 2:]]
