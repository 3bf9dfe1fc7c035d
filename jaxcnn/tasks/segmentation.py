"""Semantic segmentation: the class of each pixel; cross-entropy, the Dice loss, or both.

References: Long, Shelhamer and Darrell 2015 (cross-entropy and the metrics); Milletari, Navab and Ahmadi, "V-Net", 2016
(Dice loss); Eigen and Fergus, "Predicting depth, surface normals and semantic labels", 2015, section 4.3 (median
frequency).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxcnn.errors import InputError, require
from jaxcnn.spec import Segmentation
from jaxcnn.tasks.task import Arrays, Batch, Sums, Task, images_only, register_task

SMOOTH = 1.0  # pixels added to both sides of the Dice coefficient, so that it is defined where a class has none
MOST_CLASSES = 255  # a mask is stored in 8 bits, and 255 is the label of pixels without a class


def segmentation(config: Segmentation | None = None) -> Task:
    """Make the task of naming each pixel's class; batches hold `images`, `labels` (N, H, W) and `mask` (N,) float32.

    Outputs are logits (N, H, W, K). A pixel counts if its label is a class, 0 to K - 1, and not `config.ignore`. The
    reported `loss` is the cross-entropy over all pixels that count, neither weighted nor with Dice, so that runs
    compare. Nothing is ever NaN: images without a pixel that counts have the loss 0 and the weight 0.

    Args:
        config: Its options, class weights as numbers. Cross-entropy weighs each pixel by its label's weight, in the
            loss and in its divisor; Dice each class of an image.

    Raises:
        InputError: Weights that are negative, not finite or all zero.

    >>> sums = {"loss": 8.0, "count": 16.0, "hits_0": 4.0, "labelled_0": 8.0, "named_0": 6.0}
    >>> sums |= {"hits_1": 6.0, "labelled_1": 8.0, "named_1": 10.0}
    >>> segmentation().metrics(sums)
    {'loss': 0.5, 'accuracy': 0.625, 'mean_iou': 0.45}
    """
    config = Segmentation() if config is None else config
    given = config.class_weights
    if isinstance(given, tuple):
        usable = all(math.isfinite(weight) and weight >= 0.0 for weight in given)
        require(usable, "class_weights", given, "every weight must be a finite number of at least 0")
        none = "all are 0, so nothing would be learned; give one above 0"
        require(any(given), "class_weights", given, none)

    def read(logits: jax.Array, batch: Batch) -> tuple[jax.Array, jax.Array, jax.Array]:
        """Return log-probabilities (N, H, W, K), one-hot labels, zero where a pixel does not count, and what counts."""
        labels, mask = batch["labels"], batch["mask"]
        if logits.ndim != 4 or logits.shape[:3] != labels.shape:
            raise InputError(
                f"outputs of shape {logits.shape}: segmentation needs logits (N, height, width, classes) for labels of "
                f"shape {labels.shape}; choose a model for it, such as unet, or head='fcn'"
            )
        classes = jnp.arange(logits.shape[-1], dtype=jnp.int32)
        labels = labels.astype(jnp.int32)[..., None]
        counted = (labels != config.ignore) & (mask > 0)[:, None, None, None]
        targets = ((labels == classes.reshape(1, 1, 1, -1)) & counted).astype(jnp.float32)
        return jax.nn.log_softmax(logits.astype(jnp.float32)), targets, targets.sum(axis=-1)

    def weights(classes: int) -> jax.Array:
        if isinstance(given, str):
            raise InputError(f"class_weights={given!r}: it needs the data; call jaxcnn.tasks.resolve_task first")
        if given is not None and len(given) != classes:
            raise InputError(f"class_weights={given}: give one weight for each of {classes} classes")
        return jnp.ones(classes, jnp.float32) if given is None else jnp.array(given, jnp.float32)

    def loss(logits: jax.Array, batch: Batch) -> tuple[jax.Array, jax.Array]:
        log_p, targets, _ = read(logits, batch)
        by_class = weights(logits.shape[-1])
        weighted = targets * by_class.reshape(1, 1, 1, -1)
        per_image, weight = -(weighted * log_p).sum(axis=(1, 2, 3)), weighted.sum(axis=(1, 2, 3))
        if config.loss == "cross_entropy":
            return per_image.sum(), weight.sum()
        dice, present = _dice_loss(jnp.exp(log_p), targets, by_class)
        total = dice if config.loss == "dice" else dice + per_image / jnp.where(weight > 0, weight, 1.0)
        return total.sum(), present.sum()

    def sums(logits: jax.Array, batch: Batch) -> Sums:
        log_p, targets, counted = read(logits, batch)
        classes = logits.shape[-1]
        named = jax.nn.one_hot(logits.argmax(axis=-1), classes, dtype=jnp.float32) * counted[..., None]
        counts: Sums = {"loss": -(targets * log_p).sum(), "count": _pixels(counted[..., None])[0]}
        for name, pixels in (("hits", targets * named), ("labelled", targets), ("named", named)):
            by_class = _pixels(pixels)
            counts |= {f"{name}_{k}": by_class[k] for k in range(classes)}
        return counts

    return Task(
        "segmentation", ("labels",), images_only, loss, sums, _decode, _metrics,
        lambda predictions, split: _save(predictions, split, config.ignore), _describe,
        details=lambda predictions, split: _details(predictions, split, config.ignore), ranks=(2,),
    )  # fmt: skip


def _dice_loss(p: jax.Array, targets: jax.Array, weights: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Compute 1 - Dice of each image, a weighted mean over the classes that it has, and whether it has any: (N,), (N,).

    Dice of a class is (2 sum p g + 1) / (sum p + sum g + 1), over the pixels that count.
    """
    counted = targets.sum(axis=-1, keepdims=True)
    both, areas = (p * targets).sum(axis=(1, 2)), (p * counted + targets).sum(axis=(1, 2))
    has = (targets.sum(axis=(1, 2)) > 0).astype(jnp.float32) * weights.reshape(1, -1)
    total = has.sum(axis=1)
    missed = (1.0 - (2.0 * both + SMOOTH) / (areas + SMOOTH)) * has
    return missed.sum(axis=1) / jnp.where(total > 0, total, 1.0), (total > 0).astype(jnp.float32)


