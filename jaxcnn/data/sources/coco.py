"""Boxes and masks of COCO's JSON files; where an object has no box, that of its polygons or run lengths."""

import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from jaxcnn.data.boxes import MOST_INSTANCES, boxes_of
from jaxcnn.data.dataset import BadImage
from jaxcnn.data.messages import one_line
from jaxcnn.data.sources.annotated import Annotated, AnnotatedSet, annotated
from jaxcnn.errors import InputError

HINT = "; COCO stores x, y, width, height: were corners written instead?"
SPLITS = {"train": "train", "val": "validation", "valid": "validation", "validation": "validation", "test": "test"}
NAMED = re.compile(r"(?:^|[\W_])(train|validation|valid|val|test)[\W_]*\d*(?:$|[\W_])")


def coco_files(path: Path) -> dict[str, Path]:
    """Return the files of a set in COCO's format, by split; empty if there are none.

    A JSON file alone is the training split. In a folder: annotations/*.json, *.json, or */_annotations.coco.json, with
    the split in the name of the file or of its folder (instances_train2017.json).
    """
    if path.suffix == ".json" and path.is_file():
        return {"train": path}
    found: dict[str, Path] = {}
    for pattern in ("annotations/*.json", "*/_annotations.coco.json", "*.json"):
        for file in sorted(path.glob(pattern)):
            about = file.parent.name if file.name.startswith("_annotations") else file.stem
            match = NAMED.search(about.lower())
            if match and ("caption" not in about and "keypoint" not in about):
                found.setdefault(SPLITS[match[1]], file)
        if "train" in found:
            return found
    return {}


def read_coco(path: Path) -> tuple[Path, AnnotatedSet]:
    """Return the root folder and the images of a set in COCO's format.

    Categories become labels in the order of their ids, those of the training file. `iscrowd` objects count neither way.
    The set has masks if all its objects have, and no image more than 255.

    Raises:
        InputError: A file is no JSON, lacks a part, or refers to images or categories that it does not have.
    """
    files = coco_files(path)
    root = path.parent if path.is_file() else path
    records = {split: _load(file) for split, file in files.items()}
    categories = {}
    for category in records["train"]["categories"]:
        categories[_field(category, "id", files["train"], "category")] = str(category.get("name", category["id"]))
    ids = {key: label for label, key in enumerate(sorted(categories, key=_by_number))}
    splits = {split: _images(record, files[split], root, ids) for split, record in records.items()}
    names = tuple(categories[key] for key in ids)
    images = [one for its in splits.values() for one in its]
    masks = any(one.segments for one in images) and all(
        all(one.segments) and len(one.segments) == len(one.labels) <= MOST_INSTANCES for one in images
    )
    return root, AnnotatedSet(names, splits, [*files.values()], HINT, draw_segments if masks else None)


def _load(file: Path) -> Mapping[str, Any]:
    try:
        record = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise InputError(f"{str(file)!r} cannot be read as JSON ({one_line(error)}); write it again") from None
    lists = ("images", "annotations", "categories")
    missing = [name for name in lists if not isinstance(record, Mapping) or not isinstance(record.get(name), list)]
    if missing:
        raise InputError(f"{str(file)!r} has no list {missing[0]!r}; COCO's format has {', '.join(lists)}")
    return record


def _images(record: Mapping[str, Any], file: Path, root: Path, ids: Mapping[Any, int]) -> list[Annotated]:
    """Return the images of a file with their objects, in the order of the file."""
    by_image: dict[Any, list[Mapping[str, Any]]] = {_field(one, "id", file, "image"): [] for one in record["images"]}
    for one in record["annotations"]:
        key = _field(one, "image_id", file, "annotation")
        if key not in by_image:
            raise InputError(f"{str(file)!r}: an annotation belongs to image {key!r}, which is not in its images")
        by_image[key].append(one)
    folder = _folder(record["images"], file, root)
    return [_image(one, by_image[one["id"]], folder, file, ids) for one in record["images"]]


def _folder(images: Sequence[Mapping[str, Any]], file: Path, root: Path) -> str:
    """Return the folder of a file's images, below the root: the first of the usual ones that has its first image."""
    stem = file.stem.removeprefix("instances_")
    names = [file.parent.relative_to(root).as_posix(), ".", stem, f"images/{stem}", "images", "data"]
    first = str(images[0].get("file_name", "")) if images else ""
    return next((name for name in names if first and (root / name / first).is_file()), names[0])


def _image(
    one: Mapping[str, Any], objects: Sequence[Mapping[str, Any]], folder: str, file: Path, ids: Mapping[Any, int]
) -> Annotated:
    name = (Path(folder) / str(_field(one, "file_name", file, "image"))).as_posix()
    size = (one["height"], one["width"]) if _whole(one.get("height")) and _whole(one.get("width")) else None
    boxes, labels, crowd = [], [], []
    for each in objects:
        key = _field(each, "category_id", file, "annotation")
        if key not in ids:
            raise InputError(f"{str(file)!r}: an annotation has the category {key!r}, which the training file lacks")
        try:
            boxes.append(_corners(each))
        except (ValueError, TypeError, KeyError, IndexError) as error:
            return annotated(name, problem=(f"an object of it has no box ({one_line(error)})", "box_values"))
        labels.append(ids[key])
        crowd.append(bool(each.get("iscrowd", 0)))
    segments = tuple(each.get("segmentation") for each in objects)
    return annotated(name, boxes, labels, crowd, size=size, segments=segments)


