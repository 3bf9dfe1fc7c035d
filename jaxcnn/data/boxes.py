"""The objects of an image: boxes and masks checked, resized with their image and carried back, padded to one number."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

import numpy as np

from jaxcnn.data.dataset import BadImage, Split
from jaxcnn.data.decode import resize_mask
from jaxcnn.data.fit import Pair, shown
from jaxcnn.errors import InputError

LEAST_VISIBLE = 0.25
"""Share of a box that cropping must leave; of a smaller rest nobody could tell what it is."""
ROUNDING = 1.0
"""Pixels by which a box may reach beyond its image: some tools count from 1, or round up. It is clipped."""
ARRAYS = ("labels", "boxes", "crowd", "sizes")
"""Arrays of a split with boxes: labels int32 (N, M), -1 for padding; boxes float32 (N, M, 4), (ymin, xmin, ymax, xmax)
as shares of the image; crowd bool (N, M), objects that count neither in training nor in evaluation; sizes int32 (N, 2),
height and width of the original images. Sets with a mask for each object also have instances uint8 (N, H, W): k where
the k-th object of an image is seen, 0 elsewhere."""
MOST_INSTANCES = 255
"""Largest number of objects of an image with masks."""


class Objects(NamedTuple):
    """The objects of one image.

    Args:
        boxes: float32 (m, 4), (ymin, xmin, ymax, xmax) as shares of the image that is seen.
        labels: int32 (m,).
        crowd: bool (m,): objects that count neither way: crowds (COCO), difficult ones (VOC).
        size: Height and width of the original image.
        instances: uint8 (H, W) of the image that is seen: k at the k-th object, 0 elsewhere. None: there are no masks.
    """

    boxes: np.ndarray
    labels: np.ndarray
    crowd: np.ndarray
    size: Pair
    instances: np.ndarray | None = None


def objects(
    boxes: np.ndarray,
    labels: Sequence[int] | np.ndarray,
    original: Pair,
    *,
    crowd: Sequence[bool] | np.ndarray | None = None,
    sides: Pair | None = None,
    fit: str = "squash",
    hint: str = "",
    instances: np.ndarray | None = None,
) -> Objects:
    """Return the objects of an image as it is seen after resizing.

    Args:
        boxes: (m, 4) corners (ymin, xmin, ymax, xmax) in pixels of the original image.
        labels: (m,) int.
        original: Height and width of the original image.
        crowd: (m,) whether an object counts neither way; None: all count.
        sides: Height and width that the image is resized to; None: as it is.
        fit: How, as in `DataConfig`. Cropping drops boxes of which less than a quarter is left.
        hint: How the numbers may have been meant, for errors.
        instances: uint8 (H, W) of the original image: k at the k-th object, 0 elsewhere. None: there are no masks.

    Raises:
        BadImage: A box without area, with corners in the wrong order, outside the image or not finite; instances of
            another size, or more of them than boxes.
    """
    boxes = np.asarray(boxes, np.float64).reshape(-1, 4)
    labels = np.asarray(labels, np.int32).reshape(-1)
    flags = np.zeros(len(labels), bool) if crowd is None else np.asarray(crowd, bool).reshape(-1)
    check_boxes(boxes, original, hint)
    boxes = boxes.clip(0, np.tile(original, 2))
    if instances is not None:
        _check_instances(instances, original, len(boxes))
    if sides is not None:
        boxes, visible = fit_boxes(boxes, original, sides, fit)
        boxes, labels, flags = boxes[visible], labels[visible], flags[visible]
        if instances is not None:
            numbers = np.concatenate([[0], np.where(visible, visible.cumsum(), 0)]).astype(np.uint8)
            instances = numbers[resize_mask(instances, sides, fit, fill=0)]
    whole = np.tile(original if sides is None else sides, 2)
    return Objects((boxes / whole).astype(np.float32), labels, flags, original, instances)


def _check_instances(instances: np.ndarray, original: Pair, count: int) -> None:
    if instances.shape != original:
        raise BadImage(
            f"its instances are {instances.shape[0]}x{instances.shape[1]} pixels and the image "
            f"{original[0]}x{original[1]}", "mask_size",
        )  # fmt: skip
    if instances.max(initial=0) > min(count, MOST_INSTANCES):
        raise BadImage(f"its instances have the number {instances.max()}, and it has {count} boxes", "mask_values")


def check_boxes(boxes: np.ndarray, original: Pair, hint: str = "") -> None:
    """Raise BadImage for the first box that no object can have; see `objects`."""
    height, width = original
    for y, x, bottom, right in boxes.tolist():
        shown = f"the box (ymin {y:g}, xmin {x:g}, ymax {bottom:g}, xmax {right:g})"
        if not np.isfinite([y, x, bottom, right]).all():
            raise BadImage(f"{shown} is not finite", "box_values")
        if bottom < y or right < x:
            raise BadImage(f"{shown} has its corners in the wrong order{hint}", "box_order")
        if bottom == y or right == x:
            raise BadImage(f"{shown} has no area", "box_without_area")
        if min(y, x) < -ROUNDING or bottom > height + ROUNDING or right > width + ROUNDING:
            raise BadImage(f"{shown} lies outside the image of {height}x{width} pixels{hint}", "box_outside")
        if bottom <= 0 or right <= 0 or y >= height or x >= width:
            raise BadImage(f"{shown} lies outside the image of {height}x{width} pixels{hint}", "box_outside")


def fit_boxes(boxes: np.ndarray, original: Pair, sides: Pair, fit: str = "squash") -> tuple[np.ndarray, np.ndarray]:
    """Move boxes (m, 4), in pixels of an original image, to a resized one; return them and which are still visible.

    The numbers are those with which `decode_image` resizes the pixels, so `restore_boxes` inverts them.
    """
    source, target = (np.asarray(each, np.float64) for each in shown(original, sides, fit))
    scale = (target[2:] - target[:2]) / (source[2:] - source[:2])
    moved = (boxes - np.tile(source[:2], 2)) * np.tile(scale, 2) + np.tile(target[:2], 2)
    clipped = moved.clip(np.tile(target[:2], 2), np.tile(target[2:], 2))
    areas = [np.maximum(each[:, 2:] - each[:, :2], 0).prod(axis=1) for each in (moved, clipped)]
    return clipped, areas[1] >= LEAST_VISIBLE * areas[0]


def restore_boxes(
    boxes: np.ndarray, original: Pair, sides: Pair, fit: str = "squash", clipped: bool = True
) -> np.ndarray:
    """Carry boxes (..., 4), in pixels of a resized image, back to its original, in pixels there and `clipped` to it.

    >>> restore_boxes(np.array([[16.0, 0.0, 48.0, 64.0]]), (100, 200), (64, 64), "pad")
    array([[  0.,   0., 100., 200.]])
    """
    source, target = (np.asarray(each, np.float64) for each in shown(original, sides, fit))
    scale = (source[2:] - source[:2]) / (target[2:] - target[:2])
    back = (np.asarray(boxes, np.float64) - np.tile(target[:2], 2)) * np.tile(scale, 2) + np.tile(source[:2], 2)
    return back.clip(0, np.tile(original, 2)) if clipped else back


def stack_objects(each: Sequence[Objects]) -> Split:
    """Return the objects of N images as arrays (`ARRAYS`), padded to the largest number M, at least 1."""
    most = max([1, *(len(one.labels) for one in each)])
    stacked = {
        "labels": np.full((len(each), most), -1, np.int32),
        "boxes": np.zeros((len(each), most, 4), np.float32),
        "crowd": np.zeros((len(each), most), bool),
        "sizes": np.array([one.size for one in each], np.int32).reshape(-1, 2),
    }
    for row, one in enumerate(each):
        for name in ("labels", "boxes", "crowd"):
            stacked[name][row, : len(one.labels)] = getattr(one, name)
    maps = [one.instances for one in each if one.instances is not None]
    return stacked | ({"instances": np.stack(maps)} if len(maps) == len(each) else {})


def pad_alike(splits: Mapping[str, Split]) -> dict[str, Split]:
    """Return splits whose numbers of boxes an image are equal: programs have fixed shapes."""
    most = max(split["labels"].shape[1] for split in splits.values())

    def padded(name: str, array: np.ndarray) -> np.ndarray:
        if name not in ("labels", "boxes", "crowd"):
            return array
        missing = [(0, 0), (0, most - array.shape[1]), *[(0, 0)] * (array.ndim - 2)]
        return np.pad(array, missing, constant_values=-1 if name == "labels" else 0)

    return {key: {name: padded(name, array) for name, array in split.items()} for key, split in splits.items()}


def check_objects(source: str, split: str, labels: np.ndarray, class_names: Sequence[str]) -> None:
    """Raise InputError if labels int (N, M) are out of range, or if the training images have no object at all."""
    wrong = labels[(labels < -1) | (labels >= len(class_names))]
    if len(wrong):
        raise InputError(
            f"the {split} boxes of data set {source!r} have the label {int(wrong[0])}, outside "
            f"0..{len(class_names) - 1} for its {len(class_names)} classes; number the classes from 0"
        )
    if split == "train" and not (labels >= 0).any():
        raise InputError(f"data set {source!r} has no box in its training images; check its annotations")


def boxes_of(masks: Iterable[np.ndarray]) -> np.ndarray:
    """Return the smallest boxes (m, 4) around masks (H, W) bool, none of which is empty, in pixels."""
    found = []
    for mask in masks:
        rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
        found.append((rows[0], columns[0], rows[-1] + 1, columns[-1] + 1))
    return np.array(found, np.float64).reshape(-1, 4)
