"""Average precision and recall of detections as COCO defines them; equal to pycocotools, and vectorised.

Reference: pycocotools, cocoeval.py (Lin et al. 2014, "Microsoft COCO").
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import NamedTuple

import numpy as np

from jaxcnn.errors import InputError

Arrays = Mapping[str, np.ndarray]
Overlap = Callable[[int, np.ndarray, np.ndarray], np.ndarray]
"""(image, rows of detections, rows of true objects) -> IoU (D, G); a crowd's is the share of the detection in it."""

THRESHOLDS = np.linspace(0.5, 0.95, 10)
RECALLS = np.linspace(0.0, 1.0, 101)
MOST = (1, 10, 100)
"""Numbers of detections an image and class, at which recall is measured."""
AREAS = {"all": (0.0, 1e10), "small": (0.0, 32.0**2), "medium": (32.0**2, 96.0**2), "large": (96.0**2, 1e10)}
"""Ranges of areas in square pixels."""
FIGURES = (
    "AP", "AP50", "AP75", "AP_small", "AP_medium", "AP_large", "AR1", "AR10", "AR100", "AR_small", "AR_medium",
    "AR_large",
)  # fmt: skip
"""Names of the twelve figures, in the order of pycocotools."""
CHUNK = 2**24
"""Elements of the largest array while detections are matched."""


class Matches(NamedTuple):
    """What average precision needs of a set of images: which detections found an object. Rows are detections.

    Args:
        image: (D,) int, index of the image.
        label: (D,) int.
        rank: (D,) int, place among the detections of its image and class, the best first.
        score: (D,) float.
        hit: (D, areas, thresholds) bool: it found an object.
        ignored: (D, areas, thresholds) bool: it counts neither as right nor as wrong.
        objects: (images, classes, areas) int: objects to be found.
    """

    image: np.ndarray
    label: np.ndarray
    rank: np.ndarray
    score: np.ndarray
    hit: np.ndarray
    ignored: np.ndarray
    objects: np.ndarray


def coco_ap(
    found: Arrays, truth: Arrays, *, classes: int, sizes: np.ndarray | None = None, overlap: Overlap | None = None
) -> dict[str, float]:
    """Compute COCO's twelve figures; -1 where there is no object to be found.

    Args:
        found: boxes (N, D, 4) corners, scores (N, D), labels (N, D) with -1 for padding.
        truth: boxes (N, M, 4), labels (N, M) with -1 for padding; optionally crowd (N, M) bool and area (N, M) in
            square pixels (default: that of the box).
        classes: Number of classes.
        sizes: (N, 2) height and width of the images in pixels, if boxes are shares of the image. Default: boxes are in
            pixels.
        overlap: Other overlap than that of boxes, such as of masks.

    Returns:
        The figures by the names in `FIGURES`.
    """
    return figures(match_coco(found, truth, classes=classes, sizes=sizes, overlap=overlap))


def match_coco(
    found: Arrays, truth: Arrays, *, classes: int, sizes: np.ndarray | None = None, overlap: Overlap | None = None
) -> Matches:
    """Match detections with objects, image by image and class by class, at all thresholds and areas at once.

    Each detection, the best first, takes the object that it overlaps most among those still free, if the IoU reaches
    the threshold; objects that count before ignored ones (crowds and areas outside the range). Arguments as `coco_ap`.
    """
    found, truth = _pixels(found, sizes), _pixels(truth, sizes)
    labels, true_labels = np.asarray(found["labels"]), np.asarray(truth["labels"])
    if len(labels) != len(true_labels):
        raise InputError(f"found: it has {len(labels)} images and truth {len(true_labels)}; give the same images")
    crowd = np.asarray(truth.get("crowd", np.zeros(true_labels.shape, bool)), bool)
    areas = np.asarray(truth["area"] if "area" in truth else _areas(truth["boxes"]), np.float64)
    ranges = np.array(list(AREAS.values()))
    outside = (areas[..., None] < ranges[:, 0]) | (areas[..., None] > ranges[:, 1])  # (N, M, areas)
    ignore = crowd[..., None] | outside
    objects = np.zeros((len(labels), classes, len(ranges)), np.int64)
    real = true_labels >= 0
    np.add.at(objects, (np.nonzero(real)[0], true_labels[real]), ~ignore[real])
    rows = _ranked(np.asarray(found["scores"], np.float64), labels)
    hit = np.zeros((len(rows.image), len(ranges), len(THRESHOLDS)), bool)
    ignored = hit.copy()
    compare = overlap or _box_overlap(found["boxes"], truth["boxes"], crowd)
    for part in _chunks(rows, true_labels, classes):
        _match(part, rows, true_labels, crowd, ignore, compare, hit, ignored)
    box_area = _areas(np.asarray(found["boxes"], np.float64)[rows.image, rows.place])
    if "area" in found:
        box_area = np.asarray(found["area"], np.float64)[rows.image, rows.place]
    beyond = (box_area[:, None] < ranges[:, 0]) | (box_area[:, None] > ranges[:, 1])
    ignored |= ~hit & beyond[:, :, None]
    return Matches(rows.image, rows.label, rows.rank, rows.score, hit, ignored, objects)


