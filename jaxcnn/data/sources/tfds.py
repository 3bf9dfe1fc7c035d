"""Data sets of tensorflow-datasets in array_record form, read without TensorFlow."""

import functools
import json
import os
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from jaxcnn.data.boxes import Objects, objects
from jaxcnn.data.cache import load_or_compute
from jaxcnn.data.dataset import SPLIT_NAMES, BadImage, Example, Pool, Source, fit_identity
from jaxcnn.data.decode import decode_image, ordered_map, size_pair, upright_size
from jaxcnn.data.masks import MaskClasses, decode_mask, mask_classes, present_values, read_mask
from jaxcnn.data.messages import one_line
from jaxcnn.errors import InputError
from jaxcnn.spec import Size

_DIGITS, _UPPER, _LOWER = "0123456789", "ABCDEFGHIJKLMNOPQRSTUVWXYZ", "abcdefghijklmnopqrstuvwxyz"
EMNIST_CLASSES = {
    "letters": _UPPER,
    "digits": _DIGITS,
    "mnist": _DIGITS,
    "byclass": _DIGITS + _UPPER + _LOWER,
    "bymerge": _DIGITS + _UPPER + "abdefghnqrt",
    "balanced": _DIGITS + _UPPER + "abdefghnqrt",
}
"""Characters of EMNIST's labels, which TFDS names by their numbers. Cohen et al. 2017, arXiv:1702.05373."""


MASK_FEATURES = ("segmentation_mask", "mask", "annotation", "segmentation_label")
"""Names of an image feature whose pixels are classes."""
INSTANCES = "instance_mask"
"""Name of an image feature whose pixels are numbers of objects: k at the k-th of the sequence, 0 elsewhere."""


def tfds_dir(data_dir: str | os.PathLike[str] | None) -> Path:
    """Return `data_dir`, else $TFDS_DATA_DIR, else ~/tensorflow_datasets."""
    return Path(data_dir or os.environ.get("TFDS_DATA_DIR") or "~/tensorflow_datasets").expanduser()


def version_dir(folder: Path, version: str | None = None) -> Path | None:
    """Return the newest prepared version below `folder`, or `folder` itself if it is one, or None."""
    if (folder / "dataset_info.json").is_file() and (folder / "features.json").is_file():
        return folder
    prepared = [info.parent for info in folder.glob("*/dataset_info.json") if version in (None, info.parent.name)]
    versions = [path for path in prepared if re.fullmatch(r"\d+\.\d+\.\d+", path.name)]
    return max(versions, key=lambda path: [int(part) for part in path.name.split(".")], default=None)


def find_prepared(name: str, data_dir: str | None) -> Path | None:
    """Return the folder of a prepared set by its TFDS name (mnist, emnist/letters, mnist:3.0.1), or None."""
    base, _, version = name.partition(":")
    return version_dir(tfds_dir(data_dir) / base, version or None)


def prepared_sets(data_dir: str | None = None) -> dict[str, str]:
    """Return the prepared sets in `data_dir` that `load` reads: name -> sizes, shape and classes in one line."""
    root, sets = tfds_dir(data_dir), {}
    for folder in sorted(root.glob("*/")):
        variants = sorted(path for path in folder.glob("*/") if path.name[0] not in ".0123456789")
        for candidate in (folder, *variants):
            if (where := version_dir(candidate)) and (summary := _describe(where)):
                sets[candidate.relative_to(root).as_posix()] = summary
    return sets


def _describe(folder: Path) -> str | None:
    """Return sizes, shape and classes of a prepared set in one line, or None if `load` cannot read it."""
    try:
        info, features = _read_metadata(folder)
        keys = _target_keys(features)
        sizes = {split["name"]: sum(map(int, split.get("shardLengths", ()))) for split in info["splits"]}
        without = "train" not in sizes and any(name in SPLIT_NAMES for name in sizes)
        if keys is None or without or info.get("fileFormat") != "array_record":
            return None
        image, label = (features["featuresDict"]["features"][key.partition("/")[0]] for key in keys)
        shape = [side if side != "-1" else "?" for side in image["image"]["shape"]["dimensions"]]
        counts = ", ".join(f"{count:,} {split}" for split, count in sizes.items())
        if "/" in keys[1]:
            its = _object_fields(features, keys[1].partition("/")[0])
            classes = next(each["classLabel"]["numClasses"] for each in its.values() if "classLabel" in each)
            masks = " and a mask for each object" if INSTANCES in features["featuresDict"]["features"] else ""
            return f"{counts}; {'x'.join(shape)}; boxes of {classes} classes{masks}"
        if "classLabel" not in label:
            names, ignored = _mask_names(folder)
            return f"{counts}; {'x'.join(shape)}; masks{f' of {len(names) - len(ignored)} classes' if names else ''}"
        classes = len(EMNIST_CLASSES.get(folder.parent.name, ())) or label["classLabel"]["numClasses"]
        return f"{counts}; {'x'.join(shape)}; {classes} classes"
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None


