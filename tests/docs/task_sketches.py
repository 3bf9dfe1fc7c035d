"""The tasks that docs/architecture.md describes, as small as possible: they show that `Task` fits them.

Each is a pair (module, task) for images of 16x16 pixels.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen

from jaxcnn import nn
from jaxcnn.data.augment import example_keys
from jaxcnn.tasks import Batch, Sums, Task, cross_entropy, images_only

CLASSES = 3
CELLS = 4  # the backbone's map is 4x4
CENTRES = (np.stack(np.meshgrid(np.arange(CELLS), np.arange(CELLS), indexing="ij"), -1).reshape(-1, 2) + 0.5) / CELLS
ANCHORS = np.concatenate([CENTRES - 0.25, CENTRES + 0.25], axis=1).astype(np.float32)  # (A, 4)


class Backbone(linen.Module):
    """(N, H, W, C) to (N, H / 4, W / 4, 8), with batch norm: a mask of the wrong length would be refused."""

    @linen.compact
    def __call__(self, images, train=False, mask=None):
        x = nn.ConvNormAct(8, stride=2)(images, train, mask)
        return nn.ConvNormAct(8, stride=2)(x, train, mask)


def iou(a: jax.Array, b: jax.Array) -> jax.Array:
    """Compute the IoU of boxes (..., P, 4) and (..., Q, 4), each (ymin, xmin, ymax, xmax): (..., P, Q)."""
    a, b = a[..., :, None, :], b[..., None, :, :]
    inner = jnp.prod(jnp.maximum(jnp.minimum(a[..., 2:], b[..., 2:]) - jnp.maximum(a[..., :2], b[..., :2]), 0), axis=-1)
    whole = jnp.prod(a[..., 2:] - a[..., :2], axis=-1) + jnp.prod(b[..., 2:] - b[..., :2], axis=-1) - inner
    return inner / jnp.maximum(whole, 1e-6)


def smooth_l1(difference: jax.Array) -> jax.Array:
    """Sum the smooth L1 distance over the last axis (Girshick 2015)."""
    size = jnp.abs(difference)
    return jnp.where(size < 1, 0.5 * size**2, size - 0.5).sum(axis=-1)


def average(sums: Mapping[str, float]) -> dict[str, float]:
    """Divide every sum by the count."""
    return {name: value / max(sums["count"], 1.0) for name, value in sums.items() if name != "count"}


def save(predictions: Mapping[str, np.ndarray], split: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Keep the predictions and the labels."""
    return {**predictions, "labels": split["labels"]}


def describe(prediction: Mapping[str, np.ndarray], class_names: Sequence[str], top: int) -> dict[str, Any]:
    """Name the arrays of a prediction."""
    return {"text": ", ".join(prediction)}


class Localizer(linen.Module):
    """images (N, H, W, C) -> {"logits": (N, K), "boxes": (N, 4)}."""

    @linen.compact
    def __call__(self, images, train=False, mask=None):
        x = Backbone()(images, train, mask).reshape(images.shape[0], -1)
        return {"logits": nn.Dense(CLASSES)(x), "boxes": linen.sigmoid(nn.Dense(4)(x))}


def localization(box_weight: float = 1.0) -> Task:
    """Make the task of finding one object per image: labels (N,), boxes (N, 4)."""

    def per_example(outputs: dict, batch: Batch) -> jax.Array:
        distance = smooth_l1(outputs["boxes"] - batch["boxes"])
        return cross_entropy(outputs["logits"], batch["labels"]) + box_weight * distance

    def loss(outputs: dict, batch: Batch) -> tuple[jax.Array, jax.Array]:
        return (per_example(outputs, batch) * batch["mask"]).sum(), batch["mask"].sum()

    def sums(outputs: dict, batch: Batch) -> Sums:
        overlap = iou(outputs["boxes"][:, None], batch["boxes"][:, None])[:, 0, 0]
        right = outputs["logits"].argmax(axis=1).astype(jnp.int32) == batch["labels"]
        counted = {"loss": per_example(outputs, batch), "iou": overlap, "localised": right & (overlap >= 0.5)}
        return {k: (v.astype(jnp.float32) * batch["mask"]).sum() for k, v in counted.items()} | {
            "count": batch["mask"].sum()
        }

    def decode(outputs: dict) -> dict[str, jax.Array]:
        return {"probabilities": jax.nn.softmax(outputs["logits"]), "boxes": outputs["boxes"]}

    return Task("localization", ("labels", "boxes"), images_only, loss, sums, decode, average, save, describe)