def figures(matches: Matches) -> dict[str, float]:
    """Return the twelve figures of matched detections."""
    precision, recall = precision_recall(matches)
    area = {name: index for index, name in enumerate(AREAS)}

    def mean(values: np.ndarray) -> float:
        values = values[values > -1]
        return float(values.mean()) if values.size else -1.0

    values = [mean(precision), mean(precision[:, 0, 0]), mean(precision[:, 0, 5])]
    values[0] = mean(precision[:, area["all"]])
    values += [mean(precision[:, area[name]]) for name in ("small", "medium", "large")]
    values += [mean(recall[:, area["all"], :, most]) for most in range(len(MOST))]
    values += [mean(recall[:, area[name], :, -1]) for name in ("small", "medium", "large")]
    return dict(zip(FIGURES, values, strict=True))


def class_ap(matches: Matches) -> list[dict[str, float]]:
    """Return AP, AP50 and AP75 of each class, -1 for a class without objects."""
    precision = precision_recall(matches)[0][:, 0]
    return [
        {"AP": float(each.mean()), "AP50": float(each[0].mean()), "AP75": float(each[5].mean())} for each in precision
    ]


def ap50(matches: Matches, weights: np.ndarray | None = None) -> float:
    """Compute AP at IoU 0.5 over all areas from matched detections, with images weighted: the figure of a resample.

    Args:
        matches: The matched detections.
        weights: (images,) how often each image counts; a bootstrap draws them. Default: once each.

    Returns:
        The mean over classes that have objects; -1 if none has.
    """
    weights = np.ones(len(matches.objects)) if weights is None else np.asarray(weights, np.float64)
    counts = np.einsum("nk,n->k", matches.objects[:, :, 0], weights)
    kept = matches.rank < MOST[-1]
    values = []
    for label in np.flatnonzero(counts > 0):
        rows = np.flatnonzero(kept & (matches.label == label))
        rows = rows[np.argsort(-matches.score[rows], kind="stable")]
        weight = weights[matches.image[rows]] * ~matches.ignored[rows, 0, 0]
        values.append(_curve(matches.hit[rows, 0, :1] * weight[:, None], weight[:, None], counts[label])[0].mean())
    return float(np.mean(values)) if values else -1.0


def ap50_by_image(matches: Matches) -> np.ndarray:
    """Return values of each image whose mean over images is AP at IoU 0.5, class by class.

    With weights w of the images (see `ap50`), the value of image i is AP + N dA/dw_i (infinitesimal jackknife: Efron
    1982, "The jackknife, the bootstrap and other resampling plans", chapter 6). A is the area under interpolated
    precision, (1 / G) sum over hits of max over later ranks of TP / n, of which AP's 101 recalls are samples: unlike
    these it has a derivative. The rank of the maximum stays where it is (envelope theorem).

    Returns:
        (images, classes); NaN for a class without objects.
    """
    images, classes = matches.objects.shape[:2]
    result, kept = np.full((images, classes), np.nan), (matches.rank < MOST[-1]) & ~matches.ignored[:, 0, 0]
    for label in np.flatnonzero(matches.objects[:, :, 0].sum(axis=0)):
        objects = matches.objects[:, label, 0]
        rows = np.flatnonzero(kept & (matches.label == label))
        rows = rows[np.argsort(-matches.score[rows], kind="stable")]
        hit, count = matches.hit[rows, 0, 0].astype(np.float64), len(rows)
        seen, precision = np.arange(1, count + 1), hit.cumsum() / np.arange(1, count + 1)
        best = np.maximum.accumulate(precision[::-1])[::-1]
        # The first rank, from each one on, at which precision is the best that follows.
        at = np.where(precision == best, np.arange(count), count)
        at = np.minimum.accumulate(at[::-1])[::-1]
        more = np.bincount(at, hit / seen[at], count)[::-1].cumsum()[::-1]
        less = np.bincount(at, hit * best / seen[at], count)[::-1].cumsum()[::-1]
        moves = np.bincount(matches.image[rows], hit * (best + more) - less, images) - (hit @ best) * _share(objects)
        value = _curve(hit[:, None], np.ones((count, 1)), objects.sum())[0].mean()
        result[:, label] = value + images * moves / objects.sum()
    return result