def _corners(each: Mapping[str, Any]) -> tuple[float, float, float, float]:
    """Return (ymin, xmin, ymax, xmax) of an annotation: of its bbox, else of its segmentation."""
    if "bbox" in each:
        x, y, width, height = map(float, each["bbox"])
        return y, x, y + height, x + width
    segmentation = each["segmentation"]
    if isinstance(segmentation, Mapping):
        return tuple(boxes_of([decode_rle(segmentation)])[0].tolist())
    points = np.concatenate([np.asarray(polygon, np.float64).reshape(-1, 2) for polygon in segmentation])
    (x, y), (right, bottom) = points.min(axis=0).tolist(), points.max(axis=0).tolist()
    return y, x, bottom, right


def draw_segments(one: Annotated, size: tuple[int, int]) -> np.ndarray:
    """Return the map of instances of an image, uint8 (H, W): k at the k-th object, 0 elsewhere.

    A pixel belongs to an object if its middle does; of several, to the smallest that is no crowd.

    Raises:
        BadImage: A segmentation is neither polygons nor run lengths of the image's size.
    """
    instances = np.zeros(size, np.uint8)
    try:
        masks = [_drawn(segment, size) for segment in one.segments]
    except (ValueError, TypeError, KeyError) as error:
        raise BadImage(f"an object of it has no mask ({one_line(error)})", "mask_values") from None
    for k in sorted(range(len(masks)), key=lambda k: (not one.crowd[k], -masks[k].sum())):
        instances[masks[k]] = k + 1
    return instances


def _drawn(segment: Any, size: tuple[int, int]) -> np.ndarray:
    from matplotlib.path import Path as Outline

    if isinstance(segment, Mapping):
        mask = decode_rle(segment)
        if mask.shape != size:
            raise ValueError(f"its run lengths are for {mask.shape[0]}x{mask.shape[1]} pixels")
        return mask
    mask = np.zeros(size, bool)
    for polygon in segment:
        points = np.asarray(polygon, np.float64).reshape(-1, 2)  # x, y
        low, high = np.floor(points.min(axis=0)).astype(int), np.ceil(points.max(axis=0)).astype(int)
        low, high = low.clip(0, size[::-1]), high.clip(0, size[::-1])
        rows, columns = np.mgrid[low[1] : high[1], low[0] : high[0]]
        middles = np.stack([columns.ravel(), rows.ravel()], axis=1) + 0.5
        mask[low[1] : high[1], low[0] : high[0]] |= Outline(points).contains_points(middles).reshape(rows.shape)
    return mask


def decode_rle(rle: Mapping[str, Any]) -> np.ndarray:
    """Return the mask (H, W) bool of run lengths in COCO's form: a list of counts, or its compressed text.

    The text has 5 bits of a number in each character, from 48 on, the lowest first; bit 6 says that more follow. From
    the fourth number on, each is the difference to the one two before (maskApi.c, rleFrString).

    Raises:
        ValueError: The counts do not add up to the size.

    >>> decode_rle({"size": [2, 2], "counts": [1, 3]}).tolist()
    [[False, True], [True, True]]
    """
    (height, width), counts = rle["size"], rle["counts"]
    if isinstance(counts, str | bytes):
        counts = _numbers(counts.encode() if isinstance(counts, str) else counts)
    runs = np.asarray(counts, np.int64)
    if (runs.size and runs.min() < 0) or runs.sum() != height * width:
        raise ValueError(f"its run lengths add up to {runs.sum()} pixels of {height} x {width}")
    return np.repeat(np.arange(len(runs)) % 2 == 1, runs).reshape(height, width, order="F")


def _numbers(text: bytes) -> list[int]:
    numbers, place = list[int](), 0
    while place < len(text):
        value, shift, more = 0, 0, True
        while more:
            if place >= len(text):
                raise ValueError("its run lengths end within a number")
            code = text[place] - 48
            value |= (code & 0x1F) << shift
            more, place, shift = bool(code & 0x20), place + 1, shift + 5
            if not more and code & 0x10:
                value |= -1 << shift
        numbers.append(value + numbers[-2] if len(numbers) > 2 else value)
    return numbers


def _field(record: Any, name: str, file: Path, kind: str) -> Any:
    if not isinstance(record, Mapping) or name not in record or isinstance(record[name], list | dict):
        raise InputError(f"{str(file)!r}: an entry of its {kind}s has no usable {name!r}; write the file again")
    return record[name]


def _whole(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _by_number(key: Any) -> tuple[bool, Any]:
    return (isinstance(key, str), key)