class OneStage(linen.Module):
    """images (N, H, W, C) -> {"scores": (N, A, K + 1), "offsets": (N, A, 4)}; class 0 is background."""

    @linen.compact
    def __call__(self, images, train=False, mask=None):
        x = Backbone()(images, train, mask)
        scores = nn.Conv(CLASSES + 1, 1)(x).reshape(images.shape[0], -1, CLASSES + 1)
        return {"scores": scores, "offsets": nn.Conv(4, 1)(x).reshape(images.shape[0], -1, 4)}


def match(anchors: jax.Array, batch: Batch) -> tuple[jax.Array, jax.Array]:
    """Return the class (N, A) and the box (N, A, 4) of each anchor; boxes with the label -1 are padding."""
    overlap = jnp.where(batch["labels"][:, None, :] >= 0, iou(anchors, batch["boxes"]), 0.0)
    best = overlap.argmax(axis=-1)
    labels = jnp.take_along_axis(batch["labels"], best, axis=1) + 1
    boxes = jnp.take_along_axis(batch["boxes"], best[:, :, None], axis=1)
    return jnp.where(overlap.max(axis=-1) >= 0.3, labels, 0), boxes


def one_stage_detection(anchors: np.ndarray) -> Task:
    """Make the task of finding all objects (Liu et al. 2016): labels (N, M), -1 is padding, boxes (N, M, 4)."""
    fixed = jnp.asarray(anchors)[None]

    def parts(outputs: dict, batch: Batch) -> tuple[jax.Array, jax.Array]:
        labels, boxes = match(fixed, batch)
        flat = cross_entropy(outputs["scores"].reshape(-1, outputs["scores"].shape[-1]), labels.reshape(-1))
        matched = (labels > 0).astype(jnp.float32) * batch["mask"][:, None]
        distance = smooth_l1(fixed + outputs["offsets"] - boxes)
        return flat.reshape(labels.shape) * batch["mask"][:, None] + distance * matched, matched

    def loss(outputs: dict, batch: Batch) -> tuple[jax.Array, jax.Array]:
        total, matched = parts(outputs, batch)
        return total.sum(), matched.sum()  # by matched anchors of all devices together, as SSD does

    def sums(outputs: dict, batch: Batch) -> Sums:
        total, matched = parts(outputs, batch)
        return {"loss": total.sum(), "count": matched.sum()}

    def decode(outputs: dict) -> dict[str, jax.Array]:
        foreground = jax.nn.softmax(outputs["scores"])[:, :, 1:]
        scores, kept = jax.lax.top_k(foreground.max(axis=-1), 5)  # non-maximum suppression belongs here
        boxes = jnp.take_along_axis(fixed + outputs["offsets"], kept[:, :, None], axis=1)
        return {"scores": scores, "boxes": boxes}

    return Task("detection", ("labels", "boxes"), images_only, loss, sums, decode, average, save, describe)


class TwoStage(linen.Module):
    """images, and in training boxes and a draw -> region proposals, and scores of the pooled regions.

    Without boxes (initialisation, inference) the best proposals are taken; parameters are the same.
    """

    rois: int = 4

    @linen.compact
    def __call__(self, images, boxes=None, draw=None, train=False, mask=None):
        x = Backbone()(images, train, mask)
        objectness = nn.Conv(1, 1)(x).reshape(images.shape[0], -1)
        offsets = nn.Conv(4, 1)(x).reshape(images.shape[0], -1, 4)
        # In training a random part is sampled, by numbers that the batch brings along; in inference the best win.
        order = draw if train and draw is not None else objectness
        kept = jax.lax.top_k(order, self.rois)[1][:, :, None]
        proposals = jnp.take_along_axis(jnp.asarray(ANCHORS)[None] + offsets, kept, axis=1)
        if train and boxes is not None:
            proposals = jnp.concatenate([proposals, boxes], axis=1)
        regions = jnp.take_along_axis(x.reshape(images.shape[0], -1, 8), kept, axis=1)  # in place of RoIAlign
        regions = jnp.pad(regions, ((0, 0), (0, proposals.shape[1] - self.rois), (0, 0)), mode="edge")
        return {
            "objectness": objectness,
            "offsets": offsets,
            "proposals": jax.lax.stop_gradient(proposals),
            "scores": nn.Dense(CLASSES + 1)(regions),
        }