def _read_metadata(folder: Path) -> list[dict[str, Any]]:
    return [json.loads((folder / file).read_text()) for file in ("dataset_info.json", "features.json")]


def _target_keys(features: dict[str, Any]) -> tuple[str, str] | None:
    """Return the names of the image and of its label, else its mask, else its boxes (objects/bbox); or None."""
    fields = features.get("featuresDict", {}).get("features", {})
    kinds = {key: value.get("pythonClassName", "").rsplit(".", 1)[-1] for key, value in fields.items()}
    masks = [key for key in MASK_FEATURES if kinds.get(key) == "Image"]
    images = [key for key, kind in kinds.items() if kind == "Image" and key not in (*masks, INSTANCES)]
    labels = [key for key, kind in kinds.items() if kind == "ClassLabel"]
    image = "image" if "image" in images else images[0] if len(images) == 1 else None
    label = "label" if "label" in labels else labels[0] if len(labels) == 1 else None
    sequences = [key for key, kind in kinds.items() if kind == "Sequence" and _box_field(features, key)]
    boxes = f"{sequences[0]}/{_box_field(features, sequences[0])}" if len(sequences) == 1 else None
    target = label or next(iter(masks), None) or boxes
    return (image, target) if image and target else None


def _object_fields(features: dict[str, Any], sequence: str) -> dict[str, Any]:
    """Return the features of the objects in a sequence; empty if it holds no objects."""
    inner = features["featuresDict"]["features"][sequence].get("sequence", {}).get("feature", {})
    return inner.get("featuresDict", {}).get("features", {})


def _box_field(features: dict[str, Any], sequence: str) -> str | None:
    """Return the name of the boxes in a sequence whose objects also have a class."""
    fields = _object_fields(features, sequence)
    boxes = [key for key, field in fields.items() if field.get("pythonClassName", "").endswith("BBoxFeature")]
    return boxes[0] if len(boxes) == 1 and any("classLabel" in field for field in fields.values()) else None


def _mask_names(folder: Path) -> tuple[list[str] | None, list[int]]:
    """Return the names of the values of a set's masks and the values that are no class, as metadata.json has them."""
    try:
        about = json.loads((folder / "metadata.json").read_text())
        names, ignored = about.get("mask_labels"), about.get("ignore_label")
    except (OSError, ValueError, AttributeError):
        return None, []
    return [*map(str, names)] if isinstance(names, list) else None, [ignored] if isinstance(ignored, int) else []