def _share(counts: np.ndarray) -> np.ndarray:
    return counts / counts.sum()


def precision_recall(matches: Matches) -> tuple[np.ndarray, np.ndarray]:
    """Compute interpolated precision (classes, areas, thresholds, 101) and recall (classes, areas, thresholds, 3).

    Both are -1 for a class and area without objects.
    """
    classes, areas = matches.objects.shape[1:]
    counts = matches.objects.sum(axis=0)
    precision = np.full((classes, areas, len(THRESHOLDS), len(RECALLS)), -1.0)
    recall = np.full((classes, areas, len(THRESHOLDS), len(MOST)), -1.0)
    for label in range(classes):
        rows = np.flatnonzero(matches.label == label)
        rows = rows[np.argsort(-matches.score[rows], kind="stable")]
        for area in np.flatnonzero(counts[label]):
            for index, most in enumerate(MOST):
                kept = rows[matches.rank[rows] < most]
                counted = ~matches.ignored[kept, area]
                hits = matches.hit[kept, area] & counted
                recall[label, area, :, index] = hits.sum(axis=0) / counts[label, area]
                if most == MOST[-1]:
                    precision[label, area] = _curve(hits.astype(float), counted.astype(float), counts[label, area])
    return precision, recall


def _curve(hits: np.ndarray, counted: np.ndarray, objects: float) -> np.ndarray:
    """Return precision at `RECALLS` (T, 101) of detections in order of score: hits and counted (D, T) as weights."""
    result = np.zeros((hits.shape[1], len(RECALLS)))
    right, seen = hits.cumsum(axis=0), np.broadcast_to(counted, hits.shape).cumsum(axis=0)
    recall = right / objects
    precision = right / (seen + np.spacing(1))
    precision = np.maximum.accumulate(precision[::-1], axis=0)[::-1]
    for column in range(hits.shape[1]):
        places = np.searchsorted(recall[:, column], RECALLS, side="left")
        inside = places < len(hits)
        result[column, inside] = precision[places[inside], column]
    return result


class _Rows(NamedTuple):
    """Detections, at most 100 an image and class, ordered by image, class and falling score; `place` within image."""

    image: np.ndarray
    place: np.ndarray
    label: np.ndarray
    rank: np.ndarray
    score: np.ndarray
    group: np.ndarray  # number of the (image, class) pair
    starts: np.ndarray  # first row of each pair, and the end


def _ranked(scores: np.ndarray, labels: np.ndarray) -> _Rows:
    image, place = np.nonzero(labels >= 0)
    label, score = labels[image, place].astype(np.int64), scores[image, place]
    order = np.lexsort((-score, label, image))  # stable: equal scores keep their stored order
    image, place, label, score = image[order], place[order], label[order], score[order]
    new = np.ones(len(image), bool)
    new[1:] = (image[1:] != image[:-1]) | (label[1:] != label[:-1])
    first = np.flatnonzero(new)
    group = np.cumsum(new) - 1
    rank = np.arange(len(image)) - (first[group] if len(first) else 0)
    kept = rank < MOST[-1]
    image, place, label, rank, score, group = (each[kept] for each in (image, place, label, rank, score, group))
    starts = np.append(np.flatnonzero(rank == 0), len(rank))
    return _Rows(image, place, label, rank, score, group, starts)