def two_stage_detection() -> Task:
    """Make the same task with draw (N, A) in the batch: a fixed number of samples per image. Ren et al. 2015."""

    def per_example(outputs: dict, batch: Batch) -> jax.Array:
        anchors = jnp.asarray(ANCHORS)[None]
        wanted, boxes = match(anchors, batch)
        positive = (wanted > 0).astype(jnp.float32)
        objectness = jnp.logaddexp(0.0, outputs["objectness"]) - positive * outputs["objectness"]
        distance = smooth_l1(anchors + outputs["offsets"] - boxes) * positive
        labels, _ = match(outputs["proposals"], batch)
        classes = cross_entropy(outputs["scores"].reshape(-1, outputs["scores"].shape[-1]), labels.reshape(-1))
        return (objectness + distance).mean(axis=1) + classes.reshape(labels.shape).mean(axis=1)

    def loss(outputs: dict, batch: Batch) -> tuple[jax.Array, jax.Array]:
        return (per_example(outputs, batch) * batch["mask"]).sum(), batch["mask"].sum()

    def sums(outputs: dict, batch: Batch) -> Sums:
        total, count = loss(outputs, batch)
        return {"loss": total, "count": count}

    def decode(outputs: dict) -> dict[str, jax.Array]:
        return {"scores": jax.nn.softmax(outputs["scores"]), "boxes": outputs["proposals"]}

    def inputs(batch: Batch) -> tuple:
        return batch["images"], batch["boxes"], batch.get("draw")

    return Task("detection", ("labels", "boxes"), inputs, loss, sums, decode, average, save, describe)


def draw_samples(key: jax.Array | None, batch: Batch, start: int | jax.Array) -> Batch:
    """Add the random numbers of the sampling to a batch: the `prepare` of a two-stage detector."""
    if key is None:
        return batch
    draws = jax.vmap(lambda one: jax.random.uniform(one, (len(ANCHORS),)))
    return {**batch, "draw": draws(example_keys(key, batch["images"].shape[0], start))}


class Segmenter(linen.Module):
    """images (N, H, W, C) -> logits (N, H, W, K), by resizing, as the decoder of FCN."""

    @linen.compact
    def __call__(self, images, train=False, mask=None):
        x = nn.Conv(CLASSES, 1)(Backbone()(images, train, mask))
        return jax.image.resize(x, (*images.shape[:3], CLASSES), "bilinear")


def segmentation(classes: int) -> Task:
    """Make the task of classifying every pixel: labels (N, H, W), -1 for pixels without a label."""

    def loss(logits: jax.Array, batch: Batch) -> tuple[jax.Array, jax.Array]:
        labelled = (batch["labels"] >= 0).astype(jnp.float32) * batch["mask"][:, None, None]
        flat = cross_entropy(logits.reshape(-1, classes), jnp.maximum(batch["labels"], 0).reshape(-1))
        return (flat.reshape(labelled.shape) * labelled).sum(), labelled.sum()

    def sums(logits: jax.Array, batch: Batch) -> Sums:
        total, pixels = loss(logits, batch)
        found, labelled = logits.argmax(axis=-1).astype(jnp.int32), batch["labels"] >= 0
        counts: Sums = {"loss": total, "count": pixels}
        for k in range(classes):
            a, b = (found == k) & labelled, batch["labels"] == k
            for name, area in (("intersection", a & b), ("union", a | b)):
                counts[f"{name}_{k}"] = (area.sum(axis=(1, 2)).astype(jnp.float32) * batch["mask"]).sum()
        return counts

    def metrics(sums: Mapping[str, float]) -> dict[str, float]:
        present = [k for k in range(classes) if sums[f"union_{k}"] > 0]  # absent classes are left out
        shares = [sums[f"intersection_{k}"] / sums[f"union_{k}"] for k in present]
        return {"loss": sums["loss"] / max(sums["count"], 1.0), "mean_iou": sum(shares) / max(len(present), 1)}

    def decode(logits: jax.Array) -> dict[str, jax.Array]:
        return {"classes": logits.argmax(axis=-1).astype(jnp.int32)}

    return Task("segmentation", ("labels",), images_only, loss, sums, decode, metrics, save, describe)