def tfds_source(
    name: str, folder: Path, size: Size | None = None, fit: str = "squash", ignore: Sequence[int] | None = None
) -> Source:
    """Return a prepared set as a source; refuse one that is damaged, has no classes or is not in array_record form.

    A set whose splits have names of their own, such as Omniglot's small1 and small2, has all of them as one training
    split, and an image that is in several once.

    A set without a class label and with a mask is one for segmentation. Names of its classes, and the value without a
    class, are read from metadata.json (mask_labels, ignore_label); `ignore` replaces the latter. A set with neither and
    with a sequence of objects that have a box and a class is one for detection, and for instances where it also has an
    image instance_mask.
    """
    import tensorflow_datasets as tfds

    try:
        info, features = _read_metadata(folder)
    except (OSError, ValueError) as error:
        raise _damaged(name, folder, error) from error
    keys = _target_keys(features)
    if keys is None:
        raise InputError(
            f"data set {name!r} in {str(folder)!r} has no feature pair of one image and one class label, one mask or "
            f"boxes; choose an image classification set, or one with masks or boxes"
        )
    if info.get("fileFormat") != "array_record":
        raise InputError(
            f"data set {name!r} in {str(folder)!r} is stored as {info.get('fileFormat', 'tfrecord')}, which needs "
            f"TensorFlow to read; run `jaxcnn data prepare {name}` with another data_dir"
        )
    try:
        builder = tfds.builder_from_directory(folder)
    except Exception as error:  # JSON, protobuf and TFDS have errors of their own
        raise _damaged(name, folder, error) from error
    splits = {key: builder.info.splits[key] for key in builder.info.splits if key in SPLIT_NAMES}
    joined = [] if splits else list(builder.info.splits.values())
    if "train" not in splits and not joined:
        raise InputError(
            f"data set {name!r} has no split called train, only {', '.join(sorted(builder.info.splits))}; "
            f"choose a set with a training split"
        )
    is_emnist = info.get("name") == "emnist"
    variant = (info.get("configName") or folder.parent.name) if is_emnist else ""
    files = sorted((str(path.resolve()), path.stat()) for path in folder.iterdir() if path.is_file())
    identity = {"tfds": info.get("name"), "version": info.get("version"), "size": size} | fit_identity(fit)
    identity["files"] = [[path, status.st_size, status.st_mtime_ns] for path, status in files]
    decoded: Any = builder.info.features
    channels, first_label = 1 if decoded[keys[0]].shape[-1] == 1 else 3, int(variant == "letters")
    sequence, _, box = keys[1].partition("/")
    objects: Any = decoded[sequence].feature if box else None
    has_masks, pools, classes = not box and not hasattr(decoded[sequence], "names"), {}, None
    for key, parts in ({"train": joined} if joined else {key: [split] for key, split in splits.items()}).items():
        files_of = [part for split in parts for part in split.file_instructions]
        shards = [f"{part.filename}[{part.skip}:{part.skip + part.take}]" for part in files_of]
        form = (channels, size, fit, is_emnist, first_label)
        count = sum(split.num_examples for split in parts)
        pools[SPLIT_NAMES[key]] = _Reader(name, folder, key, count, shards, keys, *form)
    if joined:
        pools["train"].keep_one_of_each(identity)
    if has_masks:
        classes = _mask_classes(pools["train"], identity, ignore)
        identity |= {"mask": keys[1], "table": classes.table.tolist()}
    elif box and INSTANCES in decoded:
        identity |= {"instances": INSTANCES}
    if ignore and not has_masks:
        raise InputError(f"ignore={tuple(ignore)}: data set {name!r} has no masks; leave it out")
    for key, reader in pools.items():
        reader.classes = classes
        reader.objects = _object_keys(objects, sequence, box) if box else None
        labels = None if has_masks or box else functools.partial(reader.labels, identity)
        grouped = functools.partial(reader.groups, identity)
        pools[key] = Pool(reader.length, reader.read, reader.at, labels, groups=grouped)
    if classes is not None:
        return Source(name, str(folder), identity, classes.names, pools, target="mask")
    if box:
        label = _object_keys(objects, sequence, box).label.rpartition("/")[2]
        return Source(name, str(folder), identity, tuple(objects[label].names), pools, target="boxes")
    return Source(name, str(folder), identity, tuple(EMNIST_CLASSES.get(variant) or decoded[keys[1]].names), pools)


class _ObjectKeys(NamedTuple):
    """Names of the features of objects in a record; those of crowds and difficult ones are "" where there are none."""

    box: str
    label: str
    crowd: str


def _object_keys(objects: Any, sequence: str, box: str) -> _ObjectKeys:
    label = next(key for key in objects if hasattr(objects[key], "names"))
    crowd = next((key for key in ("is_crowd", "is_difficult") if key in objects), "")
    return _ObjectKeys(f"{sequence}/{box}", f"{sequence}/{label}", f"{sequence}/{crowd}" if crowd else "")


def _mask_classes(reader: "_Reader", identity: dict[str, Any], ignore: Sequence[int] | None) -> MaskClasses:
    """Return what the values of a set's masks mean: named in metadata.json, or those that occur in training masks."""
    names, ignored = _mask_names(reader.folder)
    present = None
    if names is None:
        masks = (_parse(record)[reader.keys[1]].bytes_list.value[0] for _, record in reader.records())
        present = load_or_compute(reader.name, "mask-values", [identity, "mask-values"], lambda: present_values(masks))
    return mask_classes(reader.name, names, present, ignored if ignore is None else ignore)


def _damaged(name: str, folder: Path, error: Exception, part: str = "") -> InputError:
    return InputError(
        f"{part}data set {name!r} in {str(folder)!r} is damaged ({one_line(error)}); remove that folder and prepare "
        f"the set again, as with `jaxcnn data prepare {name}`"
    )