def _pixels(indicators: jax.Array) -> jax.Array:
    """Count the pixels of each class, (K,) int32: float32 is exact within an image, not over a large batch."""
    return indicators.sum(axis=(1, 2)).astype(jnp.int32).sum(axis=0)


def _decode(logits: jax.Array) -> dict[str, jax.Array]:
    named = logits.argmax(axis=-1)
    areas = jax.nn.one_hot(named, logits.shape[-1], dtype=jnp.float32).sum(axis=(1, 2))
    return {"predictions": named.astype(jnp.uint8), "areas": areas.astype(jnp.int32)}


def _metrics(sums: Mapping[str, float]) -> dict[str, float]:
    """Compute pixel accuracy, and IoU as a mean over the classes that are labelled or named anywhere."""
    classes = range(sum(name.startswith("hits_") for name in sums))
    hits, labelled, named = (np.array([sums[f"{name}_{k}"] for k in classes]) for name in ("hits", "labelled", "named"))
    unions, count = labelled + named - hits, max(sums["count"], 1.0)
    shares = hits[unions > 0] / unions[unions > 0]
    mean_iou = float(shares.mean()) if len(shares) else 0.0
    return {"loss": sums["loss"] / count, "accuracy": float(hits.sum()) / count, "mean_iou": mean_iou}


def _counts(predictions: Arrays, split: Arrays, ignore: int) -> np.ndarray:
    """Count pixels [image][label][prediction], int64 (N, K, K), of those that count."""
    named, labels, classes = predictions["predictions"], split["labels"], predictions["areas"].shape[1]
    counts = np.zeros((len(named), classes * classes), np.int64)
    for row, (label, name) in enumerate(zip(labels, named, strict=True)):
        label, name = np.asarray(label).astype(np.int64), name.astype(np.int64)
        counted = (label >= 0) & (label < classes) & (label != ignore)
        counts[row] = np.bincount(label[counted] * classes + name[counted], minlength=classes * classes)
    return counts.reshape(-1, classes, classes)