class Embedder(linen.Module):
    """images (N, H, W, C) -> vectors (N, D) of length one."""

    @linen.compact
    def __call__(self, images, train=False, mask=None):
        x = nn.Dense(4)(Backbone()(images, train, mask).reshape(images.shape[0], -1))
        return x / jnp.sqrt(jnp.sum(x**2, axis=1, keepdims=True) + 1e-6)


def triplet(margin: float = 0.2) -> Task:
    """Make the task of the hardest triplets inside a batch: labels (N,). Hermans et al. 2017."""

    def loss(vectors: jax.Array, batch: Batch) -> tuple[jax.Array, jax.Array]:
        distances = jnp.sum((vectors[:, None] - vectors[None]) ** 2, axis=-1)
        real = (batch["mask"][:, None] > 0) & (batch["mask"][None] > 0)
        same = (batch["labels"][:, None] == batch["labels"][None]) & real
        other = ~same & real
        same = same & ~jnp.eye(len(vectors), dtype=bool)
        furthest = jnp.where(same, distances, 0.0).max(axis=1)
        nearest = jnp.where(other, distances, 4.0).min(axis=1)
        anchors = (same.any(axis=1) & other.any(axis=1)).astype(jnp.float32)
        return (jnp.maximum(furthest - nearest + margin, 0.0) * anchors).sum(), anchors.sum()

    def sums(vectors: jax.Array, batch: Batch) -> Sums:
        total, anchors = loss(vectors, batch)
        return {"loss": total, "count": anchors}

    def decode(vectors: jax.Array) -> dict[str, jax.Array]:
        return {"vectors": vectors}

    return Task("embedding", ("labels",), images_only, loss, sums, decode, average, save, describe)


class Siamese(linen.Module):
    """Pairs (N, 2, H, W, C) -> vectors (N, 2, D): one network gets both images, so the mask is repeated."""

    @linen.compact
    def __call__(self, pairs, train=False, mask=None):
        n = pairs.shape[0]
        twice = None if mask is None else jnp.repeat(mask, 2)
        return Embedder()(pairs.reshape(2 * n, *pairs.shape[2:]), train, twice).reshape(n, 2, -1)


def siamese(margin: float = 1.0) -> Task:
    """Make the task of pairs with a contrastive loss: labels (N,), 1 for equal. Hadsell et al. 2006."""

    def per_example(vectors: jax.Array, batch: Batch) -> jax.Array:
        distance = jnp.sqrt(jnp.sum((vectors[:, 0] - vectors[:, 1]) ** 2, axis=-1) + 1e-6)
        together = batch["labels"].astype(jnp.float32)
        return together * distance**2 + (1 - together) * jnp.maximum(margin - distance, 0.0) ** 2

    def loss(vectors: jax.Array, batch: Batch) -> tuple[jax.Array, jax.Array]:
        return (per_example(vectors, batch) * batch["mask"]).sum(), batch["mask"].sum()

    def sums(vectors: jax.Array, batch: Batch) -> Sums:
        total, count = loss(vectors, batch)
        return {"loss": total, "count": count}

    def decode(vectors: jax.Array) -> dict[str, jax.Array]:
        return {"vectors": vectors}

    return Task("embedding", ("labels",), images_only, loss, sums, decode, average, save, describe)