@dataclass
class _Reader:
    """Reads and decodes the records of a split, in batches or one by one; picklable."""

    name: str
    folder: Path
    split: str
    length: int
    shards: Sequence[str]  # files, each as a slice in array_record's notation: path[first:last]
    keys: tuple[str, str]  # names of the image and of the label or mask feature
    channels: int
    size: Size | None
    fit: str
    transpose: bool  # whether rows and columns are stored exchanged
    first_label: int  # stored value of label 0
    classes: MaskClasses | None = None  # what the values of masks mean; None: labels are classes
    objects: _ObjectKeys | None = None  # where the objects of an image are; None: it has none
    kept: np.ndarray | None = None  # places of the records that are read; None: all
    opened: Any = None

    def keep_one_of_each(self, identity: dict[str, Any]) -> None:
        """Leave out records whose image is that of an earlier one, to the byte."""

        def compute() -> np.ndarray:
            seen = dict[bytes, int]()
            for index, record in self.records():
                seen.setdefault(_parse(record)[self.keys[0]].bytes_list.value[0], index)
            return np.array([*seen.values()])

        self.kept = load_or_compute(self.name, "kept", identity, compute)
        self.length = len(self.kept)

    def read(self) -> Iterator[Example]:
        return ordered_map(self.decode, self.records())

    def at(self, index: int) -> Example:
        return self.decode((index, self.fetch([index])[0]))

    def labels(self, identity: dict[str, Any], advance: Callable[[], object]) -> np.ndarray:
        """Return all labels, int32 (N,); records are read, which takes most of the time, but not decoded."""

        def compute() -> np.ndarray:
            labels = np.empty(self.length, np.int32)
            for index, record in self.records():
                labels[index] = self.label(_parse(record))
                advance()
            return labels

        return load_or_compute(self.name, f"{self.split}-labels", identity, compute)

    def groups(self, identity: dict[str, Any], feature: str) -> np.ndarray:
        """Return the value of a feature of each record as text, str (N,)."""

        def value(record: bytes) -> str:
            features = _parse(record)
            kind = features[feature].WhichOneof("kind") if feature in features else None
            if kind not in ("bytes_list", "int64_list") or len(values := getattr(features[feature], kind).value) != 1:
                known = ", ".join(sorted(features))
                raise InputError(
                    f"groups={feature!r}: images of data set {self.name!r} have no such single text or whole number; "
                    f"choose among {known}"
                )
            return values[0].decode(errors="surrogateescape") if kind == "bytes_list" else str(values[0])

        def compute() -> np.ndarray:
            return np.array([value(record) for _, record in self.records()])

        return load_or_compute(self.name, f"{self.split}-groups", [identity, feature], compute)

    def records(self, batch: int = 512) -> Iterator[tuple[int, bytes]]:
        for start in range(0, self.length, batch):
            indices = range(start, min(start + batch, self.length))
            yield from zip(indices, self.fetch(indices), strict=True)

    def fetch(self, indices: Sequence[int]) -> Sequence[bytes]:
        # Not TFDS' own data source, which cannot be pickled.
        from array_record.python.array_record_data_source import ArrayRecordDataSource

        try:
            self.opened = self.opened or ArrayRecordDataSource(self.shards)
            return self.opened.__getitems__(list(indices) if self.kept is None else self.kept[indices].tolist())
        except (OSError, RuntimeError, ValueError, IndexError) as error:
            raise _damaged(self.name, self.folder, error, f"split {self.split} of ") from error

    def label(self, features: Any) -> int:
        return int(features[self.keys[1]].int64_list.value[0]) - self.first_label

    def decode(self, item: tuple[int, bytes]) -> Example:
        name, features = f"{self.split}[{item[0]}]", _parse(item[1])
        label: Any = 0 if self.classes or self.objects else self.label(features)
        try:
            encoded = features[self.keys[0]].bytes_list.value[0]
            size = self.size
            if self.classes:
                mask = features[self.keys[1]].bytes_list.value[0]
                label = decode_mask(mask, self.classes, upright_size(encoded), size, self.fit)
            if self.objects:
                label = _read_objects(features, self.objects, upright_size(encoded), size, self.fit)
            if self.transpose and isinstance(size, tuple):
                size = size[1], size[0]
            image = decode_image(encoded, self.channels, size, self.fit)
        except BadImage as reason:
            return Example(name, reason, label)
        # TFDS stores EMNIST as NIST's files do, with rows and columns exchanged.
        return Example(name, image.transpose(1, 0, 2) if self.transpose else image, label)


def _read_objects(features: Any, keys: _ObjectKeys, original: tuple[int, int], size: Size | None, fit: str) -> Objects:
    """Return the objects of a record, whose boxes are shares of the image, (ymin, xmin, ymax, xmax)."""
    boxes = np.array(features[keys.box].float_list.value, np.float64).reshape(-1, 4) * np.tile(original, 2)
    crowd = [bool(value) for value in features[keys.crowd].int64_list.value] if keys.crowd else None
    labels = features[keys.label].int64_list.value
    if len(labels) != len(boxes):
        raise BadImage(f"it has {len(boxes)} boxes and {len(labels)} labels", "box_values")
    instances = read_mask(features[INSTANCES].bytes_list.value[0]) if INSTANCES in features else None
    return objects(boxes, labels, original, crowd=crowd, sides=size_pair(size), fit=fit, instances=instances)


def _parse(record: bytes) -> Any:
    """Return the features of a record; TFDS' own decoder is 20 times slower and decodes more than needed."""
    from tensorflow_datasets.proto import tf_example_pb2

    parse: Any = tf_example_pb2
    return parse.Example.FromString(record).features.feature