def _chunks(rows: _Rows, true_labels: np.ndarray, classes: int) -> list[np.ndarray]:
    """Divide the pairs that have objects into parts of similar size, so that padding takes little room."""
    if len(rows.image) == 0:
        return []
    first = rows.starts[:-1]
    counts = np.zeros((len(true_labels), classes), np.int64)
    real = true_labels >= 0
    np.add.at(counts, (np.nonzero(real)[0], true_labels[real]), 1)
    objects, found = counts[rows.image[first], rows.label[first]], np.diff(rows.starts)
    pairs = np.flatnonzero(objects > 0)
    pairs = pairs[np.lexsort((found[pairs], objects[pairs]))]
    each = len(AREAS) * len(THRESHOLDS) * (objects[pairs].max() if len(pairs) else 1)
    size = int(max(1, CHUNK // (16 * each)))
    return [pairs[start : start + size] for start in range(0, len(pairs), size)]


def _match(
    pairs: np.ndarray,
    rows: _Rows,
    true_labels: np.ndarray,
    crowd: np.ndarray,
    ignore: np.ndarray,
    compare: Overlap,
    hit: np.ndarray,
    ignored: np.ndarray,
) -> None:
    """Match the detections of some (image, class) pairs, all pairs together, one rank after the other."""
    starts, ends = rows.starts[pairs], rows.starts[pairs + 1]
    order = np.argsort(starts - ends, kind="stable")  # most detections first: those that are left are a prefix
    starts, ends = starts[order], ends[order]
    images, labels = rows.image[starts], rows.label[starts]
    places = [np.flatnonzero(true_labels[n] == k) for n, k in zip(images, labels, strict=True)]
    most, widest = int((ends - starts).max()), max(len(each) for each in places)
    iou = np.full((len(starts), most, widest), -1.0)
    free = np.zeros((len(starts), 1, 1, widest), bool)
    crowds = np.zeros((len(starts), 1, 1, widest), bool)
    ignores = np.zeros((len(starts), ignore.shape[2], 1, widest), bool)
    for row, (n, start, end, its) in enumerate(zip(images, starts, ends, places, strict=True)):
        iou[row, : end - start, : len(its)] = compare(n, rows.place[start:end], its)
        free[row, 0, 0, : len(its)] = True
        crowds[row, 0, 0, : len(its)] = crowd[n, its]
        ignores[row, :, 0, : len(its)] = ignore[n, its].T
    free = np.broadcast_to(free, (len(starts), ignore.shape[2], len(THRESHOLDS), widest)).copy()
    limits = np.minimum(THRESHOLDS, 1 - 1e-10)[:, None]
    objects = np.arange(widest)
    for rank in range(most):
        left = int(np.searchsorted(-(ends - starts), -rank, side="left"))  # pairs with more than `rank` detections
        its, out = iou[:left, rank][:, None, None, :], ignores[:left]
        possible = (its >= limits) & free[:left]
        real = possible & ~out
        chosen = np.where(real.any(axis=-1, keepdims=True), real, possible)
        # Equal overlaps: the last object wins, as in pycocotools.
        best = widest - 1 - np.where(chosen, its, -1.0)[..., ::-1].argmax(axis=-1)
        matched = np.asarray(chosen.any(axis=-1))
        at = starts[:left] + rank
        hit[at] = matched
        ignored[at] = matched & np.take_along_axis(np.broadcast_to(out, chosen.shape), best[..., None], -1)[..., 0]
        taken = matched[..., None] & (objects == best[..., None])
        free[:left] &= ~taken | crowds[:left]


def _box_overlap(boxes: np.ndarray, true_boxes: np.ndarray, crowd: np.ndarray) -> Overlap:
    boxes, true_boxes = np.asarray(boxes, np.float64), np.asarray(true_boxes, np.float64)

    def overlap(image: int, rows: np.ndarray, objects: np.ndarray) -> np.ndarray:
        return pairwise_box_iou(boxes[image, rows], true_boxes[image, objects], crowd[image, objects])

    return overlap


def pairwise_box_iou(a: np.ndarray, b: np.ndarray, crowd: np.ndarray | None = None, pixel: float = 0.0) -> np.ndarray:
    """Compute the IoU (P, Q) of boxes (P, 4) and (Q, 4) in float64.

    Args:
        a: Corners of detections.
        b: Corners of objects.
        crowd: (Q,) bool: where true, the divisor is the area of the detection alone.
        pixel: Added to sides: 1 where corners are inclusive pixels.
    """
    a, b = np.asarray(a, np.float64)[:, None], np.asarray(b, np.float64)[None]
    inner = np.maximum(np.minimum(a[..., 2:], b[..., 2:]) - np.maximum(a[..., :2], b[..., :2]) + pixel, 0).prod(axis=-1)
    own, other = ((each[..., 2:] - each[..., :2] + pixel).prod(axis=-1) for each in (a, b))
    whole = own + other - inner
    if crowd is not None:
        whole = np.where(np.asarray(crowd)[None, :], own, whole)
    return np.divide(inner, whole, out=np.zeros(np.broadcast_shapes(inner.shape, whole.shape)), where=whole > 0)


def _areas(boxes: np.ndarray) -> np.ndarray:
    boxes = np.asarray(boxes, np.float64)
    return (boxes[..., 2] - boxes[..., 0]) * (boxes[..., 3] - boxes[..., 1])


def _pixels(arrays: Arrays, sizes: np.ndarray | None) -> Arrays:
    """Return arrays whose boxes are in pixels."""
    if sizes is None:
        return arrays
    sizes = np.asarray(sizes, np.float64)
    return {**arrays, "boxes": np.asarray(arrays["boxes"], np.float64) * np.tile(sizes, 2)[:, None, :]}