def _save(predictions: Arrays, split: Arrays, ignore: int) -> dict[str, np.ndarray]:
    """Return masks in 8 bits, and per image and class intersection and union: mean IoU is a function of their sums."""
    counts = _counts(predictions, split, ignore)
    hits = counts.diagonal(axis1=1, axis2=2)
    unions = counts.sum(axis=1) + counts.sum(axis=2) - hits
    return {
        "labels": np.asarray(split["labels"]),
        "predictions": predictions["predictions"],
        "intersections": hits.astype(np.int32),
        "unions": unions.astype(np.int32),
    }


def _details(predictions: Arrays, split: Arrays, ignore: int) -> dict[str, Any]:
    """Return mean Dice; IoU, Dice and accuracy by class, None where it has no pixel; counts [label][prediction]."""
    confusion = _counts(predictions, split, ignore).sum(axis=0)
    hits, labelled, named = confusion.diagonal(), confusion.sum(axis=1), confusion.sum(axis=0)
    parts = {
        "class_iou": (hits, labelled + named - hits),
        "class_dice": (2 * hits, labelled + named),
        "class_accuracy": (hits, labelled),
    }
    shares = {
        name: [float(right / whole) if whole else None for right, whole in zip(*both, strict=True)]
        for name, both in parts.items()
    }
    dice = [share for share in shares["class_dice"] if share is not None]
    return {"mean_dice": float(np.mean(dice)) if dice else 0.0, **shares, "confusion": confusion.tolist()}


def _describe(prediction: Arrays, class_names: Sequence[str], top: int) -> dict[str, Any]:
    areas = prediction["areas"] / max(int(prediction["areas"].sum()), 1)
    order = [k for k in np.argsort(-areas, kind="stable") if areas[k] > 0]
    largest = [(str(class_names[k]), float(areas[k])) for k in order[: max(top, 1)]]
    text = ", ".join(f"{name} {share:.1%}" for name, share in largest)
    return {"text": text, "areas": largest, "mask": prediction["predictions"], "classes": list(map(str, class_names))}


def _resolve(config: Segmentation, train: Arrays, class_names: Sequence[str]) -> Segmentation:
    """Return the config with one weight per class: as given, or by median frequency."""
    weights, classes = config.class_weights, len(class_names)
    require(classes <= MOST_CLASSES, "classes", classes, f"segmentation has at most {MOST_CLASSES} classes")
    if weights == "median":
        weights = median_frequency(train["labels"], classes, config.ignore)
    elif weights is not None:
        if len(weights) != classes:
            raise InputError(
                f"class_weights={weights!r}: the data have {classes} classes; give median, or one number each"
            )
        weights = tuple(float(weight) for weight in weights)
    return replace(config, class_weights=weights)


def median_frequency(labels: np.ndarray, classes: int, ignore: int) -> tuple[float, ...]:
    """Compute class weights median(f) / f_k, f_k being the share of class k among the pixels of images that have it.

    Args:
        labels: Masks (N, H, W).
        classes: Number of classes.
        ignore: Label of pixels that do not count; labels outside 0 .. classes - 1 do not count, either.

    Returns:
        One weight per class; 1 for a class without a pixel.
    """
    pixels, areas = np.zeros(classes), np.zeros(classes)
    for mask in labels:
        mask = np.asarray(mask).ravel().astype(np.int64)
        counts = np.bincount(mask[(mask >= 0) & (mask < classes) & (mask != ignore)], minlength=classes)
        pixels += counts
        areas += np.where(counts > 0, counts.sum(), 0)
    share = pixels[pixels > 0] / areas[pixels > 0]
    weights = np.ones(classes)
    weights[pixels > 0] = np.median(share) / share if len(share) else 1.0
    return tuple(weights.tolist())


register_task(Segmentation, segmentation, _resolve)
